"""SKESA 2.4: command line, progress, reasons, known faults.

It prints to standard error only, and takes minutes however small the genome is.
Manual: https://github.com/ncbi/SKESA
"""

import re

from blocks.faults import Fault
from blocks.genomics.assembly_job import Assembler, AssemblyJob, with_less
from blocks.genomics.running import ReadLine, Step, is_out_of_memory, last_said
from blocks.program import Run

OUTPUT = "skesa.fasta"
VERSION = re.compile(r"SKESA (\d[\w.+-]*)")
GRAPH = re.compile(r"^Kmer: (\d+) Graph size:")
PAIRS = re.compile(r"^Connecting mate pairs using kmer length: (\d+)")
# It builds 11 graphs with rising k-mers, connects pairs 11 times, and builds up to 3 more graphs.
N_STEPS = 25
ENDS = 0.98
ERROR = re.compile(
    r"^((?:Memory provided is insufficient|std::|Error|Can't|Invalid).*)$", re.MULTILINE
)


def arguments(job: AssemblyJob) -> tuple[str, ...]:
    """Return the command; its own k-mers, contigs of 200 bases or more.

    Raises:
        InvalidRequest: a path would be taken apart.
    """
    reads = ",".join(job.reads)
    resources = ("--cores", str(job.n_threads), "--memory", str(job.memory_gb))
    return ("--reads", reads, *resources, "--contigs_out", OUTPUT)


def progress() -> ReadLine:
    """Return a reader of SKESA's lines; it counts the graphs."""
    seen = [0]

    def read_line(line: str) -> Step | None:
        for pattern, doing in ((GRAPH, "assembling with k-mers of"), (PAIRS, "joining pairs over")):
            if found := pattern.match(line):
                seen[0] += 1
                return min(ENDS, (seen[0] - 1) / N_STEPS), f"{doing} {found[1]} bases"
        return (ENDS, "writing contigs") if line == "DONE" else None

    return read_line


def reason(run: Run) -> str:
    """Return why SKESA failed; that `--memory` is too small is for a person to mend."""
    return last_said(run, ERROR)


OUT_OF_MEMORY = Fault[AssemblyJob](
    name="out of memory", marks=is_out_of_memory, remedy=with_less, limit=2
)

SKESA = Assembler(
    name="skesa",
    program="skesa",
    arguments=arguments,
    output=OUTPUT,
    contigs_name=OUTPUT,
    reason=reason,
    progress=progress,
    prints_to="stderr",
    version_pattern=VERSION,
    faults=(OUT_OF_MEMORY,),
)
