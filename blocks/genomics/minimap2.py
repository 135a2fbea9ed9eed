"""minimap2 2.24: map read pairs back to their assembly.

Manual: https://lh3.github.io/minimap2/minimap2.html
"""

import re
from pathlib import Path

from pydantic import Field

from blocks.errors import InconsistentInput
from blocks.faults import Fault
from blocks.genomics.running import (
    ReadLine,
    Step,
    Threaded,
    ask_version,
    file_argument,
    is_out_of_memory,
    last_said,
    printed,
    require_output,
    require_success,
    with_fewer_threads,
)
from blocks.program import Program, Run, run_program

MAPPED = Path("mapped.sam")
VERSION = re.compile(r"^(\d+\.\d[\w.-]*)", re.MULTILINE)
ERROR = re.compile(r"^(?:\[ERROR\]|ERROR:)\S* *(.+)$", re.MULTILINE)
DONE = re.compile(r"mapped (\d+) sequences")
UNEQUAL = "different number of records"


class MappingJob(Threaded):
    """Everything that the command line says."""

    reference: Path = Field(description="FASTA")
    read1: Path
    read2: Path
    n_threads: int = Field(ge=1)


def arguments(job: MappingJob) -> tuple[str, ...]:
    """Return the arguments; alignments go to `MAPPED`, each read at its best place only.

    Other places of a read come without its sequence, on which samtools 1.16 falls over; reads
    that fit nowhere are left out.

    Raises:
        InvalidRequest: a file name could be taken for an option.
    """
    files = [file_argument(path) for path in (job.reference, job.read1, job.read2)]
    best = ("--secondary=no", "--sam-hit-only")
    return ("-ax", "sr", "-t", str(job.n_threads), *best, "-o", str(MAPPED), *files)


async def map_reads(
    program: Program, job: MappingJob, *, directory: Path, timeout_s: float
) -> Path:
    """Map read pairs and return the SAM file, in the order of the reads.

    Raises:
        ProgramError: minimap2 failed.
        InconsistentInput: the two read files are not of equal length.
    """
    (directory / MAPPED).unlink(missing_ok=True)
    run = await run_program(program, arguments(job), directory=directory, timeout_s=timeout_s)
    check(run, job)
    return require_output(run, directory / MAPPED)


def check(run: Run, job: MappingJob) -> None:
    """Judge a run by what it printed; it ends with status 0 when a read file is cut short.

    Raises:
        InconsistentInput: the two read files are not of equal length.
        ProgramError: it failed of something else.
    """
    if UNEQUAL in printed(run):
        msg = f"{job.read1.name} and {job.read2.name} have not the same number of reads"
        raise InconsistentInput(msg)
    require_success(run, last_said(run, ERROR))


def progress(n_reads: int) -> ReadLine:
    """Return a reader of minimap2's lines (on standard error); `n_reads` of both files."""
    mapped = [0]

    def read_line(line: str) -> Step | None:
        if found := DONE.search(line):
            mapped[0] += int(found[1])
            return mapped[0] / max(1, n_reads), f"mapped {mapped[0]:,} of {n_reads:,} reads"
        return None

    return read_line


async def version(program: Program, directory: Path) -> str:
    """Return minimap2's version, e.g. "2.24-r1122"."""
    return await ask_version(program, directory, VERSION)


FAULTS = (
    Fault[MappingJob](
        name="out of memory", marks=is_out_of_memory, remedy=with_fewer_threads, limit=2
    ),
)
