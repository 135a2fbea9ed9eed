"""Whether somebody still works on an attempt that has no status, from ISPyB and Prefect together.

ISPyB's end time moves at every sign of life, so a run whose process, machine or Prefect server is
gone falls silent there. A run that Prefect says is over will not move it again.
"""

from datetime import datetime, timedelta

from blocks.mx.records import Attempt
from tasks.runs import RunState, why_over


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
