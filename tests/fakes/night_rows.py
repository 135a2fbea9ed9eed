"""Rows that a night goes over, written past the stores, as the site and other runs leave them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import insert

from blocks.genomics import tables
from blocks.genomics.pairs import Pair, Wanted
from blocks.genomics.records import Scheme, SchemeParam
from blocks.genomics.selection import Window
from tests.fakes.entero import Entero

GONE_OVER = (
    *("locus_positions", "scheme_calls", "assembly_lookup", "assembly_calls", "nights"),
    *("sequence_types", "alleles", "loci", "trace_assembly", "traces", "assemblies"),
    *("strains", "data_param", "schemes"),
)
TOOL = "rehearsal 1"
RECENT = datetime(2027, 1, 10, 12)  # noqa: DTZ001 - as the tables have it: UTC
ids = itertools.count(10)
Row = Mapping[str, Any]


@pytest.fixture
def empty(entero: Entero) -> Iterator[Entero]:
    """An EnteroBase in which nothing is left of other tests: a night goes over all of it."""
    clear(entero)
    yield entero
    clear(entero)


def clear(entero: Entero) -> None:
    """Remove every row that a night looks at."""
    with entero.species.engine.begin() as connection:
        for table in GONE_OVER:
            connection.exec_driver_sql(f"DELETE FROM {table}")


def write(entero: Entero, rows: Mapping[type[tables.Base], Sequence[Row]]) -> None:
    """Write many rows, in the order in which tables need each other."""
    with entero.species.engine.begin() as connection:
        for table, some in rows.items():
            # Together only with rows that leave the same columns to the database.
            for _, alike in itertools.groupby(some, key=tuple):
                connection.execute(insert(table), [dict(row) for row in alike])


def a_strain(entero: Entero, number: int | None = None, **columns: Any) -> int:
    """Return the id of a strain whose best assembly has the same id; columns are that one's."""
    chosen = number or next(ids)
    add_assembly(entero, chosen, strain_id=chosen, **columns)
    return chosen


def add_assembly(entero: Entero, number: int, *, strain_id: int, **columns: Any) -> None:
    """Add an assembly; of a new strain it is the best."""
    facts = {"id": number, "strain_id": strain_id, "barcode": barcode_of(number)}
    facts |= {"status": "Assembled", "version": 1, "created": RECENT}
    strain = {"id": strain_id, "strain": f"strain {strain_id}", "best_assembly": number}
    known = entero.species.count("strains", id=strain_id)
    strains: list[Row] = [] if known else [strain]
    write(entero, {tables.StrainRow: strains, tables.AssemblyRow: [facts | columns]})


def barcode_of(assembly: int) -> str:
    """Return what these assemblies are called."""
    return f"SAL_{assembly}_AS"


def a_scheme(
    entero: Entero, *, version: int = 1, tool: str = TOOL, param: str | None = None
) -> Wanted:
    """Return a new scheme that is called by itself unless `param` says otherwise."""
    number = next(ids)
    text = '{"pipeline": "rehearsal"}' if param is None else param
    row = {"id": number, "description": f"scheme_{number}", "name": "one", "param": text}
    write(entero, {tables.SchemeRow: [row | {"version": version}]})
    return wanted(number, version=version, tool=tool)


def wanted(number: int, *, version: int = 1, tool: str = TOOL) -> Wanted:
    """Return a scheme as it is now, and what would call it."""
    param = SchemeParam(pipeline="rehearsal")
    scheme = Scheme(
        id=number, description=f"scheme_{number}", name="one", version=version, param=param
    )
    return Wanted(scheme, tool)


def add_call(
    entero: Entero, assembly: int, scheme: Wanted, status: str = "COMPLETE", **columns: Any
) -> None:
    """Let one of our runs have called a pair, as it and its scheme are in version 1."""
    facts = {"assembly_id": assembly, "scheme_id": scheme.scheme.id, "status": status}
    facts |= {"assembly_version": 1, "scheme_version": 1, "tool": TOOL, "flow_run_id": "run-1"}
    write(entero, {tables.SchemeCallRow: [facts | columns]})


def add_old(
    entero: Entero, assembly: int, scheme: Wanted, status: str | None = "COMPLETE", **columns: Any
) -> None:
    """Let the old site have written a row of a pair."""
    facts: dict[str, Any] = {"assembly_id": assembly, "scheme_id": scheme.scheme.id}
    facts |= {"status": status, "st_barcode": f"SAL_{next(ids)}_ST", "version": "1"}
    write(entero, {tables.AssemblyLookupRow: [facts | columns]})


def windows(entero: Entero, *schemes: Wanted, **options: Any) -> list[Window]:
    """Return all that a night finds."""
    return list(entero.store.pairs.windows(schemes, **options))


def chosen(entero: Entero, *schemes: Wanted, **options: Any) -> list[tuple[int, int]]:
    """Return the pairs that a night would call, in its order: assembly and scheme."""
    found = windows(entero, *schemes, **options)
    every = [sorted((*one.pairs, *one.again), key=_newest_first) for one in found]
    return [(pair.assembly_id, pair.scheme_id) for pairs in every for pair in pairs]


def skipped(entero: Entero, scheme: Wanted, **options: Any) -> dict[str, int]:
    """Return how many pairs of a scheme a night would leave, by reason."""
    total = dict[str, int]()
    for window in windows(entero, scheme, **options):
        for reason, number in window.skipped[scheme.scheme.id].items():
            if number:
                total[reason.name] = total.get(reason.name, 0) + number
    return total


def pair_of(assembly: int, scheme: Wanted, *, version: int = 1) -> Pair:
    """Return a pair as a night finds it."""
    return Pair(assembly, barcode_of(assembly), version, scheme.scheme.id)


def _newest_first(pair: Pair) -> tuple[int, int]:
    return -pair.assembly_id, pair.scheme_id
