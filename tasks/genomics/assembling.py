"""The steps from reads to a judged assembly; each is one program's work and is not done twice."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeVar

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import LimsflowError, ProgramError, ProgramNotFound
from blocks.faults import Fault, Repair, run_with_remedies
from blocks.genomics import assemblers, consensus, fastp, kraken2, minimap2, samtools
from blocks.genomics.archive import concatenate, fetch_run
from blocks.genomics.assembly_job import AssemblyJob
from blocks.genomics.fastq import check_pair
from blocks.genomics.genome import read_genome
from blocks.genomics.quality_limits import QualityLimits, limits_of
from blocks.genomics.records import (
    Assembly,
    AssemblyFiles,
    AssemblyStatistics,
    JobStatus,
    ReadCounts,
    ReadPair,
    SpeciesShare,
    Verdict,
)
from blocks.genomics.running import Tell
from blocks.genomics.uploads import Runs, Upload, find_upload, parse_accession
from blocks.program import Program
from blocks.record import Record
from tasks.genomics.assembly_quality import contigs_of, judge, statistics
from tasks.genomics.stamps import finished, key_of, write_stamp
from tasks.life import Life
from tasks.policies import program_step, step

logger = logging.getLogger(__name__)

AssemblerName = Literal["spades", "skesa", "megahit"]
JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT", bound=Record)
MadeT = TypeVar("MadeT")
MAX_TRIES = 4
PIPELINE = "QAssembly"
STEM = "assembly.scaffold"
SORT_MB = 1024


class Assembling(Record):
    """One strain's reads on their way to an assembly."""

    job_id: int
    reads: Upload | Runs
    strain: str
    assembler: AssemblerName
    working: Path
    results: Path


class Reads(Record):
    """The reads of one strain, from each run."""

    pairs: tuple[ReadPair, ...]


class Trimmed(Record):
    """The trimmed pair, in the working directory, and the program that made it."""

    counts: ReadCounts
    tool: tuple[str, str]


class Draft(Record):
    """An assembler's contigs."""

    contigs: Path
    tool: tuple[str, str]


class Polished(Record):
    """The corrected assembly with the quality of every base."""

    files: AssemblyFiles
    mean_depth: float


class Judged(Record):
    """An assembly's statistics, its species and its verdict."""

    statistics: AssemblyStatistics
    species: tuple[SpeciesShare, ...] | None = None
    limits: QualityLimits
    verdict: Verdict


class Stored(Record):
    """An assembly in the database, and its files where they stay."""

    assembly: Assembly
    files: AssemblyFiles


class Isolate(Record):
    """All that is known of an assembled strain."""

    stored: Stored
    trimmed: Trimmed
    polished: Polished
    judged: Judged


@step(name="begin")
async def begin_assembly(
    lims: EnteroBase, reads: str, strain: str, assembler: AssemblerName, run_id: str
) -> Assembling:
    """Make the job that the user sees; the same reads always have the same working directory.

    Raises:
        InvalidRequest: the text names no reads.
    """
    wanted = parse_accession(reads.strip())
    jobs = lims.store().jobs
    job = await asyncio.to_thread(
        jobs.start, accession=str(wanted), pipeline=PIPELINE, flow_run_id=run_id
    )
    await asyncio.to_thread(jobs.close, job.id, JobStatus.RUNNING)
    share = Path(lims.share).absolute()
    name = key_of(lims.database, str(wanted), assembler)[:20]
    return Assembling(
        job_id=job.id,
        reads=wanted,
        strain=strain,
        assembler=assembler,
        working=share / "work" / name,
        results=share / str(job.id),
    )


@step(name="get reads")
async def get_reads(lims: EnteroBase, programs: Toolchain, task: Assembling, life: Life) -> Reads:
    """Find the uploaded files, or fetch the runs from the public archive, and check them.

    Raises:
        ServiceUnavailable: no archive answered; tried again later.
        DataError: there are no such reads, or they cannot be used.
    """
    if isinstance(task.reads, Upload):
        life.tell(0.01, "checking the uploaded reads")
        pairs = [await asyncio.to_thread(find_upload, task.reads, Path(lims.uploads))]
    else:
        dump, tell = _installed(programs.program("fasterq-dump")), _part(life, 0.0, 0.15)
        pairs = [
            await fetch_run(lims.archive, run, task.working / run, dump=dump, tell=tell)
            for run in task.reads.accessions
        ]
    for pair in pairs:
        await asyncio.to_thread(check_pair, pair.read1, pair.read2)
    return Reads(pairs=tuple(pairs))


def _installed(program: Program) -> Program | None:
    try:
        program.path()
    except ProgramNotFound:
        return None
    return program


@program_step(name="trim reads")
async def trim_reads(programs: Toolchain, task: Assembling, reads: Reads, life: Life) -> Trimmed:
    """Trim adapters and poor ends with fastp."""
    life.tell(0.15, "trimming reads")
    program = programs.program("fastp")
    version = await fastp.version(program, task.working)
    pair = await asyncio.to_thread(concatenate, reads.pairs, task.working)
    job = fastp.TrimJob(read1=pair.read1, read2=pair.read2, n_threads=programs.n_processes)

    async def trim(job: fastp.TrimJob, _try: int) -> Trimmed:
        counts = await fastp.trim(
            program, job, directory=task.working, timeout_s=programs.time_limit_s
        )
        return Trimmed(counts=counts, tool=("fastp", version))

    key = key_of(fastp.arguments(job)[4:], version, files=[pair.read1, pair.read2])
    made = [task.working / name for name in fastp.TRIMMED]
    return await _once(task, "trim", key, made, Trimmed, lambda: _mended(trim, job, fastp.FAULTS))


@program_step(name="assemble")
async def assemble_reads(
    programs: Toolchain, task: Assembling, trimmed: Trimmed, life: Life
) -> Draft:
    """Assemble the trimmed reads."""
    life.tell(0.25, f"assembling {trimmed.counts.reads_kept:,} reads with {task.assembler}")
    assembler = assemblers.ASSEMBLERS[task.assembler]
    program = programs.program(assembler.program)
    version = await assembler.version(program, task.working)
    job = AssemblyJob(
        read1=fastp.TRIMMED[0],
        read2=fastp.TRIMMED[1],
        n_threads=programs.n_processes,
        memory_gb=programs.memory_gb,
    )

    async def assemble(job: AssemblyJob, _try: int) -> Draft:
        contigs = await assemblers.assemble(
            assembler,
            program,
            job,
            directory=task.working,
            timeout_s=programs.time_limit_s,
            tell=_part(life, 0.25, 0.75),
        )
        return Draft(contigs=contigs, tool=(assembler.name, version))

    key = key_of(trimmed, version, files=[task.working / name for name in fastp.TRIMMED])
    made = [assembler.contigs(task.working)]
    if made[0].parent != task.working:  # a stamp lies beside its files
        made = []
    return await _once(
        task, assembler.name, key, made, Draft, lambda: _mended(assemble, job, assembler.faults)
    )


@program_step(name="polish")
async def polish_assembly(
    programs: Toolchain, task: Assembling, trimmed: Trimmed, draft: Draft, life: Life
) -> Polished:
    """Map the reads back, correct the contigs, and give every base its quality."""
    life.tell(0.75, "mapping the reads back")
    mapper, sorter = programs.program("minimap2"), programs.program("samtools")
    tools = (
        ("minimap2", await minimap2.version(mapper, task.working)),
        ("samtools", await samtools.version(sorter, task.working)),
    )
    at, limit_s = task.working, programs.time_limit_s
    mapping = minimap2.MappingJob(
        reference=draft.contigs,
        read1=fastp.TRIMMED[0],
        read2=fastp.TRIMMED[1],
        n_threads=programs.n_processes,
    )
    sorting = samtools.SortJob(
        alignments=minimap2.MAPPED, n_threads=programs.n_processes, memory_mb=SORT_MB
    )

    async def map_reads(job: minimap2.MappingJob, _try: int) -> Path:
        return await minimap2.map_reads(mapper, job, directory=at, timeout_s=limit_s)

    async def sort(job: samtools.SortJob, _try: int) -> Path:
        return await samtools.sort(sorter, job, directory=at, timeout_s=limit_s)

    async def polish() -> Polished:
        await _mended(map_reads, mapping, minimap2.FAULTS)
        life.tell(0.82, "sorting")
        await _mended(sort, sorting, samtools.SORT_FAULTS)
        life.tell(0.85, "looking at every base")
        pileup = await samtools.pile_up(sorter, samtools.SORTED, directory=at, timeout_s=limit_s)
        found = await asyncio.to_thread(
            consensus.polish, draft.contigs, pileup, directory=task.working, stem=STEM
        )
        for done in (minimap2.MAPPED, samtools.SORTED, samtools.PILEUP):
            (task.working / done).unlink(missing_ok=True)
        files = AssemblyFiles(
            fastq=found.fastq,
            fasta=found.fasta,
            assembler=task.assembler,
            tools=(trimmed.tool, draft.tool, *tools),
        )
        return Polished(files=files, mean_depth=found.mean_depth)

    key = key_of(tools, trimmed, draft, files=[draft.contigs])
    made = [task.working / f"{STEM}.{kind}.gz" for kind in ("fastq", "fasta")]
    return await _once(task, "polish", key, made, Polished, polish)


@program_step(name="evaluate")
async def evaluate(
    lims: EnteroBase, programs: Toolchain, task: Assembling, polished: Polished, life: Life
) -> Judged:
    """Measure the assembly, look at its species, and judge it by its genus."""
    life.tell(0.93, "judging the assembly")
    genome = await asyncio.to_thread(read_genome, polished.files.fastq)
    found = await asyncio.to_thread(
        lambda: statistics(contigs_of(genome), mean_depth=polished.mean_depth)
    )
    species = await _species(programs, task, polished)
    limits = limits_of(lims.genus, lims.limits)
    verdict = judge(found, species, limits)
    return Judged(statistics=found, species=species, limits=limits, verdict=verdict)


async def _species(
    programs: Toolchain, task: Assembling, polished: Polished
) -> tuple[SpeciesShare, ...] | None:
    if not programs.kraken_database:
        return None
    job = kraken2.SpeciesJob(
        database=Path(programs.kraken_database), n_threads=programs.n_processes
    )
    return await kraken2.species_of(
        programs.program("kraken2"),
        job,
        polished.files.fasta,
        directory=task.working,
        timeout_s=programs.time_limit_s,
    )


@step(name="store assembly")
async def store_assembly(
    lims: EnteroBase, task: Assembling, reads: Reads, polished: Polished, judged: Judged
) -> Stored:
    """Keep the files by job number, write the assembly and its verdict, the job's status last."""
    store = lims.store()
    files = await asyncio.to_thread(_keep, task, polished.files)
    strain = await asyncio.to_thread(store.isolates.strain_of_reads, reads.pairs, task.strain)
    assembly = await asyncio.to_thread(
        store.isolates.add_assembly,
        strain_id=strain,
        job_id=task.job_id,
        reads=reads.pairs,
        files=files,
        statistics=judged.statistics,
        verdict=judged.verdict,
        species=judged.species or (),
        directory=task.results,
    )
    await asyncio.to_thread(
        store.jobs.close,
        task.job_id,
        JobStatus.COMPLETE,
        output_location=str(files.fastq),
        version=" ".join(polished.files.tools[1])[:50],
    )
    return Stored(assembly=assembly, files=files)


def _keep(task: Assembling, files: AssemblyFiles) -> AssemblyFiles:
    """Copy an assembly to its job's folder; every file appears there whole."""
    task.results.mkdir(parents=True, exist_ok=True)
    kept = {"fastq": files.fastq, "fasta": files.fasta}
    for name, path in kept.items():
        part = task.results / f".{path.name}.part"
        shutil.copyfile(path, part)
        kept[name] = part.replace(task.results / path.name)
    return files.model_copy(update=kept)


@step(name="store failure")
async def store_assembly_failure(
    lims: EnteroBase, task: Assembling, failure: LimsflowError
) -> None:
    """Close the job as failed; what the programs left stays for another run."""
    where = failure.directory if isinstance(failure, ProgramError) else None
    await asyncio.to_thread(
        lims.store().jobs.close,
        task.job_id,
        JobStatus.FAILED,
        output_location=str(where) if where else None,
    )


def clear_working(task: Assembling) -> None:
    """Remove the working directory of an assembly that is stored."""
    shutil.rmtree(task.working, ignore_errors=True)


# How a step runs


def _part(life: Life, first: float, last: float) -> Tell:
    """Return what tells a part's progress (0-1) as the whole's."""
    return lambda fraction, text: life.tell(first + (last - first) * fraction, text)


async def _once(
    task: Assembling,
    name: str,
    key: str,
    files: list[Path],
    kind: type[ResultT],
    run: Callable[[], Awaitable[ResultT]],
) -> ResultT:
    """Run a step, unless an earlier run finished it with the same input and programs."""
    known = await asyncio.to_thread(finished, task.working, name, key, kind)
    if known is not None:
        logger.info("%s: taken over, it was finished before", name)
        return known
    result = await run()
    await asyncio.to_thread(write_stamp, task.working, name, key, result, files)
    return result


async def _mended(
    run: Callable[[JobT, int], Awaitable[MadeT]],
    job: JobT,
    faults: tuple[Fault[JobT], ...],
) -> MadeT:
    """Run a program, mending its known faults."""

    async def on_repair(repair: Repair) -> None:
        logger.warning("%s", repair)

    return await run_with_remedies(run, job, faults, max_tries=MAX_TRIES, on_repair=on_repair)
