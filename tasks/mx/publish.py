"""What a person sees in Prefect: progress while it runs, and a report at the end."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from uuid import UUID

import httpx
from prefect.artifacts import (
    acreate_progress_artifact,
    aupdate_progress_artifact,
)
from prefect.exceptions import PrefectException

from blocks.connections import IspybDatabase
from blocks.errors import LimsflowError, ProgramError, ServiceUnavailable
from blocks.mx.records import Attempt, Finished
from tasks.life import Life, signs_of_life
from tasks.mx.report import failure_report, report
from tasks.mx.steps import Plan
from tasks.prefect_runs import show


@contextlib.asynccontextmanager
async def living(lims: IspybDatabase, attempt: Attempt) -> AsyncGenerator[Life, None]:
    """Show an attempt's progress in Prefect and ISPyB while the block runs."""
    store = lims.store()
    bar: UUID | None = None

    async def to_lims(message: str) -> None:
        await asyncio.to_thread(store.report_progress, attempt.id, message)

    async def to_prefect(fraction: float, doing: str) -> None:
        nonlocal bar
        try:
            if bar is None:
                key = f"job-{attempt.job_id}-progress"
                bar = await acreate_progress_artifact(100 * fraction, key=key, description=doing)
            else:
                await aupdate_progress_artifact(bar, progress=100 * fraction, description=doing)
        except (httpx.HTTPError, PrefectException) as error:
            msg = f"Prefect does not take the progress: {error}"
            raise ServiceUnavailable(msg) from error

    async with signs_of_life(to_lims=to_lims, to_prefect=to_prefect) as life:
        yield life
        if life.fraction == 1.0:
            with contextlib.suppress(ServiceUnavailable):
                await to_prefect(1.0, "done")


async def publish_report(plan: Plan, finished: Finished) -> None:
    """Publish the report of a finished job."""
    solution = finished.solution
    await show(
        report(
            plan.job, plan.attempt, finished, argv=plan.argv(), results=plan.results, note=plan.note
        ),
        key=f"job-{plan.job.id}-report",
        description=f"Job {plan.job.id}: {solution.space_group}, {solution.cell}",
    )


async def publish_failure(job_id: int, attempt: Attempt, failure: LimsflowError) -> None:
    """Publish the reason of a failure and its evidence."""
    evidence = failure.evidence if isinstance(failure, ProgramError) else str(failure)
    await show(
        failure_report(job_id, attempt, str(failure), evidence),
        key=f"job-{job_id}-report",
        description=f"Job {job_id} failed: {failure}",
    )
