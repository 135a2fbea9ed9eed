"""A failure that would come again is put aside, until something that it came from changes."""

import pytest

from blocks.genomics.records import Claim, Fate, LookupStatus, SchemeCall
from tests.fakes.entero import Entero

FAILED = LookupStatus.FAILED
REASON = "the file has no bases"


def failed(entero: Entero, fate: Fate) -> Claim:
    claim = entero.given()
    entero.store.calls.fail(claim, fate, REASON)
    return claim


def another(entero: Entero, claim: Claim, **newer: object) -> Claim:
    """Return what another run wants of the pair, with these versions or this tool."""
    assembly = claim.assembly.model_copy(update={"version": newer.get("assembly", 1)})
    scheme = claim.scheme.model_copy(update={"version": newer.get("scheme", 1)})
    tool = {"tool": newer.get("tool", claim.tool)}
    return entero.a_claim(scheme, assembly).model_copy(update=tool)


def is_given(held: SchemeCall, claim: Claim) -> bool:
    return (held.status, held.flow_run_id) == (LookupStatus.QUEUED, claim.flow_run_id)


def test_a_permanent_failure_is_not_tried_again_on_the_next_five_nights(entero: Entero) -> None:
    claim = failed(entero, Fate.PERMANENT)
    before = entero.lookup(claim)
    nights = [entero.store.calls.claim(another(entero, claim)) for _ in range(5)]

    assert {(held.status, held.fate, held.reason) for held in nights} == {
        (FAILED, Fate.PERMANENT, REASON)
    }
    assert {held.flow_run_id for held in nights} == {claim.flow_run_id}
    assert entero.lookup(claim) == before


@pytest.mark.parametrize("newer", [{"assembly": 2}, {"scheme": 2}, {"tool": "limsflow 2"}], ids=str)
def test_a_permanent_failure_is_tried_again_when_what_it_came_from_changes(
    entero: Entero, newer: dict[str, object]
) -> None:
    again = another(entero, failed(entero, Fate.PERMANENT), **newer)

    assert is_given(entero.store.calls.claim(again), again)


def test_a_person_can_force_what_was_put_aside(entero: Entero) -> None:
    again = another(entero, failed(entero, Fate.PERMANENT))

    assert is_given(entero.store.calls.claim(again, force=True), again)


def test_a_run_that_prefect_starts_again_is_not_held_back_by_its_own_failure(
    entero: Entero,
) -> None:
    claim = failed(entero, Fate.PERMANENT)

    assert is_given(entero.store.calls.claim(claim), claim)


@pytest.mark.parametrize("fate", [Fate.TRANSIENT, Fate.BUG])
def test_what_may_go_well_another_time_can_be_claimed_again(entero: Entero, fate: Fate) -> None:
    again = another(entero, failed(entero, fate))

    assert is_given(entero.store.calls.claim(again), again)


def test_what_is_put_aside_again_after_a_change_waits_for_the_next_one(entero: Entero) -> None:
    newer = another(entero, failed(entero, Fate.PERMANENT), tool="limsflow 2")
    entero.store.calls.claim(newer)
    entero.store.calls.fail(newer, Fate.PERMANENT, "still none")

    assert entero.store.calls.claim(another(entero, newer)).reason == "still none"
    older = another(entero, newer, tool="limsflow 1")
    assert is_given(entero.store.calls.claim(older), older)
