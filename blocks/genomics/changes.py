"""What taking an old EnteroBase over would change, and what it leaves as it is."""

from enum import StrEnum
from typing import Any, NamedTuple

from pydantic import Field

from blocks.record import Record

Key = dict[str, Any]  # column of the primary key: value


class Why(StrEnum):
    """Why a value is changed, or a row added."""

    COMPLETED = "completed before limsflow: counts as a result"
    QUEUED = "queued by a system that is gone: the next night sends it"
    OPEN_JOB = "sent by a system that is gone: nobody works on it"
    LAYERS = "JSON that was encoded more than once"
    POINTER = "a path that was encoded as JSON"
    FAILED_QC = "failed its quality control before limsflow: is not assembled again"


class WhyLeft(StrEnum):
    """Why a row that was looked at stays as it is."""

    FAILED = "failed before limsflow: will be sent again, however often it did"
    YOUNG = "sent too recently: somebody may work on it"
    DAMAGED = "JSON that cannot be read"
    LOSSY = "JSON that would lose something if it was written anew"
    NO_ROW = "complete, but its assembly or scheme is not in the database"
    NO_READS = "failed its quality control, but its reads cannot be sent as one job"
    SHARED_READS = "failed its quality control, but its reads are another strain's too"
    UNHOLDABLE = "a path that the database could not hold"
    CHANGED_SINCE = "changed by others since"
    GONE_SINCE = "removed by others since"
    CALLED_SINCE = "worked on by a run of ours since"


class Change(Record):
    """One value of one row, or a whole row that is added."""

    table: str
    key: Key
    column: str | None = Field(description="None: the row is added")
    why: str
    before: str | None = None
    after: str | None = Field(description="of a row that is added: JSON of its columns")


class Left(Record):
    """A row that stays as it is, although it looks like one to be changed."""

    table: str
    key: Key
    column: str | None = None
    why: WhyLeft
    said: str = Field(default="", description="what is special about this row")


Found = Change | Left


class Page(NamedTuple):
    """What was found in some rows of one table, in the order of their keys."""

    found: list[Found]
    last: int | None  # the key of the last row that was looked at; None: there are no more
