"""The kinds of EnteroBase that the promises of the store are tested on."""

import pytest

from tests.fakes.entero import KINDS, POSTGRES, Entero


@pytest.fixture(scope="module", params=["sqlite", POSTGRES])
def entero(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Entero:
    """An EnteroBase of each kind, shared by a module: each test makes the rows that it is about."""
    directory = tmp_path_factory.mktemp("entero")
    return KINDS[request.param](directory, lambda: request.getfixturevalue("postgres"))
