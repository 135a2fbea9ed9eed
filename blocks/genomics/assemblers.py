"""The assemblers that a flow can choose by name, and how any of them is run."""

from pathlib import Path

from blocks.genomics.assembly_job import Assembler, AssemblerName, AssemblyJob
from blocks.genomics.megahit import MEGAHIT
from blocks.genomics.running import LineProgress, Tell
from blocks.genomics.skesa import SKESA
from blocks.genomics.spades import SPADES
from blocks.program import Program, run_program

ASSEMBLERS: dict[AssemblerName, Assembler] = {
    "spades": SPADES,
    "skesa": SKESA,
    "megahit": MEGAHIT,
}


def _silent(_fraction: float, _sentence: str) -> None:
    """Say nothing."""


async def assemble(
    assembler: Assembler,
    program: Program,
    job: AssemblyJob,
    *,
    directory: Path,
    timeout_s: float,
    tell: Tell = _silent,
) -> Path:
    """Assemble read pairs in a working directory and return the FASTA file of contigs.

    It may run again in the same directory: see `Assembler.prepare`.

    Args:
        assembler: One of `ASSEMBLERS`.
        program: Its executable.
        job: What to assemble.
        directory: Must exist; everything that is made stays in it.
        timeout_s: Wall time in seconds.
        tell: Called with the fraction done and a sentence.

    Raises:
        InvalidRequest: a path of the job would be taken apart.
        ProgramError: the assembler failed; `assembler.faults` know what can be mended.
        OutputInvalid: it said success, but there are no contigs.
    """
    arguments = assembler.prepare(job, directory)
    progress = LineProgress(assembler.progress(), tell)
    run = await run_program(
        program,
        arguments,
        directory=directory,
        timeout_s=timeout_s,
        log_name=assembler.name,
        on_output=progress.read,
        watch=assembler.prints_to,
    )
    return assembler.judge(run)
