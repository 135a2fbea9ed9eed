"""Whether somebody still works on an attempt that has no status, from ISPyB and Prefect together.

ISPyB's end time moves at every sign of life, so a run whose process, machine or Prefect server is
gone falls silent there. A run that Prefect says is over will not move it again.
"""

from datetime import UTC, datetime, timedelta

from blocks.mx.records import Attempt
from tasks.runs import STALE_AFTER, RunState, why_lost


def reason_to_close(
    attempt: Attempt, run: RunState, *, now: datetime, stale_after: timedelta
) -> str:
    """Return why an open attempt is over, for its status message; empty if it may be alive."""
    return why_lost(run, attempt.seen_at, now=now, stale_after=stale_after)


def is_silent(attempt: Attempt) -> bool:
    """Whether an attempt has given no sign of life for so long that nobody works on it."""
    seen = attempt.seen_at
    return seen is None or datetime.now(UTC) - seen >= STALE_AFTER
