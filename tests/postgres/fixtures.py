"""The session's PostgreSQL server as a pytest fixture; loaded through `pytest_plugins`."""

from collections.abc import Iterator

import pytest

from tests.postgres.server import PostgresServer, private_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for the whole session; each user creates databases of its own names in it."""
    with private_postgres() as server:
        yield server
