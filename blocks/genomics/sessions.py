"""Sessions of an EnteroBase's stores, and what else its databases' errors mean.

A value that a column cannot hold comes from a file or a person, not from us: PostgreSQL has no
NUL in a text, an EnteroBase of its own has columns of limited width, no driver takes half a
surrogate pair.
"""

import contextlib
import hashlib
from collections.abc import Generator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from blocks.database import database_errors, transaction
from blocks.errors import DatabaseUnavailable, InconsistentInput, LimsflowError

# PostgreSQL's documentation, appendix A: too long, out of range, no such character (twice), too
# long for an index. Its driver refuses a NUL itself.
UNHOLDABLE_STATES = frozenset({"22001", "22003", "22021", "22P05", "54000"})
UNHOLDABLE_WORDS = "cannot contain NUL"
LOST_RACE_STATE, LOST_RACE_WORDS = "23505", "UNIQUE constraint failed"
NO_ROW_STATE, NO_ROW_WORDS = "23503", "FOREIGN KEY constraint failed"


@contextlib.contextmanager
def reading(engine: Engine) -> Generator[Session, None, None]:
    """Open a session that writes nothing.

    Raises:
        InconsistentInput: the database has no such value in any row, as no column could hold it.
    """
    with _known_errors(), database_errors(), Session(engine) as session:
        yield session


@contextlib.contextmanager
def writing(engine: Engine) -> Generator[Session, None, None]:
    """Open a session for one write transaction; see `blocks.database.transaction`.

    Raises:
        DatabaseUnavailable: also if another transaction wrote the same row at the same moment.
        InconsistentInput: a column cannot hold a value, or a row that is referred to is gone.
    """
    with _known_errors(), transaction(engine) as session:
        yield session


def lock_name(session: Session, name: str) -> None:
    """Wait until no other transaction holds this name; it is held to the end of this one.

    For what must be there once without a unique key that says so. SQLite needs none: one
    transaction at a time writes.
    """
    if session.get_bind().dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        session.execute(select(func.pg_advisory_xact_lock(number)))


def insert_missing(session: Session, table: type[Any] | Table) -> postgresql.Insert | sqlite.Insert:
    """Return a statement that inserts rows, but for those whose key is there already.

    One that another transaction is about to insert is waited for.
    """
    name = session.get_bind().dialect.name
    insert_row = postgresql.insert if name == "postgresql" else sqlite.insert
    return insert_row(table).on_conflict_do_nothing()


def utc(moment: datetime | None) -> datetime | None:
    """Return a moment as the tables have it: UTC, without a zone; one without is UTC already."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment


def printable(text: str) -> str:
    """Return a text that every database can hold, for one that must be written: a reason."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


@contextlib.contextmanager
def _known_errors() -> Generator[None, None, None]:
    try:
        yield
    except (UnicodeEncodeError, OverflowError) as error:  # the drivers' own, not the database's
        msg = f"the database cannot hold a value: {error}"
        raise InconsistentInput(msg) from error
    except DBAPIError as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


def _meaning(error: DBAPIError) -> LimsflowError | None:
    state, said = getattr(error.orig, "sqlstate", None), " ".join(str(error.orig).split())
    if state in UNHOLDABLE_STATES or UNHOLDABLE_WORDS in said:
        return InconsistentInput(f"the database cannot hold a value: {said}")
    if state == LOST_RACE_STATE or LOST_RACE_WORDS in said:
        return DatabaseUnavailable(f"another run wrote the same row at the same moment: {said}")
    if state == NO_ROW_STATE or NO_ROW_WORDS in said:
        return InconsistentInput(f"a row that this belongs to is not in the database: {said}")
    return None
