"""What the tests of the index cache and of its files begin with."""

from pathlib import Path

import pytest

from tests.fakes.indexed import Database, a_database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database whose alleles were all made at the same time, as an imported one's."""
    return a_database(f"sqlite:///{tmp_path / 'entero.db'}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the index files; not made yet."""
    return tmp_path / "share" / "indexes"
