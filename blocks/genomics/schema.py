"""The tables of an EnteroBase, made and migrated with Alembic."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

from blocks.database import database_errors, engine_for
from blocks.errors import InvalidRequest
from blocks.genomics.tables import Base

OF_ISPYB = "ProcessingJob"
LOCK_KEY = 7_234_511  # of PostgreSQL's advisory lock: two migrations at once wait for each other


def migrate(url: str) -> list[str]:
    """Bring a database to the newest schema; return the names of the tables that are new.

    Tables that an EnteroBase already has keep their rows and columns; a column of ours that one
    lacks is added.

    Raises:
        DatabaseUnavailable: it does not answer.
        InconsistentInput: a table of that name is not EnteroBase's.
        InvalidRequest: the URL is none, or leads to no database, or to an ISPyB.
    """
    with database_errors(), engine_for(url).begin() as connection:
        _wait_for_others(connection)
        before = _tables(connection)
        if not before and OF_ISPYB in inspect(connection).get_table_names():
            msg = "this database is an ISPyB: the tables of an EnteroBase need one of their own"
            raise InvalidRequest(msg)
        command.upgrade(_config(connection), "head")
        return sorted(_tables(connection) - before)


def _wait_for_others(connection: Connection) -> None:
    """Let one migration of a database run at a time, and for as long as its indexes take."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    elif connection.dialect.name == "sqlite":
        connection.execute(text("BEGIN IMMEDIATE"))


def _tables(connection: Connection) -> set[str]:
    return set(Base.metadata.tables) & set(inspect(connection).get_table_names())


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("blocks.genomics") / "migrations"))
    config.attributes["connection"] = connection
    return config
