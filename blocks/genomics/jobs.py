"""`user_jobs`, `user_preferences`, and which flow runs worked on a job."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session, aliased

from blocks.errors import AlreadyRunning, InconsistentInput, NoSuchRecord
from blocks.genomics.legacy_json import decoded, encoded
from blocks.genomics.records import JobStatus, UserJob
from blocks.genomics.sessions import lock_name, reading, writing
from blocks.genomics.tables import JobRunRow, UserJobRow, UserPreferenceRow, now

AT_ONCE = 1_000  # jobs in one statement
OPEN = (JobStatus.QUEUED, JobStatus.RUNNING)
ENDS = frozenset({"COMPLETE", "FAILED", "KILLED"})  # how jobs of another system may have ended


class JobStore:
    """The jobs of all species, in the system database. Every method is one transaction."""

    def __init__(self, engine: Engine, database: str) -> None:
        self._engine = engine
        self._database = database

    def start(
        self, *, accession: str, pipeline: str, flow_run_id: str, user_id: int | None = None
    ) -> UserJob:
        """Return the job of this flow run; made, and QUEUED, when the run is new.

        Args:
            accession: What the job is about, in EnteroBase's forms: runs with commas,
                `trace#read1#read2`, a barcode, or an analysis.
            pipeline: Which class of the site processes the result.
            flow_run_id: Prefect's; one run works on one job.
            user_id: Who asked.
        """
        with writing(self._engine) as session:
            lock_name(session, flow_run_id)
            known = _first_of_run(session, flow_run_id)
            if known:
                return _job(session.get_one(UserJobRow, known.job_id))
            row = UserJobRow(
                accession=accession,
                pipeline=pipeline,
                user_id=user_id,
                status=JobStatus.QUEUED.value,
                database=self._database,
            )
            session.add(row)
            session.flush()
            session.add(JobRunRow(flow_run_id=flow_run_id, job_id=row.job_id))
            return _job(row)

    def start_many(self, jobs: Sequence[tuple[str, str]], flow_run_id: str) -> list[int]:
        """Return the ids of new jobs of one flow run, in the order given: a batch's.

        Args:
            jobs: Accession and pipeline of each.
            flow_run_id: Prefect's.
        """
        facts = {"status": JobStatus.QUEUED.value, "database": self._database}
        rows = [UserJobRow(accession=about, pipeline=kind, **facts) for about, kind in jobs]
        with writing(self._engine) as session:
            session.add_all(rows)
            session.flush()
            ids = [row.job_id for row in rows]
            session.add_all(JobRunRow(flow_run_id=flow_run_id, job_id=one) for one in ids)
        return ids

    def add_run(self, job_id: int, flow_run_id: str) -> None:
        """Say that one more run works on a job that somebody else made.

        Raises:
            NoSuchRecord: there is no such job.
            InconsistentInput: the run works on another job.
        """
        with writing(self._engine) as session:
            lock_name(session, flow_run_id)
            if session.get(UserJobRow, job_id) is None:
                raise NoSuchRecord(_no_job(job_id))
            known = _first_of_run(session, flow_run_id)
            if known is None:
                session.add(JobRunRow(flow_run_id=flow_run_id, job_id=job_id))
            elif known.job_id != job_id:
                msg = f"flow run {flow_run_id} works on job {known.job_id}, not on {job_id}"
                raise InconsistentInput(msg)

    def job(self, job_id: int) -> UserJob:
        """Return a job; its status may be any text that others wrote.

        Raises:
            NoSuchRecord: there is none.
        """
        with reading(self._engine) as session:
            row = session.get(UserJobRow, job_id)
            if row is None:
                raise NoSuchRecord(_no_job(job_id))
            return _job(row)

    def of_run(self, flow_run_id: str) -> UserJob:
        """Return the job that a flow run works on, in one query; a batch's first.

        Raises:
            NoSuchRecord: the run is none of ours.
        """
        query = select(UserJobRow).join(JobRunRow).where(JobRunRow.flow_run_id == flow_run_id)
        with reading(self._engine) as session:
            row = session.scalar(query.order_by(JobRunRow.job_id).limit(1))
            if row is None:
                msg = f"no job was worked on by flow run {flow_run_id}"
                raise NoSuchRecord(msg)
            return _job(row)

    def runs(self, job_id: int) -> list[str]:
        """Return the flow runs that worked on a job, the newest last, in one query."""
        query = select(JobRunRow).where(JobRunRow.job_id == job_id)
        query = query.order_by(JobRunRow.started, JobRunRow.flow_run_id)
        with reading(self._engine) as session:
            return [row.flow_run_id for row in session.scalars(query)]

    def close(
        self,
        job_id: int,
        status: JobStatus,
        *,
        output_location: str | None = None,
        version: str | None = None,
    ) -> None:
        """Write what became of a job.

        Raises:
            NoSuchRecord: there is none.
        """
        with writing(self._engine) as session:
            row = session.get(UserJobRow, job_id, with_for_update=True)
            if row is None:
                raise NoSuchRecord(_no_job(job_id))
            row.status = status.value
            row.output_location = output_location or row.output_location
            row.version = version or row.version

    def close_once(self, job_id: int, status: str, *, version: str | None = None) -> str | None:
        """Close a job of another system; return None, or the end that it has had already.

        Args:
            job_id: Of `user_jobs`.
            status: The other system's word for the end.
            version: Of its pipeline.

        Raises:
            NoSuchRecord: there is none.
            AlreadyRunning: a flow run of ours worked on it, and closes it.
        """
        with writing(self._engine) as session:
            row = session.get(UserJobRow, job_id, with_for_update=True)
            if row is None:
                raise NoSuchRecord(_no_job(job_id))
            ours = select(JobRunRow.flow_run_id).where(JobRunRow.job_id == job_id).limit(1)
            run = session.scalar(ours)
            if run is not None:
                msg = f"job {job_id} is not another system's: flow run {run} worked on it"
                raise AlreadyRunning(msg)
            if row.status in ENDS:
                return row.status
            row.status, row.version = status, version or row.version
            return None

    def close_many(self, job_ids: Sequence[int], status: JobStatus, *, version: str = "") -> None:
        """Write what became of many jobs; those that are not there are left out."""
        said = {"status": status.value} | ({"version": version} if version else {})
        with writing(self._engine) as session:
            for start in range(0, len(job_ids), AT_ONCE):
                some = UserJobRow.job_id.in_(job_ids[start : start + AT_ONCE])
                session.execute(update(UserJobRow).where(some).values(**said))

    def add_run_to(self, job_ids: Sequence[int], flow_run_id: str) -> None:
        """Say that a run works on a batch's jobs from now on; they are open."""
        mine = JobRunRow.flow_run_id == flow_run_id
        with writing(self._engine) as session:
            known = set(session.scalars(select(JobRunRow.job_id).where(mine)))
            new = sorted(set(job_ids) - known)
            session.add_all(JobRunRow(flow_run_id=flow_run_id, job_id=one) for one in new)
            for start in range(0, len(job_ids), AT_ONCE):
                some = job_ids[start : start + AT_ONCE]
                again = update(JobRunRow).where(mine, JobRunRow.job_id.in_(set(some) & known))
                session.execute(again.values(started=now(), seen=now()))
                queued = update(UserJobRow).where(UserJobRow.job_id.in_(some))
                session.execute(queued.values(status=JobStatus.QUEUED.value))

    def open_of_run(self, flow_run_id: str) -> list[UserJob]:
        """Return the jobs of a run that are open, and that no other run has worked on since."""
        mine, newer = aliased(JobRunRow), aliased(JobRunRow)
        later = newer.started > mine.started, newer.job_id == mine.job_id
        query = select(UserJobRow).join(mine, mine.job_id == UserJobRow.job_id)
        query = query.where(
            mine.flow_run_id == flow_run_id,
            UserJobRow.status.in_([one.value for one in OPEN]),
            ~select(newer.job_id).where(*later).exists(),
        )
        with reading(self._engine) as session:
            return [_job(row) for row in session.scalars(query.order_by(UserJobRow.job_id))]

    # Signs of life

    def sign_of_life(self, flow_run_id: str) -> None:
        """Say that a flow run is alive; one that works on no job yet has nothing to show."""
        mine = JobRunRow.flow_run_id == flow_run_id
        # One row says it for all jobs of a batch.
        first = select(func.min(JobRunRow.job_id)).where(mine).scalar_subquery()
        said = update(JobRunRow).where(mine, JobRunRow.job_id == first).values(seen=now())
        with writing(self._engine) as session:
            session.execute(said)

    def last_seen(self, flow_run_id: str) -> datetime | None:
        """Return when a flow run gave its last sign of life; None if it is none of ours."""
        query = select(func.max(func.coalesce(JobRunRow.seen, JobRunRow.started)))
        with reading(self._engine) as session:
            seen = session.scalar(query.where(JobRunRow.flow_run_id == flow_run_id))
            return seen.replace(tzinfo=UTC) if seen else None

    def open_runs(self) -> list[str]:
        """Return the flow run that came last to each job of this species that is still open.

        A job that no flow run of ours worked on is another system's.
        """
        query = (
            select(JobRunRow.job_id, JobRunRow.flow_run_id)
            .join(UserJobRow, UserJobRow.job_id == JobRunRow.job_id)
            .where(
                UserJobRow.status.in_([one.value for one in OPEN]),
                UserJobRow.database == self._database,
            )
            .order_by(JobRunRow.started, JobRunRow.flow_run_id)
        )
        with reading(self._engine) as session:
            newest = {row.job_id: row.flow_run_id for row in session.execute(query)}
        return list(newest.values())

    # Analyses, e.g. a locus search

    def add_analysis(
        self, kind: str, name: str, data: dict[str, Any], *, user_id: int | None = None
    ) -> int:
        """Return the id of a new analysis: a row of `user_preferences`."""
        with writing(self._engine) as session:
            row = UserPreferenceRow(
                type=kind,
                name=name,
                database=self._database,
                data=encoded(data),
                user_id=user_id,
            )
            session.add(row)
            session.flush()
            return row.id

    def analysis(self, analysis_id: int) -> dict[str, Any]:
        """Return an analysis' data, decoded however it was encoded.

        Raises:
            NoSuchRecord: there is none.
        """
        with reading(self._engine) as session:
            return _data(session, analysis_id)[1]

    def update_analysis(self, analysis_id: int, changes: dict[str, Any]) -> None:
        """Set some keys of an analysis' data; the others stay. None removes a key.

        Raises:
            NoSuchRecord: there is none.
        """
        with writing(self._engine) as session:
            row, data = _data(session, analysis_id, lock=True)
            removed = {key for key, value in changes.items() if value is None}
            merged = data | changes
            row.data = encoded({key: merged[key] for key in merged if key not in removed})


def _first_of_run(session: Session, flow_run_id: str) -> JobRunRow | None:
    of_run = select(JobRunRow).where(JobRunRow.flow_run_id == flow_run_id)
    return session.scalar(of_run.order_by(JobRunRow.job_id).limit(1))


def _data(
    session: Session, analysis_id: int, *, lock: bool = False
) -> tuple[UserPreferenceRow, dict[str, Any]]:
    row = session.get(UserPreferenceRow, analysis_id, with_for_update=lock or None)
    if row is None:
        msg = f"there is no analysis {analysis_id} in user_preferences"
        raise NoSuchRecord(msg)
    return row, decoded(row.data, f"user_preferences {analysis_id}")


def _job(row: UserJobRow) -> UserJob:
    return UserJob(
        id=row.job_id,
        accession=row.accession or "",
        pipeline=row.pipeline or "",
        status=row.status or "",
        database=row.database or "",
        user_id=row.user_id,
        output_location=row.output_location,
        version=row.version,
        sent=row.date_sent,
    )


def _no_job(job_id: int) -> str:
    return f"there is no job {job_id} in user_jobs"
