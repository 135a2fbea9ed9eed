"""Jobs whose message was lost are started late and once; the reconciler may run at any time."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text

from blocks.mx.records import AttemptState
from tests.flows.beamtimes import Beamtime

ABeamtime = Callable[..., Beamtime]
numbers = itertools.count(1)
FIRST_ID = 500_000  # Prefect keeps the keys of all tests of a session


@pytest.fixture
def beamtime(deployed: None, a_beamtime: ABeamtime) -> Beamtime:
    """A beamtime whose ISPyB counts jobs from a number of its own."""
    made = a_beamtime("good")
    job_id = made.job()
    changed(
        made, "UPDATE ProcessingJob SET processingJobId = :id", id=FIRST_ID + 1000 * next(numbers)
    )
    changed(made, "DELETE FROM ProcessingJobImageSweep WHERE processingJobId = :id", id=job_id)
    changed(made, "UPDATE ProcessingJob SET automatic = 1")
    return made


def changed(beamtime: Beamtime, sql: str, **values: Any) -> None:
    engine = create_engine(beamtime.url)
    with engine.begin() as connection:
        connection.execute(text(sql), values)
    engine.dispose()


def a_job(beamtime: Beamtime, *, minutes: float = 20, recipe: str = "xia2-dials") -> int:
    """Make a job as SynchWeb did so many minutes ago; nobody starts it."""
    job_id = beamtime.job(recipe=recipe)
    made = datetime.now() - timedelta(minutes=minutes)  # noqa: DTZ005 - ISPyB's times are local
    changed(
        beamtime,
        "UPDATE ProcessingJob SET recordTimestamp = :made WHERE processingJobId = :id",
        made=made.replace(microsecond=0),
        id=job_id,
    )
    return job_id


def reconciled(
    beamtime: Beamtime, *, dry_run: bool = False, stuck_after_s: float = 900, **of_the_block: Any
) -> list[Any]:
    """Reconcile with a broker's block that says which recipes are ours; return what was started."""
    from pydantic import SecretStr  # noqa: PLC0415

    from blocks.connections import MessageBroker  # noqa: PLC0415 - loads Prefect
    from flows.reconcile_jobs import reconcile_jobs  # noqa: PLC0415

    name = beamtime.names["ispyb"]
    usual = {"recipes": ["xia2-dials"], "ispyb": name, "toolchain": name}
    block = MessageBroker(url=SecretStr("amqp://nowhere"), **(usual | of_the_block))
    asyncio.run(block.asave(name, overwrite=True))
    options = {"entero": None, "dry_run": dry_run, "stuck_after_s": stuck_after_s}
    return asyncio.run(reconcile_jobs(ispyb=name, broker=name, **options))


def runs_of(job_id: int) -> list[Any]:
    from prefect import get_client  # noqa: PLC0415 - loads Prefect

    async def found() -> list[Any]:
        async with get_client() as client:
            answer = await client._client.post(
                "/flow_runs/filter", json={"sort": "START_TIME_DESC"}
            )
            return answer.json()

    return [run for run in asyncio.run(found()) if run["parameters"].get("job_id") == job_id]


def test_a_job_that_nobody_started_is_started_once(beamtime: Beamtime) -> None:
    job_id = a_job(beamtime)
    first, second = reconciled(beamtime), reconciled(beamtime)

    assert [(one.deed, one.job_id) for one in first] == [("started", job_id)]
    assert second == []
    (run,) = runs_of(job_id)
    assert (run["state"]["type"], run["labels"]["limsflow.source"]) == (
        "SCHEDULED",
        "reconcile-jobs",
    )


@pytest.mark.parametrize(
    ("job", "block"),
    [
        ({"minutes": 2}, {}),
        ({"minutes": 60 * 24 * 8}, {}),
        ({"recipe": "xia2-3dii"}, {}),
        ({}, {"start_lost_after_s": 0}),
    ],
    ids=["too young", "too old", "not our recipe", "not asked for"],
)
def test_a_job_that_is_not_lost_or_not_ours_is_left_alone(
    beamtime: Beamtime, job: dict[str, Any], block: dict[str, Any]
) -> None:
    job_id = a_job(beamtime, **job)

    assert reconciled(beamtime, **block) == []
    assert runs_of(job_id) == []


def test_an_automatic_job_may_be_held_back_and_is_left_alone(beamtime: Beamtime) -> None:
    job_id = a_job(beamtime)
    changed(
        beamtime, "UPDATE ProcessingJob SET automatic = 1 WHERE processingJobId = :id", id=job_id
    )

    assert reconciled(beamtime) == []


def test_a_dry_run_says_what_it_would_start(beamtime: Beamtime) -> None:
    job_id = a_job(beamtime)

    assert [(one.deed, one.job_id) for one in reconciled(beamtime, dry_run=True)] == [
        ("started", job_id)
    ]
    assert runs_of(job_id) == []


def test_a_job_whose_run_cannot_begin_is_closed_with_the_reason(beamtime: Beamtime) -> None:
    from prefect import get_client  # noqa: PLC0415 - loads Prefect
    from prefect.states import Crashed  # noqa: PLC0415

    job_id = a_job(beamtime)
    run_id = reconciled(beamtime)[0].flow_run_id

    async def crash() -> None:
        async with get_client() as client:
            await client.set_flow_run_state(run_id, Crashed(message="no module flows"), force=True)

    asyncio.run(crash())
    (closed,) = reconciled(beamtime)

    attempt = beamtime.attempt(job_id)
    assert (closed.deed, attempt.state) == ("closed", AttemptState.FAILED)
    assert "no module flows" in attempt.message
    assert reconciled(beamtime) == []


def test_a_run_that_a_lost_worker_never_began_waits_for_another_one(beamtime: Beamtime) -> None:
    from prefect import get_client  # noqa: PLC0415 - loads Prefect
    from prefect.states import Pending  # noqa: PLC0415

    job_id = a_job(beamtime)
    run_id = reconciled(beamtime)[0].flow_run_id

    async def taken() -> None:
        async with get_client() as client:
            await client.set_flow_run_state(run_id, Pending(), force=True)

    asyncio.run(taken())
    early, late = reconciled(beamtime), reconciled(beamtime, stuck_after_s=0)

    assert early == []
    mended = {one.flow_run_id: (one.deed, one.job_id) for one in late}  # other tests' too
    assert mended[run_id] == ("rescheduled", job_id)
    assert [run["state"]["type"] for run in runs_of(job_id)] == ["SCHEDULED"]


def test_a_run_that_begins_while_the_reconciler_looks_is_left_alone(beamtime: Beamtime) -> None:
    from prefect import get_client  # noqa: PLC0415 - loads Prefect
    from prefect.states import Pending, Running  # noqa: PLC0415

    from tasks.flow_runs import prefect_runs  # noqa: PLC0415

    a_job(beamtime)
    run_id = UUID(reconciled(beamtime)[0].flow_run_id)

    async def begun_meanwhile() -> list[bool]:
        async with get_client() as client, prefect_runs() as runs:
            await client.set_flow_run_state(run_id, Pending(), force=True)
            (seen,) = [one for one in await runs.stuck(timedelta(0)) if one.id == run_id]
            await client.set_flow_run_state(run_id, Running(), force=True)
            left = await runs.reschedule(seen)
            await client.delete_flow_run(run_id)
            return [left, await runs.reschedule(seen)]

    assert asyncio.run(begun_meanwhile()) == [False, False]


def test_a_job_that_is_complete_is_never_started_again(beamtime: Beamtime) -> None:
    job_id = a_job(beamtime)
    beamtime.run(job_id)

    assert reconciled(beamtime) == []
    assert len(beamtime.store.attempts(job_id)) == 1
