"""Engines for SQLAlchemy URLs, and what a driver's error means for us."""

import contextlib
from collections.abc import Generator
from functools import cache
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from blocks.errors import DatabaseUnavailable, InconsistentInput, InvalidRequest

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 60

# MariaDB: too many connections, Galera node not ready, shutting down, network faults, lock wait,
# deadlock, read-only during a switch, cannot connect, gone away.
TRANSIENT_CODES = frozenset(
    {1040, 1047, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1927, 2002, 2003, 2006, 2013}
    | {2014, 2055}
)
TRANSIENT_WORDS = ("database is locked", "unable to open database file", "disk I/O error")
NO_DATABASE_WORDS = ("file is not a database", "malformed")
MISSING_TABLE_WORDS = ("no such table", "doesn't exist", "does not exist")


@cache
def engine_for(url: str) -> Engine:
    """Return the engine of this URL; one for each process, with its connection pool.

    Raises:
        InvalidRequest: the URL is none that SQLAlchemy knows.
    """
    try:
        parsed = make_url(url)
        if parsed.host and "@" in parsed.host:
            msg = "the password holds an @"
            raise ValueError(msg)  # noqa: TRY301 - joins the other ways of being none
        arguments = _driver_arguments(parsed.get_backend_name())
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=arguments)
        engine.dialect.create_connect_args(parsed)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError) as error:
        # The URL, and the driver's own message, may hold a password: neither is repeated.
        msg = (
            f"not a database URL like sqlite:///ispyb.db or mysql+pymysql://user@host/ispyb "
            f"({type(error).__name__}); in a password, @ : / ? are written %40 %3A %2F %3F"
        )
        raise InvalidRequest(msg) from None
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def refuse_secret(url: str) -> None:
    """Refuse a URL that would show a password where it is written down.

    Raises:
        InvalidRequest: it names a user or has a query.
    """
    if "@" in url or "?" in url:
        msg = "a URL with a user or a query may hold a password: save an ISPyB block instead"
        raise InvalidRequest(msg)


def _driver_arguments(backend: str) -> dict[str, Any]:
    if backend == "sqlite":
        return {"timeout": LOCK_TIMEOUT_S}
    if backend in ("mysql", "mariadb"):  # a connection that hangs must not hold a thread for ever
        limits = {"read_timeout": ANSWER_TIMEOUT_S, "write_timeout": ANSWER_TIMEOUT_S}
        return {"connect_timeout": CONNECT_TIMEOUT_S, **limits}
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
        InvalidRequest: the URL leads to something that is no database.
    """
    try:
        yield
    except PoolTimeout as error:
        msg = f"no connection to the database was free: {error}"
        raise DatabaseUnavailable(msg) from error
    except TypeError as error:  # a driver that does not know an option of the URL
        if "keyword argument" not in str(error):
            raise
        msg = f"the database's driver does not know an option of its URL: {error}"
        raise InvalidRequest(msg) from None
    except DBAPIError as error:
        text = str(error.orig)
        if is_transient_fault(error):
            msg = f"the database does not answer: {text}"
            raise DatabaseUnavailable(msg) from error
        if any(word in text for word in NO_DATABASE_WORDS):
            msg = f"this file is no SQLite database: {text}"
            raise InvalidRequest(msg) from error
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
