"""Strains without a valid assembly, assembled from their Illumina paired-end reads."""

from datetime import datetime
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from blocks.connections import PLAIN_NAME, EnteroBase, Toolchain
from blocks.genomics.pairs import Limits
from flows.assemble_strain import Assembled, assemble_strain
from flows.update_scheme import NIGHT
from tasks.fan_out import FanOut, sending, stopped_with_its_sender
from tasks.genomics.assembly_night import assemble_found, plan_strains
from tasks.genomics.closing import close_what_run_left
from tasks.genomics.night_report import NightReport, Part
from tasks.genomics.night_steps import (
    Request,
    close_lost_first,
    of_plan,
    publish_night,
    start_night,
    utc_now,
)
from tasks.genomics.stages import AssemblerName
from tasks.policies import program_step

STRAINS = "assemble-strain/default"  # deployment that a work pool runs
ONE_AT_A_TIME = FanOut(concurrency=1)


@flow(
    name="update-assemblies",
    flow_run_name="update-assemblies-in-{database}",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def update_assemblies(
    database: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "entero",
    toolchain: Annotated[str, Field(min_length=1)] = "genomics",
    limit: Annotated[int | None, Field(ge=1)] = 100,
    since: datetime | None = None,
    force: bool = False,
    dry_run: bool = False,
    priority: Annotated[int | None, Field(ge=1)] = None,
    work_queue: Annotated[str, Field(min_length=1)] = NIGHT,
    fan_out: FanOut = ONE_AT_A_TIME,
) -> NightReport:
    """Assemble every strain that has no valid assembly and has Illumina paired-end reads.

    1. close what lost runs left   2. find the strains, newest first   3. claim the reads of each,
    so that nobody else assembles them   4. run each as assemble-strain, which types what passes
    5. report

    Args:
        database: Name of the EnteroBase block.
        toolchain: Name of the toolchain block: which programs, with what memory.
        limit: At most so many strains; empty for all. What is left comes next time.
        since: Only strains that are in the database since then; without a zone it is UTC.
        force: Assemble also what was put aside: failed for good, or of poor quality.
        dry_run: Say exactly what would be claimed, and write nothing.
        priority: Of the work queue, 1 is first; empty leaves what Prefect's page says.
        work_queue: Where the engine "work pool" sends strains.
        fan_out: What runs the strains, and how many at once; each has a run of its own.
    """
    request = Request(
        database=database,
        toolchain=toolchain,
        kind="update-assemblies",
        limits=Limits(limit=limit, since=since, force=force),
        dry_run=dry_run,
        priority=priority,
        work_queue=work_queue,
        fan_out=fan_out,
    )
    started = utc_now()
    part = await strains_assembled(request)
    report = NightReport(started=started, ended=utc_now(), dry_run=dry_run, parts=[part])
    await publish_night(report, about=f"assemblies in {database}")
    return report


async def strains_assembled(request: Request) -> Part:
    """Assemble the strains that lack an assembly."""
    lims = await EnteroBase.named(request.database)
    programs = await Toolchain.named(request.toolchain)
    n_lost, lost = await close_lost_first(lims, dry_run=request.dry_run)
    tool, found = await plan_strains(lims, programs, request.limits, lost)
    if request.dry_run:
        return of_plan(request, found).model_copy(update={"n_lost": n_lost})
    night = await start_night(lims, request, flow_run.get_id() or "")
    async with sending(request.fan_out, run_strain, STRAINS, request.work_queue) as send:
        part = await assemble_found(lims, night, tool, found, request, send)
    return part.model_copy(update={"n_lost": n_lost})


@program_step(name="run strain")
async def run_strain(
    reads: str, strain: str, assembler: AssemblerName, entero: str, toolchain: str, sent_by: str
) -> Assembled:
    """Run a strain's flow where a task runner puts this step."""
    with stopped_with_its_sender():
        return await assemble_strain(reads, strain, assembler, entero, toolchain, sent_by=sent_by)
