"""One scheme of a database, called wherever it is missing; the night calls all of them so."""

from datetime import datetime
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from blocks.connections import PLAIN_NAME, EnteroBase, Toolchain
from blocks.genomics.pairs import Limits
from flows.call_batch import run_batch
from tasks.fan_out import FanOut, sending
from tasks.genomics.closing import close_what_run_left
from tasks.genomics.night_report import NightReport, Part
from tasks.genomics.night_steps import (
    Request,
    call_pairs,
    close_lost_first,
    of_plan,
    plan,
    publish_night,
    start_night,
    utc_now,
)

BATCHES = "call-batch/default"  # deployment that a work pool runs
NIGHT = "night"  # work queue of what nobody waits for


@flow(
    name="update-scheme",
    flow_run_name="update-{scheme}-in-{database}",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def update_scheme(
    scheme: Annotated[str, Field(min_length=1, max_length=200)],
    database: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "entero",
    toolchain: Annotated[str, Field(min_length=1)] = "genomics",
    limit: Annotated[int | None, Field(ge=1)] = 1_000,
    since: datetime | None = None,
    force: bool = False,
    dry_run: bool = False,
    priority: Annotated[int | None, Field(ge=1)] = None,
    work_queue: Annotated[str, Field(min_length=1)] = NIGHT,
    fan_out: FanOut = FanOut(),  # noqa: B008 - frozen, and its fields are in the form
) -> NightReport:
    """Call one scheme on every passed best assembly that lacks it.

    1. close what lost runs left   2. find what is missing, newest first   3. claim it batch by
    batch, so that nobody else calls it   4. run the batches   5. report

    Args:
        scheme: Description of the scheme: schemes.description, like MLST_Achtman.
        database: Name of the EnteroBase block.
        toolchain: Name of the toolchain block; generic schemes run its programs.
        limit: At most so many pairs; empty for all. What is left comes next time.
        since: Only assemblies that are in the database since then; without a zone it is UTC.
        force: Call also what is complete, or was put aside after a failure for good.
        dry_run: Say exactly what would be claimed, and write nothing.
        priority: Of the work queue, 1 is first; empty leaves what Prefect's page says.
        work_queue: Where the engine "work pool" sends batches.
        fan_out: What runs the batches, how large they are, and how many at once.
    """
    request = Request(
        database=database,
        toolchain=toolchain,
        kind="update-scheme",
        limits=Limits(limit=limit, since=since, force=force),
        dry_run=dry_run,
        priority=priority,
        work_queue=work_queue,
        fan_out=fan_out,
    )
    started = utc_now()
    part = await schemes_updated(request, [scheme])
    report = NightReport(started=started, ended=utc_now(), dry_run=dry_run, parts=[part])
    await publish_night(report, about=f"{scheme} in {database}")
    return report


async def schemes_updated(request: Request, names: list[str] | None) -> Part:
    """Call schemes wherever they are missing: those that are called by themselves unless named."""
    lims = await EnteroBase.named(request.database)
    programs = await Toolchain.named(request.toolchain)
    n_lost, lost = await close_lost_first(lims, dry_run=request.dry_run)
    wanted, found = await plan(lims, programs, names, request.limits, lost)
    if request.dry_run:
        return of_plan(request, found).model_copy(update={"n_lost": n_lost})
    night = await start_night(lims, request, flow_run.get_id() or "")
    async with sending(request.fan_out, run_batch, BATCHES, request.work_queue) as send:
        part = await call_pairs(lims, night, wanted, found, request, send)
    return part.model_copy(update={"n_lost": n_lost})
