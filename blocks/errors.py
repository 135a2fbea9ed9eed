"""How limsflow fails: three fates, and everything else is a bug.

    LimsflowError
    ├── TransientError          the same call may succeed later; the only class that is retried
    │   ├── DatabaseUnavailable     the database did not answer, or dropped the connection
    │   ├── ServiceUnavailable      an HTTP service did not answer
    │   └── FileNotYetVisible       a file that is announced is not on this disk yet
    ├── ProgramError            an external program did not do its job
    │   ├── ProgramNotFound         it is not installed where the toolchain says
    │   ├── ProgramTimedOut         its time limit passed; it and its children were ended
    │   ├── ProgramFailed           it ended with a non-zero exit status
    │   ├── ProgramKilled           a signal ended it that we did not send
    │   └── OutputInvalid           it said success, its output does not
    └── DataError               the input cannot give a result; a person must look
        ├── NoSuchRecord            the database has no such row
        ├── InconsistentInput       rows or files contradict each other
        ├── InvalidRequest          what a person or a LIMS asked for is not possible
        └── AlreadyRunning          another live run is working on the same job

A known failure in a fan-out is an outcome of that item. Anything outside this tree is never
caught and fails the flow.
"""

from pathlib import Path

# What reading a program's output raises when it is missing or has another shape than expected.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError)


class LimsflowError(Exception):
    """Something failed in a way that limsflow knows."""


class TransientError(LimsflowError):
    """The same call may succeed later."""


class DatabaseUnavailable(TransientError):
    """The database did not answer, or it dropped the connection."""


class ServiceUnavailable(TransientError):
    """An HTTP service did not answer."""


class FileNotYetVisible(TransientError):
    """A file that was announced is not on this disk yet."""


class ProgramError(LimsflowError):
    """An external program did not do its job.

    Args:
        message: One sentence for a person; ISPyB shows its first 80 characters.
        program: Name of the program.
        directory: Where it ran; everything that it left is still there.
        log_tail: The last lines that it printed.
    """

    def __init__(
        self,
        message: str,
        *,
        program: str = "",
        directory: Path | None = None,
        log_tail: str = "",
    ) -> None:
        super().__init__(message)
        self.program = program
        self.directory = directory
        self.log_tail = log_tail

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the evidence when Prefect stores the error with a state."""
        return (_rebuild, (type(self), str(self), self.program, self.directory, self.log_tail))

    @property
    def evidence(self) -> str:
        """The full story for a message row: the reason, the directory, the last lines."""
        place = f"\nin {self.directory}" if self.directory else ""
        tail = f"\n\n{self.log_tail}" if self.log_tail else ""
        return f"{self}{place}{tail}"


def _rebuild(
    kind: type[ProgramError], message: str, program: str, directory: Path | None, log_tail: str
) -> ProgramError:
    return kind(message, program=program, directory=directory, log_tail=log_tail)


class ProgramNotFound(ProgramError):
    """The program is not installed where the toolchain says."""


class ProgramTimedOut(ProgramError):
    """The time limit passed; the program and all its children were ended."""


class ProgramFailed(ProgramError):
    """The program ended with a non-zero exit status."""


class ProgramKilled(ProgramError):
    """A signal that limsflow did not send ended the program: out of memory, an operator."""


class OutputInvalid(ProgramError):
    """The program said success, but its output does not."""


class DataError(LimsflowError):
    """The input cannot give a result; a person must look."""


class NoSuchRecord(DataError):
    """The database has no such row."""


class InconsistentInput(DataError):
    """Rows or files contradict each other."""


class InvalidRequest(DataError):
    """What a person or a LIMS asked for is not possible."""


class AlreadyRunning(DataError):
    """Another live run is working on the same job."""
