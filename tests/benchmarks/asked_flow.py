"""A flow that the bridge takes for reprocess-job, and that does nothing: the peers' three no-ops.

It is deployed under that job's name on the benchmark's own server, so that the bridge does all
that it does for a job, and the run is the one that peers are measured with.
"""

import time
from pathlib import Path

from prefect import flow

from tests.benchmarks.warm_worker import no_op


@flow(name="reprocess-job")
async def no_op_job(job_id: int, ispyb: str, toolchain: str, marks: str) -> None:
    """Leave the time of the first line in a file of the job's; `ispyb`, `toolchain`: unused."""
    new = Path(marks) / f"job-{job_id}.new"
    new.write_text(repr(time.time()))
    new.rename(new.with_suffix(""))
    for number in range(3):
        await no_op(number)
