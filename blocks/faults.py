"""Known failures of programs and their bounded, recorded repair.

A `Fault` is knowledge about one program: how its failure is recognised and what to change before
trying again. Write one for a failure that a changed *job* mends (less memory, fewer processes);
leave to the program what it can mend itself, and to a person what the data cause.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from blocks.errors import ProgramError
from blocks.record import Record

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Fault(Generic[JobT]):
    """One known failure.

    Args:
        name: What happened, in the lab's words; it is stored.
        marks: Whether an error is this fault.
        remedy: The changed job, or None when there is nothing left to change.
        limit: How often the remedy may be used in one run.
    """

    name: str
    marks: Callable[[ProgramError], bool]
    remedy: Callable[[JobT], JobT | None]
    limit: int


class Repair(Record):
    """One use of a remedy, for the record."""

    number: int
    fault: str
    error: str

    def __str__(self) -> str:
        """Say what happened and that it was tried again."""
        return f"try {self.number} failed ({self.fault}): {self.error}; trying again with a remedy"


async def run_with_remedies(
    run: Callable[[JobT, int], Awaitable[ResultT]],
    job: JobT,
    faults: Sequence[Fault[JobT]],
    *,
    max_tries: int,
    on_repair: Callable[[Repair], Awaitable[None]],
) -> ResultT:
    """Run a job, mend known faults, try again; at most `max_tries` times.

    Args:
        run: Runs the job; it is also given the number of the try, from 1.
        job: What to run first.
        faults: The known failures, in the order of asking.
        max_tries: Bound over all faults.
        on_repair: Awaited before each new try; put it on record there.

    Raises:
        ProgramError: the last failure, when it is unknown or the bounds are reached.
    """
    used: Counter[str] = Counter()
    for number in range(1, max_tries + 1):
        try:
            return await run(job, number)
        except ProgramError as error:
            fault = next((f for f in faults if f.marks(error) and used[f.name] < f.limit), None)
            mended = fault.remedy(job) if fault and number < max_tries else None
            if fault is None or mended is None:
                raise
            used[fault.name] += 1
            await on_repair(Repair(number=number, fault=fault.name, error=str(error)))
            job = mended
    msg = f"max_tries must be at least 1, not {max_tries}"
    raise ValueError(msg)
