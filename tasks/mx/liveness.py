"""Whether somebody still works on an attempt that has no status, from ISPyB and Prefect together.

ISPyB's end time moves at every sign of life, so a run whose process, machine or Prefect server is
gone falls silent there. A run that Prefect says is over will not move it again.
"""

from datetime import datetime, timedelta

from pydantic import Field

from blocks.mx.records import Attempt
from blocks.record import Record


class RunState(Record):
    """What Prefect says of a flow run."""

    type: str = Field(description="RUNNING, FAILED ...; UNKNOWN if Prefect has no such run")
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the run will do nothing more."""
        return self.type in OVER and self.type != "CANCELLING"


OVER = {
    "COMPLETED": "the flow run completed without closing the attempt",
    "FAILED": "the flow run failed",
    "CRASHED": "the flow run crashed",
    "CANCELLED": "cancelled in Prefect",
    "CANCELLING": "cancelled in Prefect",
}


def why_over(run: RunState) -> str:
    """Return what became of a run that does nothing more."""
    detail = f": {run.message}" if run.message else ""
    return f"{OVER.get(run.type, run.type)}{detail}"


def reason_to_close(
    attempt: Attempt, run: RunState, *, now: datetime, stale_after: timedelta
) -> str:
    """Return why an open attempt is over, for its status message; empty if it may be alive."""
    if run.is_over:
        return why_over(run)
    # CANCELLING is not over: the run has 30 s to end by itself, and its hook closes the attempt.
    seen = attempt.updated_at or attempt.started_at or attempt.recorded_at
    if seen is None or now - seen >= stale_after:
        silent = f"silent for {(now - seen).total_seconds() / 60:.0f} min" if seen else "never seen"
        return f"lost: {silent}"
    return ""
