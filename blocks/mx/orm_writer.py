"""Write ISPyB through the ORM, by the rules that its stored procedures have."""

import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, column, delete, func, inspect, or_, select, table, update
from sqlalchemy.orm import Session

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
from blocks.mx.tables import (
    AutoProcRow,
    Base,
    DataCollectionGroupRow,
    DataCollectionRow,
    ImageSweepRow,
    IntegrationRow,
    JobParameterRow,
    ProcessingJobRow,
    ProgramAttachmentRow,
    ProgramMessageRow,
    ProgramRow,
    ProposalRow,
    ScalingHasIntegrationRow,
    ScalingRow,
    ScalingStatisticsRow,
    SessionRow,
)
from blocks.mx.writer import (
    DESCRIPTION_LENGTH,
    MESSAGE_LENGTH,
    STATUS_CODES,
    TEXT_LENGTH,
    Registration,
    column_text,
    local_time,
    status_message,
)

VISIT = re.compile(r"([A-Za-z]{2})(\d+)-(\d+)")
RowT = TypeVar("RowT", bound=Base)


class OrmWriter:
    """The writer of a database with full rights: SQLite, or any that is ours."""

    def __init__(self, engine: Engine, *, owns_database: bool) -> None:
        self._engine = engine
        self.owns_database = owns_database

    def create_job(self, request: JobRequest, collection_id: int) -> int:
        """Write missing data collections, job, parameters and sweeps in one transaction."""
        with Session(self._engine) as session, session.begin():
            for collection in request.data_collections:
                if session.get(DataCollectionRow, collection.id) is None:
                    _add_collection(session, collection)
            job = ProcessingJobRow(
                collection_id=collection_id,
                display_name=column_text(request.display_name, 80),
                comments=column_text(request.comments, TEXT_LENGTH),
                recipe=request.recipe,
                automatic=0,
                submitted_at=local_time(),
            )
            session.add(job)
            session.flush()
            for parameter in request.parameters:  # one by one: the key order is the row order
                session.add(
                    JobParameterRow(job_id=job.id, key=parameter.key, value=parameter.value)
                )
                session.flush()
            for sweep in request.sweeps:
                session.add(
                    ImageSweepRow(
                        job_id=job.id,
                        collection_id=sweep.data_collection_id,
                        start_image=sweep.start_image,
                        end_image=sweep.end_image,
                    )
                )
                session.flush()
            return job.id

    def register(self, registration: Registration) -> int:
        """Insert an attempt; `jobUuid` is written only where the schema has it."""
        return insert_program(self._engine, registration)

    def update(
        self,
        program_id: int,
        *,
        message: str | None,
        state: AttemptState,
        command_line: str | None = None,
        updated_at: datetime | None = None,
    ) -> None:
        """Update an attempt that has no status yet; ignore what is older than the last update.

        One statement: a sign of life and the final status may come at the same moment.
        """
        now = local_time(updated_at)
        row = ProgramRow
        changes: dict[str, object] = {
            "started_at": func.coalesce(row.started_at, local_time()),
            "updated_at": now,
            "status": STATUS_CODES[state],
        }
        if message is not None:
            changes["message"] = status_message(message)
        if command_line is not None:
            changes["command_line"] = column_text(command_line, TEXT_LENGTH)
        statement = update(row).where(row.id == program_id, row.status.is_(None))
        if state is AttemptState.RUNNING:
            statement = statement.where(or_(row.updated_at.is_(None), row.updated_at <= now))
        with self._engine.begin() as connection:
            connection.execute(statement.values(changes))

    def attach(self, program_id: int, attachment: Attachment) -> None:
        """Insert an attachment."""
        row = ProgramAttachmentRow(
            program_id=program_id,
            file_type=attachment.type.value,
            file_name=attachment.path.name,
            file_path=str(attachment.path.parent),
            rank=attachment.rank,
            recorded_at=local_time(),
        )
        self._insert(row)

    def add_message(self, program_id: int, message: Message) -> None:
        """Insert a message; its full text goes into the description."""
        row = ProgramMessageRow(
            program_id=program_id,
            severity=message.severity.value,
            message=column_text(message.message, MESSAGE_LENGTH),
            description=column_text(message.description, DESCRIPTION_LENGTH),
            recorded_at=local_time(),
        )
        self._insert(row)

    def add_auto_proc(self, program_id: int, space_group: str, cell: UnitCell) -> int:
        """Insert the AutoProc row."""
        row = AutoProcRow(
            program_id=program_id,
            space_group=space_group,
            recorded_at=local_time(),
            **{f"cell_{name}": value for name, value in cell.model_dump().items()},
        )
        return self._insert(row)

    def add_scaling(self, auto_proc_id: int, shells: tuple[Shell, Shell, Shell]) -> int:
        """Insert the scaling and its shells in one transaction."""
        with Session(self._engine) as session, session.begin():
            scaling = ScalingRow(auto_proc_id=auto_proc_id, recorded_at=local_time())
            session.add(scaling)
            session.flush()
            for shell in shells:
                session.add(
                    ScalingStatisticsRow(
                        scaling_id=scaling.id,
                        anomalous=0,
                        recorded_at=local_time(),
                        **shell.model_dump(),
                    )
                )
                session.flush()
            return scaling.id

    def put_integration(
        self,
        integration_id: int | None,
        *,
        program_id: int,
        collection_id: int,
        scaling_id: int | None = None,
        integration: Integration | None = None,
    ) -> int:
        """Insert or update; with a scaling, renew the link to it."""
        with Session(self._engine) as session, session.begin():
            row = session.get(IntegrationRow, integration_id) if integration_id else None
            if row is None:
                row = IntegrationRow(anomalous=0)
                session.add(row)
            row.program_id, row.collection_id = program_id, collection_id
            row.recorded_at = local_time()
            for name, value in integration_values(integration).items():
                if value is not None:
                    setattr(row, name, value)
            session.flush()
            if scaling_id is not None:
                _link(session, scaling_id, row.id)
            return row.id

    def _insert(self, row: AutoProcRow | ProgramMessageRow | ProgramAttachmentRow) -> int:
        with Session(self._engine) as session, session.begin():
            session.add(row)
            session.flush()
            return row.id


def insert_program(engine: Engine, registration: Registration) -> int:
    """Insert an attempt; `jobUuid` only where this schema has the column. Return its id.

    The production role may insert into AutoProcProgram itself, and has to: the stored procedure
    would write a start time, and a program that only waits has none.
    """
    row = ProgramRow(
        job_id=registration.job_id,
        programs=column_text(registration.program, TEXT_LENGTH),
        pipeline_id=registration.pipeline_id,
        command_line=column_text(registration.command_line, TEXT_LENGTH),
        environment=column_text(registration.environment, TEXT_LENGTH),
        recorded_at=local_time(),
    )
    with Session(engine) as session, session.begin():
        session.add(row)
        session.flush()
        if has_job_uuid(engine):
            newer = table(ProgramRow.__tablename__, column("autoProcProgramId"), column("jobUuid"))
            mine = newer.c.autoProcProgramId == row.id
            values = {"jobUuid": registration.uuid.bytes}
            session.execute(update(newer).where(mine).values(values))
        return row.id


@cache
def has_job_uuid(engine: Engine) -> bool:
    """Whether this schema has AutoProcProgram.jobUuid (5.2 and later)."""
    columns = inspect(engine).get_columns(ProgramRow.__tablename__)
    return any(column["name"] == "jobUuid" for column in columns)


def integration_values(integration: Integration | None) -> dict[str, float | int | None]:
    """Return an integration's values by attribute of its row."""
    if integration is None:
        return {}
    cell = integration.cell.model_dump() if integration.cell else {}
    return {
        "start_image": integration.start_image,
        "end_image": integration.end_image,
        "detector_distance": integration.detector_distance,
        "beam_x": integration.beam_x,
        "beam_y": integration.beam_y,
        **{f"cell_{name}": value for name, value in cell.items()},
    }


def _link(session: Session, scaling_id: int, integration_id: int) -> None:
    link = ScalingHasIntegrationRow
    session.execute(delete(link).where(link.integration_id == integration_id))
    session.add(
        link(scaling_id=scaling_id, integration_id=integration_id, recorded_at=local_time())
    )


def _add_collection(session: Session, collection: DataCollection) -> None:
    group = DataCollectionGroupRow(session_id=_session_id(session, collection))
    session.add(group)
    session.flush()
    row = DataCollectionRow(
        id=collection.id,
        group_id=group.id,
        session_id=group.session_id,
        image_directory=collection.image_directory,
        image_prefix=collection.image_prefix or None,
        file_template=collection.file_template,
        start_image=collection.start_image,
        n_images=collection.n_images,
        number=collection.number,
    )
    session.add(row)
    session.flush()


def _session_id(session: Session, collection: DataCollection) -> int | None:
    """Return the session of the visit that the image directory names, made if it is missing."""
    visit = next(filter(None, map(VISIT.fullmatch, Path(collection.image_directory).parts)), None)
    if visit is None:
        return None
    code, number, visit_number = visit.groups()
    proposal = session.scalars(
        select(ProposalRow).where(ProposalRow.code == code, ProposalRow.number == number)
    ).first() or _added(session, ProposalRow(code=code, number=number))
    beamtime = session.scalars(
        select(SessionRow).where(
            SessionRow.proposal_id == proposal.id, SessionRow.visit_number == int(visit_number)
        )
    ).first() or _added(
        session, SessionRow(proposal_id=proposal.id, visit_number=int(visit_number))
    )
    return beamtime.id


def _added(session: Session, row: RowT) -> RowT:
    session.add(row)
    session.flush()
    return row
