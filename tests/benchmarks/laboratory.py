"""An EnteroBase to measure on: SQLite in a folder, and a private PostgreSQL if there is one."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from blocks.genomics.records import Claim, JobStatus, LocusCall, Profile, Scheme, SchemeParam
from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore, open_store
from tasks.genomics.alleles import LocusAlleles
from tests.benchmarks.stopwatch import Report
from tests.postgres.server import private_postgres

PREFIX = "ESC"
runs = count(1)


@dataclass(frozen=True)
class Laboratory:
    """One EnteroBase that is empty at first."""

    kind: str
    url: str
    store: EnteroStore

    def load(
        self,
        name: str,
        loci: Iterable[LocusAlleles],
        profiles: Iterable[Profile] = (),
        *,
        coding: bool,
    ) -> Scheme:
        """Store a scheme and return it."""
        self.store.schemes.load(
            name,
            name=name,
            param=SchemeParam(scheme=name, pipeline="nomenclature", coding=coding, max_missing=0.2),
            loci=((locus.name, locus.alleles) for locus in loci),
            profiles=profiles,
        )
        return self.store.schemes.scheme(name)

    def claimed(self, scheme: Scheme, genome: Path, strain: str) -> Claim:
        """Do what comes before a call: the assembly's row, a job, and the right to call."""
        assembly = self.store.isolates.add_genome(genome, strain=strain)
        run = f"bench-{next(runs)}"
        job = self.store.jobs.start(accession=assembly.barcode, pipeline="x", flow_run_id=run)
        claim = Claim(assembly=assembly, scheme=scheme, job_id=job.id, flow_run_id=run)
        self.store.calls.claim(claim)
        return claim

    def stored(self, claim: Claim, calls: tuple[LocusCall, ...]) -> None:
        """Do what comes after a call: its rows, and the job's end."""
        self.store.calls.store_typing(claim, calls)
        self.store.jobs.close(claim.job_id, JobStatus.COMPLETE, version=str(claim.scheme.version))


@contextmanager
def laboratories(report: Report, folder: Path) -> Iterator[list[Laboratory]]:
    """Make an EnteroBase of every kind that this machine can have."""
    urls = {"SQLite": f"sqlite:///{folder / 'entero.db'}"}
    with ExitStack() as stack:
        try:
            server = stack.enter_context(private_postgres())
            urls["PostgreSQL"] = server.create_database("entero")
        except RuntimeError as error:
            report.say(f"PostgreSQL: {error}")
        for url in urls.values():
            migrate(url)
        yield [
            Laboratory(kind, url, open_store(url, database="ecoli", prefix=PREFIX))
            for kind, url in urls.items()
        ]
