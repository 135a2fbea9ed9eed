"""What may be done about a failure: run it again, put it aside, or let a person look."""

from blocks.errors import (
    LimsflowError,
    ProgramError,
    ProgramKilled,
    ProgramNotFound,
    ProgramTimedOut,
    TransientError,
)
from blocks.genomics.records import Fate

# The machine's fault, not the isolate's: on another machine, or later, it may go well.
OF_THE_MACHINE = (TransientError, ProgramKilled, ProgramTimedOut, ProgramNotFound)


def fate_of(failure: LimsflowError) -> Fate:
    """Return the fate of a known failure; what is not known is a bug and never comes here."""
    return Fate.TRANSIENT if isinstance(failure, OF_THE_MACHINE) else Fate.PERMANENT


def story_of(failure: LimsflowError) -> str:
    """Return the reason with its evidence: directory and last lines of a program."""
    return failure.evidence if isinstance(failure, ProgramError) else str(failure)
