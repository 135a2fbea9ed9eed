"""Engines for SQLAlchemy URLs, and what a driver's error means for us."""

import contextlib
from collections.abc import Generator
from functools import cache
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from blocks.errors import DatabaseUnavailable, InconsistentInput, InvalidRequest

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 30

# MariaDB: too many connections, shutting down, lock wait, deadlock, cannot connect, gone away.
TRANSIENT_CODES = frozenset({1040, 1053, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 2014, 2055})
TRANSIENT_WORDS = ("database is locked", "unable to open database file", "disk I/O error")
MISSING_TABLE_WORDS = ("no such table", "doesn't exist", "does not exist")


@cache
def engine_for(url: str) -> Engine:
    """Return the engine of this URL; one for each process, with its connection pool.

    Raises:
        InvalidRequest: the URL is none that SQLAlchemy knows.
    """
    try:
        parsed = make_url(url)
        arguments = _driver_arguments(parsed.get_backend_name())
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError) as error:
        # The URL may hold a password, so it is not repeated.
        msg = f"not a database URL like sqlite:///ispyb.db: {type(error).__name__}"
        raise InvalidRequest(msg) from None
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _driver_arguments(backend: str) -> dict[str, Any]:
    if backend == "sqlite":
        return {"timeout": LOCK_TIMEOUT_S}
    return {"connect_timeout": CONNECT_TIMEOUT_S}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


@contextlib.contextmanager
def database_errors() -> Generator[None, None, None]:
    """Raise what a driver's error means: try later, or tell a person; other errors are bugs.

    Raises:
        DatabaseUnavailable: the server is away, locked or overloaded.
        InconsistentInput: tables are missing.
    """
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig)
        if is_transient_fault(error):
            msg = f"the database does not answer: {text}"
            raise DatabaseUnavailable(msg) from error
        if any(word in text for word in MISSING_TABLE_WORDS):
            msg = f"the database has no tables yet, or not all: {text}; see 'limsflow init'"
            raise InconsistentInput(msg) from error
        raise


def is_transient_fault(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later."""
    if error.connection_invalidated:
        return True
    arguments = getattr(error.orig, "args", ())
    code = arguments[0] if arguments else None
    words = any(word in str(error.orig) for word in TRANSIENT_WORDS)
    return isinstance(error, OperationalError) and (code in TRANSIENT_CODES or words)
