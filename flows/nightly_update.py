"""The night: every database's missing schemes, then its missing assemblies, and one report."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from blocks.connections import PLAIN_NAME
from blocks.errors import LimsflowError
from blocks.genomics.pairs import Limits
from flows.update_assemblies import strains_assembled
from flows.update_scheme import NIGHT, schemes_updated
from tasks.fan_out import FanOut
from tasks.genomics.closing import close_what_run_left
from tasks.genomics.night_report import NightReport, Part
from tasks.genomics.night_steps import Request, of_failure, publish_night, utc_now

DatabaseName = Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)]


@flow(
    name="nightly-update",
    flow_run_name="night",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def nightly_update(
    databases: Annotated[list[DatabaseName], Field(min_length=1)] = ["entero"],  # noqa: B006 - Prefect copies it
    toolchain: Annotated[str, Field(min_length=1)] = "genomics",
    limit: Annotated[int | None, Field(ge=1)] = 1_000,
    assembly_limit: Annotated[int, Field(ge=0)] = 100,
    since: datetime | None = None,
    force: bool = False,
    dry_run: bool = False,
    priority: Annotated[int | None, Field(ge=1)] = None,
    work_queue: Annotated[str, Field(min_length=1)] = NIGHT,
    fan_out: FanOut = FanOut(),  # noqa: B008 - frozen, and its fields are in the form
) -> NightReport | State[NightReport]:
    """Go over databases: call what schemes are missing, assemble what has no assembly, report.

    For each database 1. close what lost runs left   2. call every automatic scheme where it is
    missing   3. assemble strains that have reads and no valid assembly, and type what passes.
    One report for all. A night in which a database failed, or a bug was met, ends as failed, after
    everything else was done.

    Args:
        databases: Names of the EnteroBase blocks, in this order.
        toolchain: Name of the toolchain block: which programs, with what memory.
        limit: At most so many pairs of each database; empty for all.
        assembly_limit: At most so many assemblies of each database; 0 for none.
        since: Only what is in the database since then; without a zone it is UTC.
        force: Do also what is complete, or was put aside after a failure for good.
        dry_run: Say exactly what would be claimed, and write nothing.
        priority: Of the work queue, 1 is first; empty leaves what Prefect's page says.
        work_queue: Where the engine "work pool" sends batches and strains.
        fan_out: What runs the batches, how large they are, and how many at once.
    """
    started, parts = utc_now(), list[Part]()
    for database in databases:
        request = Request(
            database=database,
            toolchain=toolchain,
            kind="update-all-schemes",
            limits=Limits(limit=limit, since=since, force=force),
            dry_run=dry_run,
            priority=priority,
            work_queue=work_queue,
            fan_out=fan_out,
        )
        parts.append(await _tried(request, lambda asked: schemes_updated(asked, None)))
        if assembly_limit:
            limits = Limits(limit=assembly_limit, since=since, force=force)
            own = {"kind": "update-assemblies", "limits": limits}
            parts.append(await _tried(request.model_copy(update=own), strains_assembled))
    report = NightReport(started=started, ended=utc_now(), dry_run=dry_run, parts=parts)
    await publish_night(report, about=" ".join(databases))
    if report.problems:
        return Failed(message="; ".join(report.problems), data=report)
    return report


async def _tried(request: Request, update: Callable[[Request], Awaitable[Part]]) -> Part:
    """Do one part; a database that fails keeps no other from being gone over."""
    try:
        return await update(request)
    except LimsflowError as failure:
        return of_failure(request, failure)
