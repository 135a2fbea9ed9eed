"""Assemblies that fail: what is mended, what a person sees, and what is never touched."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import (
    DataError,
    FileNotYetVisible,
    InconsistentInput,
    InvalidRequest,
    OutputInvalid,
    ProgramFailed,
    ProgramKilled,
    ProgramNotFound,
    ProgramTimedOut,
)
from tasks.life import Life
from tests.fakes.served import processes_of
from tests.flows.strains import Bench, make_bench, step_runs

PAIR = ("TR1_R1.fastq.gz", "TR1_R2.fastq.gz")


@pytest.fixture
def bench(prefect: None, empty_entero: Path, tmp_path: Path) -> Bench:
    return make_bench(tmp_path, empty_entero)


@pytest.fixture(scope="module")
def shared(prefect: None, empty_entero: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A bench for strains of which none becomes an assembly."""
    return make_bench(tmp_path_factory.mktemp("shared"), empty_entero)


def fails(bench: Bench, reads: str, kind: type[Exception], match: str, **options: Any) -> str:
    """Assemble reads, which must fail; return the report."""
    n_jobs = len(bench.jobs)
    with pytest.raises(kind, match=match):
        bench.assemble(reads, **options)

    assert [job.status for job in bench.jobs[n_jobs:]] == ["FAILED"]
    assert bench.isolates.look.count("assemblies") == 0
    assert bench.isolates.look.count("scheme_calls") == 0
    return bench.report.replace("\\", "")


# Programs


def test_a_failure_that_nothing_mends_is_shown_with_reason_and_evidence(bench: Bench) -> None:
    reads = bench.upload()
    bench.programs.plan("spades.py", "unknown")
    report = fails(bench, reads, ProgramFailed, r"^spades.py: the moon is full$")

    assert len(bench.programs.starts("spades.py")) == 1
    assert "**spades.py: the moon is full**" in report
    assert "It is put aside: the same input would fail again." in report
    [working] = (bench.share / "work").iterdir()
    assert f"in {working}" in report
    assert "== Error ==  the moon is full" in report
    assert bench.job.output_location == str(working)
    assert (working / "spades.py.stderr").is_file() or (working / "spades.stderr").is_file()


@pytest.mark.parametrize("deed", ["killed", "child killed"])
def test_an_assembler_that_was_killed_is_mended_with_fewer_threads(bench: Bench, deed: str) -> None:
    reads = bench.upload()
    bench.programs.plan("spades.py", deed, "good")
    outcome = bench.assemble(reads, type_it=False)

    first, second = bench.programs.starts("spades.py")
    assert [one[one.index("-t") : one.index("-o")] for one in (first, second)] == [
        ["-t", "2", "-m", "4"],
        ["-t", "1", "-m", "2"],
    ]
    assert (outcome.passed, bench.job.status) == (True, "COMPLETE")


def test_an_assembler_that_is_always_killed_fails_in_the_end_and_may_be_tried_again(
    bench: Bench,
) -> None:
    reads = bench.upload()
    bench.programs.plan("spades.py", "killed")
    report = fails(bench, reads, ProgramKilled, "spades.py was killed by signal 9")

    assert len(bench.programs.starts("spades.py")) == 3
    assert "another run of it may go well." in report


@pytest.mark.parametrize(
    ("program", "file"), [("spades.py", "contigs.fasta"), ("samtools", "mapped.bam")]
)
def test_a_program_that_says_success_and_leaves_nothing_has_failed(
    bench: Bench, program: str, file: str
) -> None:
    reads = bench.upload()
    bench.programs.plan(program, "nothing")

    fails(bench, reads, OutputInvalid, f"ended with status 0, but {file} is missing or empty")


def test_a_program_that_takes_too_long_is_ended_with_its_children(
    prefect: None, empty_entero: Path, tmp_path: Path
) -> None:
    bench = make_bench(tmp_path, empty_entero, toolchain={"time_limit_s": 2})
    reads = bench.upload()
    bench.programs.plan("spades.py", "hang")
    report = fails(bench, reads, ProgramTimedOut, "spades.py timed out after 2 s")

    assert processes_of(bench.share) == {}
    assert "another run of it may go well." in report


@pytest.mark.parametrize("program", ["fastp", "spades.py", "minimap2", "samtools"])
def test_a_missing_program_is_found_before_anything_is_computed(bench: Bench, program: str) -> None:
    reads = bench.upload()
    bench.programs.remove(program)
    report = fails(bench, reads, ProgramNotFound, f"{program} is not installed")

    assert bench.programs.all_starts() == []
    assert f"{program} is not installed: searched" in report


# What is known before hours of work


def test_limits_that_cannot_be_read_fail_before_anything_is_computed(shared: Bench) -> None:
    reads = shared.upload()
    shared.limit(min_length=-1)
    fails(shared, reads, InvalidRequest, "the limits file .* is not valid: .*min_length")
    shared.limit()

    assert shared.programs.all_starts() == []


def test_reads_of_another_strain_fail_before_anything_is_computed(bench: Bench) -> None:
    reads = bench.upload()
    bench.assemble(reads, strain="right", type_it=False)
    before = bench.programs.all_starts()
    with pytest.raises(InconsistentInput, match=r"strain 'right', not 'wrong'"):
        bench.assemble(reads, strain="wrong")

    assert bench.programs.all_starts() == before
    assert bench.job.status == "FAILED"


# Reads


def damaged(uploads: Path) -> tuple[str, str]:
    path = uploads / "cut_R1.fastq.gz"
    path.write_bytes((uploads / PAIR[0]).read_bytes()[:-200])
    return path.name, PAIR[1]


def no_fastq(uploads: Path) -> tuple[str, str]:
    path = uploads / "picture_R1.fastq.gz"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    return path.name, PAIR[1]


def empty(uploads: Path) -> tuple[str, str]:
    (uploads / "empty_R1.fastq").touch()
    return "empty_R1.fastq", PAIR[1]


def unequal(uploads: Path) -> tuple[str, str]:
    lines = (uploads / "plain_R1.fastq").read_text().splitlines(keepends=True)
    (uploads / "short_R1.fastq").write_text("".join(lines[:-4]))
    return "short_R1.fastq", "plain_R2.fastq"


def link_out(uploads: Path) -> tuple[str, str]:
    (uploads / "link_R1.fastq.gz").symlink_to("/etc/passwd")
    return "link_R1.fastq.gz", PAIR[1]


def folder(uploads: Path) -> tuple[str, str]:
    (uploads / "folder_R1.fastq.gz").mkdir()
    return "folder_R1.fastq.gz", PAIR[1]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (damaged, "cut_R1.fastq.gz is damaged or cut short"),
        (no_fastq, "picture_R1.fastq.gz"),
        (empty, "empty_R1.fastq"),
        (unequal, "short_R1.fastq"),
        (link_out, "is a link that leads out of"),
        (folder, "is not a file"),
        (lambda _: (PAIR[0], PAIR[0]), "is named twice"),
    ],
)
def test_reads_that_cannot_be_used_fail_with_their_name(
    shared: Bench, make: Any, reason: str
) -> None:
    shared.upload()
    shared.upload("plain", names=("plain_R1.fastq", "plain_R2.fastq"))
    names = make(shared.uploads)
    if names[0] == names[1]:
        with pytest.raises(InvalidRequest, match=reason):
            shared.assemble("#".join(("TR1", *names)))
        return
    report = fails(shared, "#".join(("TR1", *names)), DataError, reason)

    assert shared.programs.all_starts() == []
    assert reason in report
    assert "It is put aside" in report


def test_an_upload_that_is_late_is_waited_for(bench: Bench) -> None:
    reads = bench.upload()
    late = bench.uploads / PAIR[1]
    away = late.rename(bench.uploads / "being uploaded")

    async def arrive() -> None:
        while not await is_waiting(bench):  # noqa: ASYNC110 - another process says so
            await asyncio.sleep(0.2)
        away.rename(late)

    async def both() -> Any:
        outcome, _ = await asyncio.gather(bench.assembling(reads, type_it=False), arrive())
        return outcome

    outcome = asyncio.run(both())

    assert (outcome.passed, bench.job.status) == (True, "COMPLETE")


async def is_waiting(bench: Bench) -> bool:
    steps = await step_runs(bench, "get reads")
    return any(step.state and step.state.name == "AwaitingRetry" for step in steps)


def test_an_upload_that_is_nowhere_is_named(shared: Bench) -> None:
    reads = "TR9#nowhere_1.fastq#nowhere_2.fastq"
    with pytest.raises(FileNotYetVisible, match=r"'nowhere_1.fastq' is not in .*uploads: it was"):
        asyncio.run(looked_for(shared, reads))


def test_in_a_shell_an_upload_that_is_nowhere_is_named_at_once(shared: Bench) -> None:
    run = shared.limsflow("isolate", "assemble", "TR9#nowhere_1.fastq#nowhere_2.fastq")

    assert (run.returncode, run.stdout) == (1, "")
    assert "the upload 'nowhere_1.fastq' is not in /" in run.stderr


def test_in_a_shell_an_assembly_without_its_file_is_refused_at_once(shared: Bench) -> None:
    gone = shared.isolates.root / "gone.fasta"
    barcode = shared.isolates.register(gone)
    run = shared.limsflow("isolate", "type", barcode)

    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"limsflow: {gone} is not on this disk\n"


async def looked_for(bench: Bench, reads: str) -> Any:
    """Look for reads once: a run would wait a quarter of an hour for them."""
    from blocks.connections import EnteroBase, Toolchain  # noqa: PLC0415 - loads Prefect
    from tasks.genomics.assembling import begin_assembly, get_reads  # noqa: PLC0415

    lims = await EnteroBase.named(bench.isolates.name)
    programs = await Toolchain.named(bench.isolates.name)
    task = await begin_assembly.fn(lims, reads, "", "spades", f"no run {reads}")
    return await get_reads.fn(lims, programs, task, Life())


# What a user may call reads


@pytest.mark.parametrize(
    "reads",
    [
        "../../etc#passwd#shadow",
        "TR1#../../etc/passwd#b.fq",
        "TR1#/etc/passwd#b.fq",
        "TR1#-o#b.fq",
        "TR1#a.fq\n#b.fq",
        "TR1#a.fq#b.fq#c.fq",
        "SRR1234567;rm -rf",
        "SRR1234567,",
        "$(reboot)",
        "\u202eSRR1234567",
        " ",
    ],
)
def test_what_is_no_accession_is_refused_before_there_is_a_job_or_a_path(
    shared: Bench, reads: str
) -> None:
    before = (len(shared.jobs), sorted(shared.isolates.root.rglob("*")))
    with pytest.raises(InvalidRequest):
        shared.assemble(reads)

    assert (len(shared.jobs), sorted(shared.isolates.root.rglob("*"))) == before


def test_a_file_name_that_a_shell_would_obey_is_only_a_name(bench: Bench) -> None:
    names = ("$(touch pwned); `touch pwned` &_R1.fastq.gz", "{trace} %s 'R2' \".fastq.gz")
    reads = bench.upload("TR1", names=names)
    outcome = bench.assemble(reads, strain="<b>{reads}</b> $(touch pwned)")

    assert (outcome.passed, bench.job.accession) == (True, reads)
    assert [path.name for path in bench.isolates.root.rglob("*pwned*")] == [names[0]]
    assert "<b>" not in bench.report
    for program in ("spades.py", "minimap2", "samtools"):
        assert "pwned" not in str(bench.programs.starts(program))
    [given] = bench.programs.starts("fastp")
    assert given[1] == str(bench.uploads / names[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "reads: String should have at least 1 character"),
        (("SRR1234567," * 100,), "reads: String should have at most 1000 characters"),
        (("TR1#\udcff_1.fq#b.fq",), "reads is no text in UTF-8"),
    ],
)
def test_the_command_line_says_in_a_sentence_what_it_cannot_take(
    shared: Bench, arguments: tuple[str, ...], said: str
) -> None:
    run = shared.limsflow("isolate", "assemble", *arguments)

    assert run.returncode == 1
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_url_with_a_password_is_refused_before_prefect_sees_it(shared: Bench) -> None:
    url = "postgresql+psycopg://me:secret@localhost/entero"
    run = shared.limsflow("isolate", "assemble", "SRR1234567", "--entero", url)

    assert run.returncode == 1
    assert "save" in run.stderr
    assert "secret" not in run.stdout + run.stderr
