"""The session's MariaDB server as a pytest fixture; loaded through `pytest_plugins`."""

from collections.abc import Iterator

import pytest

from tests.mariadb.server import MariaDb, private_mariadb


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A server for the whole session; each user creates databases of its own names in it."""
    with private_mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server
