"""The steps from reads to a judged assembly; each is one program's work and is not done twice."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import LimsflowError, NoSuchRecord, ProgramError, ProgramNotFound
from blocks.faults import Fault, Repair, run_with_remedies
from blocks.genomics import assemblers, consensus, fastp, kraken2, minimap2, samtools
from blocks.genomics.archive import concatenate, fetch_run
from blocks.genomics.assembly_job import AssemblyJob
from blocks.genomics.download import disk_of
from blocks.genomics.fastq import check_pair
from blocks.genomics.genome import read_genome
from blocks.genomics.jobs import OPEN
from blocks.genomics.quality_limits import limits_of
from blocks.genomics.records import AssemblyFiles, JobStatus, Scheme, SchemeCall
from blocks.genomics.running import Tell
from blocks.genomics.uploads import Upload, find_upload, parse_accession
from blocks.program import Program
from tasks.genomics.assembly_quality import contigs_of, judge, statistics
from tasks.genomics.indexes import folder_name
from tasks.genomics.stages import (
    AssemblerName,
    Assembling,
    Draft,
    Judged,
    Polished,
    Reads,
    Species,
    Stored,
    Trimmed,
)
from tasks.genomics.stamps import key_of, once
from tasks.life import Life
from tasks.policies import program_step, step

logger = logging.getLogger(__name__)

JobT = TypeVar("JobT")
MadeT = TypeVar("MadeT")
MAX_TRIES = 4
PIPELINE = "QAssembly"
STEM = "assembly.scaffold"
SORT_MB = 1024
HOLDER = "flow-run"  # file that says whose working directory it is


@step(name="begin")
async def begin_assembly(
    lims: EnteroBase,
    reads: str,
    strain: str,
    assembler: AssemblerName,
    run_id: str,
    *,
    user_id: int | None = None,
) -> Assembling:
    """Make the job that the user sees; the same reads always have the same working directory.

    Raises:
        InvalidRequest: the text names no reads.
    """
    wanted = parse_accession(reads.strip())
    jobs = lims.store().jobs
    job = await asyncio.to_thread(
        jobs.start, accession=str(wanted), pipeline=PIPELINE, flow_run_id=run_id, user_id=user_id
    )
    await asyncio.to_thread(jobs.close, job.id, JobStatus.RUNNING)
    share = Path(lims.share).absolute()
    where = folder_name(lims.database, lims.url.get_secret_value())
    return Assembling(
        job_id=job.id,
        flow_run_id=run_id,
        reads=wanted,
        strain=strain,
        assembler=assembler,
        working=share / "work" / key_of(where, str(wanted), assembler)[:20],
        results=share / str(job.id),
    )


@step(name="take over")
async def take_over(lims: EnteroBase, task: Assembling) -> None:
    """Say whose working directory this is now; close the job of a run that was killed in it.

    For whoever holds the directory: the run that it belonged to cannot be alive.

    Raises:
        TransientError: the disk is full, or cannot be written.
    """
    holder, jobs = task.working / HOLDER, lims.store().jobs
    before = holder.read_text(errors="replace").strip() if holder.is_file() else ""
    if before and before != task.flow_run_id:
        try:
            job = await asyncio.to_thread(jobs.of_run, before)
        except NoSuchRecord:
            job = None
        if job and job.status in OPEN:
            logger.warning("job %d was left open by a run that is gone; closed", job.id)
            await asyncio.to_thread(jobs.close, job.id, JobStatus.FAILED)
    with disk_of(holder):
        holder.write_text(task.flow_run_id)


@step(name="get reads")
async def get_reads(lims: EnteroBase, programs: Toolchain, task: Assembling, life: Life) -> Reads:
    """Find the uploaded files, or fetch the runs from the public archive; check all that is asked.

    What would fail after hours of assembling is looked at here: limits, programs, the strain.

    Raises:
        ServiceUnavailable: no archive answered; tried again later.
        FileNotYetVisible: an uploaded file is not there; tried again later.
        DataError: there are no such reads, they cannot be used, or are another strain's.
        ProgramNotFound: a program is missing.
    """
    await asyncio.to_thread(lims.store().assembling.tried, str(task.reads), task.flow_run_id)
    limits_of(lims.genus, lims.limits)
    for name in _needed(programs, task):
        programs.program(name).path()
    if isinstance(task.reads, Upload):
        life.tell(0.01, "checking the uploaded reads")
        pairs = [await asyncio.to_thread(find_upload, task.reads, Path(lims.uploads))]
        await asyncio.to_thread(check_pair, pairs[0].read1, pairs[0].read2)
    else:
        dump, tell = _installed(programs.program("fasterq-dump")), _part(life, 0.0, 0.15)
        pairs = [
            await fetch_run(lims.archive, run, task.working / run, dump=dump, tell=tell)
            for run in task.reads.accessions
        ]
    strain = await asyncio.to_thread(lims.store().isolates.strain_of_reads, pairs, task.strain)
    return Reads(pairs=tuple(pairs), strain_id=strain)


def _needed(programs: Toolchain, task: Assembling) -> list[str]:
    species = ["kraken2"] if programs.kraken_database else []
    return [
        "fastp",
        assemblers.ASSEMBLERS[task.assembler].program,
        "minimap2",
        "samtools",
        *species,
    ]


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
    job = fastp.TrimJob(read1=reads.files[0], read2=reads.files[1], n_threads=programs.n_processes)

    async def trim(job: fastp.TrimJob, _try: int) -> Trimmed:
        counts = await fastp.trim(
            program, job, directory=task.working, timeout_s=programs.time_limit_s
        )
        return Trimmed(counts=counts, tool=("fastp", version))

    async def join_and_trim() -> Trimmed:
        pair = await asyncio.to_thread(concatenate, reads.pairs, task.working)
        joined = job.model_copy(update={"read1": pair.read1, "read2": pair.read2})
        return await _mended(trim, joined, fastp.FAULTS)

    key = key_of(fastp.arguments(job)[4:], version, files=reads.files)
    made = [task.working / name for name in fastp.TRIMMED]
    return await once(task.working, "trim", key, made, Trimmed, join_and_trim)


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
    return await once(
        task.working,
        assembler.name,
        key,
        made,
        Draft,
        lambda: _mended(assemble, job, assembler.faults),
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
    return await once(task.working, "polish", key, made, Polished, polish)


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
    verdict = judge(found, species.shares if species else None, limits)
    return Judged(statistics=found, species=species, limits=limits, verdict=verdict)


async def _species(programs: Toolchain, task: Assembling, polished: Polished) -> Species | None:
    if not programs.kraken_database:
        return None
    program, fasta = programs.program("kraken2"), polished.files.fasta
    version = await kraken2.version(program, task.working)
    job = kraken2.SpeciesJob(
        database=Path(programs.kraken_database).absolute(), n_threads=programs.n_processes
    )

    async def look(job: kraken2.SpeciesJob, _try: int) -> Species:
        shares = await kraken2.species_of(
            program, job, fasta, directory=task.working, timeout_s=programs.time_limit_s
        )
        return Species(shares=shares, tool=("kraken2", version))

    return await _mended(look, job, kraken2.FAULTS)


@step(name="store assembly")
async def store_assembly(
    lims: EnteroBase, task: Assembling, reads: Reads, polished: Polished, judged: Judged
) -> Stored:
    """Keep the files by job number, write the assembly and its verdict, the job's status last.

    Raises:
        TransientError: the disk is full, or the database is away.
    """
    store = lims.store()
    files = await asyncio.to_thread(_keep, task, polished.files)
    if judged.species:
        files = files.model_copy(update={"tools": (*files.tools, judged.species.tool)})
    assembly = await asyncio.to_thread(
        store.isolates.add_assembly,
        strain_id=reads.strain_id,
        job_id=task.job_id,
        reads=reads.pairs,
        files=files,
        statistics=judged.statistics,
        verdict=judged.verdict,
        species=judged.shares or (),
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
    kept = {"fastq": files.fastq, "fasta": files.fasta}
    with disk_of(task.results):
        task.results.mkdir(parents=True, exist_ok=True)
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


@step(name="list schemes")
async def automatic_schemes(lims: EnteroBase) -> list[Scheme]:
    """Return the schemes that are called on every new assembly."""
    return await asyncio.to_thread(lims.store().schemes.automatic)


@step(name="read calls")
async def calls_of(lims: EnteroBase, stored: Stored) -> list[SchemeCall]:
    """Return what became of every scheme that was called on an assembly."""
    return await asyncio.to_thread(lims.store().calls.calls, stored.assembly.id)


# How a step runs


def _part(life: Life, first: float, last: float) -> Tell:
    """Return what tells a part's progress (0-1) as the whole's."""
    return lambda fraction, text: life.tell(first + (last - first) * fraction, text)


async def _mended(
    run: Callable[[JobT, int], Awaitable[MadeT]],
    job: JobT,
    faults: tuple[Fault[JobT], ...],
) -> MadeT:
    """Run a program, mending its known faults."""

    async def on_repair(repair: Repair) -> None:
        logger.warning("%s", repair)

    return await run_with_remedies(run, job, faults, max_tries=MAX_TRIES, on_repair=on_repair)
