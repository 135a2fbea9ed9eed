"""The set difference of a night, held to the rule said row by row over small random databases."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from blocks.genomics import selection
from blocks.genomics.pairs import Wanted
from blocks.genomics.tables import AssemblyLookupRow, AssemblyRow, SchemeCallRow, SchemeRow
from blocks.genomics.tables import StrainRow as Strain
from tests.fakes.entero import Entero, only_postgres, only_sqlite
from tests.fakes.night_rows import RECENT, TOOL, Row, barcode_of, clear, wanted, windows, write

BEFORE = RECENT - timedelta(days=1)
RUNS = ("run-1", "run-2")


@dataclass(frozen=True)
class Database:
    """Some assemblies and schemes, and what there is of their pairs."""

    assemblies: Sequence[Row]
    best: dict[int, int | None]  # by strain
    schemes: Sequence[Wanted]
    calls: Sequence[Row]  # one for a pair, at most
    old: Sequence[Row]  # in the order in which the site wrote them

    def fill(self, entero: Entero) -> None:
        """Write it over whatever was there."""
        clear(entero)
        strains = [{"id": one, "best_assembly": best} for one, best in self.best.items()]
        schemes = [
            {"id": one.scheme.id, "description": one.scheme.description} for one in self.schemes
        ]
        old = [{"id": number, **row} for number, row in enumerate(self.old, 1)]
        rows = {Strain: strains, AssemblyRow: self.assemblies, SchemeRow: schemes}
        write(entero, rows | {SchemeCallRow: self.calls, AssemblyLookupRow: old})


@dataclass(frozen=True)
class Asked:
    """What a night is asked for."""

    since: datetime | None = None
    force: bool = False
    lost: frozenset[str] = frozenset()


Choose = Callable[..., Any]  # one of the values given
OFTEN = ["COMPLETE"] * 5


def a_call(choose: Choose, assembly: int, scheme: int) -> Row:
    return {
        "assembly_id": assembly,
        "scheme_id": scheme,
        "status": choose(*OFTEN, "QUEUED", "QUEUED", "FAILED", "FAILED"),
        "fate": choose("permanent", "transient", "bug", None),
        "assembly_version": choose(1, 1, 1, 2, None),
        "scheme_version": choose(1, 1, 1, 1, 2, None),
        "tool": choose(TOOL, TOOL, TOOL, "rehearsal 2", None),
        "flow_run_id": choose(*RUNS),
    }


def old_rows(choose: Choose, assembly: int, scheme: int) -> list[Row]:
    barcodes = choose([], [""], ["SAL_1_ST", "SAL_2_ST"], ["SAL_1_AS"], ["SAL_1_ST", "SAL_1_AS"])
    return [
        {
            "assembly_id": assembly,
            "scheme_id": scheme,
            "status": choose("COMPLETE", "COMPLETE", "FAILED", "QUEUED", None),
            "version": choose("1", "2", None, "x"),
            "st_barcode": barcode,
        }
        for barcode in barcodes
    ]


def an_assembly(choose: Choose, number: int, strain: int) -> Row:
    return {
        "id": number,
        "strain_id": strain,
        "barcode": barcode_of(number),
        "status": choose(*["Assembled"] * 5, "legacy", "Failed QC", None),
        "version": choose(1, 1, 2, None),
        "created": choose(RECENT, BEFORE, None),
    }


def a_database(choose: Choose) -> Database:
    gaps = [choose(1, 1, 2, 1_000_000) for _ in range(choose(*range(8)))]
    numbers = list(accumulate(gaps))
    strains = {number: choose(1, number, number) for number in numbers}
    own = {
        one: [number for number in numbers if strains[number] == one] for one in strains.values()
    }
    schemes = [wanted(one, version=choose(1, 1, 2)) for one in range(1, choose(2, 3, 4))]
    pairs = [(one, scheme.scheme.id) for one in numbers for scheme in schemes]
    return Database(
        assemblies=[an_assembly(choose, number, strains[number]) for number in numbers],
        best={one: choose(None, *numbers, *own[one] * 9) for one in own},
        schemes=schemes,
        calls=[a_call(choose, *pair) for pair in pairs if choose(0, 1, 2)],
        old=[row for pair in pairs for row in old_rows(choose, *pair)],
    )


@st.composite
def small_databases(draw: st.DrawFn) -> Database:
    """Return what can be made smaller until the fault is seen."""
    return a_database(lambda *values: draw(st.sampled_from(values)))


def mixed_database(seed: int) -> Database:
    """Return one in which there is more of everything."""
    chance = Random(seed)  # noqa: S311 - no secret
    return a_database(lambda *values: chance.choice(values))


mixed_databases = st.integers(0, 2**32).map(mixed_database)
questions = st.builds(
    Asked,
    since=st.sampled_from([None, None, RECENT]),
    force=st.integers(0, 2).map(lambda number: number == 2),
    lost=st.sampled_from([frozenset(), frozenset({"run-1"}), frozenset(RUNS)]),
)


# The rule, said for one pair


def is_passed_best(database: Database, assembly: Row, since: datetime | None) -> bool:
    is_best = assembly["id"] in database.best.values()
    is_recent = since is None or (assembly["created"] is not None and assembly["created"] >= since)
    return is_best and assembly["status"] in ("Assembled", "legacy") and is_recent


def why_left(database: Database, assembly: Row, one: Wanted, asked: Asked) -> str | None:
    """Return why a pair is left; None if it is to be called."""
    pair = (assembly["id"], one.scheme.id)
    for call in database.calls:
        if (call["assembly_id"], call["scheme_id"]) == pair:
            return why_ours_is_left(call, assembly, one, asked)
    return why_old_is_left(database.old, pair, one, asked)


def why_ours_is_left(call: Row, assembly: Row, one: Wanted, asked: Asked) -> str | None:
    status, fate = call["status"], call.get("fate")
    if status == "QUEUED" and call["flow_run_id"] in asked.lost:
        status, fate = "FAILED", "transient"
    if status == "QUEUED":
        return "LIVE"
    if asked.force or call["assembly_version"] != (assembly["version"] or 1):
        return None
    if call["scheme_version"] != one.scheme.version:
        return None
    if status == "COMPLETE":
        return "COMPLETE"
    if call["tool"] != one.tool:
        return None
    return {"permanent": "PUT_ASIDE", "bug": "BUG"}.get(fate or "")


def why_old_is_left(
    rows: Sequence[Row], pair: tuple[int, int], one: Wanted, asked: Asked
) -> str | None:
    own = [
        row
        for row in rows
        if (row["assembly_id"], row["scheme_id"]) == pair and not row["st_barcode"].endswith("_AS")
    ]
    if asked.force or not own or own[-1]["status"] != "COMPLETE":
        return None
    said = {"1": 1, "2": 2}.get(own[-1]["version"], one.scheme.version)
    return "COMPLETE" if said == one.scheme.version else None


def expected(
    database: Database, asked: Asked
) -> tuple[list[tuple[int, str, int, int]], dict[int, Counter[str]], int]:
    """Return pairs in order, what is left of each scheme, and how many assemblies passed."""
    passed = [one for one in database.assemblies if is_passed_best(database, one, asked.since)]
    pairs = list[tuple[int, str, int, int]]()
    left = {one.scheme.id: Counter[str]() for one in database.schemes}
    for assembly in sorted(passed, key=lambda one: -one["id"]):
        for one in database.schemes:
            why = why_left(database, assembly, one, asked)
            if why:
                left[one.scheme.id][why] += 1
            else:
                facts = (assembly["id"], assembly["barcode"], assembly["version"] or 1)
                pairs.append((*facts, one.scheme.id))
    return pairs, left, len(passed)


def was_failed_by_machine(database: Database, key: tuple[int, ...], asked: Asked) -> bool:
    """Whether the newest attempt at a pair failed by the machine, or belongs to a lost run."""
    [call] = [one for one in database.calls if (one["assembly_id"], one["scheme_id"]) == key]
    return call["fate"] == "transient" or call["flow_run_id"] in asked.lost


def agrees(entero: Entero, database: Database, asked: Asked, sizes: tuple[int, int]) -> None:
    """Hold what is found in windows of this size to the rule."""
    database.fill(entero)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "WINDOW", sizes[0])
        patch.setattr(selection, "IN_A_QUESTION", sizes[1])
        found = windows(
            entero, *database.schemes, since=asked.since, force=asked.force, lost=asked.lost
        )
    pairs, left, n_passed = expected(database, asked)
    skipped = {one.scheme.id: Counter[str]() for one in database.schemes}
    for window in found:
        for scheme, reasons in window.skipped.items():
            skipped[scheme].update({reason.name: number for reason, number in reasons.items()})

    merged = [
        tuple(pair)
        for window in found
        for pair in sorted((*window.pairs, *window.again), key=lambda one: (-one[0], one[3]))
    ]
    again = [pair[:1] + pair[3:] for window in found for pair in window.again]
    assert merged == pairs
    assert all(was_failed_by_machine(database, key, asked) for key in again)
    assert skipped == left
    assert sum(window.n_assemblies for window in found) == n_passed
    for scheme, reasons in skipped.items():
        eligible = sum(pair[3] == scheme for pair in pairs)
        assert eligible + reasons.total() == n_passed


sizes = st.tuples(st.sampled_from([1, 3, 50_000]), st.sampled_from([1, 2, 2_000]))
quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]


@only_sqlite
@settings(deadline=None, max_examples=120, suppress_health_check=quiet)
@given(database=small_databases() | mixed_databases, asked=questions, sizes=sizes)
def test_a_night_finds_what_the_rule_says_of_each_pair(
    entero: Entero, database: Database, asked: Asked, sizes: tuple[int, int]
) -> None:
    agrees(entero, database, asked, sizes)


@only_postgres
@settings(deadline=None, max_examples=60, suppress_health_check=quiet, phases=[Phase.generate])
@given(database=mixed_databases, asked=questions, sizes=sizes)
def test_a_night_finds_the_same_on_postgresql(
    entero: Entero, database: Database, asked: Asked, sizes: tuple[int, int]
) -> None:
    agrees(entero, database, asked, sizes)


STATES: list[dict[str, Any]] = [
    {"status": "COMPLETE"},
    {"status": "QUEUED"},
    {"status": "FAILED", "fate": "permanent"},
    {"status": "FAILED", "fate": "transient"},
    {"status": "FAILED", "fate": "bug"},
    {"status": "COMPLETE", "scheme_version": 2},
]


def a_lab() -> Database:
    """Return twenty strains by three schemes: every state of a pair beside every other."""
    numbers = [7 * number for number in range(1, 21)]
    calls = list[Row]()
    for number in numbers:
        for scheme in (1, 2, 3):
            state = (number * scheme) % (len(STATES) + 1)
            if state < len(STATES):
                pair = {"assembly_id": number, "scheme_id": scheme, "tool": TOOL}
                versions = {"assembly_version": 1, "scheme_version": 1, "flow_run_id": "run-1"}
                calls.append(pair | versions | STATES[state])
    row = {"status": "Assembled", "version": 1, "created": RECENT}
    return Database(
        assemblies=[
            {"id": one, "strain_id": one, "barcode": barcode_of(one)} | row for one in numbers
        ],
        best={one: one for one in numbers},
        schemes=[wanted(one) for one in (1, 2, 3)],
        calls=calls,
        old=[],
    )


@pytest.mark.parametrize(
    "asked", [Asked(), Asked(force=True), Asked(lost=frozenset(RUNS))], ids=str
)
@pytest.mark.parametrize("sizes", [(3, 2), (50_000, 2_000)], ids=["small", "as they are"])
def test_windows_of_three_assemblies_find_what_one_window_finds(
    entero: Entero, asked: Asked, sizes: tuple[int, int]
) -> None:
    agrees(entero, a_lab(), asked, sizes)
