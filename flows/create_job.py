"""A new ISPyB processing job, and if wished its first run."""

from typing import Annotated

from prefect import flow
from prefect.deployments import arun_deployment
from pydantic import Field

from blocks.connections import PLAIN_NAME, IspybDatabase, Toolchain
from blocks.mx.records import JobRequest
from tasks.mx.creating import create_processing_job


@flow(name="create-job", flow_run_name="create-job-{job.recipe}")
async def create_job(
    job: JobRequest,
    ispyb: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "ispyb",
    toolchain: Annotated[str, Field(min_length=1)] = "mx",
    start: bool = False,
) -> int:
    """Create one processing job and return its id.

    1. validate everything   2. write job, sweeps and parameters in one transaction
    3. if wished, start the deployment reprocess-job/default with it

    Args:
        job: Recipe, sweeps and parameters.
        ispyb: Name of the ISPyB database block.
        toolchain: Name of the toolchain block, which may name the facility's own recipes.
        start: Start the deployment reprocess-job/default with the new job.
    """
    lims, programs = await IspybDatabase.named(ispyb), await Toolchain.named(toolchain)
    job_id = await create_processing_job(lims, programs, job)
    if start:
        parameters = {"job_id": job_id, "ispyb": ispyb, "toolchain": toolchain}
        await arun_deployment(
            "reprocess-job/default", parameters=parameters, timeout=0, as_subflow=False
        )
    return job_id
