"""`limsflow job`: what a person types, reads, and gets back as a status."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blocks.mx.records import Attachment, AttachmentType, AttemptState
from blocks.mx.store import IspybStore, create_tables, open_store
from tests.fakes.builders import A_GUID, a_collection, a_registration, a_request, a_solution
from tests.fakes.isolate_cli import Cli, Said, is_one_line

REPOSITORY = Path(__file__).parents[2]
COLLECTION: dict[str, Any] = {
    "id": 2227029, "image_directory": "/dls/i03/data/2018/cm19644-1/thau/",
    "file_template": "thau_1_2_####.cbf", "start_image": 1, "n_images": 1200,
}  # fmt: skip
SWEEP = {"data_collection_id": 2227029, "start_image": 801, "end_image": 1200}
JOB: dict[str, Any] = {
    "recipe": "xia2-dials-2018",
    "data_collections": [COLLECTION],
    "sweeps": [SWEEP, SWEEP | {"start_image": 1, "end_image": 400}],
    "parameters": [{"key": "d_min", "value": "1.8"}],
}
DIALS_PROGRAMS = [
    *("dials.import", "dials.find_spots", "dials.spot_counts_per_image", "dials.index"),
    *("dials.refine", "dials.integrate", "dials.symmetry", "dials.scale"),
    *("dials.estimate_resolution", "dials.estimate_resolution", "dials.merge", "dials.export"),
]
WAITING = """\
processing job 1  recipe xia2-dials-2018
  sweep 1 (thau_1_2_####.cbf 801-1200)
  sweep 2 (thau_1_2_####.cbf 1-400)
  d_min = 1.8
  no attempt yet: waiting"""


@pytest.fixture
def ispyb(tmp_path: Path) -> str:
    """The URL of an empty ISPyB."""
    url = f"sqlite:///{tmp_path / 'ispyb.db'}"
    create_tables(url)
    return url


@pytest.fixture
def store(ispyb: str) -> IspybStore:
    """The store of that ISPyB."""
    return open_store(ispyb)


@pytest.fixture
def job(limsflow: Cli, ispyb: str) -> Cli:
    """`limsflow job` with that ISPyB."""
    return lambda *arguments: limsflow("job", *arguments, "--ispyb", ispyb)


def process(*arguments: str, cwd: Path, flags: tuple[str, ...] = (), **given: Any) -> Any:
    return subprocess.run(
        [sys.executable, *flags, "-m", "deployments.cli", *arguments],
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | given),
        cwd=cwd,
        env={"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY)},
        check=False,
    )


def describe(**changes: Any) -> str:
    """Write a description where the command runs; return its name."""
    Path("job.json").write_text(json.dumps(JOB | changes))
    return "job.json"


def a_finished_job(store: IspybStore) -> str:
    job_id = store.create_job(a_request())
    program_id = store.register(a_registration(job_id, a_collection().id))
    store.add_solution(program_id, store.job(job_id), a_solution(), to_own_collection=False)
    log = Attachment(path=Path("/dls/processed/xia2.txt"), type=AttachmentType.LOG, rank=1)
    store.add_attachments(program_id, [log])
    store.close(program_id, AttemptState.SUCCEEDED, "processing successful")
    return str(job_id)


def lines_of(said: Said) -> list[str]:
    return [line.rstrip() for line in said.out.splitlines()]


def test_create_prints_the_id_of_each_new_job(job: Cli) -> None:
    assert job("create", describe()) == (0, "1\n", "")
    assert job("create", describe(), "--json").out == '{"job_id": 2}\n'


def test_create_reads_standard_input(tmp_path: Path, ispyb: str, store: IspybStore) -> None:
    arguments = ("job", "create", "-", "--ispyb", ispyb)

    said = process(*arguments, cwd=tmp_path, input=json.dumps(JOB))

    assert (said.returncode, said.stdout, said.stderr) == (0, "1\n", "")
    assert len(store.job(1).sweeps) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read job.json: "),
        (b"\xff\xfe", "cannot read job.json: "),
        (b"recipe: dials", "job.json is not a job: the file: Invalid JSON"),
        (b"", "job.json is not a job: the file: Invalid JSON"),
        (b"[]", "job.json is not a job: the file: Input should be an object"),
    ],
)
def test_create_says_why_a_file_is_no_description(
    job: Cli, content: bytes | None, reason: str
) -> None:
    if content is not None:
        Path("job.json").write_bytes(content)

    said = job("create", "job.json")

    assert is_one_line(said)
    assert reason in said.err


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sweeps": [SWEEP | {"end_image": "x"}]}, "sweeps.0.end_image: Input should be a valid"),
        ({"sweeps": [SWEEP, SWEEP | {"start_image": -1}]}, "sweeps.1.start_image: Input should"),
        ({"sweeps": [SWEEP | {"end_image": 9}]}, "sweeps.0: Value error, the range 801-9 is rev"),
        ({"sweeps": []}, "sweeps: "),
        ({"sweeps": [SWEEP | {"end_image": 1201}]}, "801-1201): the data collection has images"),
        ({"parameters": [{"key": "d_min", "value": 1.8}]}, "parameters.0.value: Input should be"),
        ({"parameters": [{"key": "image", "value": "x"}]}, "parameter 'image' names images"),
        ({"recipe": "fast_ep"}, "unknown recipe 'fast_ep'; known: dials, xia2-3dii, xia2-dials"),
        ({"recipe": 5, "comment": ""}, "recipe: Input should be a valid string; comment: Extra in"),
        ({"recipe": "../secrets"}, "recipe: String should match pattern"),
        ({"data_collections": []}, "data collection 2227029 is not in this ISPyB"),
        ({"comment": "again"}, "comment: Extra inputs are not permitted"),
        ({"data_collections": [COLLECTION | {"width": 1}]}, "data_collections.0.width: Extra inp"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_names_the_place_and_writes_nothing(
    job: Cli, store: IspybStore, changes: dict[str, Any], reason: str
) -> None:
    said = job("create", describe(**changes))

    assert is_one_line(said)
    assert reason in said.err
    assert (store.job_ids(), store.data_collections([2227029])) == ([], [])


def test_a_sweep_that_is_wrong_is_not_called_missing_too(job: Cli) -> None:
    said = job("create", describe(sweeps=[SWEEP | {"end_image": "x"}]))

    assert "at least 1 item" not in said.err


def test_a_failure_is_json_on_standard_output_and_a_line_beside_it(job: Cli) -> None:
    said = job("create", describe(recipe="fast_ep"), "--json")

    assert json.loads(said.out)["kind"] == "InvalidRequest"
    assert said.err == f"limsflow: {json.loads(said.out)['error']}\n"


def test_argv_prints_one_token_a_line_as_the_readme_shows(job: Cli) -> None:
    job("create", describe())

    said = job("argv", "1")

    assert (len(lines_of(said)), lines_of(said)[0]) == (11, "xia2")
    assert f"\n{said.out}$ " in (REPOSITORY / "README.md").read_text()


def test_argv_is_the_same_list_as_json(job: Cli) -> None:
    job("create", describe())

    assert json.loads(job("argv", "1", "--json").out) == lines_of(job("argv", "1"))


def test_argv_of_a_dials_job_is_one_block_or_list_for_each_program(job: Cli) -> None:
    job("create", describe(recipe="dials", sweeps=[SWEEP]))

    blocks = [block.split("\n") for block in job("argv", "1").out.rstrip("\n").split("\n\n")]

    assert [tokens[0] for tokens in blocks] == DIALS_PROGRAMS
    assert json.loads(job("argv", "1", "--json").out) == blocks


@pytest.mark.parametrize(("recipe", "tokens"), [("xia2-dials", 1), ("dials", 4)])
def test_argv_asks_for_so_many_processes(job: Cli, recipe: str, tokens: int) -> None:
    job("create", describe(recipe=recipe))

    said = job("argv", "1", "--processes", "7")

    asked = [line for line in lines_of(said) if "nproc=" in line]
    assert [line.endswith("nproc=7") for line in asked] == [True] * tokens


@pytest.mark.parametrize("recipe", ["xia2-dials", "dials"])
def test_argv_refuses_no_processes_at_all(job: Cli, recipe: str) -> None:
    job("create", describe(recipe=recipe))

    said = job("argv", "1", "--processes", "0")

    assert is_one_line(said) or said.status == 2


def test_a_facility_has_recipes_of_its_own(job: Cli, tmp_path: Path) -> None:
    ours = (REPOSITORY / "blocks" / "mx" / "recipes" / "xia2-dials-2018.json").read_text()
    (tmp_path / "smx.json").write_text(ours.replace("pipeline=dials", "small_molecule=True"))
    where = ("--recipes", str(tmp_path))

    assert job("create", describe(recipe="smx"), *where).out == "1\n"
    assert job("argv", "1", *where).out.startswith("xia2\nsmall_molecule=True\nmin_images=3\n")


def test_argv_starts_without_loading_prefect(tmp_path: Path, ispyb: str, store: IspybStore) -> None:
    # `import prefect` costs 2-6 s.
    arguments = ("job", "argv", str(store.create_job(a_request())), "--ispyb", ispyb)

    said = process(*arguments, cwd=tmp_path, flags=("-X", "importtime"))

    loaded = {line.rpartition("|")[2].strip() for line in said.stderr.splitlines()}
    assert said.stdout.startswith("xia2\n")
    assert "blocks.mx.store" in loaded
    assert "prefect" not in loaded


def test_show_prints_a_job_that_waits(job: Cli) -> None:
    job("create", describe())

    said = job("show", "1")

    assert (said.status, said.err) == (0, "")
    assert lines_of(said) == WAITING.splitlines()


def test_show_prints_a_job_that_waits_as_json(job: Cli) -> None:
    job("create", describe(display_name="again"))

    facts = json.loads(job("show", "1", "--json").out)

    assert (facts["job"], facts["recipe"]) == (1, "xia2-dials-2018")
    assert (facts["display_name"], facts["attempts"]) == ("again", [])
    assert facts["sweeps"][1] == "sweep 2 (thau_1_2_####.cbf 1-400)"
    assert facts["parameters"] == JOB["parameters"]


def test_show_prints_what_an_attempt_found(job: Cli, store: IspybStore) -> None:
    lines = lines_of(job("show", a_finished_job(store)))

    assert "attempt 1  success  processing successful" in lines
    assert "  flow run scarlet-boar" in lines
    assert "  xia2 pipeline=dials min_images=3" in lines
    assert "  P 43 21 2   78.10 78.10 37.20 90.0 90.0 90.0" in lines
    assert lines[-2:] == [
        "  WARNING: The completeness is 82.06%.",
        "  Log     1  /dls/processed/xia2.txt",
    ]


def test_show_prints_each_statistic_with_its_three_shells(job: Cli, store: IspybStore) -> None:
    words = [line.split() for line in lines_of(job("show", a_finished_job(store)))]

    header = words.index(["overall", "low", "high"])
    assert words[header + 1][-4:] == ["(Å)", "101.25", "201.25", "301.25"]


def test_show_gives_what_an_attempt_found_as_json(job: Cli, store: IspybStore) -> None:
    (attempt,) = json.loads(job("show", a_finished_job(store), "--json").out)["attempts"]

    assert (attempt["state"], attempt["space_group"]) == ("success", "P 43 21 2")
    assert attempt["environment"].startswith(f"guid={A_GUID}")
    assert [one["data_collection"] for one in attempt["integrations"]] == [2227029]
    assert [file["path"] for file in attempt["files"]] == ["/dls/processed/xia2.txt"]


@pytest.mark.parametrize("verb", ["show", "argv"])
@pytest.mark.parametrize("job_id", ["77", "0"])
def test_an_unknown_job_is_one_line_and_status_1(job: Cli, verb: str, job_id: str) -> None:
    assert job(verb, job_id) == (1, "", f"limsflow: there is no processing job {job_id}\n")


def test_a_number_that_no_database_can_hold_is_an_unknown_job(job: Cli) -> None:
    assert is_one_line(job("show", "9" * 20))


@pytest.mark.parametrize("arguments", [("show", "one"), ("show",), ("argv", "1", "--fast"), ()])
def test_a_wrong_command_line_is_its_usage_and_status_2(
    limsflow: Cli, arguments: tuple[str, ...]
) -> None:
    said = limsflow("job", *arguments)

    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("usage: limsflow ")


@pytest.mark.parametrize("verb", ["show", "argv"])
def test_a_database_without_tables_is_sent_to_limsflow_init(
    limsflow: Cli, tmp_path: Path, verb: str
) -> None:
    said = limsflow("job", verb, "1", "--ispyb", f"sqlite:///{tmp_path / 'new.db'}")

    assert is_one_line(said)
    assert "'limsflow init'" in said.err


@pytest.mark.parametrize(
    "url",
    [
        "://",
        "oracle7://me:hunter2@ispyb/ispyb",
        "sqlite://me:hunter2@ispyb/ispyb",
        "mysql+nodriver://me:hunter2@ispyb/ispyb",
        "mysql://me:hunter2@ispyb/ispyb",  # its driver is not a dependency of ours
        "mysql+pymysql://me:hunter2@ispyb:port/ispyb",
        "mysql+pymysql://me:a@b:hunter2@ispyb/ispyb",  # a password that should have been quoted
        "mysql+pymysql://me:a@hunter2@127.0.0.1:1/ispyb",
        "mysql+pymysql://me:hunter2@127.0.0.1:1/ispyb?unknown=1",
        "mysql+pymysql://me:hunter2@127.0.0.1:1/ispyb",  # one, but nobody answers
    ],
)
def test_a_url_that_leads_nowhere_is_one_line_without_its_password(limsflow: Cli, url: str) -> None:
    said = limsflow("job", "show", "1", "--ispyb", url)

    assert is_one_line(said)
    assert "hunter2" not in said.err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("show", "1"), 0), (("show", "77", "--json"), 1), (("--help",), 0)],
)
def test_a_closed_pipe_is_no_traceback(
    tmp_path: Path, ispyb: str, store: IspybStore, arguments: tuple[str, ...], status: int
) -> None:
    # As `limsflow ... | head -1`, where head is always gone before the first line comes.
    store.create_job(a_request())
    where = () if arguments == ("--help",) else ("--ispyb", ispyb)
    reader, writer = os.pipe()
    os.close(reader)

    said = process("job", *arguments, *where, cwd=tmp_path, stdout=writer)

    os.close(writer)
    assert ("BrokenPipe" in said.stderr, said.returncode) == (False, status)
