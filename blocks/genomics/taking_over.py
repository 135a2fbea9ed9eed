"""An old EnteroBase taken over: what would change, the change, and the way back.

Nothing that decides reads a counter. The same pages are looked at for the list and for the change,
and what was changed is not found again: an interrupted taking is finished by another one.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from blocks.database import engine_for
from blocks.errors import InvalidRequest
from blocks.genomics.changes import Change, Found, Page
from blocks.genomics.old_failures import OldFailures
from blocks.genomics.old_rows import (
    OldJobs,
    OldLookups,
    OldPointers,
    OldPreferences,
    jobs_of,
)
from blocks.genomics.old_schema import Present
from blocks.genomics.sessions import reading, writing
from blocks.genomics.tables import TakenOverRow, now
from blocks.genomics.taken_over import do, recorded, undo

UNDONE_AT_ONCE = 2_000
NO_TIME = timedelta(0)
ADVICE = (
    "assembly_lookup has no index that begins with assembly_id, and everything that looks for the "
    "rows of an assembly reads the whole table: CREATE INDEX assembly_lookup_pairs ON "
    "assembly_lookup (assembly_id, scheme_id)"
)


class Kind(NamedTuple):
    """One kind of old rows: where they are, and how the next of them are looked at."""

    engine: Engine
    page: Callable[[Session, int | None], Page]


class TakingOver:
    """The taking over of one species database, and of its jobs in the system database."""

    def __init__(
        self,
        engine: Engine,
        system: Engine,
        database: str,
        *,
        older_than: timedelta = timedelta(days=7),
    ) -> None:
        """Decide once what is old.

        Args:
            engine: Of the species database.
            system: Of the database that has the jobs; may be the same.
            database: What `user_jobs.database` calls the species.
            older_than: A job that was sent longer ago is worked on by nobody; a job of which
                nobody wrote when it was sent, too.

        Raises:
            InvalidRequest: less than no time.
        """
        if older_than < NO_TIME:
            msg = "jobs cannot be older than less than no time: give 0 days or more"
            raise InvalidRequest(msg)
        self._engine = engine
        self._system = system
        self._database = database
        self._before = now() - older_than

    def advice(self) -> str:
        """Return what somebody should do first, in a sentence; empty if there is nothing."""
        return ADVICE if Present(self._engine).is_slow() else ""

    def missing(self) -> list[str]:
        """Return in words which tables, columns and indexes `migrate` would add.

        Raises:
            InconsistentInput: this is no EnteroBase.
        """
        present = Present(self._engine)
        present.require_enterobase()
        lines = present.missing()
        if self._system is not self._engine:
            lines += [f"{line}, in the system database" for line in Present(self._system).missing()]
        return lines

    def find(self) -> Iterator[Found]:
        """Return what would be changed, and what is left as it is; write nothing.

        Tables and columns of ours need not be there yet.

        Raises:
            InconsistentInput: this is no EnteroBase.
        """
        for _, found in self._pages():
            yield from found

    def next_number(self) -> int:
        """Return the number of the next taking; the tables must be there."""
        newest = [0]
        for engine in self._engines():
            with reading(engine) as session:
                newest.append(session.scalar(select(func.max(TakenOverRow.taking))) or 0)
        return max(newest) + 1

    def apply(self, taking: int) -> Iterator[list[Found]]:
        """Change what `find` says; return it page by page, each after its transaction.

        What somebody else changed after it was looked at is not changed, and not returned. The
        tables must be there.

        Args:
            taking: The number to undo it by.
        """
        for engine, found in self._pages():
            changes = [one for one in found if isinstance(one, Change)]
            done = list[Change]()
            if changes:
                with writing(engine) as session:
                    done = do(session, taking, changes)
            refused = {id(one) for one in changes} - {id(one) for one in done}
            yield [one for one in found if id(one) not in refused]

    def undo(self, taking: int) -> Iterator[list[Found]]:
        """Undo a taking, its newest change first; return page by page what was undone, and left.

        What others changed since is left, and stays on record.
        """
        for engine in self._engines():
            below: int | None = None
            while True:
                with writing(engine) as session:
                    query = select(TakenOverRow).where(TakenOverRow.taking == taking)
                    if below is not None:
                        query = query.where(TakenOverRow.id < below)
                    query = query.order_by(TakenOverRow.id.desc()).limit(UNDONE_AT_ONCE)
                    records = [recorded(row) for row in session.scalars(query)]
                    found = undo(session, records) if records else []
                if not records:
                    break
                yield found
                below = records[-1].row_id

    def _engines(self) -> list[Engine]:
        same = self._system is self._engine
        return [self._engine] if same else [self._engine, self._system]

    def _pages(self) -> Iterator[tuple[Engine, list[Found]]]:
        """Return what there is to do, with the database to do it in; no session stays open."""
        for kind in self._kinds():
            after: int | None = None
            while True:
                with reading(kind.engine) as session:
                    _unhurried(session)
                    found, after = kind.page(session, after)
                if found:
                    yield kind.engine, found
                if after is None:
                    break

    def _kinds(self) -> list[Kind]:
        present = Present(self._engine)
        present.require_enterobase()
        of_system = present if self._system is self._engine else Present(self._system)
        lookups, jobs = OldLookups(present), OldJobs(of_system, self._database, self._before)

        def next_lookups(session: Session, after: int | None) -> Page:
            rows = lookups.rows(session, after)
            with reading(self._system) as system:
                return lookups.page(rows, jobs.young(system, jobs_of(rows)))

        return [
            Kind(self._engine, next_lookups),
            Kind(self._engine, OldPointers(present).page),
            Kind(self._engine, OldFailures(present).page),
            Kind(self._system, jobs.page),
            Kind(self._system, OldPreferences(of_system, self._database).page),
        ]


def open_taking_over(
    url: str, *, database: str, system_url: str | None, older_than: timedelta
) -> TakingOver:
    """Return the taking over of an EnteroBase; see `blocks.genomics.store.open_store`.

    Raises:
        InvalidRequest: a URL is none.
    """
    engines = (engine_for(url), engine_for(system_url or url))
    return TakingOver(*engines, database, older_than=older_than)


def _unhurried(session: Session) -> None:
    """Let one question take its time: rows that are rare may be at the end of a large table."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL statement_timeout = 0"))
