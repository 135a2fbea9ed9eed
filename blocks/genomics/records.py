"""What an isolate is: reads, an assembly with its verdict, schemes, and calls of their loci.

Lengths and positions are in base pairs; positions count from 0 and ends are exclusive, on the
forward strand of the contig. Sequences are upper case.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from pydantic import Field

from blocks.record import Record

Strand = Literal["+", "-"]
Share = Annotated[float, Field(ge=0, le=1, description="a share: 0 to 1")]
Phred = Annotated[int, Field(ge=0, le=93, description="Phred quality of a base")]

MINTABLE_QUALITY = 10  # a new allele may only come from bases of at least this quality


# Reads


class ReadPair(Record):
    """The two FASTQ files of one sequencing run, Illumina paired-end; plain or gzip."""

    accession: str = Field(description="run accession, or the trace accession of an upload")
    read1: Path
    read2: Path
    origin: str = Field(default="upload", description="where they came from, for the report")


class ReadCounts(Record):
    """What the trimming program read and left."""

    reads: int = Field(ge=0, description="of both files, before trimming")
    reads_kept: int = Field(ge=0)
    bases: int = Field(ge=0)
    bases_kept: int = Field(ge=0)
    q30_share: Share = 0.0


# Assemblies


class AssemblyStatistics(Record):
    """Size and quality of an assembly; contigs shorter than `min_contig` are not counted."""

    n_contigs: int = Field(ge=0)
    total_length: int = Field(ge=0)
    n50: int = Field(ge=0, description="half of the bases are in contigs at least this long")
    l50: int = Field(ge=0, description="how many contigs hold half of the bases")
    longest: int = Field(ge=0)
    gc_share: Share
    low_quality: int = Field(ge=0, description="bases that are N, or of quality below 10")
    low_quality_share: Share
    mean_depth: float | None = Field(default=None, ge=0, description="reads over a base")
    contig_lengths: tuple[int, ...] = Field(default=(), description="longest first")
    min_contig: int = 300


class SpeciesShare(Record):
    """How much of an assembly looks like one species."""

    name: str
    percent: float = Field(ge=0, le=100)

    def __str__(self) -> str:
        """Return EnteroBase's way of writing it: "Salmonella enterica;96.66%"."""
        return f"{self.name};{self.percent:.2f}%"


class Criterion(Record):
    """One thing that was judged; `passed` is None when it could not be looked at."""

    name: str
    value: str
    limit: str
    passed: bool | None
    reason: str = Field(default="", description="a sentence, if it failed or was not looked at")


class Verdict(Record):
    """Whether an assembly is good enough to be typed, and why not."""

    genus: str
    criteria: tuple[Criterion, ...]

    @property
    def passed(self) -> bool:
        """Whether no criterion failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Criterion, ...]:
        """The criteria that failed."""
        return tuple(one for one in self.criteria if one.passed is False)

    @property
    def reason(self) -> str:
        """Why it failed, in one line; empty if it passed."""
        return "; ".join(one.reason for one in self.failures)


class AssemblyFiles(Record):
    """What the assembling programs left, and which versions they were."""

    fastq: Path = Field(description="consensus with the quality of every base, gzip")
    fasta: Path = Field(description="the same sequences, gzip")
    assembler: str
    tools: tuple[tuple[str, str], ...] = Field(description="program and version, in order of use")


# Schemes


class SchemeParam(Record, extra="allow"):
    """`schemes.param`: what the site and the pipelines know of a scheme; unknown keys are kept."""

    display: str = "public"
    js_grid: str = "BaseExperimentGrid"
    pipeline: str | None = Field(default=None, description="absent: never called by itself")
    scheme: str | None = Field(default=None, description="absent: not a sequence-typing scheme")
    barcode: str | None = None
    max_missing: Share = Field(
        default=0.0, description="share of loci that may have no allele in a sequence type"
    )
    coding: bool = Field(
        default=False, description="whether alleles are whole genes, from start to stop"
    )
    require_orf: bool = Field(
        default=False, description="whether a new allele must be a whole reading frame"
    )
    first_own_number: int = Field(
        default=1, ge=1, description="new alleles and types are numbered from here, or the next"
    )


class Locus(Record):
    """One locus of a scheme."""

    id: int
    name: str


class Scheme(Record):
    """One row of `schemes`, with its loci in the order of the profile."""

    id: int
    description: str = Field(description="the machine name, e.g. MLST_Achtman")
    name: str = Field(description="what a person reads")
    version: int = 1
    param: SchemeParam
    loci: tuple[Locus, ...] = ()

    @property
    def is_nomenclature(self) -> bool:
        """Whether it assigns alleles and sequence types."""
        return bool(self.param.scheme)

    @property
    def is_automatic(self) -> bool:
        """Whether it is called on every new assembly."""
        return bool(self.param.pipeline)


class KnownAllele(NamedTuple):
    """One allele of a scheme; a tuple, because there are hundreds of thousands."""

    place: int  # of its locus in the profile, from 0
    number: int
    sequence: bytes  # upper case, coding strand


class Profile(NamedTuple):
    """A sequence type: its allele numbers in the order of the loci, 0 for a missing one."""

    number: int
    alleles: tuple[int, ...]
    extra: Mapping[str, str] = MappingProxyType({})  # e.g. the clonal complex


class Column(Record):
    """One row of `data_param`: a column that the site shows of a scheme."""

    name: str = Field(description="key in the results")
    label: str
    datatype: str = "text"


# Calls


class CallStatus(StrEnum):
    """What was found of a locus."""

    EXACT = "exact"  # a known allele, once
    NOVEL = "novel"  # whole, once, and not known yet
    MISSING = "missing"
    FRAGMENTED = "fragmented"  # a piece only: at a contig's end, split, or interrupted
    DUPLICATED = "duplicated"  # whole, more than once
    AMBIGUOUS = "ambiguous"  # whole, with letters other than A, C, G, T
    NO_ORF = "no open reading frame"  # whole, but no reading frame in a scheme that asks for one


class Place(Record):
    """Where a locus lies on an assembly."""

    contig: str
    start: int = Field(ge=0)
    end: int
    strand: Strand


class LocusCall(Record):
    """What an assembly has at one locus."""

    locus: str
    status: CallStatus
    allele: int | None = Field(default=None, description="number of the known allele")
    key: UUID | None = Field(default=None, description="MD5 of the sequence, as a UUID")
    places: tuple[Place, ...] = ()
    identity: Share | None = Field(default=None, description="with the nearest exemplar")
    sequence: str | None = Field(
        default=None, description="of an allele that is whole and not known"
    )
    min_quality: Phred | None = Field(
        default=None, description="of a novel allele's bases; None from FASTA"
    )

    @property
    def code(self) -> int | None:
        """EnteroBase's code: an allele number, 0 missing, -1 no use; None for a novel allele."""
        if self.status is CallStatus.MISSING:
            return 0
        if self.status in (CallStatus.EXACT, CallStatus.NOVEL):
            return self.allele
        return -1

    @property
    def is_mintable(self) -> bool:
        """Whether a new allele number may be given for it."""
        good = self.min_quality is not None and self.min_quality >= MINTABLE_QUALITY
        return self.status is CallStatus.NOVEL and self.allele is None and good


class LocusPosition(Record):
    """One place of a locus on an assembly: a row of `locus_positions`, or a line of GFF."""

    locus: str
    copy_number: int = Field(default=1, ge=1, description="of a locus that is there more than once")
    place: Place
    status: CallStatus
    allele: int | None = None


class SequenceType(Record):
    """A profile that has a number."""

    number: int
    barcode: str
    is_new: bool = Field(default=False, description="minted for this assembly")


class Typing(Record):
    """One assembly typed by one nomenclature scheme."""

    assembly: str = Field(description="barcode, or the name of a file")
    scheme: str
    calls: tuple[LocusCall, ...] = Field(description="in the order of the scheme's loci")
    st: SequenceType | None = None

    @cached_property
    def counts(self) -> dict[CallStatus, int]:
        """How many loci have each status; statuses that none has are left out."""
        found = [call.status for call in self.calls]
        return {status: found.count(status) for status in CallStatus if status in found}


# Jobs and what is stored of them


class JobStatus(StrEnum):
    """What we write to `user_jobs.status`; what others wrote there is read as any text."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


class LookupStatus(StrEnum):
    """`assembly_lookup.status`."""

    QUEUED = "QUEUED"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


class Fate(StrEnum):
    """Why something failed, and so what is done about it."""

    TRANSIENT = "transient"  # nothing is wrong with the input: another run may go well
    PERMANENT = "permanent"  # put aside until its input, scheme or tool changes
    BUG = "bug"  # a person must look


class UserJob(Record):
    """One row of `user_jobs`."""

    id: int
    accession: str
    pipeline: str
    status: str
    database: str
    user_id: int | None = None
    output_location: str | None = None
    version: str | None = None
    sent: datetime | None = Field(default=None, description="UTC; None in some old rows")


class Lookup(Record):
    """One row of `assembly_lookup`, with `other_data` decoded however it was encoded."""

    assembly_id: int
    scheme_id: int
    st_barcode: str = ""
    status: str | None = None
    version: str | None = None
    annotation: str | None = None
    other_data: dict[str, Any] = Field(default_factory=dict)


class Assembly(Record):
    """One row of `assemblies`."""

    id: int
    barcode: str
    status: str
    file_pointer: Path | None = Field(description="FASTQ or FASTA, plain or gzip")
    strain_id: int | None = None
    strain: str = ""
    version: int = 1


class Claim(Record):
    """The right to call one scheme on one assembly: a row of `scheme_calls` that is QUEUED."""

    assembly: Assembly
    scheme: Scheme
    job_id: int
    flow_run_id: str
    tool: str = Field(default="", description="what will make the call, with its version")


class SchemeCall(Record):
    """What became of one scheme on one assembly."""

    scheme: str
    status: LookupStatus
    fate: Fate | None = None
    reason: str = ""
    flow_run_id: str = ""
    job_id: int | None = None
    st_barcode: str = ""
    results: dict[str, Any] = Field(default_factory=dict)

    @property
    def plain_results(self) -> list[str]:
        """Plain values of the results, each after its name; no lists, and no paths of files."""
        return [
            f"{name} {value}"
            for name, value in self.results.items()
            if isinstance(value, str | int | float) and value != "" and not name.endswith("_file")
        ]
