"""What the old site left in `assembly_lookup`, `assemblies`, `user_jobs` and `user_preferences`.

Each kind of row is gone through in the order of its key, a page at a time; nothing here writes.
What is asked of other tables about a row are subqueries of one row each, so that a page costs the
same whatever a planner believes of the tables.
"""

import json
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, false, func, null, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from blocks.genomics.changes import Change, Found, Left, Page, Why, WhyLeft
from blocks.genomics.legacy_json import plain_text
from blocks.genomics.lookup_rows import JOB, OF_AN_ASSEMBLY, old_standing, whole_number
from blocks.genomics.old_json import OldJson, old_json
from blocks.genomics.old_schema import Present
from blocks.genomics.records import JobStatus, LookupStatus
from blocks.genomics.sessions import printable
from blocks.genomics.tables import (
    AssemblyLookupRow,
    AssemblyRow,
    JobRunRow,
    SchemeCallRow,
    SchemeRow,
    UserJobRow,
    UserPreferenceRow,
)

PAGE = 2_000
LONG_PAGE = 100  # rows with long texts
OPEN = ("QUEUED", "RUNNING", "WAIT RESUME", "QUEUE", "WAIT", "RESUME")  # of any case
LAYERED = '"%'


class OldJobs:
    """The jobs of a species that nobody works on."""

    def __init__(self, present: Present, database: str, before: datetime) -> None:
        """Look at jobs as they are now.

        Args:
            present: What the database of the jobs has.
            database: What `user_jobs.database` calls the species.
            before: A job sent since then may still be worked on; UTC.
        """
        self._present = present
        self._database = database
        self._before = before

    def young(self, session: Session, job_ids: Collection[int]) -> set[int]:
        """Return which of these jobs were sent too recently to be given up."""
        row = UserJobRow
        if not job_ids or not self._present.has(row.date_sent):
            return set()
        query = select(row.job_id).where(row.job_id.in_(job_ids), row.date_sent >= self._before)
        return set(session.scalars(query))

    def page(self, session: Session, after: int | None) -> Page:
        """Return what is to be done of the next jobs."""
        row = UserJobRow
        if not self._present.has(row.database, row.status):
            return Page([], None)
        young = row.date_sent >= self._before if self._present.has(row.date_sent) else false()
        query = select(row.job_id, row.status, func.coalesce(young, false()).label("is_young"))
        is_open = func.upper(func.trim(row.status)).in_(OPEN)
        query = query.where(row.database == self._database, is_open)
        if self._present.has(JobRunRow):
            ours = select(JobRunRow.job_id).where(JobRunRow.job_id == row.job_id)
            query = query.where(~ours.correlate(row).exists())
        rows = session.execute(_next(query, row.job_id, after, PAGE)).all()
        return Page([_job(one) for one in rows], _last(rows, PAGE, "job_id"))


def _job(row: Row[Any]) -> Found:
    key = {"job_id": row.job_id}
    if row.is_young:
        return Left(table="user_jobs", key=key, column="status", why=WhyLeft.YOUNG)
    return Change(
        table="user_jobs",
        key=key,
        column="status",
        why=Why.OPEN_JOB,
        before=row.status,
        after=JobStatus.FAILED.value,
    )


class OldPreferences:
    """The analyses of a species, whose data may be encoded more than once."""

    def __init__(self, present: Present, database: str) -> None:
        self._present = present
        self._database = database

    def page(self, session: Session, after: int | None) -> Page:
        """Return what is to be done of the next analyses."""
        row = UserPreferenceRow
        if not self._present.has(row.database, row.data):
            return Page([], None)
        query = select(row.id, row.data).where(row.database == self._database)
        rows = session.execute(_next(query, row.id, after, LONG_PAGE)).all()
        found = list[Found]()
        for one in rows:
            read = old_json(one.data, f"user_preferences {one.id}")
            found += _json_found("user_preferences", one.id, "data", one.data, read)
        return Page(found, _last(rows, LONG_PAGE))


class OldPointers:
    """The paths of assemblies, some of which were encoded as JSON."""

    def __init__(self, present: Present) -> None:
        self._present = present

    def page(self, session: Session, after: int | None) -> Page:
        """Return what is to be done of the next paths."""
        row = AssemblyRow
        if not self._present.has(row.file_pointer):
            return Page([], None)
        query = select(row.id, row.file_pointer).where(row.file_pointer.like(LAYERED))
        rows = session.execute(_next(query, row.id, after, PAGE)).all()
        found = [one for row in rows for one in _pointer(row.id, row.file_pointer)]
        return Page(found, _last(rows, PAGE))


def _pointer(assembly_id: int, text: str) -> Iterator[Found]:
    at: dict[str, Any] = {
        "table": "assemblies",
        "key": {"id": assembly_id},
        "column": "file_pointer",
    }
    plain = plain_text(text)
    if plain != printable(plain):
        yield Left(**at, why=WhyLeft.UNHOLDABLE, said=text[:80])
    elif plain != text:
        yield Change(**at, why=Why.POINTER, before=text, after=plain)


class OldLookups:
    """The rows of `assembly_lookup`, with what our own tables say of the same pairs."""

    def __init__(self, present: Present) -> None:
        self._present = present

    def rows(self, session: Session, after: int | None) -> list[Row[Any]]:
        """Return the next rows."""
        row, present = AssemblyLookupRow, self._present
        facts = (row.id, row.assembly_id, row.scheme_id, row.st_barcode, row.status)
        query = select(
            *present.values(*facts, row.version, row.other_data),
            _has_newer().label("has_newer"),
            self._call_status().label("call_status"),
            self._version(AssemblyRow.version, AssemblyRow.id, row.assembly_id, "assembly_version"),
            self._version(SchemeRow.version, SchemeRow.id, row.scheme_id, "scheme_version"),
        )
        return list(session.execute(_next(query, row.id, after, PAGE)).all())

    def page(self, rows: list[Row[Any]], young_jobs: Collection[int]) -> Page:
        """Return what is to be done of these rows.

        Args:
            rows: One after another.
            young_jobs: Jobs that somebody may work on.
        """
        found = [one for row in rows for one in _lookup(row, young_jobs)]
        return Page(found, _last(rows, PAGE))

    def _call_status(self) -> ColumnElement[Any]:
        row, call = AssemblyLookupRow, SchemeCallRow
        if not self._present.has(call):
            return null()
        pair = (call.assembly_id == row.assembly_id, call.scheme_id == row.scheme_id)
        return select(call.status).where(*pair).correlate(row).scalar_subquery()

    def _version(
        self,
        version: InstrumentedAttribute[Any],
        key: InstrumentedAttribute[Any],
        of: InstrumentedAttribute[Any],
        name: str,
    ) -> ColumnElement[Any]:
        """Return a version, 1 if nobody wrote it, and NULL if what it is of is not there."""
        if not self._present.has(key):
            return null().label(name)
        said = func.coalesce(version if self._present.has(version) else null(), 1)
        query = select(said).where(key == of).correlate(AssemblyLookupRow)
        return query.scalar_subquery().label(name)


def _has_newer() -> ColumnElement[bool]:
    """Return whether there is a newer row of the same pair; those of SNP calls are of none."""
    row, other = AssemblyLookupRow, aliased(AssemblyLookupRow)
    pair = (other.assembly_id == row.assembly_id, other.scheme_id == row.scheme_id)
    snp_call = func.coalesce(other.st_barcode, "").endswith(OF_AN_ASSEMBLY, autoescape=True)
    return select(other.id).where(*pair, other.id > row.id, ~snp_call).correlate(row).exists()


def jobs_of(rows: list[Row[Any]]) -> set[int]:
    """Return the jobs that rows wait for."""
    waiting = [row for row in rows if row.status == LookupStatus.QUEUED]
    return {job for row in waiting if (job := _job_id(_read(row))) is not None}


def _lookup(row: Row[Any], young_jobs: Collection[int]) -> Iterator[Found]:
    read = _read(row)
    if not (row.st_barcode or "").endswith(OF_AN_ASSEMBLY):
        if row.status == LookupStatus.QUEUED:
            yield from _queued(row, read, young_jobs)
        elif not row.has_newer and row.call_status is None:
            yield from _settled(row, read)
    yield from _json_found("assembly_lookup", row.id, "other_data", row.other_data, read)


def _queued(row: Row[Any], read: OldJson, young_jobs: Collection[int]) -> Iterator[Found]:
    if row.call_status == LookupStatus.QUEUED:  # a run of ours holds it
        return
    at: dict[str, Any] = {"table": "assembly_lookup", "key": {"id": row.id}, "column": "status"}
    if _job_id(read) in young_jobs:
        yield Left(**at, why=WhyLeft.YOUNG, said=f"job {_job_id(read)}")
    else:
        yield Change(**at, why=Why.QUEUED, before=row.status, after=LookupStatus.FAILED.value)


def _settled(row: Row[Any], read: OldJson) -> Iterator[Found]:
    key = {"id": row.id}
    if row.status == LookupStatus.FAILED:
        yield Left(table="assembly_lookup", key=key, why=WhyLeft.FAILED)
    elif row.status == LookupStatus.COMPLETE:
        if row.assembly_version is None or row.scheme_version is None:
            said = f"assembly {row.assembly_id}, scheme {row.scheme_id}"
            yield Left(table="assembly_lookup", key=key, why=WhyLeft.NO_ROW, said=said)
        else:
            yield _completed(row, read)


def _completed(row: Row[Any], read: OldJson) -> Change:
    versions = {
        "assembly_version": row.assembly_version,
        "scheme_version": row.scheme_version,
    }
    pair = {"assembly_id": row.assembly_id, "scheme_id": row.scheme_id}
    standing = old_standing(row.status, row.version, read.data, **versions)
    # Nobody knows when it was: `changed` stays empty.
    after = json.dumps(pair | standing | {"changed": None})
    return Change(table="scheme_calls", key=pair, column=None, why=Why.COMPLETED, after=after)


def _read(row: Row[Any]) -> OldJson:
    return old_json(
        row.other_data, f"other_data of assembly {row.assembly_id} and scheme {row.scheme_id}"
    )


def _job_id(read: OldJson) -> int | None:
    return whole_number(read.data.get(JOB))


def _json_found(table: str, row_id: int, column: str, text: str, read: OldJson) -> list[Found]:
    at: dict[str, Any] = {"table": table, "key": {"id": row_id}, "column": column}
    if read.why_left:
        return [Left(**at, why=read.why_left, said=read.said)]
    if read.anew is not None:
        return [Change(**at, why=read.why, before=text, after=read.anew)]
    return []


def _next(
    query: Any, key: InstrumentedAttribute[Any], after: int | None, count: int
) -> Select[Any]:
    further = query if after is None else query.where(key > after)
    return further.order_by(key).limit(count)


def _last(rows: Collection[Row[Any]], count: int, key: str = "id") -> int | None:
    """Return the key after which the next page begins; None if this one was the last."""
    return getattr(list(rows)[-1], key) if len(rows) == count else None
