"""The steps of a night as Prefect tasks, and its page."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from pydantic import Field

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import LimsflowError, ServiceUnavailable
from blocks.genomics.nights import Night
from blocks.genomics.pairs import Limits, Wanted
from blocks.record import Record
from tasks.fan_out import Engine, FanOut
from tasks.genomics.closing import close_lost_runs
from tasks.genomics.night import (
    PairNight,
    Plan,
    lost_run_ids,
    plan_pairs,
    wanted_schemes,
    watched,
    with_outcomes,
)
from tasks.genomics.night_plots import outcomes_picture, progress_picture
from tasks.genomics.night_report import MOST_FAILURES, NightReport, Part, night_report
from tasks.life import Life
from tasks.patience import stored
from tasks.policies import step
from tasks.prefect_runs import ProgressBar, artifact_key, show
from tasks.runs import STALE_AFTER
from tasks.work_pools import Send, set_priority

logger = logging.getLogger(__name__)

TELL_EVERY_S = 1.0


class Request(Record):
    """What a night was asked for in one database."""

    database: str = Field(description="name of the EnteroBase block")
    toolchain: str
    kind: str = Field(description="the flow's name")
    limits: Limits
    dry_run: bool
    priority: int | None
    work_queue: str
    fan_out: FanOut


@step(name="close lost runs first")
async def close_lost_first(lims: EnteroBase, *, dry_run: bool) -> tuple[int, set[str]]:
    """Close what lost runs left open; a dry run only finds them. Return how many, and which."""
    if dry_run:
        lost = await lost_run_ids(lims, STALE_AFTER)
        return len(lost), lost
    closed = await close_lost_runs.fn(lims, stale_after=STALE_AFTER, dry_run=False)
    return len(closed), set()


@step(name="plan")
async def plan(
    lims: EnteroBase,
    programs: Toolchain,
    names: list[str] | None,
    limits: Limits,
    lost: set[str],
) -> tuple[list[Wanted], Plan]:
    """Find what there is to do; it writes nothing.

    Raises:
        NoSuchRecord: there is no scheme of a name.
    """
    wanted = await wanted_schemes(lims, programs, names)
    found = await asyncio.to_thread(plan_pairs, lims, wanted, limits, lost=lost)
    logger.info("%d to be called, found in %.1f s", found.eligible, found.took_s)
    return wanted, found


async def start_night(lims: EnteroBase, request: Request, run_id: str) -> Night:
    """Make the row of a night, and give its work queue the priority that it asks for."""
    if request.fan_out.engine is Engine.WORK_POOL and request.priority is not None:
        await set_priority(request.work_queue, request.priority)
    facts = request.model_dump(mode="json")
    return await stored(lims.store().nights.start, run_id, request.kind, facts)


async def call_pairs(
    lims: EnteroBase,
    night: Night,
    wanted: list[Wanted],
    found: Plan,
    request: Request,
    send: Send,
) -> Part:
    """Send everything that a plan found, show how far it is, and return what came of it."""
    began, names = time.monotonic(), {"entero": request.database, "toolchain": request.toolchain}
    total = found.claimable(request.limits.limit)
    going = PairNight(lims, night, wanted, request.limits, request.fan_out, names=names)
    async with (
        shown_progress(lims, night, total) as life,
        watched(lims, night, total, life) as how_far,
    ):
        await going.go(send)
        life.tell(1.0, "done")
    store = lims.store().nights
    counts = await asyncio.to_thread(with_outcomes, lims, night.id, found, wanted)
    ended = sum(one.claimed - one.queued for one in counts)
    how_far.moments.append((round(time.monotonic() - began, 1), ended))
    part = Part(
        database=request.database,
        kind=request.kind,
        night_id=night.id,
        counts=counts,
        n_looked_at=found.n_looked_at,
        limit=request.limits.limit,
        planned_s=found.took_s,
        wall_s=round(time.monotonic() - began, 1),
        failures=await stored(store.failures, night.id, limit=MOST_FAILURES),
        progress=how_far,
        was_ended=going.was_ended,
    )
    await stored(store.end, night.id, part.model_dump(mode="json"))
    return part


def of_failure(request: Request, failure: LimsflowError) -> Part:
    """Return the part of a report that says why a database was not gone over."""
    return Part(
        database=request.database, kind=request.kind, counts=[], n_looked_at=0, error=str(failure)
    )


def of_plan(request: Request, found: Plan) -> Part:
    """Return the part of a report that a dry run has."""
    return Part(
        database=request.database,
        kind=request.kind,
        counts=found.counts,
        n_looked_at=found.n_looked_at,
        limit=request.limits.limit,
        planned_s=found.took_s,
        listed=found.listed,
    )


@contextlib.asynccontextmanager
async def shown_progress(lims: EnteroBase, night: Night, total: int) -> AsyncGenerator[Life, None]:
    """Show a night's progress on Prefect's page while the block runs."""
    life, bar = Life(), ProgressBar(artifact_key("night", lims.database, str(night.id), "progress"))
    teller = asyncio.create_task(_tell(life, bar))
    try:
        yield life
    finally:
        teller.cancel()
        await asyncio.wait([teller])
        if total:
            await bar.end(life.fraction)


async def _tell(life: Life, bar: ProgressBar) -> None:
    told = ""
    while True:
        if str(life) != told:
            told = str(life)
            try:
                await bar.show(life.fraction, life.doing)
            except ServiceUnavailable as failure:
                logger.warning("%s", failure)
        await asyncio.sleep(TELL_EVERY_S)


async def publish_night(report: NightReport, *, about: str) -> None:
    """Publish the one report of a night."""
    pictures = list[tuple[str, str]]()
    if any(part.progress.moments for part in report.parts):
        pictures.append(("Progress", await asyncio.to_thread(progress_picture, report.parts)))
    if any(part.claimed for part in report.parts):
        pictures.append(("Outcomes", await asyncio.to_thread(outcomes_picture, report.parts)))
    await show(
        night_report(report, pictures),
        key=artifact_key("night", about),
        description=f"{about}: {report.title}"[:500],
    )


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
