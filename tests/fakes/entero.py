"""An EnteroBase for the store's promises: its store, and a look at its rows past it.

Each kind is made empty; a test makes the strains, schemes and assemblies that it is about.
"""

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, Row, create_engine, text

from blocks.database import engine_for
from blocks.genomics.keys import allele_key
from blocks.genomics.records import (
    Assembly,
    CallStatus,
    Claim,
    LocusCall,
    LookupStatus,
    Place,
    Profile,
    Scheme,
    SchemeParam,
)
from blocks.genomics.renumbering import Added
from blocks.genomics.results import CallStore
from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore, open_store
from tests.postgres.server import PostgresServer

PREFIX = "SAL"
ids = itertools.count(1000)
Found = TypeVar("Found")
Loci = dict[str, Sequence[tuple[int, bytes]]]  # name: number and sequence of each allele

# A small scheme: three loci of two alleles each, and two types.
LOCI: Loci = {
    "aroC": ((1, b"ATGAAACCC"), (2, b"ATGAAACCT")),
    "dnaN": ((1, b"ATGCCCGGG"), (2, b"ATGCCCGGT")),
    "hemD": ((1, b"ATGGGGTTT"), (2, b"ATGGGGTTC")),
}
PROFILES = (Profile(1, (1, 1, 1)), Profile(2, (2, 1, 2), {"clonal_complex": "CC2"}))


@dataclass(frozen=True)
class Look:
    """What the administrator of one database sees, and may do."""

    engine: Engine

    @property
    def url(self) -> str:
        """Of the database, with its password."""
        return self.engine.url.render_as_string(hide_password=False)

    def rows(self, sql: str, **values: object) -> list[Row[Any]]:
        """Return the rows of a query."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(sql), values).all())

    def value(self, sql: str, **values: object) -> Any:
        """Return the only value of a query."""
        [[found]] = self.rows(sql, **values)
        return found

    def count(self, table: str, **where: object) -> int:
        """Return how many rows of a table have these values."""
        condition = " AND ".join(f"{name} = :{name}" for name in where) or "1 = 1"
        return self.value(f"SELECT COUNT(*) FROM {table} WHERE {condition}", **where)

    def change(self, sql: str, **values: object) -> None:
        """Do what another program, or a person, does to the rows."""
        with self.engine.begin() as connection:
            connection.execute(text(sql), values)


@dataclass(frozen=True)
class Entero:
    """One EnteroBase: `species` and `system` look at its two databases, or at the one."""

    store: EnteroStore
    species: Look
    system: Look

    def close(self) -> None:
        """Give the connections back: a server has few."""
        for look in (self.species, self.system):
            engine_for(look.url).dispose()
            look.engine.dispose()

    @property
    def is_postgres(self) -> bool:
        """Whether its databases are PostgreSQL's."""
        return self.species.engine.dialect.name == "postgresql"

    @contextmanager
    def calls_with(
        self, n_connections: int, *, options: str = ""
    ) -> Generator[CallStore, None, None]:
        """Give a store of calls whose every thread can have a connection of its own."""
        if not self.is_postgres:
            yield self.store.calls
            return
        engine = create_engine(
            self.species.url,
            pool_size=n_connections,
            max_overflow=0,
            connect_args={"options": options} if options else {},
        )
        try:
            yield CallStore(engine, PREFIX)
        finally:
            engine.dispose()

    def an_assembly(self, name: str = "") -> Assembly:
        """Return a new assembly of a strain of its own."""
        chosen = name or f"strain {next(ids)}"
        return self.store.isolates.add_genome(Path(f"/share/{chosen}.fasta"), strain=chosen)

    def a_scheme(
        self,
        loci: Loci | None = None,
        profiles: Iterable[Profile] = PROFILES,
        **param: Any,
    ) -> Scheme:
        """Return a new scheme: the small one, or one of these loci."""
        name = f"MLST_{next(ids)}"
        self.load(name, loci, profiles, **param)
        return self.store.schemes.scheme(name)

    def load(
        self,
        name: str,
        loci: Loci | None = None,
        profiles: Iterable[Profile] = PROFILES,
        **param: Any,
    ) -> tuple[int, int]:
        """Load a scheme: the small one, or one of these loci; return how much was new."""
        added = self.added(name, loci, profiles, **param)
        return added.alleles, added.types

    def added(
        self,
        name: str,
        loci: Loci | None = None,
        profiles: Iterable[Profile] = PROFILES,
        **param: Any,
    ) -> Added:
        """Load a scheme: the small one, or one of these loci; return all that it did."""
        facts = {"pipeline": "nomenclature", "scheme": f"Salmonella_{name}"} | param
        return self.store.schemes.load(
            name,
            name="seven genes",
            param=SchemeParam(**facts),
            loci=(LOCI if loci is None else loci).items(),
            profiles=profiles,
        )

    def a_claim(self, scheme: Scheme | None = None, assembly: Assembly | None = None) -> Claim:
        """Return what a new flow run wants; nobody has given it."""
        chosen, run = assembly or self.an_assembly(), f"run-{next(ids)}"
        job = self.store.jobs.start(accession=chosen.barcode, pipeline="x", flow_run_id=run)
        return Claim(
            assembly=chosen,
            scheme=scheme or self.a_scheme(),
            job_id=job.id,
            flow_run_id=run,
            tool="limsflow 1",
        )

    def given(self, claim: Claim | None = None) -> Claim:
        """Return a claim that was given."""
        chosen = claim or self.a_claim()
        held = self.store.calls.claim(chosen)
        assert (held.status, held.flow_run_id) == (LookupStatus.QUEUED, chosen.flow_run_id)
        return chosen

    def lookup(self, claim: Claim) -> Row[Any]:
        """Return the only row that the site reads of a pair."""
        [row] = self.lookups(claim)
        return row

    def lookups(self, claim: Claim) -> list[Row[Any]]:
        """Return all rows of a pair, oldest first, with every column."""
        return self.species.rows(
            "SELECT * FROM assembly_lookup WHERE assembly_id = :a AND scheme_id = :s ORDER BY id",
            a=claim.assembly.id,
            s=claim.scheme.id,
        )

    def add_lookup(self, claim: Claim, **columns: object) -> None:
        """Write a row as the old site did."""
        facts = {"assembly_id": claim.assembly.id, "scheme_id": claim.scheme.id} | columns
        names = ", ".join(facts)
        values = ", ".join(f":{name}" for name in facts)
        self.species.change(f"INSERT INTO assembly_lookup ({names}) VALUES ({values})", **facts)


# Calls


def exact(locus: str, allele: int = 1, **given: Any) -> LocusCall:
    """Return the call of a known allele."""
    return LocusCall(locus=locus, status=CallStatus.EXACT, allele=allele, **given)


def novel(
    locus: str, sequence: str = "ATGAAAGGG", *, min_quality: int | None = 10, **given: Any
) -> LocusCall:
    """Return the call of an allele that nobody knows; its worst base is of this quality."""
    return LocusCall(
        locus=locus,
        status=CallStatus.NOVEL,
        key=allele_key(sequence.encode()),
        sequence=sequence,
        min_quality=min_quality,
        **given,
    )


def without(locus: str, status: CallStatus = CallStatus.MISSING, **given: Any) -> LocusCall:
    """Return the call of a locus that has no allele of use."""
    return LocusCall(locus=locus, status=status, **given)


def calls_of(*numbers: int) -> list[LocusCall]:
    """Return the calls of these known alleles of the small scheme."""
    return [exact(locus, number) for locus, number in zip(LOCI, numbers, strict=True)]


def a_place(start: int = 0, *, contig: str = "contig_1", strand: str = "+") -> Place:
    """Return a place of nine base pairs."""
    return Place(contig=contig, start=start, end=start + 9, strand=strand)  # type: ignore[arg-type]


def at_once(doings: Sequence[Callable[[], Found]]) -> list[Found]:
    """Do all of these at the same moment, each in a thread of its own; return what they return."""
    line = threading.Barrier(len(doings))

    def do(one: Callable[[], Found]) -> Found:
        line.wait(30)
        return one()

    with ThreadPoolExecutor(len(doings)) as threads:
        return list(threads.map(do, doings))


# Kinds


def _entero(url: str, system_url: str | None = None) -> Entero:
    for one in filter(None, (url, system_url)):
        migrate(one)
    store = open_store(url, database="senterica", prefix=PREFIX, system_url=system_url)
    return Entero(store, look_at(url), look_at(system_url or url))


def look_at(url: str) -> Look:
    """Return a look at a database; tables may change under it."""
    arguments = {"prepare_threshold": None} if url.startswith("postgresql") else {}
    return Look(create_engine(url, connect_args=arguments))


def postgres_url(server: PostgresServer) -> str:
    """Return the URL of a new, empty database."""
    return server.create_database(f"entero_{next(ids)}")


# How each kind is made: the directory for its files, and a server asked for when needed.
KINDS: dict[str, Callable[[Path, Callable[[], PostgresServer]], Entero]] = {
    "sqlite": lambda directory, _: _entero(f"sqlite:///{directory / 'entero.db'}"),
    "postgresql": lambda _, server: _entero(postgres_url(server())),
    "postgresql with a system database of its own": lambda _, server: _entero(
        postgres_url(server()), postgres_url(server())
    ),
}
POSTGRES = pytest.param("postgresql", marks=pytest.mark.services)
SPLIT = pytest.param(list(KINDS)[-1], marks=pytest.mark.services)
only_sqlite = pytest.mark.parametrize("entero", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("entero", [POSTGRES], indirect=True)
every_kind = pytest.mark.parametrize("entero", ["sqlite", POSTGRES, SPLIT], indirect=True)
