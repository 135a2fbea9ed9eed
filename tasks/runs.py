"""What became of a flow run, as Prefect and its signs of life in the LIMS tell it."""

from datetime import datetime, timedelta

from pydantic import Field

from blocks.record import Record

STALE_AFTER = timedelta(minutes=15)
SECOND_LOOK_S = 60.0  # twice the time between two signs of life


class RunState(Record):
    """What Prefect says of a flow run."""

    type: str = Field(description="RUNNING, FAILED ...; UNKNOWN if Prefect has no such run")
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the run will do nothing more."""
        return self.type in OVER and self.type != "CANCELLING"

    @property
    def holds_a_slot(self) -> bool:
        """Whether Prefect still counts the run as one that does something."""
        return self.type in ("RUNNING", "PENDING", "CANCELLING")


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


def why_lost(run: RunState, seen: datetime | None, *, now: datetime, stale_after: timedelta) -> str:
    """Return why nobody works on what a run left open; empty if it may be alive.

    Args:
        run: What Prefect says of it.
        seen: When it gave its last sign of life; None: never.
        now: The time.
        stale_after: How long a living run may be silent.
    """
    if run.is_over:
        return why_over(run)
    # CANCELLING is not over: the run has 30 s to end by itself, and its hook closes what is open.
    if seen is None or now - seen >= stale_after:
        silent = f"silent for {(now - seen).total_seconds() / 60:.0f} min" if seen else "never seen"
        return f"lost: {silent}"
    return ""
