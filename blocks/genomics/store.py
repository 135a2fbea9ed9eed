"""One EnteroBase: a species database, and the system database that has the jobs."""

from dataclasses import dataclass

from blocks.database import engine_for
from blocks.genomics.batches import BatchStore
from blocks.genomics.isolates import IsolateStore
from blocks.genomics.jobs import JobStore
from blocks.genomics.nights import NightStore
from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.results import CallStore
from blocks.genomics.selection import PairSelection
from blocks.genomics.unassembled import AssemblyCallStore


@dataclass(frozen=True)
class EnteroStore:
    """The parts of an EnteroBase; every method of theirs is one transaction.

    All of them raise DatabaseUnavailable when the database is away.
    """

    jobs: JobStore
    isolates: IsolateStore
    schemes: SchemeStore
    calls: CallStore
    pairs: PairSelection
    batches: BatchStore
    assembling: AssemblyCallStore
    nights: NightStore


def open_store(
    url: str, *, database: str, prefix: str, system_url: str | None = None
) -> EnteroStore:
    """Return the store of an EnteroBase.

    Args:
        url: SQLAlchemy URL of the species database.
        database: What `user_jobs.database` calls it, e.g. `senterica`.
        prefix: Three letters that its barcodes begin with, e.g. `SAL`.
        system_url: Of the database that has the jobs; the same one unless given.
    """
    engine = engine_for(url)
    return EnteroStore(
        jobs=JobStore(engine_for(system_url or url), database),
        isolates=IsolateStore(engine, prefix),
        schemes=SchemeStore(engine, prefix),
        calls=CallStore(engine, prefix),
        pairs=PairSelection(engine),
        batches=BatchStore(engine),
        assembling=AssemblyCallStore(engine),
        nights=NightStore(engine),
    )
