"""What a flow says to any assembler, and what an assembler says of itself."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from blocks.errors import InvalidRequest
from blocks.faults import Fault
from blocks.genomics.running import (
    ReadLine,
    ask_version,
    plain_argument,
    require_output,
    require_success,
)
from blocks.program import Program, Run
from blocks.record import Record

AssemblerName = Literal["spades", "skesa", "megahit"]
CONTINUE = "--continue"
CONTINUING = "while it continued a killed run"


class AssemblyJob(Record):
    """One assembly of one isolate's trimmed read pairs."""

    read1: Path = Field(description="best relative to the directory that it runs in")
    read2: Path
    n_threads: int = Field(ge=1)
    memory_gb: int = Field(ge=1, description="what the assembler may use, 10^9 bytes")
    k_mers: tuple[int, ...] = Field(
        default=(), description="SPAdes only, odd, rising; empty: by the reads' length"
    )
    resume: bool = Field(default=True, description="go on where a killed run stopped, if it can")

    @property
    def reads(self) -> tuple[str, str]:
        """The two files as arguments.

        Raises:
            InvalidRequest: an assembler would take a name apart.
        """
        return plain_argument(self.read1), plain_argument(self.read2)


@dataclass(frozen=True)
class Assembler:
    """One assembling program.

    Args:
        name: What a flow calls it.
        program: Name of its executable.
        arguments: The command of a new run; outputs go to `output` of the working directory.
        output: File or directory that a run makes.
        contigs_name: The contigs, below the working directory.
        reason: Why a run failed, in the program's own words, or nothing.
        progress: Returns a new reader of the lines that it prints; it may remember.
        prints_to: The stream on which it says how far it is.
        version_pattern: Finds the version in what `--version` says.
        faults: What a changed job mends.
        takes_apart: Letters that the name of its working directory may not have.
        going_on: The command that continues what was left in a working directory, if any.
    """

    name: AssemblerName
    program: str
    arguments: Callable[[AssemblyJob], tuple[str, ...]]
    output: str
    contigs_name: str
    reason: Callable[[Run], str]
    progress: Callable[[], ReadLine]
    prints_to: Literal["stdout", "stderr"]
    version_pattern: re.Pattern[str]
    faults: tuple[Fault[AssemblyJob], ...]
    takes_apart: str = ""
    going_on: Callable[[AssemblyJob, Path], tuple[str, ...] | None] = lambda _job, _directory: None

    def prepare(self, job: AssemblyJob, directory: Path) -> tuple[str, ...]:
        """Make the working directory ready; return the arguments to run there.

        What another run left is continued if it was the same job and the program can; else it is
        removed, so that old contigs are never taken for new ones.

        Raises:
            InvalidRequest: the program cannot work with the names of these files or directory.
        """
        if set(self.takes_apart) & set(str(directory.absolute())):
            msg = f"{self.name} cannot work in {directory}: choose a name without blanks and commas"
            raise InvalidRequest(msg)
        arguments = self.arguments(job)
        left = directory / self.output
        going_on = self.going_on(job, directory) if job.resume and left.exists() else None
        if going_on is not None:
            return going_on
        if left.is_dir():
            shutil.rmtree(left)
        left.unlink(missing_ok=True)
        return arguments

    def contigs(self, directory: Path) -> Path:
        """Return where the contigs of a run in this working directory are."""
        return directory / self.contigs_name

    def judge(self, run: Run) -> Path:
        """Return the contigs of a run that ended.

        Raises:
            ProgramFailed: it ended with an error; the message is its own.
            ProgramKilled: a signal ended it.
            OutputInvalid: it said success, but there are no contigs.
        """
        note = f" ({CONTINUING})" if CONTINUE in run.argv else ""
        require_success(run, f"{self.reason(run) or 'failed and gave no reason'}{note}")
        return require_output(run, self.contigs(run.directory), note)

    async def version(self, program: Program, directory: Path) -> str:
        """Return the program's version, e.g. "3.15.5"."""
        return await ask_version(program, directory, self.version_pattern)


def with_less(job: AssemblyJob) -> AssemblyJob | None:
    """Return the job with half the threads and half the memory; None if it has one of each."""
    less = {"n_threads": max(1, job.n_threads // 2), "memory_gb": max(1, job.memory_gb // 2)}
    mended = job.model_copy(update=less)
    return None if mended == job else mended


def with_fewer_threads(job: AssemblyJob) -> AssemblyJob | None:
    """Return the job with half the threads, and as much memory; None if it has one."""
    if job.n_threads == 1:
        return None
    return job.model_copy(update={"n_threads": job.n_threads // 2})
