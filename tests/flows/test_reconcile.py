"""Attempts that nobody works on are closed; those that live are left alone."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest

from blocks.errors import AlreadyRunning, InvalidRequest, NoSuchRecord
from blocks.mx.records import AttemptState
from tests.fakes.builders import a_collection, a_registration, a_request
from tests.flows.beamtimes import Beamtime
from tests.flows.isolates import a_run

ABeamtime = Callable[..., Beamtime]


def an_open_attempt(beamtime: Beamtime, job_id: int, run_id: str) -> int:
    environment = f"guid={uuid4()}, flow_run={run_id}"
    collection_id = beamtime.store.job(job_id).collection.id
    given = {"environment": environment, "job_id": job_id}
    program_id = beamtime.store.register(a_registration(**given, collection_id=collection_id))
    beamtime.store.report_progress(program_id, "Integrating")
    return program_id


def reconcile(beamtime: Beamtime, **options: object) -> list[tuple[int, str]]:
    from flows.reconcile_jobs import reconcile_jobs  # noqa: PLC0415 - loads Prefect

    closed = asyncio.run(reconcile_jobs(ispyb=beamtime.names["ispyb"], **options))
    return [(one.program_id, one.reason) for one in closed]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("CANCELLED", "cancelled in Prefect: by a test"),
        ("CRASHED", "the flow run crashed: by a test"),
        ("FAILED", "the flow run failed: by a test"),
    ],
)
def test_an_attempt_whose_run_is_over_is_closed_with_the_reason(
    a_beamtime: ABeamtime, state: str, reason: str
) -> None:
    beamtime = a_beamtime()
    job_id = beamtime.job()
    program_id = an_open_attempt(beamtime, job_id, a_run(state))

    assert reconcile(beamtime) == [(program_id, reason)]
    attempt = beamtime.attempt(job_id)
    assert (attempt.state, attempt.message) == (AttemptState.FAILED, reason)


@pytest.mark.parametrize("run_id", ["RUNNING", "unknown to Prefect"])
def test_an_attempt_with_a_fresh_sign_of_life_is_left_alone(
    a_beamtime: ABeamtime, run_id: str
) -> None:
    beamtime = a_beamtime()
    job_id = beamtime.job()
    known = a_run(run_id) if run_id == "RUNNING" else str(uuid4())
    an_open_attempt(beamtime, job_id, known)

    assert reconcile(beamtime, stale_after_s=600) == []
    assert beamtime.attempt(job_id).state is AttemptState.RUNNING


def test_a_silent_attempt_is_closed_and_its_run_no_longer_holds_a_slot(
    a_beamtime: ABeamtime,
) -> None:
    from tasks.mx.closing import run_state  # noqa: PLC0415

    beamtime = a_beamtime()
    run_id = a_run("RUNNING")
    program_id = an_open_attempt(beamtime, beamtime.job(), run_id)

    ((closed, reason),) = reconcile(beamtime, stale_after_s=0)
    assert (closed, reason[:15]) == (program_id, "lost: silent fo")
    assert asyncio.run(run_state(run_id)).type == "CRASHED"


def test_a_dry_run_says_what_it_would_close_and_closes_nothing(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime()
    job_id = beamtime.job()
    an_open_attempt(beamtime, job_id, a_run("CRASHED"))

    assert len(reconcile(beamtime, dry_run=True)) == 1
    assert beamtime.attempt(job_id).state is AttemptState.RUNNING


def test_an_attempt_of_another_system_is_never_touched(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime()
    job_id = beamtime.job()
    given = {"environment": "d_min=1.8", "job_id": job_id, "collection_id": None}
    beamtime.store.register(a_registration(**given))

    assert reconcile(beamtime, stale_after_s=0) == []
    assert beamtime.attempt(job_id).state is AttemptState.RUNNING


def test_a_job_that_a_live_run_works_on_is_not_run_twice(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    job_id = beamtime.job()
    an_open_attempt(beamtime, job_id, a_run("RUNNING"))
    with pytest.raises(AlreadyRunning):
        beamtime.run(job_id)

    assert len(beamtime.store.attempts(job_id)) == 1


def test_a_new_run_closes_the_attempt_of_a_dead_one_and_goes_on(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    job_id = beamtime.job()
    an_open_attempt(beamtime, job_id, a_run("CRASHED"))
    beamtime.run(job_id)

    states = [attempt.state for attempt in beamtime.store.attempts(job_id)]
    assert states == [AttemptState.FAILED, AttemptState.SUCCEEDED]


def test_a_job_that_does_not_exist_leaves_no_attempt(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    with pytest.raises(NoSuchRecord, match="no processing job 99"):
        beamtime.run(99)

    assert beamtime.store.attempts(99) == []


def test_the_form_creates_a_job_and_refuses_a_bad_one_before_writing(
    a_beamtime: ABeamtime,
) -> None:
    from flows.create_job import create_job  # noqa: PLC0415

    beamtime = a_beamtime()
    job_id = asyncio.run(create_job(a_request(), **beamtime.names))
    bad = a_request(a_collection(id=5), recipe="autoPROC")
    with pytest.raises(InvalidRequest):
        asyncio.run(create_job(bad, **beamtime.names))

    assert beamtime.store.job_ids() == [job_id]
    assert beamtime.store.data_collections([5]) == []


def test_of_two_runs_at_the_same_moment_the_older_attempt_goes_on(a_beamtime: ABeamtime) -> None:
    from tasks.mx.steps import _yield_to_older  # noqa: PLC0415

    beamtime = a_beamtime()
    job_id = beamtime.job()
    older = an_open_attempt(beamtime, job_id, a_run("RUNNING"))
    younger = an_open_attempt(beamtime, job_id, a_run("RUNNING"))
    with pytest.raises(AlreadyRunning, match="at the same moment"):
        asyncio.run(_lims(beamtime, _yield_to_older, job_id, younger))
    asyncio.run(_lims(beamtime, _yield_to_older, job_id, older))

    states = [attempt.state for attempt in beamtime.store.attempts(job_id)]
    assert states == [AttemptState.RUNNING, AttemptState.FAILED]


async def _lims(beamtime: Beamtime, call: Callable[..., object], *arguments: object) -> object:
    from blocks.connections import IspybDatabase  # noqa: PLC0415

    return await call(await IspybDatabase.named(beamtime.names["ispyb"]), *arguments)  # type: ignore[misc]
