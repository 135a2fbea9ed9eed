"""MEGAHIT 1.2: command line, progress, reasons, known faults.

It prints to standard error only. Two runs give the same contigs in another order.
Manual: https://github.com/voutcn/megahit
"""

import re

from blocks.errors import ProgramError
from blocks.faults import Fault
from blocks.genomics.assembly_job import Assembler, AssemblyJob, with_less
from blocks.genomics.running import ReadLine, Step, is_out_of_memory, last_said
from blocks.program import Run, tail

OUTPUT = "megahit"
VERSION = re.compile(r"MEGAHIT v(\d[\w.+-]*)")
K_LIST = re.compile(r"k list: ([\d,]+)")
STAGE = re.compile(r"(Extract|Build graph|Assemble contigs|Local assembly).* (\d+) *$")
STAGES = {"Extract": 0.0, "Build graph": 0.2, "Assemble contigs": 0.4, "Local assembly": 0.6}
MERGING = "Merging to output final contigs"
ENDS = 0.98
ERROR = re.compile(r"(Exit code -?\d+|^megahit: .+|^\w+Error: .+)$", re.MULTILINE)
EXCEPTION = re.compile(r"what\(\): +(.+?)'?$", re.MULTILINE)
KILLED_PART = "Exit code -9"
LOG_LINES = 20


def arguments(job: AssemblyJob) -> tuple[str, ...]:
    """Return the command; its own k-mers, contigs of 200 bases or more.

    Raises:
        InvalidRequest: a path would be taken apart.
    """
    read1, read2 = job.reads
    resources = ("-t", str(job.n_threads), "-m", str(job.memory_gb * 10**9))
    return ("-1", read1, "-2", read2, *resources, "-o", OUTPUT)


def progress() -> ReadLine:
    """Return a reader of MEGAHIT's lines; it remembers the list of k-mers."""
    k_mers = list[int]()

    def read_line(line: str) -> Step | None:
        if found := K_LIST.search(line):
            k_mers[:] = [int(k) for k in found[1].split(",")]
        elif (found := STAGE.search(line)) and int(found[2]) in k_mers:
            k_mer = int(found[2])
            done = k_mers.index(k_mer) + STAGES[found[1]]
            return ENDS * done / len(k_mers), f"assembling with k-mers of {k_mer} bases"
        elif MERGING in line:
            return ENDS, "writing contigs"
        return None

    return read_line


def reason(run: Run) -> str:
    """Return why the part of MEGAHIT that failed did so, from its log, or how it ended."""
    exceptions = EXCEPTION.findall(tail(run.directory / OUTPUT / "log", LOG_LINES))
    return exceptions[-1] if exceptions else last_said(run, ERROR)


def _is_out_of_memory(error: ProgramError) -> bool:
    return is_out_of_memory(error) or KILLED_PART in str(error)


OUT_OF_MEMORY = Fault[AssemblyJob](
    name="out of memory", marks=_is_out_of_memory, remedy=with_less, limit=2
)

MEGAHIT = Assembler(
    name="megahit",
    program="megahit",
    arguments=arguments,
    output=OUTPUT,
    contigs_name=f"{OUTPUT}/final.contigs.fa",
    reason=reason,
    progress=progress,
    prints_to="stderr",
    takes_apart=" ,",
    version_pattern=VERSION,
    faults=(OUT_OF_MEMORY,),
)
