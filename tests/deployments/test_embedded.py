"""The embedded stack: its folder, ports, variables, `limsflow init`; and Debian's helper."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.mx.store import create_tables, open_store
from deployments.cli import main
from deployments.embedded import Home, default_home, free_port, make_home

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "deployments" / "debian.sh"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make_home(tmp_path / "a" / "home", 4567)


def debian(directory: Path, *words: str, has: str = "id") -> subprocess.CompletedProcess[str]:
    """Run the helper as a user who is not root, on a machine with nothing but `has` and a shell."""
    programs = directory / "bin"
    programs.mkdir()
    for name in has.split():
        (programs / name).write_text("#!/bin/sh\necho 1000\n")
        (programs / name).chmod(0o755)
    (programs / "sh").symlink_to("/bin/sh")
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *words],
        env={"PATH": str(programs)}, cwd=directory, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_home_makes_its_folders_and_those_above_it(tmp_path: Path) -> None:
    home = make_home(tmp_path / "a" / "home", 4567)

    assert home.folder == tmp_path / "a" / "home"
    assert sorted(path.name for path in home.folder.iterdir()) == ["logs", "prefect"]


def test_a_home_is_made_again_around_what_is_there(home: Home) -> None:
    (home.folder / "logs" / "server.stdout").write_text("kept")

    make_home(home.folder)

    assert (home.folder / "logs" / "server.stdout").read_text() == "kept"


def test_a_home_named_relatively_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert make_home(Path("here"), 4567).folder == tmp_path / "here"


def test_the_default_home_is_here_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMSFLOW_HOME", raising=False)
    assert default_home() == Path("limsflow-home")

    monkeypatch.setenv("LIMSFLOW_HOME", str(tmp_path))
    assert default_home() == tmp_path


def test_everything_of_a_home_is_in_its_folder(home: Home) -> None:
    variables = home.variables()
    places = [home.ispyb_path, home.visit, *map(Path, (
        variables["PREFECT_HOME"], variables["PREFECT_PROFILES_PATH"],
    ))]  # fmt: skip

    assert [place for place in places if not place.is_relative_to(home.folder)] == []
    assert create_tables(home.ispyb_url)
    assert home.ispyb_path.is_file()


def test_a_free_port_is_none_that_somebody_listens_on() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()

        assert listener.getsockname()[1] not in {free_port() for _ in range(50)}


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()


def test_a_home_without_a_port_takes_a_free_one(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", make_home(tmp_path).port))

        assert listener.getsockname()[1] > 0


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_SERVER_UI_API_URL"])
def test_the_page_and_the_runs_ask_the_port_of_this_home(home: Home, name: str) -> None:
    # The page asks port 4200 unless it is told otherwise.
    assert home.variables()[name] == home.api_url == "http://127.0.0.1:4567/api"
    assert home.page_url == "http://127.0.0.1:4567"


def test_nothing_is_told_to_prefect_s_makers(home: Home) -> None:
    assert home.variables()["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert home.variables()["DO_NOT_TRACK"] == "1"


def test_the_variables_are_the_same_whatever_the_user_has_set(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = home.variables()
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PYTHONPATH", "HOME"):
        monkeypatch.setenv(name, "/nowhere")

    assert home.variables() == before


def test_a_program_of_the_stack_is_ours_and_gets_these_variables(home: Home) -> None:
    python = home.command("python")

    assert python.directory == Path(sys.executable).parent
    assert dict(python.environment) == home.variables()


def test_the_stack_needs_nothing_of_the_user_s_environment(home: Home) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "doctor", "--help"],
        env=home.variables(), cwd=home.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (said.returncode, said.stderr) == (0, "")


def test_every_value_of_an_environment_is_a_text_that_a_process_takes(home: Home) -> None:
    assert all(isinstance(value, str) and value for value in home.variables().values())


@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
def test_init_makes_the_tables_of_a_path_or_a_url_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str
) -> None:
    name = f"{scheme}{tmp_path / 'ours.db'}"

    assert [main(["init", name]), main(["init", name])] == [0, 0]
    assert capsys.readouterr() == ("created 15 tables\nall tables are there\n", "")
    assert open_store(f"sqlite:///{tmp_path / 'ours.db'}").job_ids() == []


def test_init_names_the_tables_that_it_made_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", str(tmp_path / "ours.db"), "--json"]) == 0

    made = json.loads(capsys.readouterr().out)["created"]
    assert len(made) == 15
    assert {"ProcessingJob", "AutoProcProgram", "DataCollection"} < set(made)


@pytest.mark.parametrize("name", ["nowhere/ours.db", "notes.txt", "."])
def test_init_says_in_one_line_where_no_database_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but the notes of a night shift")

    status = main(["init", str(tmp_path / name)])

    said = capsys.readouterr()
    assert (status, said.out, said.err.count("\n")) == (1, "", 1)
    assert said.err.startswith("limsflow: ")


def test_init_makes_no_database_without_a_name(tmp_path: Path) -> None:
    # As `limsflow init "$DB"` where DB is not set; nothing that it made would be found again.
    said = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "init", ""],
        env={"PYTHONPATH": str(REPOSITORY)}, cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert said.returncode in {1, 2}
    assert "created" not in said.stdout


def test_without_dials_and_root_it_says_what_will_be_replayed(tmp_path: Path) -> None:
    said = debian(tmp_path, "dials")

    assert (said.returncode, said.stderr) == (0, "")
    assert "DIALS is missing and you are not root: its programs will be replayed" in said.stdout


def test_with_dials_nothing_is_said_and_nothing_is_installed(tmp_path: Path) -> None:
    said = debian(tmp_path, "dials", has="id dials.index")

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("word", "reason"),
    [("venv", "install Debian's package python3-venv"), ("services", "needs root and apt-get")],
)
def test_what_cannot_be_installed_without_root_is_a_failure(
    tmp_path: Path, word: str, reason: str
) -> None:
    said = debian(tmp_path, word)

    assert (said.returncode, said.stdout) == (1, "")
    assert reason in said.stderr


@pytest.mark.parametrize("words", [("everything",), ("",), ()], ids=["unknown", "empty", "none"])
def test_a_word_that_the_helper_does_not_know_is_its_usage(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    said = debian(tmp_path, *words)

    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("usage: debian.sh ")


def test_the_helper_is_valid_for_a_plain_shell() -> None:
    shell = shutil.which("dash") or "/bin/sh"
    said = subprocess.run([shell, "-n", str(SCRIPT)], capture_output=True, text=True, check=False)

    assert (said.returncode, said.stderr) == (0, "")
