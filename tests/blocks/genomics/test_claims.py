"""Who may call a scheme on an assembly: one flow run at a time, and what decides about the next."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from blocks.errors import DatabaseUnavailable, InconsistentInput
from blocks.genomics.minting import numbered
from blocks.genomics.records import Claim, Fate, LookupStatus, SchemeCall
from tests.fakes.entero import (
    Entero,
    at_once,
    calls_of,
    novel,
    only_postgres,
    without,
)

QUEUED, COMPLETE, FAILED = LookupStatus.QUEUED, LookupStatus.COMPLETE, LookupStatus.FAILED
TOUCHED = ("scheme_calls", "assembly_lookup", "locus_positions", "alleles", "sequence_types")


def same_pair(entero: Entero, claim: Claim, **newer: int) -> Claim:
    """Return what another flow run wants of the same assembly and scheme, in newer versions."""
    assembly = claim.assembly.model_copy(update={"version": newer.get("assembly", 1)})
    scheme = claim.scheme.model_copy(update={"version": newer.get("scheme", 1)})
    return entero.a_claim(scheme, assembly)


def is_given(held: SchemeCall, claim: Claim) -> bool:
    return (held.status, held.flow_run_id) == (QUEUED, claim.flow_run_id)


def all_rows(entero: Entero) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: sorted(
            (tuple(row) for row in entero.species.rows(f"SELECT * FROM {table}")), key=str
        )
        for table in TOUCHED
    }


def completed(entero: Entero) -> Claim:
    claim = entero.given()
    entero.store.calls.store_typing(claim, calls_of(1, 1, 1))
    return claim


def failed(entero: Entero, fate: Fate = Fate.PERMANENT) -> Claim:
    claim = entero.given()
    entero.store.calls.fail(claim, fate, "the assembly has no such locus")
    return claim


def test_a_claim_shows_the_pair_as_queued(entero: Entero) -> None:
    claim = entero.a_claim()
    held = entero.store.calls.claim(claim)
    row = entero.lookup(claim)

    assert is_given(held, claim)
    assert (held.job_id, held.scheme) == (claim.job_id, claim.scheme.description)
    assert (row.status, row.st_barcode, row.version) == ("QUEUED", "", None)
    assert json.loads(row.other_data)["job_id"] == claim.job_id


def test_who_comes_second_is_told_who_has_it(entero: Entero) -> None:
    first = entero.given()
    before = all_rows(entero)
    held = entero.store.calls.claim(same_pair(entero, first))

    assert (held.status, held.flow_run_id, held.job_id) == (QUEUED, first.flow_run_id, first.job_id)
    assert all_rows(entero) == before


def test_two_nights_that_start_together_send_each_pair_once(entero: Entero) -> None:
    scheme = entero.a_scheme()
    pairs = [entero.a_claim(scheme) for _ in range(6)]
    nights = [pairs, [same_pair(entero, pair) for pair in pairs]]

    def send(night: list[Claim]) -> list[str]:
        return [entero.store.calls.claim(pair).flow_run_id for pair in night]

    answers = at_once([lambda night=night: send(night) for night in nights])

    assert all(answer == answers[0] for answer in answers)
    for pair in pairs:
        assert entero.species.count("scheme_calls", assembly_id=pair.assembly.id) == 1
        assert json.loads(entero.lookup(pair).other_data)["job_count"] == 1


def test_of_eight_runs_that_want_a_pair_at_once_one_gets_it(entero: Entero) -> None:
    first = entero.a_claim()
    claims = [first, *(same_pair(entero, first) for _ in range(7))]
    answers = at_once([lambda one=one: entero.store.calls.claim(one) for one in claims])
    given = [claim for claim, held in zip(claims, answers, strict=True) if is_given(held, claim)]

    assert len(given) == 1
    assert {held.flow_run_id for held in answers} == {given[0].flow_run_id}
    assert json.loads(entero.lookup(first).other_data)["job_count"] == 1


def test_a_run_that_is_started_again_keeps_its_claim(entero: Entero) -> None:
    claim = entero.given()

    assert is_given(entero.store.calls.claim(claim), claim)


# What is not called again, and what is


def test_what_is_complete_is_not_called_again(entero: Entero) -> None:
    claim = completed(entero)
    before = all_rows(entero)
    held = entero.store.calls.claim(same_pair(entero, claim))

    assert (held.status, held.flow_run_id) == (COMPLETE, claim.flow_run_id)
    assert held.st_barcode == entero.lookup(claim).st_barcode != ""
    assert held.results["ST"] == 1
    assert all_rows(entero) == before


def test_a_run_whose_result_is_stored_does_not_lose_it_by_starting_again(entero: Entero) -> None:
    claim = completed(entero)

    assert entero.store.calls.claim(claim, force=True).status is COMPLETE
    assert entero.lookup(claim).status == "COMPLETE"


@pytest.mark.parametrize("newer", [{"scheme": 2}, {"assembly": 2}, {"scheme": 2, "assembly": 2}])
def test_a_newer_scheme_or_assembly_is_called_again(entero: Entero, newer: dict[str, int]) -> None:
    again = same_pair(entero, completed(entero), **newer)
    held = entero.store.calls.claim(again)
    row = entero.lookup(again)

    assert is_given(held, again)
    assert (row.status, row.version) == ("QUEUED", "1")
    entero.store.calls.store_typing(again, calls_of(2, 1, 2))
    assert entero.lookup(again).version == str(newer.get("scheme", 1))


@pytest.mark.parametrize("begin", [completed, failed])
def test_a_person_can_have_it_called_again(
    entero: Entero, begin: Callable[[Entero], Claim]
) -> None:
    again = same_pair(entero, begin(entero))

    assert is_given(entero.store.calls.claim(again, force=True), again)


def test_nobody_takes_a_call_from_a_run_that_works_not_even_by_force(entero: Entero) -> None:
    first = entero.given()
    other = same_pair(entero, first, scheme=2)

    assert entero.store.calls.claim(other, force=True).flow_run_id == first.flow_run_id


@pytest.mark.parametrize("fate", [Fate.TRANSIENT, Fate.BUG])
def test_a_failure_keeps_its_fate_and_reason_and_can_be_claimed(entero: Entero, fate: Fate) -> None:
    claim = failed(entero, fate)
    [call] = entero.store.calls.calls(claim.assembly.id)
    again = same_pair(entero, claim)

    assert (call.status, call.fate, call.reason) == (FAILED, fate, "the assembly has no such locus")
    assert entero.lookup(claim).status == "FAILED"
    assert is_given(entero.store.calls.claim(again), again)
    [call] = entero.store.calls.calls(claim.assembly.id)
    assert (call.fate, call.reason) == (None, "")


def test_what_the_site_left_queued_for_years_is_free(entero: Entero) -> None:
    claim = entero.a_claim()
    old = {"job_id": 3, "queued_count": 4, "egg": "EGG"}
    entero.add_lookup(claim, status="QUEUED", st_barcode=None, other_data=json.dumps(old))

    assert is_given(entero.store.calls.claim(claim), claim)
    row = entero.lookup(claim)
    data = json.loads(row.other_data)
    assert (data["egg"], data["queued_count"], data["job_id"]) == ("EGG", 1, claim.job_id)


# Counters decide nothing


COUNTERS = {
    "all counters at 99": {"fail_count": 99, "job_count": 99, "complete_count": 99},
    "none": {},
    "text": {"fail_count": "many", "queued_count": None},
}


@pytest.mark.parametrize("counters", COUNTERS.values(), ids=COUNTERS)
@pytest.mark.parametrize("begin", [completed, failed, Entero.given])
@pytest.mark.parametrize("force", [False, True])
def test_the_counters_of_old_readers_decide_nothing(
    entero: Entero, begin: Callable[[Entero], Claim], counters: dict[str, object], *, force: bool
) -> None:
    untouched, changed = begin(entero), begin(entero)
    entero.species.change(
        "UPDATE assembly_lookup SET other_data = :data WHERE assembly_id = :id",
        data=json.dumps(counters),
        id=changed.assembly.id,
    )
    answers = [
        is_given(entero.store.calls.claim(again, force=force), again)
        for again in (same_pair(entero, untouched), same_pair(entero, changed))
    ]

    assert answers[0] is answers[1]


def test_the_counters_are_written_for_old_readers(entero: Entero) -> None:
    claim = failed(entero, Fate.TRANSIENT)
    again = same_pair(entero, claim)
    entero.store.calls.claim(again)
    queued = json.loads(entero.lookup(claim).other_data)
    entero.store.calls.store_typing(again, calls_of(1, 1, 1))
    done = json.loads(entero.lookup(claim).other_data)
    names = ("job_id", "job_count", "fail_count", "complete_count", "queued_count")

    assert [queued[name] for name in names] == [again.job_id, 2, 1, 0, 1]
    assert [done[name] for name in names] == [again.job_id, 2, 1, 1, 0]


# Taking over from a run that is over


def test_a_claim_is_taken_over_from_the_run_that_was_looked_at(entero: Entero) -> None:
    lost = entero.given()
    next_one = same_pair(entero, lost)

    assert is_given(entero.store.calls.claim(next_one, held_by=lost.flow_run_id), next_one)


@pytest.mark.parametrize("held_by", ["another run", ""])
def test_a_claim_is_not_taken_from_a_run_that_nobody_looked_at(
    entero: Entero, held_by: str
) -> None:
    living = entero.given()
    other = same_pair(entero, living)
    held = entero.store.calls.claim(other, held_by=held_by)

    assert held.flow_run_id == living.flow_run_id


def test_of_eight_that_take_over_at_once_one_does(entero: Entero) -> None:
    lost = entero.given()
    claims = [same_pair(entero, lost) for _ in range(8)]

    def take(claim: Claim) -> bool:
        held = entero.store.calls.claim(claim, held_by=lost.flow_run_id)
        return is_given(held, claim)

    assert sorted(at_once([lambda one=one: take(one) for one in claims])) == [False] * 7 + [True]


def test_what_is_complete_is_not_taken_over(entero: Entero) -> None:
    claim = completed(entero)
    other = same_pair(entero, claim)

    assert entero.store.calls.claim(other, held_by=claim.flow_run_id).status is COMPLETE


def test_a_run_that_lost_its_claim_writes_nothing(entero: Entero) -> None:
    lost = entero.given()
    entero.store.calls.claim(same_pair(entero, lost), held_by=lost.flow_run_id)
    before = all_rows(entero)
    for store in (
        lambda: entero.store.calls.store_typing(lost, [novel("aroC"), *calls_of(1, 1, 1)[1:]]),
        lambda: entero.store.calls.store_results(lost, {"O": "4"}),
    ):
        with pytest.raises(InconsistentInput, match=r"was given to another flow run meanwhile"):
            store()
    entero.store.calls.fail(lost, Fate.BUG, "late")

    assert entero.store.calls.fail_open(lost.flow_run_id, Fate.BUG, "late") == 0
    assert all_rows(entero) == before


def test_nobody_stores_what_was_never_claimed(entero: Entero) -> None:
    claim = entero.a_claim()
    before = all_rows(entero)
    with pytest.raises(InconsistentInput, match="was given to another flow run"):
        entero.store.calls.store_typing(claim, calls_of(1, 1, 1))
    entero.store.calls.fail(claim, Fate.BUG, "x")

    assert all_rows(entero) == before


# Closing


def test_what_a_run_left_open_is_failed_and_what_it_closed_stays(entero: Entero) -> None:
    scheme = entero.a_scheme()
    opened = entero.given(entero.a_claim(scheme))
    run = {"flow_run_id": opened.flow_run_id}
    also = entero.given(entero.a_claim(scheme).model_copy(update=run))
    done = entero.given(entero.a_claim(scheme).model_copy(update=run))
    entero.store.calls.store_typing(done, calls_of(1, 1, 1))
    closed = [
        entero.store.calls.fail_open(opened.flow_run_id, Fate.TRANSIENT, "the worker is gone")
        for _ in range(2)
    ]

    assert closed == [2, 0]
    for claim in (opened, also):
        [call] = entero.store.calls.calls(claim.assembly.id)
        assert (call.status, call.fate, call.reason) == (
            FAILED,
            Fate.TRANSIENT,
            "the worker is gone",
        )
        assert entero.lookup(claim).status == "FAILED"
        assert json.loads(entero.lookup(claim).other_data)["fail_count"] == 1
    assert entero.lookup(done).status == "COMPLETE"


def test_a_failure_after_the_result_changes_nothing(entero: Entero) -> None:
    claim = completed(entero)
    before = all_rows(entero)
    entero.store.calls.fail(claim, Fate.TRANSIENT, "the connection broke after it")

    assert all_rows(entero) == before


@pytest.mark.parametrize("reason", ["a\0b", "half a pair \ud83d", "x" * 100_000, "½ 'q' %s"])
def test_a_failure_is_stored_whatever_a_program_said(entero: Entero, reason: str) -> None:
    claim = entero.given()
    entero.store.calls.fail(claim, Fate.PERMANENT, reason)
    [call] = entero.store.calls.calls(claim.assembly.id)
    expected = reason.replace("\0", "\ufffd").replace("\ud83d", "?")

    assert (call.status, call.reason) == (FAILED, expected)


def test_a_call_of_an_assembly_that_is_gone_is_refused(entero: Entero) -> None:
    claim = entero.a_claim()
    gone = claim.assembly.model_copy(update={"id": 999_999_999})

    with pytest.raises(InconsistentInput, match="a row that this belongs to is not in the"):
        entero.store.calls.claim(claim.model_copy(update={"assembly": gone}))


def test_each_scheme_of_an_assembly_has_a_call_of_its_own(entero: Entero) -> None:
    done = completed(entero)
    other = entero.given(entero.a_claim(None, done.assembly))
    entero.store.calls.fail(other, Fate.PERMANENT, "no such program")

    assert [(call.scheme, call.status) for call in entero.store.calls.calls(done.assembly.id)] == [
        (done.scheme.description, COMPLETE),
        (other.scheme.description, FAILED),
    ]


def test_a_typing_without_a_type_is_complete(entero: Entero) -> None:
    claim = entero.given()
    typing = entero.store.calls.store_typing(claim, [without("aroC"), *calls_of(1, 1, 1)[1:]])
    [call] = entero.store.calls.calls(claim.assembly.id)

    assert (typing.st, call.status, call.st_barcode) == (None, COMPLETE, "")
    assert call.results["ST"] is None


# Locks


@only_postgres
def test_who_waits_too_long_for_a_pair_is_told_to_try_later(entero: Entero) -> None:
    claim = entero.given()
    before = all_rows(entero)
    with (
        entero.calls_with(1, options="-c lock_timeout=100") as store,
        entero.species.engine.begin() as slow,
    ):
        slow.exec_driver_sql("SELECT 1 FROM scheme_calls FOR UPDATE")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            store.store_typing(claim, calls_of(1, 1, 1))

    assert all_rows(entero) == before


@only_postgres
def test_nobody_waits_for_one_that_mints_but_who_mints_too(entero: Entero) -> None:
    minting, other = (entero.given(entero.a_claim(scheme)) for scheme in [entero.a_scheme()] * 2)
    with Session(entero.species.engine) as session:
        numbered(session, minting, [novel("aroC")], mint=True)
        third = entero.given(entero.a_claim(minting.scheme))
        for claim in (other, third):
            entero.store.calls.store_typing(claim, calls_of(2, 1, 2))

    assert entero.lookup(other).status == entero.lookup(third).status == "COMPLETE"
