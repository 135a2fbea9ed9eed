"""ISPyB's rows as records: the queries and conversions that the store reads with."""

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Engine, Select, func, inspect, select
from sqlalchemy.orm import Session

from blocks.errors import InconsistentInput
from blocks.mx.records import (
    Attachment,
    AttachmentType,
    Attempt,
    DataCollection,
    Integration,
    Parameter,
    Shell,
    Solution,
    Sweep,
    UnitCell,
)
from blocks.mx.tables import (
    AutoProcRow,
    DataCollectionGroupRow,
    DataCollectionRow,
    ImageSweepRow,
    IntegrationRow,
    JobParameterRow,
    ProcessingJobRow,
    ProgramAttachmentRow,
    ProgramRow,
    ProposalRow,
    ScalingRow,
    ScalingStatisticsRow,
    SessionRow,
)
from blocks.mx.writer import STATES, aware_time, local_time

RecordT = TypeVar("RecordT")
CELL_NAMES = ("a", "b", "c", "alpha", "beta", "gamma")


def table_names(engine: Engine) -> set[str]:
    """Return the names of the tables that a database has."""
    return set(inspect(engine).get_table_names())


def database_time(session: Session) -> datetime:
    """Return the time as the database's rows have it; SQLite's rows have this machine's."""
    if session.get_bind().dialect.name == "sqlite":
        return local_time()
    return session.scalars(select(func.now())).one()


def not_begun(recipes: Sequence[str], since: datetime, until: datetime) -> Select[tuple[int]]:
    """Return the query for users' jobs of these recipes and times that have no attempt."""
    job = ProcessingJobRow
    begun = select(ProgramRow.id).where(ProgramRow.job_id == job.id)
    return (
        select(job.id)
        .where(
            job.recipe.in_(recipes),
            job.submitted_at.between(since, until),
            func.coalesce(job.automatic, 0) != 1,
            ~begun.exists(),
        )
        .order_by(job.id)
        .limit(1000)
    )


def collections(
    ids: Sequence[int],
) -> Select[tuple[DataCollectionRow, str | None, str | None]]:
    """Return the query for data collections with their proposal's code and number."""
    own_session = DataCollectionRow.session_id
    return (
        select(DataCollectionRow, ProposalRow.code, ProposalRow.number)
        .outerjoin(DataCollectionGroupRow, DataCollectionGroupRow.id == DataCollectionRow.group_id)
        .outerjoin(
            SessionRow,
            (SessionRow.id == DataCollectionGroupRow.session_id)
            | (DataCollectionGroupRow.session_id.is_(None) & (SessionRow.id == own_session)),
        )
        .outerjoin(ProposalRow, ProposalRow.id == SessionRow.proposal_id)
        .where(DataCollectionRow.id.in_(ids))
        .order_by(DataCollectionRow.id)
    )


def one_collection(session: Session, collection_id: int) -> DataCollection:
    """Return a data collection.

    Raises:
        InconsistentInput: it does not exist, or lacks a column that processing needs.
    """
    found = session.execute(collections([collection_id])).first()
    if found is None:
        msg = f"data collection {collection_id} is named by a job but does not exist"
        raise InconsistentInput(msg)
    return collection(*found)


def collection(row: DataCollectionRow, code: str | None, number: str | None) -> DataCollection:
    """Return a row as a record, with its proposal ("cm19644") where it is known."""
    return valid(
        f"data collection {row.id}",
        DataCollection,
        id=row.id,
        image_directory=row.image_directory,
        file_template=row.file_template,
        start_image=row.start_image,
        n_images=row.n_images,
        image_prefix=row.image_prefix or "",
        number=row.number if row.number is not None else 1,
        proposal=f"{code or ''}{number or ''}",
    )


def sweeps(session: Session, job_id: int) -> tuple[Sweep, ...]:
    """Return a job's sweeps in the order of their rows."""
    rows = session.scalars(
        select(ImageSweepRow).where(ImageSweepRow.job_id == job_id).order_by(ImageSweepRow.id)
    ).all()
    ids = {row.collection_id for row in rows if row.collection_id is not None}
    known = {found[0].id: collection(*found) for found in session.execute(collections(sorted(ids)))}
    return tuple(_sweep(row, known) for row in rows)


def first_swept(session: Session, job_id: int) -> int | None:
    """Return the data collection of a job's first sweep, or None."""
    rows = select(ImageSweepRow.collection_id).where(ImageSweepRow.job_id == job_id)
    return session.scalars(rows.order_by(ImageSweepRow.id)).first()


def _sweep(row: ImageSweepRow, known: dict[int, DataCollection]) -> Sweep:
    if row.collection_id not in known:
        msg = f"sweep {row.id} names data collection {row.collection_id}, which does not exist"
        raise InconsistentInput(msg)
    return valid(
        f"sweep {row.id}",
        Sweep,
        id=row.id,
        collection=known[row.collection_id],
        start_image=row.start_image,
        end_image=row.end_image,
    )


def parameters(session: Session, job_id: int) -> tuple[Parameter, ...]:
    """Return a job's parameters in the order of their rows; those without a key are no use."""
    rows = session.scalars(
        select(JobParameterRow).where(JobParameterRow.job_id == job_id).order_by(JobParameterRow.id)
    )
    return tuple(
        valid(f"parameter {row.id}", Parameter, key=row.key, value=row.value or "")
        for row in rows
        if row.key
    )


def attempt(row: ProgramRow) -> Attempt:
    """Return an AutoProcProgram row as a record."""
    return Attempt(
        id=row.id,
        job_id=row.job_id,
        state=STATES[row.status],
        program=row.programs or "",
        command_line=row.command_line or "",
        message=row.message or "",
        environment=row.environment or "",
        recorded_at=aware_time(row.recorded_at),
        started_at=aware_time(row.started_at),
        updated_at=aware_time(row.updated_at),
    )


def attachment(row: ProgramAttachmentRow) -> Attachment:
    """Return an attachment row as a record; other senders' types count as Log."""
    types = {kind.value: kind for kind in AttachmentType}
    return Attachment(
        path=Path(row.file_path or "/") / (row.file_name or ""),
        type=types.get(row.file_type or "", AttachmentType.LOG),
        rank=row.rank or 0,
    )


def solution(session: Session, row: AutoProcRow) -> Solution | None:
    """Return an AutoProc row with its newest scaling, or None where the shells are missing."""
    scaling = select(ScalingRow.id).where(ScalingRow.auto_proc_id == row.id)
    newest = session.scalars(scaling.order_by(ScalingRow.id.desc())).first()
    statistics = ScalingStatisticsRow
    shells = {
        found.name: shell(found)
        for found in session.scalars(select(statistics).where(statistics.scaling_id == newest))
    }
    cell = cell_of(row)
    if cell is None or len(shells) != 3:  # noqa: PLR2004 - overall, inner, outer
        return None
    return Solution(
        space_group=row.space_group or "",
        cell=cell,
        shells=(shells["overall"], shells["innerShell"], shells["outerShell"]),
        integrations=(),
    )


def shell(row: ScalingStatisticsRow) -> Shell:
    """Return one shell's row as a record."""
    return Shell(**{name: getattr(row, name) for name in Shell.model_fields})


def integration(row: IntegrationRow, images: DataCollectionRow) -> Integration | None:
    """Return an integration's row as a record, or None for a placeholder."""
    if row.start_image is None or row.end_image is None:
        return None
    return Integration(
        image_directory=images.image_directory or "",
        file_template=images.file_template or "",
        start_image=row.start_image,
        end_image=row.end_image,
        cell=cell_of(row),
        detector_distance=row.detector_distance,
        beam_x=row.beam_x,
        beam_y=row.beam_y,
    )


def cell_of(row: AutoProcRow | IntegrationRow) -> UnitCell | None:
    """Return the six columns of a cell as a record, or None where one is missing."""
    values = {name: getattr(row, f"cell_{name}") for name in CELL_NAMES}
    return UnitCell(**values) if all(value is not None for value in values.values()) else None


def valid(what: str, record: Callable[..., RecordT], **values: Any) -> RecordT:
    """Return a record of a row's values.

    Raises:
        InconsistentInput: a value is missing or impossible; the message names row and field.
    """
    try:
        return record(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        msg = f"{what}: {field} is {first['input']!r}: {first['msg']}"
        raise InconsistentInput(msg) from error
