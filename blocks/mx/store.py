"""ISPyB as records: jobs out, attempts and results in. It looks before it writes."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Engine, func, select
from sqlalchemy.orm import Session

from blocks.database import database_errors, engine_for
from blocks.errors import InconsistentInput, InvalidRequest, NoSuchRecord
from blocks.mx import reading
from blocks.mx.images import sweep_of
from blocks.mx.orm_writer import OrmWriter
from blocks.mx.procedure_writer import ProcedureWriter
from blocks.mx.records import (
    Attachment,
    Attempt,
    AttemptState,
    DataCollection,
    Integration,
    JobHeader,
    JobRequest,
    Message,
    ProcessingJob,
    Severity,
    Solution,
)
from blocks.mx.tables import (
    AutoProcRow,
    Base,
    DataCollectionRow,
    IntegrationRow,
    ProcessingJobRow,
    ProgramAttachmentRow,
    ProgramMessageRow,
    ProgramRow,
    ScalingRow,
)
from blocks.mx.writer import (
    MESSAGE_LENGTH,
    Registration,
    Writer,
    column_text,
    fits,
    require_latin1,
    same_place,
)

LARGEST_ID = 2**32 - 1
RECENT = 200_000  # rows of AutoProcProgram: weeks at a large facility
OF_ENTEROBASE = "assembly_lookup"
OURS = "guid=%"  # how the environment text of our attempts begins


def create_tables(url: str) -> list[str]:
    """Create the tables of an ISPyB that is ours; return the names of those that were missing.

    Raises:
        InvalidRequest: it is an EnteroBase.
    """
    engine = engine_for(url)
    with database_errors():
        names = set(reading.table_names(engine))
        before = set(Base.metadata.tables) & names
        if OF_ENTEROBASE in names and not before:
            msg = "this database is an EnteroBase: its tables are made with --for entero"
            raise InvalidRequest(msg)
        Base.metadata.create_all(engine)
    return sorted(set(Base.metadata.tables) - before)


def open_store(url: str, *, processing_url: str | None = None, ours: bool = False) -> "IspybStore":
    """Return the store of an ISPyB.

    Args:
        url: A SQLAlchemy URL; with `processing_url`, of the role that may read.
        processing_url: Of the role that may execute the stored procedures; without it, writing
            goes through the ORM.
        ours: Whether data collections may be made; a SQLite file always is ours.
    """
    reader = engine_for(url)
    if processing_url is None:
        ours = ours or reader.dialect.name == "sqlite"
        return IspybStore(reader, OrmWriter(reader, owns_database=ours))
    return IspybStore(reader, ProcedureWriter(engine_for(processing_url)))


class IspybStore:
    """One ISPyB. Every method is one transaction and may be called twice.

    Raises:
        DatabaseUnavailable: from every method, when the database is away.
    """

    def __init__(self, reader: Engine, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    # Jobs

    def create_job(self, request: JobRequest) -> int:
        """Create a job with its sweeps and parameters; return its id.

        Raises:
            InvalidRequest: a data collection is missing, or is described otherwise in ISPyB, or
                a parameter has characters that its columns cannot hold.
        """
        with database_errors():
            wanted = list(dict.fromkeys(sweep.data_collection_id for sweep in request.sweeps))
            known = {found.id: found for found in self.data_collections(wanted)}
            self._require_same(request, known)
            may_make = {c.id for c in request.data_collections if self._writer.owns_database}
            missing = [one for one in wanted if one not in known and one not in may_make]
            if missing:
                msg = f"data collection {missing[0]} is not in this ISPyB"
                raise InvalidRequest(msg)
            if not self._writer.owns_database:
                require_latin1(request)
            return self._writer.create_job(request, wanted[0])

    def data_collections(self, ids: Sequence[int]) -> list[DataCollection]:
        """Return those of these data collections that exist, by id."""
        with database_errors(), Session(self._reader) as session:
            return [reading.collection(*row) for row in session.execute(reading.collections(ids))]

    def job(self, job_id: int) -> ProcessingJob:
        """Return a job with its sweeps and parameters in row order.

        Raises:
            NoSuchRecord: there is no such job.
            InconsistentInput: a row lacks what processing needs; the message names it.
        """
        with database_errors(), Session(self._reader) as session:
            row = _job_row(session, job_id)
            sweeps = reading.sweeps(session, job_id)
            primary = row.collection_id or (sweeps[0].collection.id if sweeps else None)
            if primary is None:
                msg = f"processing job {job_id} names no data collection and has no sweeps"
                raise InconsistentInput(msg)
            return ProcessingJob(
                id=row.id,
                recipe=row.recipe or "",
                collection=reading.one_collection(session, primary),
                sweeps=sweeps,
                parameters=reading.parameters(session, job_id),
                display_name=row.display_name or "",
                automatic=row.automatic == 1,
            )

    def job_header(self, job_id: int) -> JobHeader:
        """Return recipe, primary data collection and parameters; rows of sweeps are not judged.

        Raises:
            NoSuchRecord: there is no such job.
        """
        with database_errors(), Session(self._reader) as session:
            row = _job_row(session, job_id)
            given = reading.parameters(session, job_id)
            submitted = row.submitted_at
            return JobHeader(
                id=row.id,
                recipe=row.recipe or "",
                collection_id=row.collection_id or reading.first_swept(session, job_id),
                parameters=tuple(f"{parameter.key}={parameter.value}" for parameter in given),
                age=reading.database_time(session) - submitted if submitted else None,
            )

    def job_ids(self) -> list[int]:
        """Return the ids of all jobs, newest first; at most 1000."""
        with database_errors(), Session(self._reader) as session:
            newest = select(ProcessingJobRow.id).order_by(ProcessingJobRow.id.desc()).limit(1000)
            return list(session.scalars(newest))

    def jobs_not_begun(
        self, recipes: Sequence[str], *, older_than: timedelta, younger_than: timedelta
    ) -> list[int]:
        """Return jobs of users without any attempt, oldest first; at most 1000.

        Automatic jobs are left out: who made them may hold them back.

        Args:
            recipes: Only of these.
            older_than: The database's clock counts, for both.
            younger_than: How long somebody may still wait for one.
        """
        with database_errors(), Session(self._reader) as session:
            now = reading.database_time(session)
            made = now - younger_than, now - older_than
            return list(session.scalars(reading.not_begun(recipes, *made)))

    # Attempts

    def attempts(self, job_id: int) -> list[Attempt]:
        """Return all attempts at a job, oldest first."""
        return self._attempts(ProgramRow.job_id == job_id)

    def attempt(self, program_id: int) -> Attempt:
        """Return one attempt.

        Raises:
            NoSuchRecord: there is none with this id.
        """
        found = self._attempts(ProgramRow.id == program_id)
        if not found:
            msg = f"there is no AutoProcProgram {program_id}"
            raise NoSuchRecord(msg)
        return found[0]

    def open_attempts(self) -> list[Attempt]:
        """Return the attempts that limsflow made and nobody has closed."""
        with database_errors(), Session(self._reader) as session:
            newest = session.scalars(select(func.max(ProgramRow.id))).one() or 0
        return self._attempts(
            ProgramRow.id > newest - RECENT,  # no index helps with the other two
            ProgramRow.status.is_(None),
            ProgramRow.environment.like(OURS),
        )

    def register(self, registration: Registration) -> int:
        """Insert an attempt and its placeholder integration, once; return its id.

        The placeholder makes a failure visible on the page of the data collection. An attempt
        whose environment text begins alike (it begins with the guid) is the same attempt.
        """
        guid = registration.environment.partition(",")[0]
        with database_errors():
            same = self._attempts(
                ProgramRow.job_id == registration.job_id, ProgramRow.environment.like(f"{guid}%")
            )
            program_id = same[0].id if same else self._writer.register(registration)
            self.place(program_id, registration.collection_id)
            return program_id

    def place(self, program_id: int, collection_id: int | None) -> None:
        """Insert an attempt's placeholder integration, if it has no integration yet."""
        with database_errors():
            placed = self._ids(IntegrationRow, IntegrationRow.program_id == program_id)
            if collection_id is not None and not placed:
                self._writer.put_integration(
                    None, program_id=program_id, collection_id=collection_id
                )

    def report_progress(
        self, program_id: int, message: str | None, *, command_line: str | None = None
    ) -> None:
        """Move the attempt's end time, which SynchWeb shows as "last updated"."""
        with database_errors():
            self._writer.update(
                program_id,
                message=message,
                state=AttemptState.RUNNING,
                command_line=command_line,
            )

    def close(self, program_id: int, state: AttemptState, message: str) -> AttemptState:
        """Set the final status, if there is none yet; return the status that stands."""
        with database_errors():
            self._writer.update(program_id, message=message, state=state)
        return self.attempt(program_id).state

    # Results

    def add_messages(self, program_id: int, messages: Sequence[Message]) -> None:
        """Insert those messages that the attempt does not have yet."""
        with database_errors():
            known = {(m.severity, m.message) for m in self.messages(program_id)}
            for message in messages:
                key = (message.severity, column_text(message.message, MESSAGE_LENGTH))
                if key not in known:
                    self._writer.add_message(program_id, message)
                    known.add(key)

    def add_attachments(self, program_id: int, attachments: Sequence[Attachment]) -> None:
        """Insert those attachments that the attempt does not have yet.

        A path that the columns cannot hold would name another file, so it is said and left out.
        """
        with database_errors():
            known = {attachment.path for attachment in self.attachments(program_id)}
            for attachment in attachments:
                if not fits(attachment):
                    text = f"not shown, its path does not fit into ISPyB: {attachment.path.name}"
                    said = Message(
                        severity=Severity.WARNING, message=text, description=str(attachment.path)
                    )
                    self.add_messages(program_id, [said])
                elif attachment.path not in known:
                    self._writer.attach(program_id, attachment)
                    known.add(attachment.path)

    def add_solution(
        self, program_id: int, job: ProcessingJob, solution: Solution, *, to_own_collection: bool
    ) -> None:
        """Insert AutoProc, scaling and integrations, each only if it is missing.

        Args:
            program_id: The attempt.
            job: For the sweeps that integrations are of.
            solution: What was found.
            to_own_collection: Link each integration with the data collection that its images are
                from, not with the job's primary one (which is what SynchWeb has always shown).
        """
        with database_errors():
            auto_proc = self._first(
                AutoProcRow, AutoProcRow.program_id == program_id
            ) or self._writer.add_auto_proc(program_id, solution.space_group, solution.cell)
            scaling = self._first(
                ScalingRow, ScalingRow.auto_proc_id == auto_proc
            ) or self._writer.add_scaling(auto_proc, solution.shells)
            present = self._ids(IntegrationRow, IntegrationRow.program_id == program_id)
            for number, integration in enumerate(solution.integrations):
                own = sweep_of(integration, job.sweeps) if to_own_collection else None
                self._writer.put_integration(
                    present[number] if number < len(present) else None,
                    program_id=program_id,
                    collection_id=(own.collection if own else job.collection).id,
                    scaling_id=scaling,
                    integration=integration,
                )
            self.add_messages(program_id, solution.messages)

    def messages(self, program_id: int) -> list[Message]:
        """Return an attempt's messages, oldest first."""
        query = (
            select(ProgramMessageRow)
            .where(ProgramMessageRow.program_id == program_id)
            .order_by(ProgramMessageRow.id)
        )
        with database_errors(), Session(self._reader) as session:
            return [
                Message(
                    severity=Severity(row.severity),
                    message=row.message or "",
                    description=row.description or "",
                )
                for row in session.scalars(query)
            ]

    def attachments(self, program_id: int) -> list[Attachment]:
        """Return an attempt's files, most important first, as SynchWeb lists them."""
        rows = ProgramAttachmentRow
        query = select(rows).where(rows.program_id == program_id).order_by(rows.rank, rows.id)
        with database_errors(), Session(self._reader) as session:
            return [reading.attachment(row) for row in session.scalars(query)]

    def solution(self, program_id: int) -> Solution | None:
        """Return what an attempt found, as ISPyB has it, or None."""
        with database_errors(), Session(self._reader) as session:
            found = session.scalars(
                select(AutoProcRow).where(AutoProcRow.program_id == program_id)
            ).first()
            return reading.solution(session, found) if found else None

    def integrations(self, program_id: int) -> list[tuple[int, Integration | None]]:
        """Return data collection id and integration of each row; None for a placeholder."""
        query = (
            select(IntegrationRow, DataCollectionRow)
            .join(DataCollectionRow, DataCollectionRow.id == IntegrationRow.collection_id)
            .where(IntegrationRow.program_id == program_id)
            .order_by(IntegrationRow.id)
        )
        with database_errors(), Session(self._reader) as session:
            return [(c.id, reading.integration(row, c)) for row, c in session.execute(query)]

    def _require_same(self, request: JobRequest, known: dict[int, DataCollection]) -> None:
        for given in request.data_collections:
            found = known.get(given.id)
            if found and same_place(found) != same_place(given):
                msg = (
                    f"data collection {given.id} is in ISPyB with other images: "
                    f"{found.image_directory}{found.file_template} from {found.start_image}, "
                    f"{found.n_images} images"
                )
                raise InvalidRequest(msg)

    def _attempts(self, *conditions: ColumnElement[bool]) -> list[Attempt]:
        query = select(ProgramRow).where(*conditions).order_by(ProgramRow.id)
        with database_errors(), Session(self._reader) as session:
            return [reading.attempt(row) for row in session.scalars(query)]

    def _ids(self, row: type[IntegrationRow], condition: ColumnElement[bool]) -> list[int]:
        query = select(row.id).where(condition).order_by(row.id)
        with Session(self._reader) as session:
            return list(session.scalars(query))

    def _first(
        self, row: type[AutoProcRow] | type[ScalingRow], condition: ColumnElement[bool]
    ) -> int | None:
        with Session(self._reader) as session:
            return session.scalars(select(func.min(row.id)).where(condition)).one()


def _job_row(session: Session, job_id: int) -> ProcessingJobRow:
    row = session.get(ProcessingJobRow, job_id) if job_id <= LARGEST_ID else None
    if row is None:
        msg = f"there is no processing job {job_id}"
        raise NoSuchRecord(msg)
    return row
