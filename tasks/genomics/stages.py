"""What passes from step to step between the reads of a strain and its judged assembly."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from blocks.genomics.quality_limits import QualityLimits
from blocks.genomics.records import (
    Assembly,
    AssemblyFiles,
    AssemblyStatistics,
    ReadCounts,
    ReadPair,
    SpeciesShare,
    Verdict,
)
from blocks.genomics.uploads import Runs, Upload
from blocks.record import Record

AssemblerName = Literal["spades", "skesa", "megahit"]
Tool = tuple[str, str]  # program and version


class Assembling(Record):
    """One strain's reads on their way to an assembly."""

    job_id: int
    flow_run_id: str
    reads: Upload | Runs
    strain: str
    assembler: AssemblerName
    working: Path = Field(description="the same for the same reads and assembler")
    results: Path = Field(description="of this job alone")


class Reads(Record):
    """The reads of one strain, from each run, and the strain's id in the database."""

    pairs: tuple[ReadPair, ...]
    strain_id: int

    @property
    def files(self) -> list[Path]:
        """The files of all runs."""
        return [path for pair in self.pairs for path in (pair.read1, pair.read2)]


class Trimmed(Record):
    """The trimmed pair, in the working directory, and the program that made it."""

    counts: ReadCounts
    tool: Tool


class Draft(Record):
    """An assembler's contigs."""

    contigs: Path
    tool: Tool


class Polished(Record):
    """The corrected assembly with the quality of every base."""

    files: AssemblyFiles
    mean_depth: float


class Species(Record):
    """How much of an assembly looks like which species, and the program that looked."""

    shares: tuple[SpeciesShare, ...]
    tool: Tool


class Judged(Record):
    """An assembly's statistics, its species (None if nobody looked) and its verdict."""

    statistics: AssemblyStatistics
    species: Species | None = None
    limits: QualityLimits
    verdict: Verdict

    @property
    def shares(self) -> tuple[SpeciesShare, ...] | None:
        """How much looks like which species; None if nobody looked."""
        return self.species.shares if self.species else None


class Stored(Record):
    """An assembly in the database, and its files where they stay."""

    assembly: Assembly
    files: AssemblyFiles


class Isolate(Record):
    """All that is known of an assembled strain."""

    stored: Stored
    trimmed: Trimmed
    polished: Polished
    judged: Judged
