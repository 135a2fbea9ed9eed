"""What became of a flow run, as Prefect tells it."""

from pydantic import Field

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
