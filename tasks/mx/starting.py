"""Jobs that nobody started, because their message was lost: started late, and once."""

import asyncio
from datetime import timedelta
from uuid import uuid4

from prefect.logging import get_run_logger

from blocks.connections import IspybDatabase, MessageBroker, Toolchain
from blocks.mx.recipe import recipe_names
from blocks.record import Record
from tasks.flow_runs import prefect_runs
from tasks.mx.hand_off import RECONCILER, Outcome, hand_off
from tasks.mx.requests import record_refusal
from tasks.policies import step

NO_MESSAGE = "no message came: found by reconcile-jobs"


class Late(Record):
    """A job without an attempt, and what was made of it."""

    job_id: int
    run_id: str = ""
    refused: str = ""


@step(name="find jobs that nobody started")
async def jobs_not_begun(
    lims: IspybDatabase, programs: Toolchain, broker: MessageBroker
) -> list[int]:
    """Return users' jobs of our recipes whose message must have been lost."""
    if not broker.start_lost_after_s:
        return []
    return await asyncio.to_thread(
        lims.store().jobs_not_begun,
        broker.recipes or recipe_names(programs.recipes),
        older_than=timedelta(seconds=broker.start_lost_after_s),
        younger_than=timedelta(days=broker.lost_for_days),
    )


@step(name="start a job that nobody started")
async def start_late(lims: IspybDatabase, broker: MessageBroker, job_id: int) -> Late | None:
    """Start a job; None if its run is about to begin.

    One whose run ended before it could register an attempt is closed as failed, so that it is not
    started for ever and its user reads why.
    """
    async with prefect_runs() as runs:
        handed = await hand_off(
            lims.store(),
            runs,
            job_id,
            parameters={"ispyb": broker.ispyb, "toolchain": broker.toolchain},
            source=RECONCILER,
            wish=uuid4().hex,
            message=NO_MESSAGE,
            repeated=True,
        )
    if handed.ended:
        await asyncio.to_thread(record_refusal, lims.store(), job_id, handed.ended)
        return Late(job_id=job_id, refused=handed.ended)
    if handed.outcome is Outcome.REPEATED:
        return None
    get_run_logger().warning("job %d was not started by anybody: now it is", job_id)
    return Late(job_id=job_id, run_id=str(handed.run_id))
