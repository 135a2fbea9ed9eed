"""An EnteroBase with synthetic schemes and genomes, and what Prefect calls it."""

import asyncio
import itertools
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import NullPool, create_engine

from blocks.database import engine_for
from blocks.genomics.records import Column, Place, Profile, SchemeCall, SchemeParam
from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore, open_store
from blocks.genomics.synthetic_isolate import (
    SyntheticScheme,
    housekeeping_scheme,
    substituted,
    synthetic_genome,
    write_genome,
)
from tests.fakes.entero import Look

numbers = itertools.count(1)
MLST = housekeeping_scheme(n_alleles=6, n_types=6, name="mlst")
GENOME_BP = 40_000
PREFIX, DATABASE, GENUS = "SYN", "synthetica", "Salmonella"


def with_new_allele(
    scheme: SyntheticScheme, st: int, *loci: str, seed: int = 1
) -> dict[str, bytes]:
    """Return what an isolate of a type carries, but for alleles of these loci that nobody knows."""
    rng, carried = np.random.default_rng(seed), scheme.carried(st)
    return {locus: substituted(carried[locus], 3, rng) for locus in loci}


@dataclass(frozen=True)
class Isolates:
    """An EnteroBase with one scheme of seven genes, its files, and the names of its blocks."""

    root: Path
    store: EnteroStore
    url: str
    name: str

    @property
    def share(self) -> Path:
        """Where results go."""
        return self.root / "share"

    @property
    def programs(self) -> Path:
        """Where the toolchain looks for programs."""
        return self.root / "bin"

    @property
    def look(self) -> Look:
        """A look at the rows past the store."""
        return Look(create_engine(self.url, poolclass=NullPool))

    def load(self, scheme: SyntheticScheme, **param: Any) -> str:
        """Load a scheme; return its machine name."""
        facts = {"pipeline": "nomenclature", "scheme": f"Synthetica_{scheme.name}"} | param
        self.store.schemes.load(
            scheme.name,
            name=scheme.name,
            param=SchemeParam(**facts),
            loci=[(locus, tuple(enumerate(own, 1))) for locus, own in scheme.alleles.items()],
            profiles=[Profile(n, alleles) for n, alleles in enumerate(scheme.profiles, 1)],
        )
        return scheme.name

    def generic(self, name: str, *columns: str, **param: Any) -> str:
        """Make the rows of a generic scheme; return its machine name."""
        shown = [Column(name=column, label=column.title()) for column in columns]
        self.store.schemes.save_scheme(name, name=name, param=SchemeParam(**param), columns=shown)
        return name

    def genome(
        self,
        st: int = 1,
        *,
        scheme: SyntheticScheme = MLST,
        carries: Mapping[str, bytes | None] | None = None,
        suffix: str = ".fastq.gz",
        quality: int = 40,
        weak: str = "",
        length: int = GENOME_BP,
    ) -> str:
        """Register a genome of a sequence type; return the assembly's barcode.

        Args:
            st: What its loci are those of.
            scheme: Of which scheme.
            carries: Other sequences, by locus; None is a locus that is missing.
            suffix: Tells FASTA or FASTQ.
            quality: Of every base.
            weak: A locus whose bases have quality 5 instead.
            length: Base pairs.
        """
        carried = scheme.carried(st) | dict(carries or {})
        found = {locus: sequence for locus, sequence in carried.items() if sequence}
        genome = synthetic_genome(found, length=length, n_contigs=3)
        poor: Sequence[Place] = [genome.places[weak]] if weak else []
        path = self.root / f"isolate_{next(numbers)}{suffix}"
        return self.register(write_genome(genome, path, quality=quality, weak=poor))

    def register(self, path: Path) -> str:
        """Register a file, there or not; return the assembly's barcode."""
        return self.store.isolates.add_genome(path, strain=path.name).barcode

    def a_pipe(self) -> Path:
        """Return a file that whoever reads it waits for."""
        path = self.root / f"pipe_{next(numbers)}.fastq.gz"
        os.mkfifo(path)
        return path

    def toolchain(self, **options: Any) -> str:
        """Save a toolchain whose programs and pipelines are this test's; return its name."""
        from blocks.connections import Toolchain  # noqa: PLC0415 - loads Prefect

        pipelines = self.root / "pipelines"
        pipelines.mkdir(exist_ok=True)
        where = {"directory": str(self.programs), "pipelines_directory": str(pipelines)}
        asyncio.run(Toolchain(n_processes=2, **(where | options)).asave(self.name, overwrite=True))
        return self.name

    def type(self, barcode: str, scheme: str = MLST.name, **options: Any) -> Any:
        """Type an assembly in this process, as `limsflow isolate type` does."""
        [ended] = self.type_at_once(barcode, scheme, **options)
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def type_at_once(
        self, barcode: str, scheme: str = MLST.name, *, times: int = 1, **options: Any
    ) -> list[Any]:
        """Type an assembly so many times at the same moment; return results and failures."""
        from flows.type_assembly import type_assembly  # noqa: PLC0415 - loads Prefect

        async def runs() -> list[Any]:
            names = {"entero": self.name, "toolchain": "PATH"} | options
            calls = [type_assembly(barcode, scheme, **names) for _ in range(times)]
            return await asyncio.gather(*calls, return_exceptions=True)

        return asyncio.run(runs())

    def search(self, sequences: str, scheme: str = MLST.name, **options: Any) -> Any:
        """Look sequences up in a scheme."""
        from flows.search_loci import search_loci  # noqa: PLC0415 - loads Prefect

        return asyncio.run(search_loci(sequences, scheme, **({"entero": self.name} | options)))

    def call(self, barcode: str, scheme: str = MLST.name) -> SchemeCall:
        """Return what is stored of a scheme on an assembly."""
        assembly = self.store.isolates.assembly(barcode)
        return next(c for c in self.store.calls.calls(assembly.id) if c.scheme == scheme)

    def report(self, barcode: str, scheme: str = MLST.name) -> str:
        """Return the one report that the newest call of a scheme published."""
        return published(self.call(barcode, scheme).flow_run_id)


async def _a_run(state_type: str) -> str:
    from prefect import get_client  # noqa: PLC0415
    from prefect.states import State, StateType  # noqa: PLC0415

    from flows.type_assembly import type_assembly  # noqa: PLC0415

    async with get_client() as client:
        run = await client.create_flow_run(type_assembly)
        state = State(type=StateType(state_type), message="by a test")
        await client.set_flow_run_state(run.id, state, force=True)
    return str(run.id)


def a_run(state_type: str) -> str:
    """Return a flow run in this state, on which nobody works."""
    return asyncio.run(_a_run(state_type))


async def _artifacts(run_id: str) -> list[str]:
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.filters import (  # noqa: PLC0415
        ArtifactFilter,
        ArtifactFilterFlowRunId,
    )

    async with get_client() as client:
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
        found = await client.read_artifacts(artifact_filter=wanted)
    return [str(one.data) for one in found if one.type == "markdown"]  # Prefect has its own too


def published(run_id: str) -> str:
    """Return the one report of a flow run."""
    [report] = asyncio.run(_artifacts(run_id))
    return report


@pytest.fixture(scope="session")
def empty_entero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an EnteroBase with one scheme of seven genes; copied, as migrations take time."""
    path = tmp_path_factory.mktemp("entero") / "entero.db"
    migrate(f"sqlite:///{path}")
    with_scheme = an_entero(path.parent, "nobody")
    with_scheme.load(MLST)
    with with_scheme.look.engine.begin() as connection:
        connection.exec_driver_sql("VACUUM INTO ?", (str(path.with_name("copy.db")),))
    return path.with_name("copy.db")


def an_entero(root: Path, name: str) -> Isolates:
    url = f"sqlite:///{root / 'entero.db'}"
    store = open_store(url, database=DATABASE, prefix=PREFIX)
    return Isolates(root=root, store=store, url=url, name=name)


@pytest.fixture
def isolates(prefect: None, empty_entero: Path, tmp_path: Path) -> Generator[Isolates, None, None]:
    """An EnteroBase that is empty but for one scheme of seven genes."""
    from pydantic import SecretStr  # noqa: PLC0415

    from blocks.connections import EnteroBase  # noqa: PLC0415 - loads Prefect

    shutil.copy(empty_entero, tmp_path / "entero.db")
    isolates = an_entero(tmp_path, f"isolates-{next(numbers)}")
    isolates.programs.mkdir()
    block = EnteroBase(
        url=SecretStr(isolates.url), database=DATABASE, prefix=PREFIX, genus=GENUS,
        share=str(isolates.share),
    )  # fmt: skip
    asyncio.run(block.asave(isolates.name))
    yield isolates
    engine_for(isolates.url).dispose()
