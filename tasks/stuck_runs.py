"""Runs that a worker took and never began, because it was lost: another worker gets them."""

from datetime import timedelta

from tasks.flow_runs import Run, prefect_runs
from tasks.policies import step


@step(name="find runs that never began")
async def stuck_runs(after: timedelta) -> list[Run]:
    """Return the runs that were taken so long ago."""
    async with prefect_runs() as runs:
        return await runs.stuck(after)


@step(name="give a run to another worker")
async def reschedule(run: Run) -> bool:
    """Make a run one that waits again; False: it has begun or is gone."""
    async with prefect_runs() as runs:
        return await runs.reschedule(run)
