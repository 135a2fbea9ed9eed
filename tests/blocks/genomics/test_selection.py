"""What a night has to do: passed best assemblies by schemes, minus what is settled."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any

import pytest

from blocks.errors import InvalidRequest
from blocks.genomics import selection
from blocks.genomics.pairs import Wanted
from tests.fakes.entero import Entero
from tests.fakes.night_rows import (
    RECENT,
    TOOL,
    a_scheme,
    a_strain,
    add_assembly,
    add_call,
    add_old,
    chosen,
    empty,
    skipped,
    wanted,
    windows,
)

__all__ = ["empty"]  # the fixture
DAMAGED = ["{", "[1]", "", "null", '"\\"{\\""', '{"fail_count": "many"}', '{"fail_count": -1}']


def is_chosen(entero: Entero, assembly: int, scheme: Wanted, **options: Any) -> bool:
    return (assembly, scheme.scheme.id) in chosen(entero, scheme, **options)


def newer(scheme: Wanted, version: int = 2) -> Wanted:
    return wanted(scheme.scheme.id, version=version)


# Which assemblies


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *(("Assembled", True), ("legacy", True), ("Failed QC", False), ("Queued", False)),
        *(("assembled", False), ("", False), (None, False)),
    ],
)
def test_only_assemblies_that_passed_are_called(
    empty: Entero, status: str | None, expected: bool
) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty, status=status)

    assert is_chosen(empty, assembly, scheme) is expected
    assert [one.n_assemblies for one in windows(empty, scheme)] == [int(expected)]


def test_only_the_best_assembly_of_a_strain_is_called(empty: Entero) -> None:
    scheme, best = a_scheme(empty), a_strain(empty)
    add_assembly(empty, best + 1000, strain_id=best)

    assert chosen(empty, scheme) == [(best, scheme.scheme.id)]


def test_a_strain_without_a_best_assembly_is_left_alone(empty: Entero) -> None:
    scheme, number = a_scheme(empty), a_strain(empty)
    empty.species.change("UPDATE strains SET best_assembly = NULL WHERE id = :n", n=number)

    assert chosen(empty, scheme) == []


def test_an_assembly_that_two_strains_call_their_best_is_called_once(empty: Entero) -> None:
    scheme, _, other = a_scheme(empty), a_strain(empty), a_strain(empty)
    empty.species.change("UPDATE strains SET best_assembly = :n", n=other)

    assert chosen(empty, scheme) == [(other, scheme.scheme.id)]
    assert [one.n_assemblies for one in windows(empty, scheme)] == [1]


def test_an_assembly_that_does_not_name_its_strain_is_called_if_the_strain_names_it(
    empty: Entero,
) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty)
    empty.species.change("UPDATE assemblies SET strain_id = NULL")

    assert chosen(empty, scheme) == [(assembly, scheme.scheme.id)]


def test_the_newest_assemblies_come_first_and_each_with_all_its_schemes(empty: Entero) -> None:
    schemes = [a_scheme(empty) for _ in range(2)]
    assemblies = [a_strain(empty) for _ in range(3)]

    assert chosen(empty, *schemes) == [
        (assembly, one.scheme.id) for assembly in reversed(assemblies) for one in schemes
    ]


@pytest.mark.parametrize("param", ["", "{}", '{"pipeline": ""}', '{"display": "public"}', "null"])
def test_a_scheme_without_a_pipeline_is_never_called_by_itself(empty: Entero, param: str) -> None:
    assembly, called = a_strain(empty), a_scheme(empty)
    a_scheme(empty, param=param)
    automatic = [Wanted(one, TOOL) for one in empty.store.schemes.automatic()]

    assert chosen(empty, *automatic) == [(assembly, called.scheme.id)]


def test_all_there_is_to_do_is_found_and_the_caller_stops_where_he_likes(
    empty: Entero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "WINDOW", 2)
    scheme, assemblies = a_scheme(empty), [a_strain(empty) for _ in range(7)]
    found = islice(empty.store.pairs.windows([scheme]), 2)
    first = [pair for one in found for pair in one.pairs]

    assert [pair.assembly_id for pair in first] == assemblies[:2:-1]
    assert len(chosen(empty, scheme)) == 7


HOUR = timedelta(hours=1)
NOON_IN_UTC = [
    RECENT,
    RECENT.replace(tzinfo=UTC),
    datetime(2027, 1, 10, 17, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2027, 1, 10, 4, tzinfo=timezone(-8 * HOUR)),
]


@pytest.mark.parametrize("since", NOON_IN_UTC, ids=str)
def test_since_a_moment_is_what_came_then_or_later_wherever_one_reads_the_clock(
    empty: Entero, since: datetime
) -> None:
    scheme = a_scheme(empty)
    tick = timedelta(microseconds=1)
    at, after = a_strain(empty), a_strain(empty, created=RECENT + tick)
    for created in (RECENT - tick, RECENT - 5 * HOUR, None):
        a_strain(empty, created=created)
        a_strain(empty, created=created, status="Failed QC")
    a_strain(empty, created=RECENT, status="Failed QC")
    found = windows(empty, scheme, since=since)

    assert [pair.assembly_id for one in found for pair in one.pairs] == [after, at]
    assert sum(one.n_assemblies for one in found) == 2
    assert empty.store.pairs.failed_quality_control(since) == 1
    assert empty.store.pairs.failed_quality_control() == 4


# What is settled


def test_what_is_complete_at_its_versions_is_not_called_again(empty: Entero) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty)
    add_call(empty, assembly, scheme)

    assert chosen(empty, scheme) == []
    assert skipped(empty, scheme) == {"COMPLETE": 1}
    assert is_chosen(empty, assembly, scheme, force=True)


@pytest.mark.parametrize("version", [0, None])
def test_an_assembly_without_a_version_is_its_first(empty: Entero, version: int | None) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty, version=version)
    [pair] = next(empty.store.pairs.windows([scheme])).pairs
    known = empty.store.isolates.assembly(pair.barcode)
    add_call(empty, assembly, scheme, assembly_version=known.version)

    assert pair.assembly_version == known.version == 1
    assert chosen(empty, scheme) == []


def test_a_newer_scheme_is_called_again_on_every_assembly_and_no_other_scheme_is(
    empty: Entero,
) -> None:
    schemes, assemblies = [a_scheme(empty), a_scheme(empty)], [a_strain(empty), a_strain(empty)]
    for assembly in assemblies:
        for one in schemes:
            add_call(empty, assembly, one)

    found = chosen(empty, newer(schemes[0]), schemes[1])
    assert found == [(assembly, schemes[0].scheme.id) for assembly in reversed(assemblies)]


def test_a_newer_assembly_is_called_again_by_every_scheme_and_no_other_assembly_is(
    empty: Entero,
) -> None:
    schemes, assemblies = [a_scheme(empty), a_scheme(empty)], [a_strain(empty), a_strain(empty)]
    for assembly in assemblies:
        for one in schemes:
            add_call(empty, assembly, one)
    empty.species.change("UPDATE assemblies SET version = 2 WHERE id = :n", n=assemblies[0])
    found = chosen(empty, *schemes)
    of_first = "assembly_version = 2 WHERE assembly_id = :n AND scheme_id = :s"
    values = {"n": assemblies[0], "s": schemes[0].scheme.id}
    empty.species.change(f"UPDATE scheme_calls SET {of_first}", **values)

    assert found == [(assemblies[0], one.scheme.id) for one in schemes]
    assert chosen(empty, *schemes) == [(assemblies[0], schemes[1].scheme.id)]


def test_a_better_assembly_of_a_strain_is_called_and_the_one_before_is_not(empty: Entero) -> None:
    scheme, before = a_scheme(empty), a_strain(empty)
    add_call(empty, before, scheme)
    add_assembly(empty, before + 1000, strain_id=before)
    empty.species.change("UPDATE strains SET best_assembly = :n", n=before + 1000)

    assert chosen(empty, scheme) == [(before + 1000, scheme.scheme.id)]


def test_what_a_run_works_on_is_left_to_it_also_by_force(empty: Entero) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty)
    add_call(empty, assembly, scheme, "QUEUED", flow_run_id="run-7")

    for options in ({}, {"force": True}, {"lost": {"run-8"}}):
        assert chosen(empty, scheme, **options) == []
        assert skipped(empty, scheme, **options) == {"LIVE": 1}
    assert chosen(empty, newer(scheme)) == []


def test_what_a_lost_run_left_is_called_again(empty: Entero) -> None:
    scheme, left, live = a_scheme(empty), a_strain(empty), a_strain(empty)
    add_call(empty, left, scheme, "QUEUED", flow_run_id="run-7")
    add_call(empty, live, scheme, "QUEUED", flow_run_id="run-8")

    assert chosen(empty, scheme, lost={"run-7"}) == [(left, scheme.scheme.id)]
    assert skipped(empty, scheme, lost={"run-7"}) == {"LIVE": 1}


@pytest.mark.parametrize(
    ("fate", "reason"), [("permanent", "PUT_ASIDE"), ("bug", "BUG"), ("transient", "")]
)
def test_what_failed_for_good_is_put_aside_on_the_next_five_nights(
    empty: Entero, fate: str, reason: str
) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty)
    add_call(empty, assembly, scheme, "FAILED", fate=fate)
    nights = [(chosen(empty, scheme), skipped(empty, scheme)) for _ in range(5)]
    again = [(assembly, scheme.scheme.id)]

    assert nights == [([], {reason: 1}) if reason else (again, {})] * 5
    assert chosen(empty, scheme, force=True) == again


@pytest.mark.parametrize("fate", ["permanent", "bug"])
@pytest.mark.parametrize("change", ["assembly", "scheme", "tool", "no tool on record"])
def test_what_was_put_aside_is_called_again_when_what_it_came_from_changes(
    empty: Entero, fate: str, change: str
) -> None:
    scheme, assembly, other = a_scheme(empty), a_strain(empty), a_strain(empty)
    now = {"scheme": newer(scheme), "tool": wanted(scheme.scheme.id, tool="rehearsal 2")}
    put_aside = {"fate": fate, "tool": None if change == "no tool on record" else TOOL}
    add_call(empty, assembly, scheme, "FAILED", **put_aside)
    add_call(empty, other, scheme)
    version = 2 if change == "assembly" else 1
    empty.species.change("UPDATE assemblies SET version = :v WHERE id = :n", v=version, n=assembly)

    assert is_chosen(empty, assembly, now.get(change, scheme))
    assert is_chosen(empty, other, now.get(change, scheme)) is (change == "scheme")


@pytest.mark.parametrize("data", [*DAMAGED, '{"fail_count": 99}', None])
def test_no_counter_of_the_old_site_decides_anything(empty: Entero, data: str | None) -> None:
    scheme, assemblies = a_scheme(empty), [a_strain(empty) for _ in range(6)]
    new, complete, transient, permanent, old_failure, old = assemblies
    add_call(empty, complete, scheme)
    add_call(empty, transient, scheme, "FAILED", fate="transient")
    add_call(empty, permanent, scheme, "FAILED", fate="permanent")
    for assembly in assemblies[1:4]:
        add_old(empty, assembly, scheme, "FAILED", other_data=data)
    add_old(empty, old_failure, scheme, "FAILED", other_data=data)
    add_old(empty, old, scheme, other_data=data)

    assert [one for one, _ in chosen(empty, scheme)] == [old_failure, transient, new]
    assert skipped(empty, scheme) == {"COMPLETE": 2, "PUT_ASIDE": 1}


# What the old site did


@pytest.mark.parametrize(
    ("version", "now", "expected"),
    [
        *(("1", 1, False), (" 1 ", 1, False), ("1", 2, True), ("2", 1, True), ("3", 3, False)),
        *((None, 1, False), (None, 4, False), ("", 2, False), ("7 b", 2, False), ("٢", 1, False)),
    ],
)
def test_what_the_old_site_completed_is_complete_in_the_version_that_it_says(
    empty: Entero, version: str | None, now: int, expected: bool
) -> None:
    scheme, assembly = a_scheme(empty, version=now), a_strain(empty, version=5)
    add_old(empty, assembly, scheme, version=version)

    assert is_chosen(empty, assembly, scheme) is expected
    assert skipped(empty, scheme) == ({} if expected else {"COMPLETE": 1})


@pytest.mark.parametrize("status", ["FAILED", "QUEUED", "KILLED", "complete", None])
def test_what_the_old_site_did_not_complete_is_called(empty: Entero, status: str | None) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty)
    add_old(empty, assembly, scheme, status)

    assert is_chosen(empty, assembly, scheme)


def test_rows_of_snp_calls_are_no_result(empty: Entero) -> None:
    scheme, assembly, typed = a_scheme(empty), a_strain(empty), a_strain(empty)
    for reference in ("SAL_AA0001AA_AS", "SAL_AA0002AA_AS"):
        add_old(empty, assembly, scheme, st_barcode=reference)
        add_old(empty, typed, scheme, st_barcode=reference)
    add_old(empty, typed, scheme, st_barcode=None)

    assert chosen(empty, scheme) == [(assembly, scheme.scheme.id)]


@pytest.mark.parametrize("first", ["COMPLETE", "FAILED"])
def test_of_several_rows_of_the_old_site_the_newest_counts_as_for_a_claim(
    empty: Entero, first: str
) -> None:
    scheme, assembly = a_scheme(empty), a_strain(empty)
    for status in (first, {"COMPLETE": "FAILED", "FAILED": "COMPLETE"}[first]):
        add_old(empty, assembly, scheme, status)
    shown = empty.store.calls.calls(assembly)

    assert is_chosen(empty, assembly, scheme) is (not shown) is (first == "COMPLETE")


def test_what_we_called_since_decides_and_not_what_the_old_site_says(empty: Entero) -> None:
    scheme, failed, live = a_scheme(empty), a_strain(empty), a_strain(empty)
    for assembly in (failed, live):
        add_old(empty, assembly, scheme)
    add_call(empty, failed, scheme, "FAILED", fate="transient")
    add_call(empty, live, scheme, "QUEUED")

    assert chosen(empty, scheme) == [(failed, scheme.scheme.id)]
    assert skipped(empty, scheme) == {"LIVE": 1}


# Windows


def test_ids_with_gaps_of_millions_are_gone_over_at_once(
    empty: Entero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "WINDOW", 2)
    scheme, numbers = a_scheme(empty), [1, 2, 5_000_000, 90_000_001, 2_147_483_647]
    for number in numbers:
        a_strain(empty, number)
    found = windows(empty, scheme)

    assert [pair.assembly_id for one in found for pair in one.pairs] == numbers[::-1]
    assert [one.lowest for one in found] == [5_000_001, 2, 1]


def test_there_is_nothing_to_do_without_assemblies_or_without_schemes(empty: Entero) -> None:
    scheme = a_scheme(empty)
    before = windows(empty, scheme)
    a_strain(empty)

    assert before == windows(empty) == []


def test_an_assembly_that_comes_meanwhile_is_for_the_next_night(
    empty: Entero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "WINDOW", 1)
    scheme, older, newest = a_scheme(empty), a_strain(empty), a_strain(empty)
    found = empty.store.pairs.windows([scheme])
    first = next(found)
    a_strain(empty)

    assert [[pair.assembly_id for pair in one.pairs] for one in (first, *found)] == [
        [newest],
        [older],
    ]


def test_thirty_schemes_are_gone_over_at_once_and_more_are_refused(empty: Entero) -> None:
    schemes, assembly = [a_scheme(empty) for _ in range(31)], a_strain(empty)
    for one in (schemes[0], schemes[29]):
        add_call(empty, assembly, one)

    assert [scheme for _, scheme in chosen(empty, *schemes[:30])] == [
        one.scheme.id for one in schemes[1:29]
    ]
    with pytest.raises(InvalidRequest, match="30 schemes at once, not at 31"):
        windows(empty, *schemes)
