"""Pairs of an assembly and a scheme: what decides whether one is called, by a night or by a person.

No counter decides anything: the newest attempt does, with the versions and the tool that it had.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from blocks.genomics.records import Fate, LookupStatus, Scheme
from blocks.record import Record


class Wanted(NamedTuple):
    """A scheme that a night calls, and what will call it, with its version."""

    scheme: Scheme
    tool: str


class Pair(NamedTuple):
    """One assembly to be called by one scheme; a tuple, because there are a million."""

    assembly_id: int
    barcode: str
    assembly_version: int
    scheme_id: int


class Standing(NamedTuple):
    """What is stored of a pair: its newest attempt."""

    status: str
    fate: str | None
    assembly_version: int | None
    scheme_version: int | None
    tool: str | None


class Skip(StrEnum):
    """Why a pair, or a strain's reads, are not sent."""

    COMPLETE = "complete"
    LIVE = "being worked on"
    PUT_ASIDE = "put aside: failed for good, nothing changed"
    BUG = "put aside: a bug that a person must look at"
    TAKEN = "taken by another run at this moment"
    FAILED_QC = "failed quality control"
    NO_READS = "no Illumina paired-end reads"
    BEYOND_LIMIT = "beyond the limit"


def why_not(
    stands: Standing | None, wanted: Wanted, assembly_version: int, *, force: bool = False
) -> Skip | None:
    """Return why nobody should call a pair by himself now; None if it is to be called.

    Args:
        stands: Its newest attempt, None if there is none.
        wanted: The scheme as it is now, and what would call it.
        assembly_version: Of the assembly now.
        force: Call it also when it is complete, or was put aside.
    """
    if stands is None or not stands.status:
        return None
    if stands.status == LookupStatus.QUEUED:
        return Skip.LIVE
    before = (stands.assembly_version, stands.scheme_version)
    same = before == (assembly_version, wanted.scheme.version)
    if force or not same:
        return None
    if stands.status == LookupStatus.COMPLETE:
        return Skip.COMPLETE
    if (stands.tool or "") != wanted.tool:
        return None
    return {Fate.PERMANENT.value: Skip.PUT_ASIDE, Fate.BUG.value: Skip.BUG}.get(stands.fate or "")


class Item(Record):
    """One pair of a batch, claimed by its run."""

    assembly_id: int
    scheme_id: int
    job_id: int


class Outcome(Record):
    """What became of one pair."""

    assembly_id: int
    scheme_id: int
    job_id: int
    status: LookupStatus
    fate: Fate | None = None
    reason: str = ""
    results: dict[str, object] = Field(default_factory=dict[str, object])
    is_stored: bool = Field(default=False, description="as a typing is, with its alleles")
    attempts: int = Field(default=1, ge=1, description="transient failures are tried again")


class Limits(Record):
    """What a night may choose from."""

    limit: int | None = Field(default=None, ge=1, description="at most so many; None: all")
    since: datetime | None = Field(
        default=None, description="only what is in the database since then; UTC"
    )
    force: bool = Field(default=False, description="also what is complete, or was put aside")
