"""The database that nights are measured on: as full as it says, and with every key and index."""

from collections import Counter

import pytest
from sqlalchemy import text

from blocks.database import engine_for
from blocks.genomics.pairs import Wanted
from blocks.genomics.schema import migrate
from blocks.genomics.selection import Window
from blocks.genomics.store import open_store
from tests.benchmarks.night_database import arrive, fill
from tests.postgres.server import PostgresServer

pytestmark = pytest.mark.services
KEYS = """
SELECT conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"""


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    """A database of 2,000 assemblies and 10 schemes, 99 % complete."""
    url = postgres.create_database("a_small_night")
    fill(url, assemblies=2_000, schemes=10)
    return url


def planned(url: str) -> Window:
    store = open_store(url, database="night", prefix="SAL")
    wanted = [Wanted(scheme, "rehearsal") for scheme in store.schemes.automatic()]
    [window] = store.pairs.windows(wanted)
    return window


def test_every_scheme_lacks_one_pair_of_a_hundred(url: str):
    window = planned(url)

    lacking = Counter(pair.scheme_id for pair in window.pairs)
    assert lacking == dict.fromkeys(range(1, 11), 20)
    assert window.n_assemblies == 2_000


def test_it_has_every_key_and_index_of_an_enterobase(url: str, postgres: PostgresServer):
    empty = postgres.create_database("an_empty_night")
    migrate(empty)

    with engine_for(url).connect() as filled, engine_for(empty).connect() as fresh:
        assert filled.scalars(text(KEYS)).all() == fresh.scalars(text(KEYS)).all()


def test_a_tenth_row_by_row_lacks_a_tenth_of_what_the_plan_finds(url: str):
    from tests.benchmarks.night_planning import look_row_by_row  # noqa: PLC0415 - loads Prefect

    found = look_row_by_row(url, 2_000)

    assert found["pairs"] == 2_000
    assert found["to_send"] == len(planned(url).pairs) / 10


def test_what_arrives_is_the_newest_and_called_by_nothing(postgres: PostgresServer):
    url = postgres.create_database("a_night_of_arrivals")
    fill(url, assemblies=100, schemes=2, every=50)
    before = len(planned(url).pairs)

    arrive(url, 3)

    after = planned(url).pairs
    assert len(after) == before + 6
    assert after[0].barcode == "SAL_103AA_AS"
