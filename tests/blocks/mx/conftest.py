"""The kinds of ISPyB that every promise of the store is tested on."""

import pytest

from tests.fakes.ispyb import FACILITIES, KINDS, Ispyb


@pytest.fixture(scope="module", params=["sqlite", *FACILITIES])
def ispyb(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ispyb:
    """An ISPyB of each kind, shared by a module's tests: each makes the rows that it is about."""
    directory = tmp_path_factory.mktemp("ispyb")
    return KINDS[request.param](directory, lambda: request.getfixturevalue("mariadb"))
