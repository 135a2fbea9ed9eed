"""EnteroBase's tables that we use, with its names, and the few that we add.

The site reads the first three groups; names and meanings are its own. A real database may have
more columns: a column that is not named here is never selected or written. The last group is
ours. JSON of the legacy tables is text, because some of it is encoded twice (`legacy_json`).
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Big = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers INTEGER keys only by itself
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The tables of one EnteroBase species database, and of its system database."""

    metadata = MetaData(naming_convention=NAMES)


def number() -> Mapped[int]:
    """Return an auto-numbered key."""
    return mapped_column(Integer, primary_key=True, autoincrement=True)


def key_of(target: str, *, primary_key: bool = False, index: bool = False) -> Mapped[int]:
    """Return a foreign key column."""
    return mapped_column(Integer, ForeignKey(target), primary_key=primary_key, index=index)


def link_to(target: str) -> Mapped[int | None]:
    """Return a foreign key column that may be empty."""
    return mapped_column(Integer, ForeignKey(target), index=True)


def _where(condition: str) -> dict[str, Any]:
    """Return the options of an index that holds some rows only."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


def words(*, index: bool = False, unique: bool = False) -> Mapped[str | None]:
    """Return a text column that may be empty; what users write has no limit of ours."""
    return mapped_column(Text, index=index, unique=unique)


def moment() -> Mapped[datetime | None]:
    """Return a date and time without a zone, as the site has them; UTC."""
    return mapped_column(DateTime, default=now)


def now() -> datetime:
    """Return the time as the tables have it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


# The system database


class UserJobRow(Base):
    __tablename__ = "user_jobs"
    job_id: Mapped[int] = number()
    accession: Mapped[str | None] = words()
    user_id: Mapped[int | None] = mapped_column(Integer)
    status: Mapped[str | None] = words(index=True)
    pipeline: Mapped[str | None] = words()
    date_sent: Mapped[datetime | None] = moment()
    database: Mapped[str | None] = words()
    output_location: Mapped[str | None] = words()
    version: Mapped[str | None] = words()


class UserPreferenceRow(Base):
    __tablename__ = "user_preferences"
    id: Mapped[int] = number()
    user_id: Mapped[int | None] = mapped_column(Integer, index=True)
    database: Mapped[str | None] = words()
    type: Mapped[str | None] = words()
    name: Mapped[str | None] = words()
    data: Mapped[str | None] = words()


class JobRunRow(Base):
    """Ours: which flow runs worked on a job, and when each gave its last sign of life."""

    __tablename__ = "job_runs"
    flow_run_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[int] = key_of("user_jobs.job_id", primary_key=True, index=True)
    started: Mapped[datetime | None] = moment()
    seen: Mapped[datetime | None] = mapped_column(DateTime)


# A species database: what was isolated, read and assembled


class StrainRow(Base):
    __tablename__ = "strains"
    id: Mapped[int] = number()
    barcode: Mapped[str | None] = words(unique=True)
    strain: Mapped[str | None] = words(index=True)
    # No key constraint: two tables that point at each other cannot be made one by one.
    best_assembly: Mapped[int | None] = mapped_column(Integer, index=True)
    owner: Mapped[int | None] = mapped_column(Integer)
    version: Mapped[int | None] = mapped_column(Integer, default=1)
    created: Mapped[datetime | None] = moment()


class TraceRow(Base):
    __tablename__ = "traces"
    id: Mapped[int] = number()
    barcode: Mapped[str | None] = words(unique=True)
    strain_id: Mapped[int | None] = link_to("strains.id")
    accession: Mapped[str | None] = words(index=True)
    seq_platform: Mapped[str | None] = words()
    seq_library: Mapped[str | None] = words()
    read_location: Mapped[str | None] = words()
    version: Mapped[int | None] = mapped_column(Integer, default=1)
    created: Mapped[datetime | None] = moment()


class AssemblyRow(Base):
    __tablename__ = "assemblies"
    id: Mapped[int] = number()
    barcode: Mapped[str | None] = words(unique=True)
    strain_id: Mapped[int | None] = link_to("strains.id")
    status: Mapped[str | None] = words()
    job_id: Mapped[int | None] = mapped_column(Integer, index=True)
    pipeline_version: Mapped[str | None] = words()
    n50: Mapped[int | None] = mapped_column(Integer)
    contig_number: Mapped[int | None] = mapped_column(Integer)
    total_length: Mapped[int | None] = mapped_column(Integer)
    low_qualities: Mapped[int | None] = mapped_column(Integer)
    coverage: Mapped[int | None] = mapped_column(Integer)
    top_species: Mapped[str | None] = words()
    file_pointer: Mapped[str | None] = words()
    version: Mapped[int | None] = mapped_column(Integer, default=1)
    created: Mapped[datetime | None] = moment()


class TraceAssemblyRow(Base):
    __tablename__ = "trace_assembly"
    trace_id: Mapped[int] = key_of("traces.id", primary_key=True)
    assembly_id: Mapped[int] = key_of("assemblies.id", primary_key=True)


# A species database: schemes and their results


class SchemeRow(Base):
    __tablename__ = "schemes"
    id: Mapped[int] = number()
    description: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str | None] = words()
    param: Mapped[str | None] = words()
    version: Mapped[int | None] = mapped_column(Integer, default=1)


class DataParamRow(Base):
    __tablename__ = "data_param"
    id: Mapped[int] = number()
    tabname: Mapped[str] = mapped_column(Text, index=True)
    name: Mapped[str] = mapped_column(Text)
    label: Mapped[str | None] = words()
    datatype: Mapped[str | None] = words()
    display_order: Mapped[int | None] = mapped_column(Integer)


class AssemblyLookupRow(Base):
    __tablename__ = "assembly_lookup"
    id: Mapped[int] = number()
    assembly_id: Mapped[int] = key_of("assemblies.id")
    scheme_id: Mapped[int] = key_of("schemes.id", index=True)
    st_barcode: Mapped[str | None] = mapped_column(Text, default="", index=True)
    annotation: Mapped[str | None] = mapped_column(Text, deferred=True)
    status: Mapped[str | None] = words()
    version: Mapped[str | None] = words()
    other_data: Mapped[str | None] = words()
    __table_args__ = (UniqueConstraint("assembly_id", "scheme_id", "st_barcode"),)


# Ours: where results came from, and what became of each pair


class AssemblyEvidenceRow(Base):
    __tablename__ = "assembly_evidence"
    assembly_id: Mapped[int] = key_of("assemblies.id", primary_key=True)
    reads: Mapped[str] = mapped_column(Text)
    tools: Mapped[str] = mapped_column(Text)  # JSON: [[program, version], ...]
    criteria: Mapped[str] = mapped_column(Text)  # JSON: the verdict's criteria
    passed: Mapped[bool]
    directory: Mapped[str | None] = words()


class SchemeCallRow(Base):
    """One assembly and one scheme: the newest attempt, and what decides about another."""

    __tablename__ = "scheme_calls"
    assembly_id: Mapped[int] = key_of("assemblies.id", primary_key=True)
    scheme_id: Mapped[int] = key_of("schemes.id", primary_key=True)
    status: Mapped[str] = mapped_column(String(20), index=True)
    fate: Mapped[str | None] = words()
    reason: Mapped[str | None] = words()
    job_id: Mapped[int | None] = mapped_column(Integer, index=True)
    flow_run_id: Mapped[str | None] = mapped_column(String(64), index=True)
    assembly_version: Mapped[int | None] = mapped_column(Integer)
    scheme_version: Mapped[int | None] = mapped_column(Integer)
    tool: Mapped[str | None] = words()
    sent: Mapped[int] = mapped_column(Integer, default=0)
    completed: Mapped[int] = mapped_column(Integer, default=0)
    failed: Mapped[int] = mapped_column(Integer, default=0)
    changed: Mapped[datetime | None] = moment()
    night_id: Mapped[int | None] = mapped_column(Integer)  # which night sent it, if one did
    batch_id: Mapped[str | None] = mapped_column(String(36))
    attempts: Mapped[int | None] = mapped_column(Integer)  # of the newest call, transient ones too
    __table_args__ = (
        # A night counts what is settled of each assembly, and never reads the rows themselves.
        Index(
            "ix_scheme_calls_settled",
            "assembly_id",
            postgresql_include=["scheme_id", "assembly_version", "scheme_version"],
            **_where("status = 'COMPLETE'"),
        ),
        Index("ix_scheme_calls_night_id", "night_id", **_where("night_id IS NOT NULL")),
        Index("ix_scheme_calls_batch_id", "batch_id", **_where("batch_id IS NOT NULL")),
    )


class AssemblyCallRow(Base):
    """The reads of one strain: the newest attempt to assemble them, and what decides about another.

    Reads that are written as `user_jobs.accession` has them, runs in the order of the alphabet.
    """

    __tablename__ = "assembly_calls"
    reads: Mapped[str] = mapped_column(Text, primary_key=True)
    strain_id: Mapped[int | None] = mapped_column(Integer, index=True)
    status: Mapped[str] = mapped_column(String(20), index=True)
    fate: Mapped[str | None] = words()
    reason: Mapped[str | None] = words()
    job_id: Mapped[int | None] = mapped_column(Integer)
    flow_run_id: Mapped[str | None] = mapped_column(String(64), index=True)
    tool: Mapped[str | None] = words()
    changed: Mapped[datetime | None] = moment()
    night_id: Mapped[int | None] = mapped_column(Integer, index=True)
    attempts: Mapped[int | None] = mapped_column(Integer)


class NightRow(Base):
    """One run of what goes over a whole database: what was asked, and what came of it."""

    __tablename__ = "nights"
    id: Mapped[int] = number()
    flow_run_id: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(Text)
    parameters: Mapped[str] = mapped_column(Text)  # JSON
    started: Mapped[datetime | None] = moment()
    seen: Mapped[datetime | None] = mapped_column(DateTime)
    ended: Mapped[datetime | None] = mapped_column(DateTime)
    report: Mapped[str | None] = words()  # JSON


class TakenOverRow(Base):
    """One value of one row that taking an old EnteroBase over has changed, to be undone."""

    __tablename__ = "taken_over"
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=True)
    taking: Mapped[int] = mapped_column(Integer, index=True)  # numbers from 1: each its own undoing
    table_name: Mapped[str] = mapped_column(Text)
    row_key: Mapped[str] = mapped_column(Text)  # JSON: the row's primary key
    column_name: Mapped[str | None] = words()  # None: the row was added
    why: Mapped[str] = mapped_column(Text)
    before: Mapped[str | None] = words()
    after: Mapped[str | None] = words()
    at: Mapped[datetime | None] = moment()


class LocusPositionRow(Base):
    """Where each locus lies: what the site's GFF text says, to be asked by locus."""

    __tablename__ = "locus_positions"
    assembly_id: Mapped[int] = key_of("assemblies.id", primary_key=True)
    scheme_id: Mapped[int] = key_of("schemes.id", primary_key=True)
    locus_id: Mapped[int] = key_of("loci.id", primary_key=True)
    copy: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    contig: Mapped[str] = mapped_column(Text)
    start: Mapped[int] = mapped_column(Integer)
    end: Mapped[int] = mapped_column("stop", Integer)
    strand: Mapped[str] = mapped_column(String(1))
    status: Mapped[str] = mapped_column(String(30))
    allele: Mapped[int | None] = mapped_column(BigInteger)


# Nomenclature (NServ)


class LocusRow(Base):
    __tablename__ = "loci"
    id: Mapped[int] = number()
    scheme_id: Mapped[int] = key_of("schemes.id")
    name: Mapped[str] = mapped_column(Text)
    place: Mapped[int] = mapped_column(Integer)  # in the profile, from 0
    __table_args__ = (
        UniqueConstraint("scheme_id", "name"),
        UniqueConstraint("scheme_id", "place"),
    )


class AlleleRow(Base):
    __tablename__ = "alleles"
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=True)
    locus_id: Mapped[int] = key_of("loci.id")
    number: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[UUID] = mapped_column(Uuid)
    sequence: Mapped[str] = mapped_column(Text)
    minted_for: Mapped[str | None] = words()
    created: Mapped[datetime | None] = moment()
    __table_args__ = (UniqueConstraint("locus_id", "key"), UniqueConstraint("locus_id", "number"))


class SequenceTypeRow(Base):
    __tablename__ = "sequence_types"
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=True)
    scheme_id: Mapped[int] = key_of("schemes.id")
    number: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[UUID] = mapped_column(Uuid)  # MD5 of the profile
    profile: Mapped[str] = mapped_column(Text)  # allele numbers with commas, in profile order
    barcode: Mapped[str] = mapped_column(Text)
    extra: Mapped[str | None] = words()  # JSON: e.g. the clonal complex
    minted_for: Mapped[str | None] = words()
    created: Mapped[datetime | None] = moment()
    __table_args__ = (
        UniqueConstraint("scheme_id", "key"),
        UniqueConstraint("scheme_id", "number"),
        Index("ix_sequence_types_barcode", "barcode"),
    )
