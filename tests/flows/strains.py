"""Strains with reads, and stand-ins for the programs that assemble them."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks.genomics.records import UserJob
from blocks.genomics.synthetic_isolate import (
    SyntheticGenome,
    SyntheticScheme,
    synthetic_genome,
    write_reads,
)
from tests.fakes.assembly_programs import AssemblyPrograms, fake_assembly_programs
from tests.fakes.programs import script
from tests.fakes.served import environment
from tests.flows.isolates import (
    DATABASE,
    GENOME_BP,
    GENUS,
    MLST,
    PREFIX,
    Isolates,
    an_entero,
    numbers,
)

LIMITS = {"min_length": 30_000, "max_length": 50_000, "min_n50": 5_000, "max_contigs": 10}
COUNTER = """#!{python} -IS
import json, sys
if sys.argv[1:] == ["--version"]:
    print("counter 2.5")
    sys.exit(0)
{deed}
contigs = open(sys.argv[1]).read().count(">")
json.dump({{"contigs": contigs}}, open("counted.json", "w"))
"""


@dataclass(frozen=True)
class Bench:
    """An EnteroBase that assembles: uploads, limits, programs."""

    isolates: Isolates
    programs: AssemblyPrograms

    @property
    def uploads(self) -> Path:
        """Where users' reads are."""
        return self.isolates.root / "uploads"

    @property
    def share(self) -> Path:
        """Where results go."""
        return self.isolates.share

    @property
    def kraken(self) -> Path:
        """The folder of a Kraken database, if the toolchain says so."""
        return self.isolates.root / "kraken"

    def limit(self, **limits: Any) -> None:
        """Change the genus' limits."""
        path = self.isolates.root / "limits.json"
        path.write_text(json.dumps({"genera": {GENUS: LIMITS | limits}}))

    def genome(
        self, st: int = 1, *, n_contigs: int = 3, scheme: SyntheticScheme = MLST, seed: int = 300
    ) -> SyntheticGenome:
        """Let the next assembly be of this type; return it."""
        carried = scheme.carried(st)
        genome = synthetic_genome(carried, length=GENOME_BP, n_contigs=n_contigs, seed=seed)
        self.programs.genome(genome.contigs)
        return genome

    def upload(self, trace: str = "TR1", *, st: int = 1, names: Sequence[str] = ()) -> str:
        """Upload a strain's reads; return what `user_jobs.accession` calls them."""
        given = names or (f"{trace}_R1.fastq.gz", f"{trace}_R2.fastq.gz")
        one, two = (self.uploads / name for name in given)
        write_reads(self.genome(st), one, two, depth=1)
        return "#".join((trace, *given))

    def assemble(self, reads: str, **options: Any) -> Any:
        """Assemble reads in this process, as `limsflow isolate assemble` does."""
        return asyncio.run(self.assembling(reads, **options))

    def assembling(self, reads: str, **options: Any) -> Any:
        """Return the run that assembles reads, to be awaited."""
        from flows.assemble_strain import assemble_strain  # noqa: PLC0415 - loads Prefect

        names = {"entero": self.isolates.name, "toolchain": self.isolates.name}
        return assemble_strain(reads, **(names | options))

    def command(self, *arguments: str) -> dict[str, Any]:
        """Return what starts a command on this EnteroBase, and on the tests' Prefect server."""
        from prefect.settings import PREFECT_API_URL  # noqa: PLC0415 - loads Prefect

        where = () if "--entero" in arguments else ("--entero", self.isolates.name)
        programs = ("--toolchain", self.isolates.name)
        return {
            "args": [sys.executable, "-m", "deployments.cli", *arguments, *where, *programs],
            "env": environment() | {"PREFECT_API_URL": str(PREFECT_API_URL.value())},
            "cwd": self.isolates.root,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    def limsflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(**self.command(*arguments), timeout=100, check=False)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command while the block runs."""
        with subprocess.Popen(**self.command(*arguments)) as process:
            try:
                yield process
            finally:
                process.kill()

    @property
    def jobs(self) -> list[UserJob]:
        """The assembling jobs, oldest first."""
        query = "SELECT job_id FROM user_jobs WHERE pipeline = 'QAssembly' ORDER BY job_id"
        return [self.isolates.store.jobs.job(row.job_id) for row in self.isolates.look.rows(query)]

    @property
    def job(self) -> UserJob:
        """The newest assembling job."""
        return self.jobs[-1]

    def row(self, table: str, **where: object) -> Any:
        """Return the only row of a table with these values."""
        condition = " AND ".join(f"{name} = :{name}" for name in where) or "1 = 1"
        [row] = self.isolates.look.rows(f"SELECT * FROM {table} WHERE {condition}", **where)
        return row

    @property
    def report(self) -> str:
        """The only report of the newest job's run."""
        [report] = [one.data for one in self._artifacts() if one.type == "markdown"]
        return str(report)

    @property
    def progress(self) -> tuple[float, str]:
        """Per cent and text of the newest job's only progress bar."""
        [bar] = [one for one in self._artifacts() if one.type == "progress"]
        return float(str(bar.data)), bar.description or ""

    def _artifacts(self) -> list[Any]:
        [run] = self.isolates.store.jobs.runs(self.job.id)
        return asyncio.run(_artifacts(run))

    def states(self, runs: Sequence[str]) -> list[tuple[str, str]]:
        """Return name and state of flow runs."""
        return asyncio.run(_states(runs))

    def add_counter(self, name: str = "counter", *, deed: str = "", **param: Any) -> str:
        """Make a generic scheme whose program counts contigs; return its machine name.

        Args:
            name: Of scheme, pipeline and program.
            deed: Python that the program does first.
            param: Of the scheme; a pipeline of None is one that is not called by itself.
        """
        folder = self.isolates.root / "pipelines"
        pipeline = {
            "program": name,
            "arguments": ["{fasta}"],
            "output": "counted.json",
            "reader": "json",
            "version": {"arguments": ["--version"], "pattern": r"counter (\S+)"},
            "time_limit_s": 60,
            "fields": {"contigs": "contigs"},
        }
        (folder / f"{name}.json").write_text(json.dumps(pipeline))
        text = COUNTER.format(python=sys.executable, deed=deed)
        script(self.programs.directory / name, text)
        return self.isolates.generic(name, "contigs", **({"pipeline": name} | param))


def make_bench(
    root: Path, empty_entero: Path, *, toolchain: dict[str, Any] | None = None, **entero: Any
) -> Bench:
    """Make an EnteroBase that assembles in a folder, with stand-ins for the programs.

    Args:
        root: The folder; empty.
        empty_entero: The file of an EnteroBase, copied.
        toolchain: What else the block of the programs says.
        entero: What else its block says.
    """
    shutil.copy(empty_entero, root / "entero.db")
    isolates = an_entero(root, f"strains-{next(numbers)}")
    bench = Bench(isolates=isolates, programs=fake_assembly_programs(isolates.programs))
    for folder in (bench.uploads, bench.kraken, root / "pipelines"):
        folder.mkdir()
    bench.limit()
    asyncio.run(_save_blocks(bench, entero, toolchain or {}))
    return bench


async def _save_blocks(bench: Bench, entero: dict[str, Any], toolchain: dict[str, Any]) -> None:
    from pydantic import SecretStr  # noqa: PLC0415

    from blocks.connections import EnteroBase, Toolchain  # noqa: PLC0415 - loads Prefect

    isolates, root = bench.isolates, bench.isolates.root
    facts: dict[str, Any] = {
        "url": SecretStr(isolates.url),
        "database": DATABASE,
        "prefix": PREFIX,
        "genus": GENUS,
        "share": str(bench.share),
        "uploads": str(bench.uploads),
        "limits_file": str(root / "limits.json"),
    }
    await EnteroBase(**(facts | entero)).asave(isolates.name)
    programs: dict[str, Any] = {
        "directory": str(isolates.programs),
        "environment": {"PATH": str(root)},  # what the machine has must not be found
        "pipelines_directory": str(root / "pipelines"),
        "n_processes": 2,
        "memory_gb": 4,
    }
    await Toolchain(**(programs | toolchain)).asave(isolates.name)


async def step_runs(bench: Bench, name: str) -> list[Any]:
    """Return the newest job's steps of this name as Prefect has them."""
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId  # noqa: PLC0415

    if not bench.jobs:
        return []
    runs = [UUID(run) for run in bench.isolates.store.jobs.runs(bench.job.id)]
    async with get_client() as client:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=runs))
        found = await client.read_task_runs(flow_run_filter=wanted)
    return [run for run in found if run.name.startswith(name)]


async def children(bench: Bench) -> list[str]:
    """Return the names of the runs that the newest job's run started."""
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.filters import (  # noqa: PLC0415
        FlowRunFilter,
        FlowRunFilterParentFlowRunId,
    )

    runs = [UUID(run) for run in bench.isolates.store.jobs.runs(bench.job.id)]
    wanted = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=runs))
    async with get_client() as client:
        return [run.name for run in await client.read_flow_runs(flow_run_filter=wanted)]


async def _states(runs: Sequence[str]) -> list[tuple[str, str]]:
    from prefect import get_client  # noqa: PLC0415

    async with get_client() as client:
        found = [await client.read_flow_run(UUID(run)) for run in runs]
    return [(run.name, run.state.type.value if run.state else "") for run in found]


async def _artifacts(run_id: str) -> list[Any]:
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.filters import (  # noqa: PLC0415
        ArtifactFilter,
        ArtifactFilterFlowRunId,
    )

    async with get_client() as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
        return list(await client.read_artifacts(artifact_filter=wanted))
