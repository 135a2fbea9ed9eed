"""A species database with one small scheme, and the index cache of a process that works on it."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine

from blocks.genomics.genome import Genome, genome_of
from blocks.genomics.keys import allele_key
from blocks.genomics.records import Profile, Scheme, SchemeParam
from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore, open_store
from blocks.genomics.synthetic_isolate import (
    SyntheticScheme,
    housekeeping_scheme,
    synthetic_genome,
)
from tasks.genomics.alleles import TypingIndex, type_genome
from tasks.genomics.indexes import IndexCache
from tests.fakes.entero import Look

MADE = housekeeping_scheme(n_alleles=4, n_types=4, name="mlst")
OTHER = housekeeping_scheme(n_alleles=4, n_types=4, name="mlst", seed=9)
WHEN = "2026-01-01 00:00:00.000000"


@dataclass
class Database:
    """A species database with one scheme, and the index cache of a process that works on it."""

    store: EnteroStore
    url: str
    cache: IndexCache

    @property
    def look(self) -> Look:
        return Look(create_engine(self.url, poolclass=NullPool))

    @property
    def scheme(self) -> Scheme:
        return self.store.schemes.scheme("mlst")

    def index(self, folder: Path | None = None) -> TypingIndex:
        schemes = self.store.schemes
        return self.cache.index(schemes, self.scheme, where=self.url, folder=folder)

    def in_a_new_process(self) -> "Database":
        return replace(self, cache=IndexCache())

    def mint(self, sequence: bytes, locus: str = "demA", when: str = WHEN) -> int:
        """Add an allele with the next number of its locus; return the number."""
        number = 1 + self.look.value(
            "SELECT MAX(number) FROM alleles JOIN loci ON loci.id = locus_id WHERE name = :n",
            n=locus,
        )
        self.look.change(
            "INSERT INTO alleles (locus_id, number, key, sequence, created) "
            "SELECT id, :number, :key, :sequence, :time FROM loci WHERE name = :n",
            number=number,
            key=allele_key(sequence).hex,
            sequence=sequence.decode(),
            time=when,
            n=locus,
        )
        return number


def a_database(url: str, made: SyntheticScheme = MADE) -> Database:
    migrate(url)
    store = open_store(url, database="synthetica", prefix="SYN")
    store.schemes.load(
        made.name,
        name="",
        param=SchemeParam(pipeline="nomenclature", scheme=made.name),
        loci=[(locus, tuple(enumerate(own, 1))) for locus, own in made.alleles.items()],
        profiles=[Profile(n, alleles) for n, alleles in enumerate(made.profiles, 1)],
    )
    found = Database(store, url, IndexCache())
    found.look.change("UPDATE alleles SET created = :time", time=WHEN)
    return found


def a_genome(made: SyntheticScheme = MADE, st: int = 1, **carries: bytes) -> Genome:
    carried = made.carried(st) | carries
    found = synthetic_genome(carried, length=20_000, n_contigs=2)
    return genome_of("isolate", ((name, sequence, None) for name, sequence in found.contigs))


def codes(index: TypingIndex, genome: Genome) -> tuple[int | None, ...]:
    return tuple(call.code for call in type_genome(genome, index))


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def built(caplog: pytest.LogCaptureFixture) -> int:
    """How often an index was built of all alleles."""
    return sum(record.message.startswith("indexing scheme") for record in caplog.records)


NEW = b"ACGTTGCAGT" * 45
NEWER = NEW[:-1] + b"A"
