"""What the programs of an assembly share: arguments, versions, progress, signs of failure."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from blocks.errors import InvalidRequest, OutputInvalid, ProgramError, ProgramFailed, ProgramKilled
from blocks.program import Program, Run, run_program
from blocks.record import Record

Step = tuple[float, str]  # fraction of the program that is over (0-1), and a sentence
ReadLine = Callable[[str], Step | None]
Tell = Callable[[float, str], None]

# Debian's spades.py is a shell script that splits its arguments at blanks; MEGAHIT and SKESA
# split theirs at commas.
PLAIN_PATH = re.compile(r"[\w.+=:@%/][\w.+=:@%/-]*", re.ASCII)
OUT_OF_MEMORY = (
    "std::bad_alloc",
    "Cannot allocate memory",
    "Out of memory",
    "out of memory",
    "couldn't allocate memory",
)
ASKING_S = 60.0
LONG_TAIL = 200  # lines


class Threaded(Record):
    """A job of a program that works in threads."""

    n_threads: int = Field(ge=1)


ThreadedT = TypeVar("ThreadedT", bound=Threaded)


def file_argument(path: Path) -> str:
    """Return a path as an argument that is no option.

    Raises:
        InvalidRequest: it begins with a dash, or has a line end in it.
    """
    text = str(path)
    if text.startswith("-") or not text.isprintable():
        msg = f"the file name {text!r} cannot be given to a program: rename the file"
        raise InvalidRequest(msg)
    return text


def plain_argument(path: Path) -> str:
    """Return a path as an argument that no program takes apart.

    Raises:
        InvalidRequest: it has blanks, commas or letters that a shell knows.
    """
    text = str(path)
    if not PLAIN_PATH.fullmatch(text):
        msg = (
            f"the path {text!r} cannot be given to an assembler: give one of letters, digits, "
            "'.', '_', '-' and '/', best relative to the working directory"
        )
        raise InvalidRequest(msg)
    return text


def require_success(run: Run, reason: str) -> Run:
    """Return the run if it ended with status 0.

    Args:
        run: A program that ended.
        reason: Why it failed, in its own words; empty if it gave none.

    Raises:
        ProgramKilled: a signal ended it.
        ProgramFailed: it ended with an error.
        ProgramTimedOut: its time limit passed.
    """
    name = Path(run.argv[0]).name
    if run.signal is not None and run.ended_by != "timeout":
        raise run.failure(ProgramKilled, f"{name} was killed by signal {run.signal}")
    if run.exit_status and reason:
        raise run.failure(ProgramFailed, f"{name}: {reason}")
    return run.require_success()


def require_output(run: Run, path: Path, note: str = "") -> Path:
    """Return the path of a file that a run must have left.

    Args:
        run: A program that ended.
        path: The file.
        note: Put behind the message.

    Raises:
        OutputInvalid: it is missing or empty.
    """
    if not path.is_file() or path.stat().st_size == 0:
        name = Path(run.argv[0]).name
        msg = (
            f"{name} ended with status {run.exit_status}, but {path.name} is missing or empty{note}"
        )
        raise run.failure(OutputInvalid, msg)
    return path


def printed(run: Run) -> str:
    """Return the last 64 KiB, at most, that a run wrote to each of its two streams."""
    return run.log_tail(1_000_000)


def last_said(run: Run, pattern: re.Pattern[str]) -> str:
    """Return what the pattern's first group found last in what a run printed, or nothing."""
    found = pattern.findall(printed(run))
    return found[-1].strip() if found else ""


def is_out_of_memory(error: ProgramError) -> bool:
    """Whether a program failed for want of memory, by its words or by the kernel's signal."""
    killed = isinstance(error, ProgramKilled) and str(error).endswith("signal 9")
    return killed or any(words in f"{error}\n{error.log_tail}" for words in OUT_OF_MEMORY)


def with_fewer_threads(job: ThreadedT) -> ThreadedT | None:
    """Return the job with half the threads, each of which needs memory; None if it has one."""
    if job.n_threads == 1:
        return None
    return job.model_copy(update={"n_threads": job.n_threads // 2})


async def ask_version(program: Program, directory: Path, pattern: re.Pattern[str]) -> str:
    """Return what `--version` says; some programs say it on standard error.

    Raises:
        ProgramError: it is not installed, failed, or says something else.
    """
    run = await run_program(
        program,
        ["--version"],
        directory=directory,
        timeout_s=ASKING_S,
        log_name=f"{program.name}-version",
    )
    return version_in(run.require_success().log_tail(LONG_TAIL), pattern)


def version_in(text: str, pattern: re.Pattern[str]) -> str:
    """Return the pattern's first group in a version text.

    Raises:
        OutputInvalid: it is not there: this is another program.
    """
    found = pattern.search(text)
    if found is None:
        msg = f"no version in {text[:60]!r}: is this another program of the same name?"
        raise OutputInvalid(msg)
    return found[1]


class LineProgress:
    """How far a program is, read from its output as it comes; never goes back.

    Args:
        read_line: Returns what a line says of the progress, None if nothing.
        tell: Called with the fraction done (0-1) and a sentence, when a line says it.
    """

    def __init__(self, read_line: ReadLine, tell: Tell) -> None:
        self._read_line = read_line
        self._tell = tell
        self._rest = ""
        self._last = 0.0

    def read(self, piece: str) -> None:
        """Take the next piece of output; lines may be cut anywhere."""
        *lines, self._rest = (self._rest + piece).split("\n")
        for line in lines:
            step = self._read_line(line)
            if step is not None:
                self._last = max(self._last, min(1.0, step[0]))
                self._tell(self._last, step[1])
