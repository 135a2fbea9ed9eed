"""Every scheme of a database that is called by itself, called wherever it is missing."""

from datetime import datetime
from typing import Annotated

from prefect import flow
from pydantic import Field

from blocks.connections import PLAIN_NAME
from blocks.genomics.pairs import Limits
from flows.update_scheme import NIGHT, schemes_updated
from tasks.fan_out import FanOut
from tasks.genomics.closing import close_what_run_left
from tasks.genomics.night_report import NightReport
from tasks.genomics.night_steps import Request, publish_night, utc_now


@flow(
    name="update-all-schemes",
    flow_run_name="update-all-schemes-in-{database}",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def update_all_schemes(
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
    """Call every automatic scheme on every passed best assembly that lacks it.

    As update-scheme does one: those whose row has a param.pipeline, newest assembly first.

    Args:
        database: Name of the EnteroBase block.
        toolchain: Name of the toolchain block; generic schemes run its programs.
        limit: At most so many pairs of all schemes; empty for all. What is left comes next time.
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
        kind="update-all-schemes",
        limits=Limits(limit=limit, since=since, force=force),
        dry_run=dry_run,
        priority=priority,
        work_queue=work_queue,
        fan_out=fan_out,
    )
    started = utc_now()
    part = await schemes_updated(request, None)
    report = NightReport(started=started, ended=utc_now(), dry_run=dry_run, parts=[part])
    await publish_night(report, about=f"all schemes in {database}")
    return report
