"""What was lost with a message, a worker, a server or a machine: started, or closed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Literal, TypeVar

from prefect import flow
from prefect.logging import get_run_logger
from pydantic import Field

from blocks.connections import EnteroBase, IspybDatabase, MessageBroker, Toolchain
from blocks.errors import InvalidRequest
from blocks.record import Record
from tasks.genomics.closing import LostRun, close_lost_runs
from tasks.mx.closing import close_attempt_if_lost, open_attempts
from tasks.mx.starting import NO_MESSAGE, jobs_not_begun, start_late
from tasks.stuck_runs import reschedule, stuck_runs

# What 'limsflow deploy' calls them, if the site has them
ISPYB, ENTERO, BROKER = "ispyb", "entero", "broker"

PLAIN_NAME_OR_NONE = r"^[^@?]*$"

BlockT = TypeVar("BlockT")


class Mended(Record):
    """What was closed as failed and why, or started late."""

    deed: Literal["closed", "started", "rescheduled"] = "closed"
    program_id: int | None = Field(default=None, description="attempt at a job of ISPyB")
    flow_run_id: str = Field(default="", description="run on a job of EnteroBase")
    job_id: int | None
    about: str = Field(default="", description="pipeline and accession of a job of EnteroBase")
    reason: str


@flow(name="reconcile-jobs", flow_run_name="reconcile-jobs")
async def reconcile_jobs(
    ispyb: Annotated[str | None, Field(pattern=PLAIN_NAME_OR_NONE)] = ISPYB,
    stale_after_s: Annotated[float, Field(ge=0, le=86_400)] = 900.0,
    dry_run: bool = False,
    entero: Annotated[str | None, Field(pattern=PLAIN_NAME_OR_NONE)] = ENTERO,
    broker: Annotated[str | None, Field(pattern=PLAIN_NAME_OR_NONE)] = BROKER,
    stuck_after_s: Annotated[float, Field(ge=0, le=86_400)] = 900.0,
) -> list[Mended]:
    """Close what was left open by a lost worker, server or machine; start what nobody started.

    1. find what limsflow began and nobody closed: attempts in ISPyB; calls, jobs and searches in
    EnteroBase   2. ask Prefect for each one's run   3. close, as failed and with the reason, what
    belongs to a run that is over or silent   4. reschedule runs that a lost worker never began
    5. start the jobs of users whose message was lost, if the broker's block says which are ours

    Args:
        ispyb: Name of the ISPyB database block; empty: none. The usual name may be missing.
        stale_after_s: A run without a sign of life for so many seconds is lost; a living one
            gives a sign every 30 s.
        dry_run: Say what would be closed, and close nothing.
        entero: Name of the EnteroBase block; empty: none. The usual name may be missing.
        broker: Name of the broker's block, with the recipes that are ours; empty: jobs that nobody
            started are left alone. The usual name may be missing.
        stuck_after_s: A run that a worker took and did not begin for so many seconds is another
            worker's; more than the longest wait for a container.
    """
    crystals = await _database(IspybDatabase.named, ispyb, ISPYB)
    isolates = await _database(EnteroBase.named, entero, ENTERO)
    if crystals is None and isolates is None:
        msg = "there is no database to look at: run 'limsflow deploy', or name a block"
        raise InvalidRequest(msg)
    silence = timedelta(seconds=stale_after_s)
    found = await asyncio.gather(
        _close_attempts(crystals, silence, dry_run=dry_run),
        _close_runs(isolates, silence, dry_run=dry_run),
    )
    rescheduled = await _reschedule(timedelta(seconds=stuck_after_s), dry_run=dry_run)
    started = await _start_late(
        await _database(MessageBroker.named, broker, BROKER), dry_run=dry_run
    )
    return [*(one for some in found for one in some), *rescheduled, *started]


async def _reschedule(after: timedelta, *, dry_run: bool) -> list[Mended]:
    stuck = await stuck_runs(after)
    mended = stuck if dry_run else [run for run in stuck if await reschedule(run)]
    reason = "the worker that took it was lost before it began"
    return [
        Mended(
            deed="rescheduled",
            flow_run_id=str(run.id),
            job_id=run.parameters.get("job_id"),
            about=run.name,
            reason=reason,
        )
        for run in mended
    ]


async def _start_late(broker: MessageBroker | None, *, dry_run: bool) -> list[Mended]:
    if broker is None:
        return []
    lims = await IspybDatabase.named(broker.ispyb)
    late = await jobs_not_begun(lims, await Toolchain.named(broker.toolchain), broker)
    if dry_run:
        return [Mended(deed="started", job_id=one, reason=NO_MESSAGE) for one in late]
    begun = [await start_late(lims, broker, one) for one in late]
    return [
        Mended(
            deed="closed" if one.refused else "started",
            flow_run_id=one.run_id,
            job_id=one.job_id,
            reason=one.refused or NO_MESSAGE,
        )
        for one in begun
        if one
    ]


async def _database(
    named: Callable[[str], Awaitable[BlockT]], name: str | None, usual: str
) -> BlockT | None:
    """Return a database or a broker, None if it is not asked for or this site has none.

    Raises:
        InvalidRequest: somebody named one that is not there.
    """
    if not name:
        return None
    try:
        return await named(name)
    except InvalidRequest:
        if name != usual:
            raise
        return None


async def _close_attempts(
    lims: IspybDatabase | None, silence: timedelta, *, dry_run: bool
) -> list[Mended]:
    if lims is None:
        return []
    found = await open_attempts(lims)
    # All at once: each that seems lost is looked at a second time, a minute later.
    reasons = await asyncio.gather(
        *(close_attempt_if_lost(lims, a, stale_after=silence, dry_run=dry_run) for a in found)
    )
    lost = [(attempt, why) for attempt, why in zip(found, reasons, strict=True) if why]
    for attempt, why in lost:
        get_run_logger().warning("AutoProcProgram %d: %s", attempt.id, why)
    return [Mended(program_id=a.id, job_id=a.job_id, reason=why) for a, why in lost]


async def _close_runs(
    lims: EnteroBase | None, silence: timedelta, *, dry_run: bool
) -> list[Mended]:
    if lims is None:
        return []
    lost = await close_lost_runs(lims, stale_after=silence, dry_run=dry_run)
    for run in lost:
        get_run_logger().warning("%s: %s", _about(run) or run.flow_run_id, run.reason)
    return [
        Mended(flow_run_id=run.flow_run_id, job_id=run.job_id, about=_about(run), reason=run.reason)
        for run in lost
    ]


def _about(run: LostRun) -> str:
    return f"{run.pipeline} {run.accession}".strip()
