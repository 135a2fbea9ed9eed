"""samtools 1.16: sort alignments, and judge every base of an assembly by its reads.

Manual: http://www.htslib.org/doc/samtools-consensus.html
"""

import re
from pathlib import Path

from pydantic import Field

from blocks.faults import Fault
from blocks.genomics.running import (
    ask_version,
    file_argument,
    is_out_of_memory,
    last_said,
    require_output,
    require_success,
)
from blocks.program import Program, run_program
from blocks.record import Record

SORTED = Path("mapped.bam")
PILEUP = Path("pileup.tsv")
VERSION = re.compile(r"^samtools (\d[\w.+-]*)", re.MULTILINE)
ERROR = re.compile(r"^(samtools \w+: .+|\[E::.+)$", re.MULTILINE)
MIN_MB = 64  # of a sorting thread; with less there are too many temporary files


class SortJob(Record):
    """Everything that sorting is told."""

    alignments: Path = Field(description="SAM or BAM")
    n_threads: int = Field(ge=1)
    memory_mb: int = Field(ge=MIN_MB, description="of all threads together, 2^20 bytes")


def sort_arguments(job: SortJob) -> tuple[str, ...]:
    """Return the arguments that sort by position, into `SORTED`; packed lightly.

    Raises:
        InvalidRequest: the file name could be taken for an option.
    """
    each = max(MIN_MB, job.memory_mb // job.n_threads)
    resources = ("-@", str(job.n_threads - 1), "-m", f"{each}M", "-l", "1")
    return ("sort", *resources, "-T", "sorting", "-o", str(SORTED), file_argument(job.alignments))


def pileup_arguments(alignments: Path) -> tuple[str, ...]:
    """Return the arguments that judge each base of the reference by the reads over it.

    The Bayesian model: the quality of a call counts that the reads may be of two sorts. Every
    call is written, however poor (`-C 0`); deletions as `*`, inserted bases as rows of their own.

    Raises:
        InvalidRequest: the file name could be taken for an option.
    """
    rows = ("-f", "pileup", "-C", "0", "--show-del", "yes", "--show-ins", "yes")
    return ("consensus", *rows, "-o", str(PILEUP), file_argument(alignments))


async def sort(program: Program, job: SortJob, *, directory: Path, timeout_s: float) -> Path:
    """Sort alignments by position and return the BAM file.

    Raises:
        ProgramError: samtools failed.
    """
    for left in directory.glob("sorting.*.bam"):  # of a run that was killed
        left.unlink()
    return await _run(program, sort_arguments(job), SORTED, directory, timeout_s)


async def pile_up(program: Program, alignments: Path, *, directory: Path, timeout_s: float) -> Path:
    """Judge each base by its reads and return the table, which `consensus` reads.

    Raises:
        ProgramError: samtools failed, or no read is mapped.
    """
    return await _run(program, pileup_arguments(alignments), PILEUP, directory, timeout_s)


async def _run(
    program: Program, arguments: tuple[str, ...], made: Path, directory: Path, timeout_s: float
) -> Path:
    (directory / made).unlink(missing_ok=True)
    run = await run_program(
        program,
        arguments,
        directory=directory,
        timeout_s=timeout_s,
        log_name=f"samtools-{arguments[0]}",
    )
    require_success(run, last_said(run, ERROR))
    return require_output(run, directory / made)


async def version(program: Program, directory: Path) -> str:
    """Return samtools' version, e.g. "1.16.1"."""
    return await ask_version(program, directory, VERSION)


def _with_less(job: SortJob) -> SortJob | None:
    less = {"n_threads": max(1, job.n_threads // 2), "memory_mb": max(MIN_MB, job.memory_mb // 2)}
    mended = job.model_copy(update=less)
    return None if mended == job else mended


SORT_FAULTS = (
    Fault[SortJob](name="out of memory", marks=is_out_of_memory, remedy=_with_less, limit=2),
)
