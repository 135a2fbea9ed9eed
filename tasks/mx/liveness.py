"""Whether somebody still works on an attempt that has no status, from ISPyB and Prefect together.

ISPyB's end time moves at every sign of life, so a run whose process, machine or Prefect server is
gone falls silent there. A run that Prefect says is over will not move it again.
"""

from datetime import datetime, timedelta

from blocks.mx.records import Attempt
from tasks.runs import RunState, why_lost


def reason_to_close(
    attempt: Attempt, run: RunState, *, now: datetime, stale_after: timedelta
) -> str:
    """Return why an open attempt is over, for its status message; empty if it may be alive."""
    seen = attempt.updated_at or attempt.started_at or attempt.recorded_at
    return why_lost(run, seen, now=now, stale_after=stale_after)
