"""What every writer of ISPyB promises, and the limits that ISPyB's columns set.

There are two: `orm_writer` for a database that is ours, `procedure_writer` for a facility's
MariaDB, where the processing role may write only through stored procedures.
"""

from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from blocks.errors import InvalidRequest
from blocks.mx.records import (
    Attachment,
    AttemptState,
    DataCollection,
    Integration,
    JobRequest,
    Message,
    Shell,
    UnitCell,
)
from blocks.record import Record

STATUS_MESSAGE_LENGTH = 80  # of upsert_processing_program_v2, though the column has 255
MESSAGE_LENGTH = 200
TEXT_LENGTH = 255
DESCRIPTION_LENGTH = 60_000  # MariaDB's TEXT has 65,535 bytes

STATES: dict[int | None, AttemptState] = {
    None: AttemptState.RUNNING,
    1: AttemptState.SUCCEEDED,
    0: AttemptState.FAILED,
}
STATUS_CODES = {state: code for code, state in STATES.items()}


class Registration(Record):
    """A new attempt, as the user will see it."""

    job_id: int
    program: str
    pipeline_id: int | None
    command_line: str
    environment: str
    uuid: UUID
    collection_id: int | None


class Writer(Protocol):
    """Writes rows; looks at nothing. `IspybStore` looks first."""

    owns_database: bool
    """Whether data collections may be made: a facility's exist already."""

    def create_job(self, request: JobRequest, collection_id: int) -> int:
        """Write job, parameters and sweeps in one transaction; return the job's id."""
        ...

    def register(self, registration: Registration) -> int:
        """Insert an attempt without status or start time; return its id."""
        ...

    def update(
        self,
        program_id: int,
        *,
        message: str | None,
        state: AttemptState,
        command_line: str | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        """Move the end time, and set what is given; a row with a status is frozen."""
        ...

    def attach(self, program_id: int, attachment: Attachment) -> None:
        """Insert an attachment."""
        ...

    def add_message(self, program_id: int, message: Message) -> None:
        """Insert a message."""
        ...

    def add_auto_proc(self, program_id: int, space_group: str, cell: UnitCell) -> int:
        """Insert the AutoProc row; return its id."""
        ...

    def add_scaling(self, auto_proc_id: int, shells: tuple[Shell, Shell, Shell]) -> int:
        """Insert the scaling and its three shells; return the scaling's id."""
        ...

    def put_integration(
        self,
        integration_id: int | None,
        *,
        program_id: int,
        collection_id: int,
        scaling_id: int | None = None,
        integration: Integration | None = None,
    ) -> int:
        """Insert an integration or update the one with this id; link it with the scaling."""
        ...


def column_text(text: str, length: int) -> str:
    """Return text as an ISPyB column can hold it: latin1, of at most this length.

    A text that is too long is cut at the last word and ends in "...".
    """
    latin = text.encode("cp1252", "replace").decode("cp1252")
    if len(latin) <= length:
        return latin
    cut = latin[: length - 3]
    at_word = cut.rpartition(" ")[0]
    return (at_word if len(at_word) > length // 2 else cut) + "..."


def status_message(text: str) -> str:
    """Return a message on one line of at most 80 characters."""
    return column_text(" ".join(text.split()), STATUS_MESSAGE_LENGTH)


def local_time(moment: datetime | None = None) -> datetime:
    """Return a moment (now, unless given) as ISPyB stores it: naive, local, whole seconds."""
    local = (moment or datetime.now(UTC)).astimezone()
    return local.replace(tzinfo=None, microsecond=0)


def aware_time(moment: datetime | None) -> datetime | None:
    """Return a time of ISPyB as aware UTC.

    Of the hour that summer time repeats, the later one is meant: the earlier would make every
    running attempt look silent for an hour.
    """
    return moment.replace(fold=1).astimezone(UTC) if moment else None


def same_place(collection: DataCollection) -> tuple[str, str, int, int]:
    """Return what makes two descriptions mean the same images."""
    directory = collection.image_directory.rstrip("/")
    return directory, collection.file_template, collection.start_image, collection.n_images


def fits(attachment: Attachment) -> bool:
    """Whether ISPyB's columns can hold where a file is."""
    parts = (attachment.path.name, str(attachment.path.parent))
    return all(column_text(part, TEXT_LENGTH) == part for part in parts)


def require_latin1(request: JobRequest) -> None:
    """Refuse a parameter that a facility's latin1 column would change or not take.

    Raises:
        InvalidRequest: names the parameter.
    """
    for parameter in request.parameters:
        text = f"{parameter.key}={parameter.value}"
        if column_text(text, len(text)) != text:
            msg = f"parameter {parameter.key!r} has characters that this ISPyB cannot hold"
            raise InvalidRequest(msg)
