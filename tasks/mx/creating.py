"""Creating a processing job: everything is checked before anything is written."""

import asyncio

from prefect.logging import get_run_logger

from blocks.connections import IspybDatabase, Toolchain
from blocks.mx.records import JobRequest
from tasks.mx.requests import create_job
from tasks.policies import program_step


# Not retried: when the database is lost at the commit, the job may be there, and a second one
# would be run as well.
@program_step(name="create processing job")
async def create_processing_job(
    lims: IspybDatabase, programs: Toolchain, request: JobRequest
) -> int:
    """Write a job with its sweeps and parameters; return its id.

    Raises:
        InvalidRequest: the recipe or a data collection is unknown, or a range is impossible.
    """
    job_id = await asyncio.to_thread(
        create_job, lims.store(), request, recipes_directory=programs.recipes
    )
    get_run_logger().info("created processing job %d: %s", job_id, request.recipe)
    return job_id
