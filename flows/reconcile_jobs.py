"""Attempts that nobody works on any more: after a lost worker, server or machine."""

import asyncio
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
    found, silence = await open_attempts(lims), timedelta(seconds=stale_after_s)
    # All at once: each that seems lost is looked at a second time, a minute later.
    reasons = await asyncio.gather(
        *(close_attempt_if_lost(lims, a, stale_after=silence, dry_run=dry_run) for a in found)
    )
    lost = [(attempt, why) for attempt, why in zip(found, reasons, strict=True) if why]
    for attempt, why in lost:
        get_run_logger().warning("AutoProcProgram %d: %s", attempt.id, why)
    return [Closed(program_id=a.id, job_id=a.job_id, reason=why) for a, why in lost]
