"""Attempts that nobody works on any more: after a lost worker, server or machine."""

from datetime import timedelta
from typing import Annotated

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from blocks.connections import PLAIN_NAME, IspybDatabase
from blocks.record import Record
from tasks.mx.closing import close_attempt_if_lost, open_attempts


class Closed(Record):
    """An attempt that was closed as failed, and why."""

    program_id: int
    job_id: int | None
    reason: str


@flow(name="reconcile-jobs", flow_run_name="reconcile-jobs")
async def reconcile_jobs(
    ispyb: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "ispyb",
    stale_after_s: Annotated[float, Field(ge=0, le=86_400)] = 900.0,
    dry_run: bool = False,
) -> list[Closed]:
    """Close what was left running by a lost worker, server or machine.

    1. find the attempts that limsflow made and nobody closed   2. ask Prefect for each one's run
    3. close, as failed and with the reason, those whose run is over or silent

    Args:
        ispyb: Name of the ISPyB database block.
        stale_after_s: An attempt without a sign of life for so many seconds is lost; a living
            one gives a sign every 30 s.
        dry_run: Say what would be closed, and close nothing.
    """
    lims = await IspybDatabase.named(ispyb)
    closed = list[Closed]()
    for attempt in await open_attempts(lims):
        reason = await close_attempt_if_lost(
            lims, attempt, stale_after=timedelta(seconds=stale_after_s), dry_run=dry_run
        )
        if reason:
            closed.append(Closed(program_id=attempt.id, job_id=attempt.job_id, reason=reason))
            get_run_logger().warning("AutoProcProgram %d: %s", attempt.id, reason)
    return closed
