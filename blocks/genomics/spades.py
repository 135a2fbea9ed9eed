"""SPAdes 3.15, for isolates: command line, progress, reasons, known faults.

Manual: https://github.com/ablab/spades
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from blocks.errors import ProgramError
from blocks.faults import Fault
from blocks.genomics.assembly_job import (
    CONTINUE,
    CONTINUING,
    Assembler,
    AssemblyJob,
    with_fewer_threads,
    with_less,
)
from blocks.genomics.running import ReadLine, Step, is_out_of_memory, printed
from blocks.program import Run

OUTPUT = "spades"
RECORD = "params.txt"  # SPAdes writes its command line there
COMMAND_LINE = re.compile(r"^Command line: [^\t\n]+\t(.+?)\s*$", re.MULTILINE)
VERSION = re.compile(r"SPAdes.* v(\d[\w.+-]*)")

K_MERS = re.compile(r"(?:k-mer sizes were set to|^\s*k:) \[([\d, ]+)\]")
STARTED = re.compile(r"=+ K(\d+) started\.")
STAGE = re.compile(r"STAGE == (.+?) \(id:")
STAGES = {
    "de Bruijn graph construction": 0.05,
    "Raw Simplification": 0.5,
    "Simplification": 0.55,
    "Simplification Cleanup": 0.85,
    "Contig Output": 0.9,
}
COPYING = "===== Copy files started"
BEGINS, ENDS = 0.02, 0.98

OWN_ERROR = re.compile(r"ERROR\s+\w+\s+\([^)]*\)\s+(.+)")
PIPELINE_ERROR = re.compile(r"^== Error ==\s+(.+)$", re.MULTILINE)
WARNING = re.compile(r"WARN\s+\w+\s+\([^)]*\)\s+(.+)")
KILLED_CHILD = "OS return value: -9"
THIN_DATA = "Invalid kmer coverage histogram"
# As SPAdes chooses by itself for reads of 150 and of 100 bases, then what always has k-mers.
SHORTER_K_MERS = ((21, 33, 55, 77), (21, 33, 55), (21, 33))
LONGEST_K_MER = 127


def arguments(job: AssemblyJob) -> tuple[str, ...]:
    """Return the command of a new run.

    Raises:
        InvalidRequest: a path has letters that Debian's shell script would take apart.
    """
    read1, read2 = job.reads
    k_mers = ("-k", ",".join(map(str, job.k_mers))) if job.k_mers else ()
    resources = ("-t", str(job.n_threads), "-m", str(job.memory_gb))
    return ("--isolate", "-1", read1, "-2", read2, *resources, *k_mers, "-o", OUTPUT)


def going_on(job: AssemblyJob, directory: Path) -> tuple[str, ...] | None:
    """Return the command that continues a killed run: the same command, on the same reads.

    `--continue` ignores every other option, so a changed job must begin anew. A run that goes on
    gives the same contigs as one that was never stopped.
    """
    record = directory / OUTPUT / RECORD
    if not record.is_file():
        return None
    reads = [directory / job.read1, directory / job.read2]
    began = record.stat().st_mtime
    if any(not read.is_file() or read.stat().st_mtime > began for read in reads):
        return None
    found = COMMAND_LINE.search(record.read_text(errors="replace"))
    if found is None or found[1].split("\t") != _absolute(arguments(job), directory):
        return None
    return (CONTINUE, "-o", OUTPUT)


def _absolute(given: tuple[str, ...], directory: Path) -> list[str]:
    """Return arguments as SPAdes records them: files with their whole paths."""
    names = {"-1", "-2", "-o"}
    return [
        os.path.abspath(directory / value) if before in names else value  # noqa: PTH100 - as SPAdes
        for before, value in zip(("", *given), given, strict=False)
    ]


def progress() -> ReadLine:
    """Return a reader of SPAdes' lines; it remembers the k-mers and which one is at work."""
    k_mers = list[int]()
    done = [0]

    def read_line(line: str) -> Step | None:
        if found := K_MERS.search(line):
            k_mers[:] = [int(k) for k in found[1].split(",")]
        elif (found := STARTED.search(line)) and int(found[1]) in k_mers:
            done[0] = k_mers.index(int(found[1]))
            return _step(k_mers, done[0], 0.0)
        elif (found := STAGE.search(line)) and k_mers and found[1] in STAGES:
            return _step(k_mers, done[0], STAGES[found[1]])
        elif line.startswith(COPYING):
            return ENDS, "writing contigs"
        return None

    return read_line


def _step(k_mers: list[int], done: int, within: float) -> Step:
    fraction = BEGINS + (ENDS - BEGINS) * (done + within) / len(k_mers)
    return fraction, f"assembling with k-mers of {k_mers[done]} bases ({done + 1}/{len(k_mers)})"


def reason(run: Run) -> str:
    """Return why SPAdes failed, in one line; empty if it does not say."""
    said = printed(run)
    own, outer = OWN_ERROR.findall(said), PIPELINE_ERROR.findall(said)
    if any(KILLED_CHILD in error for error in outer):
        return "its assembling process was killed by signal 9: out of memory?"
    if any(THIN_DATA in error for error in own):
        return f"too few reads for k-mers as long as these ({own[0].strip()})"
    return (own or outer or [""])[0].strip()


def warnings(directory: Path) -> tuple[str, ...]:
    """Return what a run in this working directory warned of, each once, without its time."""
    path = directory / OUTPUT / "warnings.log"
    text = path.read_text(errors="replace") if path.is_file() else ""
    return tuple(dict.fromkeys(warning.strip() for warning in WARNING.findall(text)))


def _says(*marks: str) -> Callable[[ProgramError], bool]:
    return lambda error: any(mark in f"{error}\n{error.log_tail}" for mark in marks)


def _with_shorter_k_mers(job: AssemblyJob) -> AssemblyJob | None:
    longest = max(job.k_mers, default=LONGEST_K_MER + 1)
    shorter = next((k_mers for k_mers in SHORTER_K_MERS if k_mers[-1] < longest), None)
    return job.model_copy(update={"k_mers": shorter}) if shorter else None


def _from_the_start(job: AssemblyJob) -> AssemblyJob | None:
    return job.model_copy(update={"resume": False}) if job.resume else None


OUT_OF_MEMORY = Fault[AssemblyJob](
    name="out of memory",
    marks=lambda error: is_out_of_memory(error) or _says(KILLED_CHILD)(error),
    remedy=with_less,
    limit=2,
)
MEMORY_LIMIT = Fault[AssemblyJob](
    name="memory limit reached",
    marks=_says("Not enough memory to run SPAdes"),
    remedy=with_fewer_threads,
    limit=3,
)
THIN_READS = Fault[AssemblyJob](
    name="too few reads for the longest k-mers",
    marks=_says(THIN_DATA),
    remedy=_with_shorter_k_mers,
    limit=len(SHORTER_K_MERS),
)
NOT_CONTINUED = Fault[AssemblyJob](
    name="the killed run cannot be continued",
    marks=_says(CONTINUING),
    remedy=_from_the_start,
    limit=1,
)

SPADES = Assembler(
    name="spades",
    program="spades.py",
    arguments=arguments,
    output=OUTPUT,
    contigs_name=f"{OUTPUT}/contigs.fasta",
    reason=reason,
    progress=progress,
    prints_to="stdout",
    version_pattern=VERSION,
    faults=(OUT_OF_MEMORY, MEMORY_LIMIT, THIN_READS, NOT_CONTINUED),
    going_on=going_on,
)
