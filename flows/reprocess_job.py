"""One ISPyB processing job through xia2 or the DIALS programs."""

from pathlib import Path
from typing import Annotated, Literal

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from pydantic import Field

from blocks.connections import PLAIN_NAME, IspybDatabase, Toolchain
from blocks.errors import DataError, ProgramError, TransientError
from blocks.mx.dials import STEPS
from blocks.mx.messages import RecipeStep
from blocks.mx.records import Attempt, Finished, UnitCell
from blocks.record import Record
from tasks.life import Life
from tasks.mx.closing import close_attempts_of_run
from tasks.mx.engines import prepare_dials, read_dials, run_dials_step, run_xia2
from tasks.mx.publish import living, publish_failure, publish_report
from tasks.mx.sending_on import COMPLETED, FAILURE, STARTING, SUCCESS, send_on
from tasks.mx.steps import (
    Plan,
    plan_run,
    read_job,
    register_attempt,
    store_failure,
    store_results,
)


class Outcome(Record):
    """What a finished job found, and where the rest is."""

    job_id: int
    program_id: int
    space_group: str
    cell: UnitCell
    d_min: float | None
    results: Path
    program_wall_s: float


@flow(
    name="reprocess-job",
    flow_run_name="reprocess-job-{job_id}",
    on_failure=[close_attempts_of_run],
    on_crashed=[close_attempts_of_run],
    on_cancellation=[close_attempts_of_run],
)
async def reprocess_job(
    job_id: Annotated[int, Field(ge=1)],
    ispyb: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "ispyb",
    toolchain: Annotated[str, Field(min_length=1)] = "mx",
    integrations_on: Literal[
        "primary data collection", "own data collection"
    ] = "primary data collection",
    resume: bool = True,
    wait_for_rows_s: Annotated[float, Field(ge=0, le=3600)] = 60.0,
    step: RecipeStep | None = None,
) -> Outcome:
    """Reprocess one ISPyB job and store what it found.

    1. register an attempt, so the user sees it   2. read the job and its sweeps
    3. check sweeps, images and recipe   4. run xia2, or DIALS step by step, mending known faults
    5. judge and read the solution   6. store files and results, status last   7. report

    Args:
        job_id: The processing job: processingJobId in ISPyB.
        ispyb: Name of the ISPyB database block.
        toolchain: Name of the toolchain block: which programs, with which environment.
        integrations_on: The job's primary data collection, as SynchWeb has always shown it, or
            for each sweep the one that its images are from.
        resume: Take over the finished DIALS steps of an earlier failed attempt, where images,
            commands and program version are the same.
        wait_for_rows_s: How many seconds to wait for sweeps and images that are still being
            written.
        step: What zocalo's recipe says, where its dispatcher asked; the steps after this one
            are told.
    """
    lims, programs = await IspybDatabase.named(ispyb), await Toolchain.named(toolchain)
    attempt = await register_attempt(lims, programs, job_id, flow_run.get_id() or "", step)
    plan = None
    async with living(lims, attempt) as life:
        await tell_recipe(step, attempt, STARTING)
        try:
            job = await read_job(lims, job_id, wait_for_rows_s)
            plan = await plan_run(lims, programs, attempt, job, wait_for_rows_s, step)
            finished = await run_engine(lims, programs, plan, life, resume=resume)
            life.tell(0.99, "storing results")
            own = integrations_on == "own data collection"
            await store_results(lims, plan, finished, to_own_collection=own)
            life.tell(1.0, "done")
        except (ProgramError, DataError, TransientError) as failure:
            await store_failure(lims, attempt, plan, failure)
            await publish_failure(job_id, attempt, failure)
            await tell_recipe(step, attempt, FAILURE, COMPLETED)
            raise
    await tell_recipe(step, attempt, SUCCESS, COMPLETED)
    await publish_report(plan, finished)
    return Outcome(
        job_id=job_id,
        program_id=attempt.id,
        space_group=finished.solution.space_group,
        cell=finished.solution.cell,
        d_min=finished.solution.overall.d_min,
        results=plan.results,
        program_wall_s=finished.program_wall_s,
    )


async def tell_recipe(step: RecipeStep | None, attempt: Attempt, *outputs: str) -> None:
    """Send zocalo's recipe on to the steps after this one, if there is a recipe.

    A broker that stays away does not change what the run found.
    """
    if step:
        try:
            await send_on(step, attempt, *outputs)
        except TransientError as failure:
            get_run_logger().warning("the recipe does not go on: %s", failure)


async def run_engine(
    lims: IspybDatabase, programs: Toolchain, plan: Plan, life: Life, *, resume: bool
) -> Finished:
    """Run the recipe's engine: xia2 as one step, or each DIALS program as a step of its own."""
    if plan.recipe.engine == "xia2":
        return await run_xia2(lims, programs, plan, life)
    run = await prepare_dials(lims, programs, plan, resume=resume)
    for step in STEPS:
        await run_dials_step.with_options(name=step.title)(lims, programs, run, step, life)
    return await read_dials(run)
