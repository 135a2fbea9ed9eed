"""Creating a processing job: everything is checked before anything is written."""

import asyncio

from prefect.logging import get_run_logger

from blocks.connections import IspybDatabase
from blocks.mx.records import JobRequest
from tasks.mx.requests import create_job
from tasks.policies import step


@step(name="create processing job", retries=3)
async def create_processing_job(lims: IspybDatabase, request: JobRequest) -> int:
    """Write a job with its sweeps and parameters; return its id.

    Raises:
        InvalidRequest: the recipe or a data collection is unknown, or a range is impossible.
    """
    job_id = await asyncio.to_thread(create_job, lims.store(), request)
    get_run_logger().info("created processing job %d: %s", job_id, request.recipe)
    return job_id
