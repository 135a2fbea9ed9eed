"""Nights: what each was asked, whether it goes on, and what came of it."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from blocks.errors import InconsistentInput, NoSuchRecord
from blocks.genomics.nights import Night
from blocks.genomics.tables import AssemblyCallRow
from tests.fakes.entero import Entero, at_once, only_postgres
from tests.fakes.night_rows import (
    a_scheme,
    a_strain,
    add_call,
    barcode_of,
    empty,
    ids,
    write,
)

__all__ = ["empty"]  # the fixture
KIND = "update-scheme"
ASKED: dict[str, Any] = {"limits": {"limit": 5}, "databases": ["sent\u00e9rica"], "force": False}


def a_night(entero: Entero, run: str = "") -> Night:
    return entero.store.nights.start(run or f"run-{next(ids)}", KIND, ASKED)


def add_reads(entero: Entero, night: Night, status: str, fate: str | None, **columns: Any) -> str:
    """Let a night have sent the reads of a strain."""
    reads = f"SRR{next(ids):06}"
    facts = {"reads": reads, "status": status, "fate": fate, "night_id": night.id}
    write(entero, {AssemblyCallRow: [facts | columns]})
    return reads


# Beginning and end


def test_a_night_knows_what_it_was_asked_and_when_it_began(entero: Entero) -> None:
    night = a_night(entero, "run-of-night")

    assert (night.flow_run_id, night.kind, night.parameters) == ("run-of-night", KIND, ASKED)
    assert (night.ended, night.report) == (None, {})
    assert night.started
    assert entero.store.nights.night(night.id) == night


def test_a_flow_run_that_is_run_again_goes_on_with_its_night(empty: Entero) -> None:
    night = a_night(empty, "run-1")
    empty.store.nights.end(night.id)
    again = empty.store.nights.start("run-1", KIND, {"limits": {"limit": 7}})
    other = empty.store.nights.start("run-1", "update-assemblies", ASKED)

    assert again == night
    assert empty.store.nights.goes_on(night.id)
    assert other.id != night.id
    assert empty.species.count("nights") == 2


def test_a_night_that_goes_on_is_alive_at_once(entero: Entero) -> None:
    night = a_night(entero)
    sql = "UPDATE nights SET seen = '2020-01-01 00:00:00' WHERE id = :id"
    entero.species.change(sql, id=night.id)
    a_night(entero, night.flow_run_id)
    seen = entero.store.nights.last_seen(night.flow_run_id)

    assert seen
    assert datetime.now(UTC) - seen < timedelta(minutes=5)


@only_postgres
def test_a_flow_run_that_begins_twice_at_once_has_one_night(entero: Entero) -> None:
    for _ in range(5):
        run = f"run-{next(ids)}"
        begun = at_once([lambda run=run: a_night(entero, run)] * 8)

        assert len({night.id for night in begun}) == 1
        assert entero.species.count("nights", flow_run_id=run) == 1


def test_a_night_goes_on_until_somebody_ends_it(entero: Entero) -> None:
    night, nights = a_night(entero), entero.store.nights
    before = nights.sign_of_life(night.id), nights.goes_on(night.id)
    nights.end(night.id)

    assert before == (True, True)
    assert (nights.sign_of_life(night.id), nights.goes_on(night.id)) == (False, False)
    assert (nights.sign_of_life(999_999), nights.goes_on(999_999)) == (False, False)


def test_a_sign_of_life_is_now_and_of_this_night_alone(entero: Entero) -> None:
    night, other = a_night(entero), a_night(entero)
    entero.species.change("UPDATE nights SET seen = '2020-01-01 00:00:00'")
    entero.store.nights.sign_of_life(night.id)
    seen = entero.store.nights.last_seen(night.flow_run_id)

    assert seen
    assert datetime.now(UTC) - seen < timedelta(minutes=5)
    assert entero.store.nights.last_seen(other.flow_run_id) == datetime(2020, 1, 1, tzinfo=UTC)
    assert entero.store.nights.last_seen("nobody's run") is None


def test_runs_are_open_until_their_night_is_ended(empty: Entero) -> None:
    first, second, third = (a_night(empty) for _ in range(3))
    empty.store.nights.end(first.id)
    empty.store.nights.start(second.flow_run_id, "update-assemblies", ASKED)

    assert sorted(empty.store.nights.open_runs()) == sorted([second.flow_run_id, third.flow_run_id])


def test_the_end_of_a_run_ends_all_its_nights_once(empty: Entero) -> None:
    night, other = a_night(empty), a_night(empty)
    also = empty.store.nights.start(night.flow_run_id, "update-assemblies", ASKED)
    empty.store.nights.end(also.id)
    ended = [empty.store.nights.end_of_run(night.flow_run_id) for _ in range(2)]

    assert [[one.id for one in some] for some in ended] == [[night.id], []]
    assert ended[0][0].parameters == ASKED
    assert empty.store.nights.open_runs() == [other.flow_run_id]


def test_the_report_of_a_night_is_kept_whoever_ends_it_again(entero: Entero) -> None:
    night, nights = a_night(entero), entero.store.nights
    report = {"parts": [{"claimed": 3, "why": "\u00bd"}]}
    nights.end(night.id, report)
    ended = nights.night(night.id).ended
    nights.end(night.id)
    nights.end_of_run(night.flow_run_id)

    assert nights.night(night.id).report == report
    assert nights.night(night.id).ended == ended


def test_a_night_that_a_person_ended_still_gets_its_report(entero: Entero) -> None:
    night, nights = a_night(entero), entero.store.nights
    [by_hand] = nights.end_of_run(night.flow_run_id)
    nights.end(night.id, {"claimed": 3})

    assert nights.night(night.id).report == {"claimed": 3}
    assert nights.night(night.id).ended == by_hand.ended


def test_the_newest_night_is_told_unless_one_is_named(empty: Entero) -> None:
    with pytest.raises(NoSuchRecord, match="no night has gone over this database yet"):
        empty.store.nights.night()
    first, newest = a_night(empty), a_night(empty)

    assert empty.store.nights.night() == newest
    assert empty.store.nights.night(first.id) == first


def test_a_night_that_there_is_not_is_said_so(entero: Entero) -> None:
    for ask in (entero.store.nights.night, entero.store.nights.end):
        with pytest.raises(NoSuchRecord, match="there is no night 999999 in this database"):
            ask(999_999)


def test_a_damaged_night_is_said_to_be_so(entero: Entero) -> None:
    night = a_night(entero)
    entero.species.change("UPDATE nights SET report = '{' WHERE id = :id", id=night.id)

    with pytest.raises(InconsistentInput, match=f"night {night.id} holds no JSON"):
        entero.store.nights.night(night.id)


# What came of it


def test_pairs_of_a_night_are_counted_by_scheme_and_outcome(empty: Entero) -> None:
    night, other, schemes = a_night(empty), a_night(empty), [a_scheme(empty), a_scheme(empty)]
    ends = [("COMPLETE", None), ("COMPLETE", None), ("QUEUED", None), ("FAILED", "permanent")]
    for status, fate in [*ends, ("FAILED", "bug"), ("FAILED", "transient")]:
        add_call(empty, a_strain(empty), schemes[0], status, fate=fate, night_id=night.id)
    add_call(empty, a_strain(empty), schemes[1], "COMPLETE", night_id=night.id)
    for night_id in (other.id, None):
        add_call(empty, a_strain(empty), schemes[1], "QUEUED", night_id=night_id)
    failures = {f"FAILED {fate}": 1 for fate in ("permanent", "bug", "transient")}

    assert empty.store.nights.counts(night.id) == {
        schemes[0].scheme.id: Counter({"COMPLETE": 2, "QUEUED": 1} | failures),
        schemes[1].scheme.id: Counter({"COMPLETE": 1}),
    }
    assert empty.store.nights.counts(999_999) == {}


def test_failures_are_told_bugs_first_and_then_the_newest_assemblies(empty: Entero) -> None:
    night, scheme, assemblies = a_night(empty), a_scheme(empty), [a_strain(empty) for _ in range(6)]
    fates = ["permanent", "bug", "transient", "bug", "permanent", None]
    for assembly, fate in zip(assemblies, fates, strict=True):
        facts = {"fate": fate, "reason": f"{fate}\nhere", "flow_run_id": "run-7", "job_id": 11}
        status = "FAILED" if fate else "COMPLETE"
        add_call(empty, assembly, scheme, status, night_id=night.id, **facts)
    found = empty.store.nights.failures(night.id, limit=100)
    order = [assemblies[number] for number in (3, 1, 4, 0, 2)]

    assert [one.about for one in found] == [barcode_of(one) for one in order]
    assert [str(one.fate) for one in found] == ["bug", "bug", "permanent", "permanent", "transient"]
    assert (found[0].scheme, found[0].reason) == (scheme.scheme.description, "bug\nhere")
    assert (found[0].flow_run_id, found[0].job_id) == ("run-7", 11)
    assert empty.store.nights.failures(night.id, limit=2) == found[:2]


def test_a_failure_that_knows_little_is_told_too(empty: Entero) -> None:
    night, scheme, assembly = a_night(empty), a_scheme(empty), a_strain(empty, barcode=None)
    nothing = {"flow_run_id": None, "job_id": None, "reason": None, "fate": None}
    add_call(empty, assembly, scheme, "FAILED", night_id=night.id, **nothing)
    [found] = empty.store.nights.failures(night.id, limit=1)

    assert (found.about, found.fate, found.reason, found.flow_run_id) == ("", None, "", "")


def test_reads_of_a_night_are_counted_and_poor_assemblies_are_told_as_failures(
    empty: Entero,
) -> None:
    night, other = a_night(empty), a_night(empty)
    poor = add_reads(empty, night, "COMPLETE", "permanent", strain_id=1, reason="N50 is 12")
    add_reads(empty, night, "COMPLETE", None, strain_id=2)
    add_reads(empty, night, "QUEUED", None, strain_id=3)
    bug = add_reads(empty, night, "FAILED", "bug", strain_id=4)
    newer = add_reads(empty, night, "FAILED", "permanent", strain_id=5)
    add_reads(empty, other, "FAILED", "bug", strain_id=6)
    found = empty.store.nights.assembly_failures(night.id, limit=100)

    assert empty.store.nights.assembly_counts(night.id) == Counter(
        {"COMPLETE permanent": 1, "COMPLETE": 1, "QUEUED": 1}
        | {"FAILED bug": 1, "FAILED permanent": 1}
    )
    assert [(one.about, one.scheme) for one in found] == [(bug, ""), (newer, ""), (poor, "")]
    assert found[2].reason == "N50 is 12"
    assert empty.store.nights.assembly_failures(night.id, limit=1) == found[:1]
