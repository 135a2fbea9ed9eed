"""Strains, their reads and their assemblies."""

import json
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import ColumnElement, Engine, Select, select
from sqlalchemy.orm import Session

from blocks.errors import InconsistentInput, InvalidRequest, NoSuchRecord
from blocks.genomics.barcodes import barcode
from blocks.genomics.legacy_json import plain_text
from blocks.genomics.records import (
    Assembly,
    AssemblyFiles,
    AssemblyStatistics,
    ReadPair,
    SpeciesShare,
    Verdict,
)
from blocks.genomics.sessions import lock_name, reading, writing
from blocks.genomics.tables import (
    AssemblyEvidenceRow,
    AssemblyRow,
    StrainRow,
    TraceAssemblyRow,
    TraceRow,
)

PASSED, FAILED = "Assembled", "Failed QC"
STRAINS = "strains"  # made by one transaction at a time: neither names nor accessions are unique


class IsolateStore:
    """Strains, traces and assemblies of one species. Every method is one transaction."""

    def __init__(self, engine: Engine, prefix: str) -> None:
        self._engine = engine
        self._prefix = prefix

    def strain_of_reads(self, reads: Sequence[ReadPair], name: str = "") -> int:
        """Return the strain of these reads; strain and traces are made if they are new.

        Raises:
            InconsistentInput: the reads are known, as those of different strains, or of another
                strain than `name`.
            InvalidRequest: there are none.
        """
        if not reads:
            msg = "a strain is known by its reads, and none were given"
            raise InvalidRequest(msg)
        accessions = [pair.accession for pair in reads]
        with writing(self._engine) as session:
            lock_name(session, STRAINS)
            traces = session.scalars(_traces_of(accessions)).all()
            owners = {trace.strain_id for trace in traces if trace.strain_id}
            if len(owners) > 1:
                msg = f"{', '.join(accessions)} are reads of {len(owners)} strains"
                raise InconsistentInput(msg)
            strain = self._strain(session, owners, name or accessions[0], asked=name)
            known = {trace.accession for trace in traces}
            for accession, pair in {pair.accession: pair for pair in reads}.items():
                if accession not in known:
                    self._add_trace(session, strain.id, pair)
            for trace in traces:
                trace.strain_id = strain.id
            return strain.id

    def _strain(self, session: Session, owners: set[int], name: str, *, asked: str) -> StrainRow:
        if owners:
            strain = session.get_one(StrainRow, owners.pop())
            if asked and strain.strain != asked:
                msg = f"this is in the database as strain {strain.strain!r}, not {asked!r}"
                raise InconsistentInput(msg)
            return strain
        of_name = select(StrainRow).where(StrainRow.strain == name).order_by(StrainRow.id)
        found = session.scalars(of_name).first()
        if found:
            return found
        strain = StrainRow(strain=name)
        session.add(strain)
        session.flush()
        strain.barcode = barcode(self._prefix, strain.id, "")
        return strain

    def _add_trace(self, session: Session, strain_id: int, pair: ReadPair) -> None:
        trace = TraceRow(
            strain_id=strain_id,
            accession=pair.accession,
            seq_platform="ILLUMINA",
            seq_library="Paired",
            read_location=f"{pair.read1},{pair.read2}" if pair.origin == "upload" else None,
        )
        session.add(trace)
        session.flush()
        trace.barcode = barcode(self._prefix, trace.id, "TR")

    def add_assembly(
        self,
        *,
        strain_id: int,
        job_id: int,
        reads: Sequence[ReadPair],
        files: AssemblyFiles,
        statistics: AssemblyStatistics,
        verdict: Verdict,
        species: Sequence[SpeciesShare] = (),
        directory: Path,
    ) -> Assembly:
        """Store an assembly with its verdict; a better one becomes the strain's best.

        A job has one assembly: stored twice, it is the same row.

        Raises:
            NoSuchRecord: there is no such strain.
        """
        with writing(self._engine) as session:
            strain = _strain_row(session, strain_id, lock=True)
            row = session.scalar(select(AssemblyRow).where(AssemblyRow.job_id == job_id))
            if row is None:
                row = AssemblyRow(job_id=job_id, strain_id=strain_id)
                session.add(row)
                session.flush()
                row.barcode = barcode(self._prefix, row.id, "AS")
            row.status = PASSED if verdict.passed else FAILED
            row.n50, row.contig_number = statistics.n50, statistics.n_contigs
            row.total_length, row.low_qualities = statistics.total_length, statistics.low_quality
            depth = statistics.mean_depth
            row.coverage = None if depth is None else round(depth)
            row.top_species = str(species[0]) if species else None
            row.file_pointer = str(files.fastq)
            row.pipeline_version = "; ".join(" ".join(tool) for tool in files.tools)
            self._link_traces(session, row.id, reads)
            self._write_evidence(session, row.id, reads, files, verdict, directory)
            self._choose_best(session, strain, row)
            return assembly_of(row, strain)

    def _link_traces(self, session: Session, assembly_id: int, reads: Sequence[ReadPair]) -> None:
        for trace in session.scalars(_traces_of([pair.accession for pair in reads])):
            session.merge(TraceAssemblyRow(trace_id=trace.id, assembly_id=assembly_id))

    def _write_evidence(
        self,
        session: Session,
        assembly_id: int,
        reads: Sequence[ReadPair],
        files: AssemblyFiles,
        verdict: Verdict,
        directory: Path,
    ) -> None:
        session.merge(
            AssemblyEvidenceRow(
                assembly_id=assembly_id,
                reads=",".join(pair.accession for pair in reads),
                tools=json.dumps(files.tools),
                criteria=json.dumps([one.model_dump() for one in verdict.criteria]),
                passed=verdict.passed,
                directory=str(directory),
            )
        )

    def _choose_best(self, session: Session, strain: StrainRow, row: AssemblyRow) -> None:
        """Let an assembly be the strain's best if it passed and has a larger N50 than the best."""
        best = session.get(AssemblyRow, strain.best_assembly) if strain.best_assembly else None
        if row.status == FAILED:
            if best is row:  # it passed when it was stored before
                strain.best_assembly = self._best_that_passed(session, strain.id)
        elif best is None or best.status == FAILED or (row.n50 or 0) > (best.n50 or 0):
            strain.best_assembly = row.id

    def _best_that_passed(self, session: Session, strain_id: int) -> int | None:
        of_strain = select(AssemblyRow).where(AssemblyRow.strain_id == strain_id)
        passed = session.scalars(of_strain.where(AssemblyRow.status == PASSED)).all()
        best = max(passed, key=lambda row: (row.n50 or 0, -row.id), default=None)
        return best.id if best else None

    def add_genome(self, path: Path, *, strain: str) -> Assembly:
        """Return the assembly that this file is; a row for it is made if it is new.

        For genomes that come assembled: nothing was judged, so the status is `legacy`.

        Raises:
            InconsistentInput: the file is known as another strain's.
        """
        with writing(self._engine) as session:
            lock_name(session, STRAINS)
            known = select(AssemblyRow).where(AssemblyRow.file_pointer == str(path))
            row = session.scalars(known.order_by(AssemblyRow.id)).first()
            owners = {row.strain_id} if row and row.strain_id else set[int]()
            owner = self._strain(session, owners, strain, asked=strain)
            if row is None:
                row = AssemblyRow(strain_id=owner.id, file_pointer=str(path), status="legacy")
                session.add(row)
                session.flush()
                row.barcode = barcode(self._prefix, row.id, "AS")
                owner.best_assembly = owner.best_assembly or row.id
            return assembly_of(row, owner)

    def assembly(self, name: str) -> Assembly:
        """Return an assembly by its barcode.

        Raises:
            NoSuchRecord: there is none.
        """
        found = self._first(AssemblyRow.barcode == name)
        if found is None:
            msg = f"there is no assembly {name!r} in this database"
            raise NoSuchRecord(msg)
        return found

    def assembly_of_job(self, job_id: int) -> Assembly | None:
        """Return the assembly that a job made, None if it made none."""
        return self._first(AssemblyRow.job_id == job_id)

    def _first(self, condition: ColumnElement[bool]) -> Assembly | None:
        query = select(AssemblyRow, StrainRow).where(condition).order_by(AssemblyRow.id)
        query = query.outerjoin(StrainRow, StrainRow.id == AssemblyRow.strain_id)
        with reading(self._engine) as session:
            found = session.execute(query).first()
            return assembly_of(found[0], found[1]) if found else None

    def best_assembly(self, strain_id: int) -> int | None:
        """Return the id of a strain's best assembly, None if it has none.

        Raises:
            NoSuchRecord: there is no such strain.
        """
        with reading(self._engine) as session:
            return _strain_row(session, strain_id).best_assembly


def _strain_row(session: Session, strain_id: int, *, lock: bool = False) -> StrainRow:
    locked = {"key_share": True} if lock else None
    row = session.get(StrainRow, strain_id, with_for_update=locked)
    if row is None:
        msg = f"there is no strain {strain_id} in this database"
        raise NoSuchRecord(msg)
    return row


def _traces_of(accessions: Sequence[str]) -> Select[tuple[TraceRow]]:
    return select(TraceRow).where(TraceRow.accession.in_(accessions)).order_by(TraceRow.id)


def assembly_of(row: AssemblyRow, strain: StrainRow | None) -> Assembly:
    """Return what a row of `assemblies` and its strain's say."""
    pointer = plain_text(row.file_pointer) if row.file_pointer else ""
    return Assembly(
        id=row.id,
        barcode=row.barcode or "",
        status=row.status or "",
        file_pointer=Path(pointer) if pointer else None,
        strain_id=row.strain_id,
        strain=(strain.strain or "") if strain else "",
        version=row.version or 1,
    )
