"""What a person sees in Prefect: progress while it runs, and a report at the end."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from blocks.connections import IspybDatabase
from blocks.errors import LimsflowError, ProgramError
from blocks.mx.records import Attempt, Finished
from tasks.life import Life, signs_of_life
from tasks.mx.report import failure_report, report
from tasks.mx.steps import Plan
from tasks.prefect_runs import ProgressBar, show


@contextlib.asynccontextmanager
async def living(lims: IspybDatabase, attempt: Attempt) -> AsyncGenerator[Life, None]:
    """Show an attempt's progress in Prefect and ISPyB while the block runs."""
    store = lims.store()
    bar = ProgressBar(f"job-{attempt.job_id}-progress")

    async def to_lims(message: str) -> None:
        await asyncio.to_thread(store.report_progress, attempt.id, message)

    async with signs_of_life(to_lims=to_lims, to_prefect=bar.show) as life:
        yield life
    await bar.end(life.fraction)  # after the last sign, which else might overtake it


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
