"""A command line on an EnteroBase in a file."""

import logging
from pathlib import Path

import pytest

from blocks.genomics.store import EnteroStore, open_store
from blocks.genomics.synthetic_isolate import write_scheme_folder
from deployments.cli import main
from tests.fakes.isolate_cli import MLST, Cli, Said


@pytest.fixture
def limsflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """A command in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        try:
            status = main(arguments)
        except SystemExit as ended:  # argparse: help, or a wrong command line
            status = int(ended.code or 0)
        progress = logging.getLogger("tasks")  # a command's process ends with it; this one goes on
        progress.handlers.clear()
        progress.setLevel(logging.NOTSET)
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return run


@pytest.fixture
def entero(limsflow: Cli, tmp_path: Path) -> Cli:
    """A command on a new EnteroBase in a file."""
    path = str(tmp_path / "e.db")  # in one process, a relative path is one database for ever
    assert limsflow("init", "--for", "entero", path).status == 0
    return lambda *arguments: limsflow(*arguments, "--entero", "e.db")


@pytest.fixture
def store(entero: Cli, tmp_path: Path) -> EnteroStore:
    """The store of that database."""
    return open_store(f"sqlite:///{tmp_path / 'e.db'}", database="senterica", prefix="SAL")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A PubMLST-style folder of seven genes."""
    return str(write_scheme_folder(MLST, tmp_path / "mlst"))
