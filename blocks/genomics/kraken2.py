"""Kraken 2.1: which species an assembly's contigs look like.

Counted as EnteroBase's EToKi does: contigs of more than 1 kb, each as one; species only, so that
contigs that fit no species do not count; E. coli and Shigella are one.

The report is asked for in the style of MetaPhlAn: in Kraken's own, Debian's and other builds of
2.1 leave the rank of some taxa empty (https://github.com/DerrickWood/kraken2/issues/759).
Manual: https://github.com/DerrickWood/kraken2/wiki/Manual
"""

import re
from collections import Counter
from pathlib import Path

from pydantic import Field

from blocks.errors import UNREADABLE, InvalidRequest, OutputInvalid
from blocks.faults import Fault
from blocks.genomics.genome import read_genome
from blocks.genomics.records import SpeciesShare
from blocks.genomics.running import (
    ask_version,
    file_argument,
    is_out_of_memory,
    last_said,
    require_success,
)
from blocks.program import Program, Run, run_program
from blocks.record import Record

LONG_CONTIGS = Path("long_contigs.fasta")
REPORT = Path("kraken2.report")
DATABASE_FILES = ("hash.k2d", "opts.k2d", "taxo.k2d")
LONGER_THAN_BP = 1000
TOGETHER = "Escherichia coli / Shigella"
PARTS = ("Escherichia coli", "Shigella")
SPECIES = "s__"
VERSION = re.compile(r"Kraken version (\d[\w.+-]*)")
PROCESSED = re.compile(r"^(\d+) sequences \(", re.MULTILINE)
ERROR = re.compile(r"^(?:kraken2|classify): (.+)$", re.MULTILINE)


class SpeciesJob(Record):
    """Everything that the command line says."""

    database: Path = Field(description="a folder of Kraken 2")
    n_threads: int = Field(ge=1)
    memory_mapping: bool = Field(
        default=False, description="read the database from disk; slow, but takes little memory"
    )


def arguments(job: SpeciesJob) -> tuple[str, ...]:
    """Return the arguments that classify `LONG_CONTIGS` and write `REPORT`.

    Raises:
        InvalidRequest: the folder's name could be taken for an option.
    """
    mapping = ("--memory-mapping",) if job.memory_mapping else ()
    report = ("--use-mpa-style", "--report", str(REPORT))
    where = ("--db", file_argument(job.database), "--threads", str(job.n_threads), *mapping)
    return (*where, "--output", "-", *report, str(LONG_CONTIGS))


async def species_of(
    program: Program, job: SpeciesJob, assembly: Path, *, directory: Path, timeout_s: float
) -> tuple[SpeciesShare, ...]:
    """Return the species of an assembly (FASTA or FASTQ, also gzip), the commonest first.

    Empty if no contig is longer than 1 kb, or none fits a species.

    Raises:
        InvalidRequest: there is no database in the folder.
        ProgramError: Kraken failed, or its report is not one.
    """
    missing = [name for name in DATABASE_FILES if not (job.database / name).is_file()]
    if missing:
        msg = f"{job.database} is no database of Kraken 2: {', '.join(missing)} is missing"
        raise InvalidRequest(msg)
    n_contigs = write_long_contigs(assembly, directory / LONG_CONTIGS)
    if n_contigs == 0:
        return ()
    (directory / REPORT).unlink(missing_ok=True)
    run = await run_program(program, arguments(job), directory=directory, timeout_s=timeout_s)
    check(run, n_contigs)
    return read_report(directory / REPORT)


def check(run: Run, n_contigs: int) -> None:
    """Require that all contigs were judged; Kraken reads what it cannot open as no sequence.

    Raises:
        ProgramError: it failed, or read fewer contigs.
    """
    require_success(run, last_said(run, ERROR))
    n_read = last_said(run, PROCESSED) or "0"
    if int(n_read) != n_contigs:
        msg = f"kraken2 ended with status 0, but read {n_read} of {n_contigs} contigs"
        raise run.failure(OutputInvalid, msg)


def write_long_contigs(assembly: Path, path: Path) -> int:
    """Write the contigs that are judged as FASTA; return how many they are."""
    genome = read_genome(assembly)
    long = [n for n, length in enumerate(genome.lengths.tolist()) if length > LONGER_THAN_BP]
    path.write_bytes(b"".join(b">%d\n%s\n" % (n + 1, genome.contig_sequence(n)) for n in long))
    return len(long)


def read_report(path: Path) -> tuple[SpeciesShare, ...]:
    """Return the species of a report, the commonest first, in per cent of all that fit one.

    Raises:
        OutputInvalid: this is no report of Kraken 2.
    """
    found = Counter[str]()
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            lineage, n_contigs = line.split("\t")
            taxon = lineage.rpartition("|")[2]
            if taxon.startswith(SPECIES):
                found[_merged(taxon.removeprefix(SPECIES))] += int(n_contigs)
    except UNREADABLE as error:
        msg = f"{path.name} is no report of Kraken 2: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, program="kraken2", directory=path.parent) from error
    total = found.total()
    shares = (SpeciesShare(name=n, percent=round(100 * k / total, 2)) for n, k in found.items())
    return tuple(sorted(shares, key=lambda share: (-share.percent, share.name)))


def _merged(name: str) -> str:
    return TOGETHER if name.startswith(PARTS) else name


async def version(program: Program, directory: Path) -> str:
    """Return Kraken's version, e.g. "2.1.2"."""
    return await ask_version(program, directory, VERSION)


def _from_disk(job: SpeciesJob) -> SpeciesJob | None:
    return None if job.memory_mapping else job.model_copy(update={"memory_mapping": True})


FAULTS = (
    Fault[SpeciesJob](name="out of memory", marks=is_out_of_memory, remedy=_from_disk, limit=1),
)
