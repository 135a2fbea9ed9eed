"""What the old calculation engine (CRobot) calls back with, taken once for each end of a job.

Of its body only little is documented (the developers' page *Jobs* and the engine's own page): the
job's number, its status, `log`, `outputs`, `tag`, `version`, and that the same result may come more
than once. So keys that we do not know are taken and left alone.
"""

import logging
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from blocks.errors import AlreadyRunning
from blocks.genomics.jobs import JobStore
from blocks.record import Record
from deployments.endpoints import API

PATH = f"{API}/call-back"
LARGEST_BODY = 1_000_000  # bytes

logger = logging.getLogger(__name__)


class CallBack(BaseModel):
    """The end of a job that CRobot worked on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    job_id: int = Field(ge=1, le=2**31 - 1, description="user_jobs.job_id")
    status: Literal["COMPLETE", "FAILED", "KILLED"] = Field(description="how it ended")
    pipeline: str = Field(default="", max_length=500, description="which one ran")
    version: str = Field(default="", max_length=60, description="of the pipeline; kept")
    tag: str = Field(default="", max_length=2000, description="what the job is about")
    log: Any = Field(default=None, description="text or JSON; looked at by nobody here")
    outputs: dict[str, Any] = Field(
        default_factory=dict[str, Any], description="files; they stay under the job's number"
    )


class Taken(Record):
    """What became of a call-back."""

    accepted: bool = Field(description="whether it closed the job")
    status: str = Field(description="of the job, from now on")
    reason: str = Field(default="", description="why it changed nothing")


def take(jobs: JobStore, told: CallBack) -> Taken:
    """Close a job as it is told, once; in one transaction.

    Raises:
        NoSuchRecord: there is no such job.
        AlreadyRunning: it ended otherwise, or a flow run of ours works on it.
    """
    stands = jobs.close_once(told.job_id, told.status, version=told.version or None)
    if stands is None:
        logger.info("job %d was closed by a call-back: %s", told.job_id, told.status)
        return Taken(accepted=True, status=told.status)
    if stands == told.status:
        why = f"job {told.job_id} was {stands} already"
        return Taken(accepted=False, status=stands, reason=why)
    msg = f"job {told.job_id} ended as {stands} before, and now as {told.status}"
    raise AlreadyRunning(msg)
