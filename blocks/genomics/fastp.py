"""fastp 0.23: trim read pairs by quality and adapters; its command line and its JSON report.

Source of the limits: EnteroBase's EToKi, `prepare` (bbduk trimq=6, minlength=23, maxns=2).
Manual: https://github.com/OpenGene/fastp
"""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import Field

from blocks.errors import UNREADABLE, FileNotYetVisible, InconsistentInput, OutputInvalid
from blocks.faults import Fault
from blocks.genomics.records import ReadCounts
from blocks.genomics.running import (
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

ADAPTERS = Path(__file__).with_name("illumina_adapters.fasta")  # TruSeq and Nextera
TRIMMED = (Path("trimmed_1.fastq.gz"), Path("trimmed_2.fastq.gz"))
REPORT = Path("fastp.json")
GZIP_MAGIC = b"\x1f\x8b"
MAX_THREADS = 16  # fastp refuses more
VERSION = re.compile(r"fastp (\d[\w.+-]*)")
ERROR = re.compile(r"^ERROR: (.+)$", re.MULTILINE)

# fastp goes on after these, with what it could read until then, and ends with status 0.
CUT_SHORT = {
    "different read numbers": "the two files have not the same number of reads",
    "sequence and quality have different length": "a read has not as many qualities as bases",
    "invalid gzip header": "a file is called gzip and is none",
}


class TrimJob(Threaded):
    """Everything that the command line says."""

    read1: Path
    read2: Path
    n_threads: int = Field(default=2, ge=1)
    min_quality: int = Field(
        default=6, ge=1, le=36, description="mean Phred quality of 4 bases, from both ends"
    )
    min_length: int = Field(default=23, ge=1, description="shorter reads go, with their mates")
    max_n: int = Field(default=2, ge=0, description="reads with more N go, with their mates")


def arguments(job: TrimJob) -> tuple[str, ...]:
    """Return the arguments; outputs are written to the working directory (`TRIMMED`, `REPORT`).

    The quality of a read as a whole is not judged: its ends are trimmed, the rest is used. Pairs
    that overlap show their adapters; the adapters' file is for those that do not. Counting
    duplicates is left out, which takes 1 GB.

    Raises:
        InvalidRequest: a file name could be taken for an option.
    """
    read1, read2 = file_argument(job.read1), file_argument(job.read2)
    return (
        *("--in1", read1, "--in2", read2),
        *("--out1", str(TRIMMED[0]), "--out2", str(TRIMMED[1])),
        *("--json", str(REPORT), "--html", "fastp.html"),
        *("--thread", str(min(job.n_threads, MAX_THREADS))),
        *("--cut_front", "--cut_tail", "--cut_mean_quality", str(job.min_quality)),
        *("--qualified_quality_phred", "0", "--n_base_limit", str(job.max_n)),
        *("--length_required", str(job.min_length)),
        *("--adapter_fasta", str(ADAPTERS)),
        "--dont_eval_duplication",
    )


async def trim(program: Program, job: TrimJob, *, directory: Path, timeout_s: float) -> ReadCounts:
    """Trim the reads of a pair into `directory / TRIMMED[0]` and `[1]`, and return the counts.

    Raises:
        FileNotYetVisible: a read file cannot be read.
        InconsistentInput: the files are damaged, of different length, or nothing is left.
        ProgramError: fastp failed, or its output is not what it says.
    """
    for read in (job.read1, job.read2):
        require_readable(directory / read)
    for name in (*TRIMMED, REPORT):
        (directory / name).unlink(missing_ok=True)
    run = await run_program(program, arguments(job), directory=directory, timeout_s=timeout_s)
    check(run, job)
    for name in TRIMMED:
        require_output(run, directory / name)
    return read_counts(directory / REPORT)


def require_readable(path: Path) -> None:
    """Require that a file is there, and called .gz if it is gzip: fastp goes by the name.

    Raises:
        FileNotYetVisible: it cannot be read.
        InconsistentInput: it has the wrong name.
    """
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == GZIP_MAGIC
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise FileNotYetVisible(msg) from error
    if is_gzip and path.suffix != ".gz":
        msg = f"{path.name} is gzip, but is not called .gz: rename it"
        raise InconsistentInput(msg)


def check(run: Run, job: TrimJob) -> None:
    """Judge a run by what it printed; the exit status says little.

    Raises:
        InconsistentInput: fastp met the end of a file, or no FASTQ, where a read should be.
        ProgramError: it failed of something else.
    """
    said = printed(run)
    for words, meaning in CUT_SHORT.items():
        if words in said:
            msg = (
                f"{job.read1.name} and {job.read2.name}: {meaning}; "
                "they are damaged or not of one run: get them again"
            )
            raise InconsistentInput(msg)
    require_success(run, last_said(run, ERROR))


def read_counts(path: Path) -> ReadCounts:
    """Return what was read and left, from the JSON report; Q30 is of the reads as they came.

    Raises:
        OutputInvalid: this is no report of fastp.
        InconsistentInput: no read came, or none is left.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
        counts = _counts(summary["before_filtering"], summary["after_filtering"])
    except UNREADABLE as error:
        msg = f"{path.name} is no report of fastp: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, program="fastp", directory=path.parent) from error
    if counts.reads_kept == 0:
        msg = (
            f"none of {counts.reads:,} reads is left after trimming: "
            "all are too short, too poor or adapter"
        )
        raise InconsistentInput(msg if counts.reads else "there is no read in the two files")
    return counts


def _counts(before: dict[str, Any], after: dict[str, Any]) -> ReadCounts:
    return ReadCounts(
        reads=before["total_reads"],
        reads_kept=after["total_reads"],
        bases=before["total_bases"],
        bases_kept=after["total_bases"],
        q30_share=before["q30_bases"] / max(1, before["total_bases"]),
    )


async def version(program: Program, directory: Path) -> str:
    """Return fastp's version, e.g. "0.23.2"."""
    return await ask_version(program, directory, VERSION)


FAULTS = (
    Fault[TrimJob](
        name="out of memory", marks=is_out_of_memory, remedy=with_fewer_threads, limit=2
    ),
)
