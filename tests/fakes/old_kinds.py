"""The kinds of old EnteroBase that taking one over is tested on, and the taking."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.genomics.changes import Change, Found, Left
from tests.fakes.entero import postgres_url
from tests.fakes.old_entero import OldEntero
from tests.postgres.server import PostgresServer

SPLIT = "postgresql with a system database of its own"
OLD_KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]
every_kind = pytest.mark.parametrize(
    "old", [*OLD_KINDS, pytest.param(SPLIT, marks=pytest.mark.services)], indirect=True
)


def old_entero(kind: str, directory: Path, server: Callable[[], PostgresServer]) -> OldEntero:
    """Return a new one of a kind."""
    if kind == "sqlite":
        url = f"sqlite:///{directory / 'old.db'}"
        return OldEntero(url, url)
    url = postgres_url(server())
    return OldEntero(url, postgres_url(server()) if kind == SPLIT else url)


def taken(old: OldEntero, *, days: float = 7) -> list[Found]:
    """Take it over; return what was changed, and what was left."""
    old.migrate()
    taking_over = old.taking_over(days=days)
    return [one for page in taking_over.apply(taking_over.next_number()) for one in page]


def undone(old: OldEntero, taking: int = 1) -> list[Found]:
    """Undo a taking; return what was undone, and what was left."""
    return [one for page in old.taking_over().undo(taking) for one in page]


def changes(found: list[Found]) -> list[Change]:
    """Return what was changed."""
    return [one for one in found if isinstance(one, Change)]


def left(found: list[Found]) -> list[Left]:
    """Return what was left as it is."""
    return [one for one in found if isinstance(one, Left)]


def records(old: OldEntero) -> int:
    """Return how many changes are on record."""
    return sum(old.look(url).count("taken_over") for url in {old.url, old.system_url})
