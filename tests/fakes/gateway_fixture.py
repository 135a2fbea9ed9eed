"""The session's small gateway as a pytest fixture; loaded through `pytest_plugins`."""

from collections.abc import Iterator

import pytest

from tests.fakes.gateway import GatewayLab, small_gateway


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayLab]:
    """A gateway, a Prefect server and databases in files, once for the whole session."""
    with small_gateway(tmp_path_factory.mktemp("gateway")) as lab:
        yield lab
