"""Nights: each run of what goes over a whole database, what it was asked, and what came of it."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Engine, func, literal, select, update
from sqlalchemy.orm import Session

from blocks.errors import NoSuchRecord
from blocks.genomics.legacy_json import decoded, encoded
from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.sessions import lock_name, reading, writing
from blocks.genomics.tables import (
    AssemblyCallRow,
    AssemblyRow,
    NightRow,
    SchemeCallRow,
    SchemeRow,
    now,
)
from blocks.record import Record


class Night(Record):
    """One row of `nights`. Times are UTC."""

    id: int
    flow_run_id: str
    kind: str = Field(description="the flow's name")
    parameters: dict[str, Any]
    started: datetime | None
    ended: datetime | None = None
    report: dict[str, Any] = Field(default_factory=dict)


class Failure(Record):
    """One thing that a night sent and that failed."""

    about: str = Field(description="barcode of an assembly, or accessions of reads")
    scheme: str = Field(default="", description="empty: an assembly from reads")
    fate: Fate | None
    reason: str
    flow_run_id: str
    job_id: int | None


class NightStore:
    """The nights of one species database. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def start(self, flow_run_id: str, kind: str, parameters: Mapping[str, Any]) -> Night:
        """Return the night of this flow run; made when the run is new.

        A flow run that is run again goes on with its night.
        """
        query = select(NightRow).where(NightRow.flow_run_id == flow_run_id, NightRow.kind == kind)
        with writing(self._engine) as session:
            lock_name(session, flow_run_id)
            row = session.scalar(query)
            if row is None:
                facts = encoded(dict(parameters))
                row = NightRow(flow_run_id=flow_run_id, kind=kind, parameters=facts)
                session.add(row)
            row.ended, row.seen = None, now()
            session.flush()
            return _night(row)

    def sign_of_life(self, night_id: int) -> bool:
        """Say that a night is alive; return whether it goes on, and nobody has ended it."""
        mine = update(NightRow).where(NightRow.id == night_id, NightRow.ended.is_(None))
        with writing(self._engine) as session:
            done = session.execute(mine.values(seen=now()).returning(NightRow.id))
            return done.first() is not None

    def last_seen(self, flow_run_id: str) -> datetime | None:
        """Return when a night gave its last sign of life; None if the run is none of a night."""
        query = select(func.max(NightRow.seen)).where(NightRow.flow_run_id == flow_run_id)
        with reading(self._engine) as session:
            seen = session.scalar(query)
            return seen.replace(tzinfo=UTC) if seen else None

    def goes_on(self, night_id: int) -> bool:
        """Whether nobody has ended a night."""
        with reading(self._engine) as session:
            row = session.get(NightRow, night_id)
            return row is not None and row.ended is None

    def end(self, night_id: int, report: Mapping[str, Any] | None = None) -> None:
        """Say that a night is over, with its report; one that ended before keeps its report."""
        with writing(self._engine) as session:
            row = _row(session, night_id)
            row.ended = row.ended or now()
            if report is not None:
                row.report = encoded(dict(report))

    def end_of_run(self, flow_run_id: str) -> list[Night]:
        """Say that what a flow run began is over; return its nights that were not."""
        query = select(NightRow).where(NightRow.flow_run_id == flow_run_id)
        with writing(self._engine) as session:
            rows = session.scalars(query.where(NightRow.ended.is_(None))).all()
            for row in rows:
                row.ended = now()
            return [_night(row) for row in rows]

    def open_runs(self) -> list[str]:
        """Return the flow runs whose night is not over."""
        query = select(NightRow.flow_run_id).where(NightRow.ended.is_(None)).distinct()
        with reading(self._engine) as session:
            return list(session.scalars(query))

    def runs_at_work(self, night_id: int) -> set[str]:
        """Return the flow runs that hold something of a night."""
        found, queued = set[str](), LookupStatus.QUEUED.value
        with reading(self._engine) as session:
            for row in (SchemeCallRow, AssemblyCallRow):
                mine = (row.night_id == night_id, row.status == queued)
                found.update(filter(None, session.scalars(select(row.flow_run_id).where(*mine))))
        return found

    def night(self, night_id: int | None = None) -> Night:
        """Return a night; the newest unless one is named.

        Raises:
            NoSuchRecord: there is none.
        """
        with reading(self._engine) as session:
            if night_id is not None:
                return _night(_row(session, night_id))
            newest = session.scalar(select(NightRow).order_by(NightRow.id.desc()).limit(1))
            if newest is None:
                msg = "no night has gone over this database yet"
                raise NoSuchRecord(msg)
            return _night(newest)

    # What came of it

    def counts(self, night_id: int) -> dict[int, Counter[str]]:
        """Return, by scheme, how many pairs of a night are QUEUED, COMPLETE, or failed by fate."""
        call = SchemeCallRow
        query = select(call.scheme_id, call.status, call.fate, func.count())
        query = query.where(call.night_id == night_id)
        found = dict[int, Counter[str]]()
        with reading(self._engine) as session:
            grouped = query.group_by(call.scheme_id, call.status, call.fate)
            for scheme, status, fate, number in session.execute(grouped):
                found.setdefault(scheme, Counter())[_outcome(status, fate)] += number
        return found

    def failures(self, night_id: int, *, limit: int) -> list[Failure]:
        """Return what a night's calls failed by: bugs first, then the newest assemblies."""
        call, row = SchemeCallRow, AssemblyRow
        facts = (call.fate, call.reason, call.flow_run_id, call.job_id)
        query = select(row.barcode, SchemeRow.description, *facts)
        query = query.join(row, row.id == call.assembly_id)
        query = query.join(SchemeRow, SchemeRow.id == call.scheme_id)
        query = query.where(call.night_id == night_id, call.status == LookupStatus.FAILED.value)
        query = query.order_by(call.fate, call.assembly_id.desc(), call.scheme_id).limit(limit)
        with reading(self._engine) as session:
            return [_failure(*found) for found in session.execute(query).all()]

    def assembly_counts(self, night_id: int) -> Counter[str]:
        """Return how many reads of a night are QUEUED, COMPLETE, or failed by fate."""
        call = AssemblyCallRow
        query = select(call.status, call.fate, func.count()).where(call.night_id == night_id)
        with reading(self._engine) as session:
            found = session.execute(query.group_by(call.status, call.fate))
            return Counter({_outcome(status, fate): number for status, fate, number in found})

    def assembly_failures(self, night_id: int, *, limit: int) -> list[Failure]:
        """Return the reads that a night could not assemble, and those that failed their quality."""
        call = AssemblyCallRow
        facts = (call.fate, call.reason, call.flow_run_id, call.job_id)
        query = select(call.reads, literal(""), *facts).where(
            call.night_id == night_id, call.fate.is_not(None)
        )
        query = query.order_by(call.fate, call.strain_id.desc()).limit(limit)
        with reading(self._engine) as session:
            return [_failure(*found) for found in session.execute(query).all()]


def _outcome(status: str, fate: str | None) -> str:
    return f"{status} {fate}" if fate else status


def _failure(
    about: str | None,
    scheme: str,
    fate: str | None,
    reason: str | None,
    flow_run_id: str | None,
    job_id: int | None,
) -> Failure:
    return Failure(
        about=about or "",
        scheme=scheme,
        fate=Fate(fate) if fate else None,
        reason=reason or "",
        flow_run_id=flow_run_id or "",
        job_id=job_id,
    )


def _row(session: Session, night_id: int) -> NightRow:
    row = session.get(NightRow, night_id)
    if row is None:
        msg = f"there is no night {night_id} in this database"
        raise NoSuchRecord(msg)
    return row


def _night(row: NightRow) -> Night:
    what = f"night {row.id}"
    return Night(
        id=row.id,
        flow_run_id=row.flow_run_id,
        kind=row.kind,
        parameters=decoded(row.parameters, what),
        started=row.started,
        ended=row.ended,
        report=decoded(row.report, what),
    )
