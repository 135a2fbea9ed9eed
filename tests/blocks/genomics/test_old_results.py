"""Results that the old site wrote count as ours do, and nothing of them is lost."""

import json
from typing import Any

import pytest

from blocks.genomics.records import Claim, Fate, LookupStatus, SchemeCall
from tests.fakes.entero import Entero, at_once, calls_of

COMPLETE, FAILED = LookupStatus.COMPLETE, LookupStatus.FAILED
ST = "SAL_BA0007AA_ST"
DATA: dict[str, Any] = {
    "job_id": 4711,
    "job_count": 5,
    "complete_count": 3,
    "fail_count": 2,
    "queued_count": 0,
    "results": {"O": "4", "H": "i"},
    "egg": "EGG",
}


def an_old_result(entero: Entero, **columns: object) -> Claim:
    """Let the old site have completed a pair; return what one of our runs wants of it."""
    claim = entero.a_claim()
    facts = {"status": "COMPLETE", "st_barcode": ST, "other_data": json.dumps(DATA)}
    entero.add_lookup(claim, **(facts | columns))
    return claim


def is_given(held: SchemeCall, claim: Claim) -> bool:
    return (held.status, held.flow_run_id) == (LookupStatus.QUEUED, claim.flow_run_id)


def test_an_old_result_is_shown_with_what_the_site_says_of_it(entero: Entero) -> None:
    claim = an_old_result(entero)
    [call] = entero.store.calls.calls(claim.assembly.id)

    assert (call.scheme, call.status) == (claim.scheme.description, COMPLETE)
    assert (call.st_barcode, call.results) == (ST, {"O": "4", "H": "i"})
    assert entero.species.count("scheme_calls", assembly_id=claim.assembly.id) == 0


def test_old_results_and_ours_are_shown_together_in_the_order_of_schemes(entero: Entero) -> None:
    first = an_old_result(entero)
    ours = entero.given(entero.a_claim(None, first.assembly))
    last = entero.a_claim(None, first.assembly)
    entero.add_lookup(last, status="COMPLETE")
    shown = entero.store.calls.calls(first.assembly.id)

    assert [call.scheme for call in shown] == [
        claim.scheme.description for claim in (first, ours, last)
    ]


@pytest.mark.parametrize("status", ["QUEUED", "FAILED", "KILLED", None])
def test_what_the_old_site_did_not_complete_is_no_result(
    entero: Entero, status: str | None
) -> None:
    claim = an_old_result(entero, status=status)

    assert entero.store.calls.calls(claim.assembly.id) == []
    assert is_given(entero.store.calls.claim(claim), claim)


def test_the_rows_of_snp_calls_are_no_result_of_a_scheme(entero: Entero) -> None:
    claim = an_old_result(entero, st_barcode="SAL_AA0009AA_AS")

    assert entero.store.calls.calls(claim.assembly.id) == []
    assert is_given(entero.store.calls.claim(claim), claim)


@pytest.mark.parametrize("version", ["1", " 1 ", None, "", "7 b"])
def test_an_old_result_of_this_version_is_not_computed_again(
    entero: Entero, version: str | None
) -> None:
    claim = an_old_result(entero, version=version)
    before = entero.lookup(claim)
    held = [entero.store.calls.claim(one) for one in (claim, entero.a_claim(*pair(claim)))]

    assert [one.status for one in held] == [COMPLETE, COMPLETE]
    assert (held[0].st_barcode, held[0].job_id, held[0].flow_run_id) == (ST, 4711, "")
    assert entero.lookup(claim) == before
    assert len(entero.store.calls.calls(claim.assembly.id)) == 1


def pair(claim: Claim) -> tuple[Any, Any]:
    return claim.scheme, claim.assembly


def test_an_old_result_of_another_version_is_called_again(entero: Entero) -> None:
    claim = an_old_result(entero, version="1")
    newer = claim.scheme.model_copy(update={"version": 2})
    again = entero.a_claim(newer, claim.assembly)

    assert entero.store.calls.claim(claim).status is COMPLETE
    assert is_given(entero.store.calls.claim(again), again)


def test_of_eight_that_look_at_an_old_result_at_once_all_see_it(entero: Entero) -> None:
    claim = an_old_result(entero)
    claims = [claim, *(entero.a_claim(*pair(claim)) for _ in range(7))]
    held = at_once([lambda one=one: entero.store.calls.claim(one) for one in claims])

    assert {one.status for one in held} == {COMPLETE}


def test_a_forced_call_that_fails_keeps_the_old_type_and_counts_on(entero: Entero) -> None:
    claim = an_old_result(entero, version="1")
    entero.store.calls.claim(claim, force=True)
    entero.store.calls.fail(claim, Fate.TRANSIENT, "the disk is full")
    row = entero.lookup(claim)
    data = json.loads(row.other_data)

    assert (row.status, row.st_barcode, row.version) == ("FAILED", ST, "1")
    assert (data["fail_count"], data["job_count"], data["complete_count"]) == (3, 6, 3)
    assert (data["results"], data["egg"], data["job_id"]) == (DATA["results"], "EGG", claim.job_id)


def test_a_forced_call_that_is_lost_keeps_the_old_type_too(entero: Entero) -> None:
    claim = an_old_result(entero)
    entero.store.calls.claim(claim, force=True)
    entero.store.calls.fail_open(claim.flow_run_id, Fate.TRANSIENT, "lost: silent for 16 min")
    [call] = entero.store.calls.calls(claim.assembly.id)

    assert (call.status, call.st_barcode, call.results) == (FAILED, ST, DATA["results"])


def test_a_forced_call_that_goes_well_replaces_the_old_result(entero: Entero) -> None:
    claim = an_old_result(entero)
    entero.store.calls.claim(claim, force=True)
    entero.store.calls.store_typing(claim, calls_of(1, 1, 1))
    row = entero.lookup(claim)
    data = json.loads(row.other_data)

    assert row.st_barcode not in ("", ST)
    assert (data["complete_count"], data["fail_count"], data["results"]["ST"]) == (4, 2, 1)


@pytest.mark.parametrize(
    "odd", ["many", None, -3, 2.5, True, [1], {}, "9" * 40, "٣"], ids=lambda one: repr(one)[:9]
)
def test_a_counter_that_is_no_number_begins_at_nothing(entero: Entero, odd: object) -> None:
    data = json.dumps(dict.fromkeys(("fail_count", "job_count", "complete_count", "job_id"), odd))
    claim = an_old_result(entero, other_data=data)
    held = entero.store.calls.claim(claim)
    entero.store.calls.claim(claim, force=True)
    entero.store.calls.fail(claim, Fate.TRANSIENT, "x")

    assert (held.status, held.job_id) == (COMPLETE, None)
    assert json.loads(entero.lookup(claim).other_data)["fail_count"] == 1
