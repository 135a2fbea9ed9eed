"""A generic scheme on one assembly: run its pipeline's program, read and keep what it found."""

import asyncio
import gzip
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from blocks.errors import OutputInvalid, ProgramFailed
from blocks.genomics.genbank import MAKERS, Contig
from blocks.genomics.genome import Genome, read_genome
from blocks.genomics.outputs import read_output
from blocks.genomics.pipeline import (
    FASTA,
    STDOUT,
    Pipeline,
    filled_arguments,
    require_genus,
    unpacked,
)
from blocks.genomics.records import Column
from blocks.program import Program, Run, run_program
from blocks.record import Record

VERSION_LIMIT_S = 120.0
LINE = 80  # bases
GZIP_LEVEL = 5  # of an annotation: 3 % larger than level 9, in a seventh of the time
STRANGE = re.compile(r"[^A-Za-z0-9.:^*$@!+_?|-]")  # letters that GFF 3 does not allow in a name
LONGEST_NAME = 200
LONGEST_REASON = 300
ERROR = re.compile(r"\W*(?:fatal|[\w.]*(?:error|exception))\b", re.IGNORECASE)


class GenericResult(Record):
    """What one pipeline found in one assembly."""

    pipeline: str
    results: dict[str, Any] = Field(description="the pipeline's fields, as JSON can hold them")
    files: dict[str, Path] = Field(description="key in the results: file in the directory")
    argv: tuple[str, ...]
    tools: tuple[tuple[str, str], ...] = Field(description="program and version")
    wall_s: float

    def stored(self, files: Mapping[str, Path] | None = None) -> dict[str, Any]:
        """Return `other_data.results`: the results, and the files' paths where they are now."""
        paths = self.files if files is None else files
        return self.results | {key: str(path) for key, path in paths.items()}


async def run_pipeline(
    pipeline: Pipeline,
    program: Program,
    fasta: Path,
    directory: Path,
    *,
    n_processes: int = 1,
    time_limit_s: float | None = None,
    genus: str | None = None,
) -> GenericResult:
    """Run a pipeline on an assembly, once more if it ran here before.

    Args:
        pipeline: What to run.
        program: Where its program is.
        fasta: The assembly: FASTA or FASTQ, plain or gzip. The program gets plain FASTA in upper
            case, its contigs named by their first word; letters that GFF does not allow in a
            name become `_`.
        directory: Where to work; made if it is missing.
        n_processes: How many processes the program may start.
        time_limit_s: The site's limit; the pipeline's own holds when it is shorter.
        genus: Of the assembly, None if nobody knows.

    Raises:
        InvalidRequest: the pipeline is not for this genus.
        FileNotYetVisible: the assembly is not there.
        InconsistentInput: the file is no assembly.
        ProgramError: the program failed, or its output is missing or cannot be read.
    """
    require_genus(pipeline, genus)
    directory = directory.absolute()
    contigs = await asyncio.to_thread(_prepare, pipeline, fasta, directory)
    version = await program_version(pipeline, program, directory)
    arguments = filled_arguments(
        pipeline, directory=directory, n_processes=n_processes, genus=genus
    )
    limit_s = min(filter(None, (pipeline.time_limit_s, time_limit_s)))
    run = await run_program(
        program, arguments, directory=directory, timeout_s=limit_s, log_name=pipeline.name
    )
    results, files = await asyncio.to_thread(_collect, pipeline, _successful(run), contigs)
    return GenericResult(
        pipeline=pipeline.name,
        results=results,
        files=files,
        argv=run.argv,
        tools=((program.name, version),),
        wall_s=run.wall_s,
    )


def check_columns(results: Mapping[str, Any], columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the columns that a scheme declares and the results do not have.

    All results are stored, declared or not; a column that is never filled is a mistake in
    `data_param` that somebody should hear of.
    """
    return tuple(column.name for column in columns if column.name not in results)


def _prepare(pipeline: Pipeline, assembly: Path, directory: Path) -> list[Contig]:
    """Write the assembly as the program gets it, and remove what an earlier run left."""
    contigs = named_contigs(read_genome(assembly))
    directory.mkdir(parents=True, exist_ok=True)
    own = () if pipeline.output == STDOUT else (pipeline.output,)
    for name in {*own, *pipeline.makes, *pipeline.files.values()}:
        for path in (directory / name, directory / unpacked(name)):
            path.unlink(missing_ok=True)
    with (directory / FASTA).open("w", encoding="ascii") as file:
        for name, sequence in contigs:
            file.write(f">{name}\n")
            text = sequence.decode()
            file.writelines(f"{text[i : i + LINE]}\n" for i in range(0, len(text), LINE))
    return contigs


def named_contigs(genome: Genome) -> list[Contig]:
    """Return the contigs that have a base, under names that every program can read.

    Two names that become the same get the contig's number, from 1, behind them.
    """
    taken, contigs = set[str](), list[Contig]()
    for index, contig in enumerate(genome.contigs):
        name = STRANGE.sub("_", contig)[:LONGEST_NAME]
        while name in taken:
            name = f"{name}_{index + 1}"
        taken.add(name)
        if genome.lengths[index]:
            contigs.append((name, genome.contig_sequence(index)))
    return contigs


async def program_version(pipeline: Pipeline, program: Program, directory: Path) -> str:
    """Return the version that a program says, on whichever of its two outputs.

    Raises:
        ProgramError: it is not there, or ends badly.
        OutputInvalid: it says nothing like it, so it may be another program of the same name.
    """
    asked = await run_program(
        program,
        pipeline.version.arguments,
        directory=directory,
        timeout_s=VERSION_LIMIT_S,
        log_name=f"{pipeline.name}-version",
    )
    said = "\n".join(path.read_text(errors="replace") for path in (asked.stdout, asked.stderr))
    found = re.search(pipeline.version.pattern, said, re.MULTILINE)
    if found is None:
        msg = f"{program.name} does not say its version as {pipeline.name} expects: is it another?"
        raise asked.failure(OutputInvalid, msg)
    return found[1]


def _successful(run: Run) -> Run:
    """Require success; a failure's message ends with the program's own reason."""
    if run.exit_status:
        name = Path(run.argv[0]).name
        raise run.failure(
            ProgramFailed, f"{name} ended with status {run.exit_status}: {reason(run)}"
        )
    return run.require_success()


def reason(run: Run) -> str:
    """Return the last line that a program called an error, else the last that it said."""
    lines = [line.strip() for line in run.log_tail().splitlines() if line.strip()]
    errors = [line for line in lines if ERROR.match(line)]
    return ((errors or lines)[-1:] or ["it said nothing"])[0][:LONGEST_REASON]


def _collect(
    pipeline: Pipeline, run: Run, contigs: Sequence[Contig]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the results and the files that are kept, compressed where the pipeline says so."""
    output = run.stdout if pipeline.output == STDOUT else run.directory / pipeline.output
    _require_file(output, run, empty=False)
    results = read_output(pipeline.reader, output, pipeline.fields)
    for name, maker in pipeline.makes.items():
        MAKERS[maker](contigs, output, run.directory / name)
    files = {key: run.directory / name for key, name in pipeline.files.items()}
    for path in files.values():
        _keep(path, run)
    return results, files


def _keep(path: Path, run: Run) -> None:
    """Require a file, and compress it if its name says so and the program did not."""
    plain = path.with_name(unpacked(path.name))
    if plain != path and plain.is_file():
        _compress(plain, path)
        plain.unlink()
    _require_file(path, run, empty=True)


def _compress(plain: Path, path: Path) -> None:
    """Write a gzip file without name and time of day: the same result is the same file."""
    with path.open("wb") as target, plain.open("rb") as source:
        packed = gzip.GzipFile("", "wb", GZIP_LEVEL, target, 0)
        with packed:
            shutil.copyfileobj(source, packed)


def _require_file(path: Path, run: Run, *, empty: bool) -> None:
    name = Path(run.argv[0]).name
    if not path.is_file():
        raise run.failure(OutputInvalid, f"{name} ended with status 0, but left no {path.name}")
    if not empty and path.stat().st_size == 0:
        raise run.failure(OutputInvalid, f"{name} ended with status 0, but {path.name} is empty")
