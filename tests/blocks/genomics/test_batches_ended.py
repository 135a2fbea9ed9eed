"""Batches that do not end by themselves: handed back to a night, ended with it, or lost."""

from itertools import count

import pytest

from blocks.genomics import batches
from blocks.genomics.records import Fate
from tests.fakes.batches import ABatch, a_batch, complete, failed, next_night
from tests.fakes.entero import Entero

runs = count()


def a_run() -> str:
    return f"run that is ended {next(runs)}"


def half_done(entero: Entero) -> tuple[ABatch, str, list[int]]:
    """Return a batch of four: complete, failed for good, and two that are left; and its jobs."""
    batch, run = a_batch(entero, 4), a_run()
    jobs = batch.begun(run)
    first, second = batch.keys[:2]
    batch.store.finish(run, [complete(first, jobs[first]), failed(second, jobs[second])])
    return batch, run, [jobs[key] for key in batch.keys]


SETTLED = [("COMPLETE", None), ("FAILED", "permanent")]
OPEN = [("QUEUED", None)] * 2
GONE = [("FAILED", "transient")] * 2


def test_what_is_handed_back_is_the_nights_again_and_begun_with_the_same_jobs(
    entero: Entero,
) -> None:
    batch, run, jobs = half_done(entero)
    handed = batch.store.hand_back(batch.id, run, batch.night_run)
    owners = [row["flow_run_id"] for row in batch.rows()]
    late = batch.store.finish(run, [complete(batch.keys[3], jobs[3])])
    second = batch.begin(a_run())

    assert (sorted(handed), owners) == (
        sorted(jobs[2:]),
        [run, run, batch.night_run, batch.night_run],
    )
    assert late == []
    assert [second.get(key) for key in batch.keys] == [None, None, *jobs[2:]]
    assert batch.standing() == SETTLED + OPEN
    assert [one["job_count"] for one in batch.data()] == [1, 1, 2, 2]


def test_a_batch_that_is_handed_back_twice_is_handed_back_once(entero: Entero) -> None:
    batch, run, _ = half_done(entero)
    handed = [batch.store.hand_back(batch.id, run, batch.night_run) for _ in range(2)]

    assert [len(jobs) for jobs in handed] == [2, 0]
    assert batch.store.n_queued(batch.id) == 2


def test_what_is_handed_back_is_still_nobody_elses(entero: Entero) -> None:
    batch, run, _ = half_done(entero)
    batch.store.hand_back(batch.id, run, batch.night_run)

    assert next_night(batch).claim() == 0
    assert {batch.night_run, run} & set(entero.store.calls.open_runs()) == {batch.night_run}


@pytest.mark.parametrize("whole_night", [False, True])
def test_what_is_left_of_a_batch_or_a_night_is_failed_by_the_machine(
    entero: Entero, *, whole_night: bool
) -> None:
    batch, _, jobs = half_done(entero)
    store = batch.store
    fail = store.fail_night if whole_night else store.fail_left
    ended = [fail(batch.night_id if whole_night else batch.id, "no\0 power") for _ in range(2)]  # type: ignore[operator]

    assert ended == [jobs[2:], []]
    assert batch.standing() == SETTLED + GONE
    assert {row["reason"] for row in batch.rows()[2:]} == {"no\ufffd power"}
    assert batch.shown() == ["COMPLETE", "FAILED", "FAILED", "FAILED"]
    assert [one["queued_count"] for one in batch.data()] == [0] * 4


def test_what_was_claimed_and_never_begun_is_failed_without_a_job(entero: Entero) -> None:
    batch = a_batch(entero)
    batch.claim()

    assert batch.store.fail_left(batch.id, "the night was ended") == []
    assert batch.standing() == [("FAILED", "transient")] * 3
    assert next_night(batch).claim() == 3


def test_other_batches_and_nights_are_left_alone(entero: Entero) -> None:
    batch, other = a_batch(entero), a_batch(entero)
    for one in (batch, other):
        one.begun(a_run())
    batch.store.fail_left(batch.id, "x")
    batch.store.fail_night(batch.night_id, "x")
    batch.store.hand_back(batch.id, other.rows()[0]["flow_run_id"], "night")

    assert batch.store.n_queued(batch.id) == 0
    assert other.standing() == [("QUEUED", None)] * 3


def test_the_next_night_goes_on_with_what_the_machine_failed(entero: Entero) -> None:
    batch, _, _ = half_done(entero)
    batch.store.fail_left(batch.id, "no power")
    again, run = next_night(batch), a_run()
    n_taken = again.claim()
    jobs = again.begin(run)
    again.store.finish(run, [complete(key, job) for key, job in jobs.items()])

    assert (n_taken, sorted(jobs)) == (2, sorted(batch.keys[2:]))
    assert batch.standing() == [*SETTLED, *[("COMPLETE", None)] * 2]
    assert [one["job_count"] for one in batch.data()] == [1, 1, 2, 2]
    assert [one["fail_count"] for one in batch.data()] == [0, 1, 1, 1]


def test_a_run_that_is_lost_leaves_its_pairs_to_the_next_night(entero: Entero) -> None:
    batch, run, _ = half_done(entero)

    assert run in entero.store.calls.open_runs()
    assert entero.store.calls.fail_open(run, Fate.TRANSIENT, "silent for 16 min") == 2
    assert batch.standing() == SETTLED + GONE
    assert next_night(batch).claim() == 2


def test_a_batch_of_any_size_is_gone_through_in_small_questions(
    entero: Entero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "IN_A_QUESTION", 2)
    batch, run = a_batch(entero, 7), a_run()
    for number in range(0, 7, 2):
        entero.add_lookup(batch.claim_of(number), status="FAILED", other_data='{"egg": 1}')
    jobs = batch.begun(run)
    batch.store.finish(run, [complete(key, jobs[key]) for key in batch.keys[:5]])
    batch.store.fail_night(batch.night_id, "x")

    assert batch.shown() == ["COMPLETE"] * 5 + ["FAILED"] * 2
    assert [one.get("egg") for one in batch.data()] == [1, None, 1, None, 1, None, 1]
    assert entero.species.count("assembly_lookup", scheme_id=batch.scheme.id) == 7


# A person beside a night


def test_a_pair_that_a_person_calls_again_is_no_longer_the_nights(entero: Entero) -> None:
    batch, run = a_batch(entero, 2), a_run()
    jobs = batch.begun(run)
    key = batch.keys[0]
    batch.store.finish(run, [failed(key, jobs[key], Fate.BUG, "KeyError")])
    claim = entero.given(batch.claim_of(0))
    taken = batch.begin(a_run())
    batch.store.fail_night(batch.night_id, "the night was ended")
    row = batch.rows()[0]

    assert sorted(taken) == batch.keys[1:]
    assert (row["status"], row["flow_run_id"]) == ("QUEUED", claim.flow_run_id)
    assert (row["batch_id"], row["night_id"]) == (None, None)
