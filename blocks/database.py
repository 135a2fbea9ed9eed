"""Engines for SQLAlchemy URLs, their transactions, and what a driver's error means for us."""

import contextlib
import os
from collections.abc import Generator
from functools import cache
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from blocks.errors import DatabaseUnavailable, InconsistentInput, InvalidRequest, LimsflowError

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 60
IDLE_TIMEOUT_S = 120

# MariaDB: too many connections, Galera node not ready, shutting down, network faults, lock wait,
# deadlock, read-only during a switch, cannot connect, gone away, a user's limit, a kill.
TRANSIENT_CODES = frozenset(
    {1040, 1047, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 1290, 1927, 2002, 2003, 2006, 2013}
    | {1129, 1152, 1184, 1203, 1226, 1317, 1836, 1969, 2014, 2055}
)
TRANSIENT_WORDS = ("database is locked", "unable to open database file", "disk I/O error")
NO_DATABASE_WORDS = ("file is not a database", "malformed")
MISSING_TABLE_WORDS = ("no such table", "doesn't exist", "does not exist")

# PostgreSQL says a SQLSTATE (its documentation, appendix A). Connection, resources; serialization,
# deadlock, lock wait, administrator's shutdown, crash, starting up.
TRANSIENT_CLASSES = ("08", "53")
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
CANCELED_STATE = "57014"  # by the statement time-out, or by a person
MISSING_STATES = frozenset({"42P01", "42703"})  # table, column
REFUSED_STATES = frozenset({"28000", "28P01", "3D000"})  # user, password, name of the database
# Until a connection is made there is no SQLSTATE, only libpq's words.
REFUSED_WORDS = (
    *("authentication failed", "no password supplied", "no pg_hba.conf entry", "does not exist"),
    *("not permitted to log in", "permission denied for database", "not currently accepting"),
    *("unrecognized configuration parameter", "invalid value for parameter", 'value: "'),
    *("invalid integer value", "does not support SSL"),
)


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
        arguments = _driver_arguments(parsed)
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=arguments)
        if engine.dialect.is_async:
            msg = "an asynchronous driver"
            raise ValueError(msg)  # noqa: TRY301 - joins the other ways of being none
        engine.dialect.create_connect_args(parsed)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError, ValueError) as error:
        # The URL, and the driver's own message, may hold a password: neither is repeated.
        msg = (
            f"not a database URL like sqlite:///ispyb.db, mysql+pymysql://user@host/ispyb or "
            f"postgresql+psycopg://user@host/enterobase ({type(error).__name__}); "
            f"in a password, @ : / ? are written %40 %3A %2F %3F"
        )
        raise InvalidRequest(msg) from None
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    _ENGINES.append(engine)
    return engine


def _leave_connections_to_parent() -> None:
    """Forget, in a process that was forked, the connections that its parent goes on using."""
    for engine in _ENGINES:
        engine.dispose(close=False)


_ENGINES: list[Engine] = []
os.register_at_fork(after_in_child=_leave_connections_to_parent)


def refuse_secret(url: str) -> None:
    """Refuse a URL that would show a password where it is written down.

    Raises:
        InvalidRequest: it names a user or has a query.
    """
    if "@" in url or "?" in url:
        msg = "a URL with a user or a query may hold a password: save an ISPyB block instead"
        raise InvalidRequest(msg)


class DatabaseRefuses(InvalidRequest):
    """The database does not let us in: not the fault of what was asked of us."""


class TablesMissing(InconsistentInput):
    """The database has no tables yet, or is being restored."""


def _driver_arguments(url: URL) -> dict[str, Any]:
    backend = url.get_backend_name()
    if backend == "sqlite":
        return {"timeout": LOCK_TIMEOUT_S}
    if backend in ("mysql", "mariadb"):  # a connection that hangs must not hold a thread for ever
        limits = {"read_timeout": ANSWER_TIMEOUT_S, "write_timeout": ANSWER_TIMEOUT_S}
        return {"connect_timeout": CONNECT_TIMEOUT_S, **limits}
    if backend == "postgresql":
        return _postgres_arguments(url)
    return {"connect_timeout": CONNECT_TIMEOUT_S}


def _postgres_arguments(url: URL) -> dict[str, Any]:
    """Return limits on both ends; what the URL's own query says is stronger.

    The server ends what waits too long; if its machine is gone, TCP ends the waiting for it.
    """
    of_the_server = {
        "statement_timeout": ANSWER_TIMEOUT_S,
        "lock_timeout": LOCK_TIMEOUT_S,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_S,
    }
    options = [f"-c {name}={limit_s * 1000}" for name, limit_s in of_the_server.items()]
    of_tcp = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    of_tcp["tcp_user_timeout"] = ANSWER_TIMEOUT_S * 1000
    ours = {"connect_timeout": CONNECT_TIMEOUT_S, **of_tcp}
    weaker = {name: limit for name, limit in ours.items() if name not in url.query}
    # The last one wins; without this, a search_path of the URL would be lost in silence.
    return weaker | {"options": " ".join([*options, *url.normalized_query.get("options", ())])}


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


@contextlib.contextmanager
def database_errors() -> Generator[None, None, None]:
    """Raise what a driver's error means: try later, or tell a person; other errors are bugs.

    Raises:
        DatabaseUnavailable: the server is away, locked or overloaded.
        InconsistentInput: tables are missing.
        InvalidRequest: the URL leads to something that is no database, or to one that refuses us.
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
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


@contextlib.contextmanager
def transaction(engine: Engine) -> Generator[Session, None, None]:
    """Open a session for one write transaction: committed at the end, or nothing is written.

    What is read in it and then written does not change in between, if the rows are read
    `with_for_update()`. SQLite knows no such lock: there, one transaction at a time has the whole
    file, from its beginning. Sessions that are opened otherwise begin as they always did.

    Raises:
        DatabaseUnavailable: among others when another transaction holds its locks too long; like
            all that `database_errors` raises.
    """
    with database_errors(), Session(engine) as session, session.begin():
        if engine.dialect.name == "sqlite":
            # The driver itself begins only before it writes: two could read the same number.
            session.execute(text("BEGIN IMMEDIATE"))
        yield session


def is_transient_fault(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later."""
    if error.connection_invalidated:
        return True
    state = _sqlstate(error)
    if state is not None:
        return _is_transient_in_postgres(error, state)
    arguments = getattr(error.orig, "args", ())
    code = arguments[0] if arguments else None
    words = any(word in str(error.orig) for word in TRANSIENT_WORDS)
    return isinstance(error, OperationalError) and (code in TRANSIENT_CODES or words)


def _meaning(error: DBAPIError) -> LimsflowError | None:
    """Return what we raise instead, or None for what can only be a bug of ours."""
    said = _said(error)
    if is_transient_fault(error):
        return DatabaseUnavailable(f"the database does not answer: {said}")
    if _is_refused_by_postgres(error):
        advice = "look at the user, the password, the database and the options of its URL"
        return DatabaseRefuses(f"the database refuses us: {said}; {advice}")
    if _is_no_database(error):
        return InvalidRequest(f"this file is no SQLite database: {said}")
    if _misses_tables(error):
        lacks = "the database has no tables yet, or not all"
        return TablesMissing(f"{lacks}: {said}; see 'limsflow init'")
    return None


def _said(error: DBAPIError) -> str:
    """Return the driver's message; of PostgreSQL's, which may go on over lines, one line."""
    if _sqlstate(error) is None:
        return str(error.orig)
    server_said = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    return " ".join((server_said or str(error.orig)).split())


def _sqlstate(error: DBAPIError) -> str | None:
    """Return PostgreSQL's code, empty if its server said none; None of any other database."""
    if not hasattr(error.orig, "diag"):  # MariaDB's driver, too, may know a `sqlstate`
        return None
    return getattr(error.orig, "sqlstate", None) or ""


def _is_transient_in_postgres(error: DBAPIError, state: str) -> bool:
    if not state:  # nothing listens, or the server closed the connection
        return isinstance(error, OperationalError) and not _is_refused_by_postgres(error)
    if state == CANCELED_STATE:
        return "user request" not in str(error.orig)
    return state.startswith(TRANSIENT_CLASSES) or state in TRANSIENT_STATES


def _is_refused_by_postgres(error: DBAPIError) -> bool:
    state = _sqlstate(error)
    if state:
        return state in REFUSED_STATES
    if state is None or error.statement is not None:
        return False
    # libpq refuses an option of the URL as a programming error.
    words = any(word in str(error.orig) for word in REFUSED_WORDS)
    return isinstance(error, ProgrammingError) or words


def _is_no_database(error: DBAPIError) -> bool:
    words = any(word in str(error.orig) for word in NO_DATABASE_WORDS)
    return words and _sqlstate(error) is None


def _misses_tables(error: DBAPIError) -> bool:
    state = _sqlstate(error)
    if state is not None:
        return state in MISSING_STATES
    return any(word in str(error.orig) for word in MISSING_TABLE_WORDS)
