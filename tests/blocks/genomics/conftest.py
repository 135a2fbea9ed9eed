"""The kinds of EnteroBase that the promises of the store are tested on."""

from collections.abc import Iterator

import pytest

from tests.fakes.entero import KINDS, POSTGRES, Entero


@pytest.fixture(scope="module", params=["sqlite", POSTGRES])
def entero(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Entero]:
    """An EnteroBase of each kind, shared by a module: each test makes the rows that it is about."""
    directory = tmp_path_factory.mktemp("entero")
    made = KINDS[request.param](directory, lambda: request.getfixturevalue("postgres"))
    yield made
    made.close()
