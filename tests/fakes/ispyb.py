"""An ISPyB for the store's promises: its stores, and a look at its rows past them."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Row, create_engine, inspect, text

from blocks.mx.records import DataCollection, ProcessingJob
from blocks.mx.store import IspybStore, create_tables, open_store
from tests.fakes.builders import a_collection, a_registration, a_request
from tests.mariadb.server import UNKNOWN_COLUMNS, MariaDb

ids = itertools.count(1000)


@dataclass(frozen=True)
class Ispyb:
    """One ISPyB; `admin` sees and may do everything, `store` what production may."""

    store: IspybStore
    owner: IspybStore
    admin: Engine

    def rows(self, sql: str, **values: object) -> list[Row[Any]]:
        """Return what the administrator sees."""
        with self.admin.connect() as connection:
            return list(connection.execute(text(sql), values).all())

    def count(self, table: str, **where: object) -> int:
        """Return how many rows of a table have these values."""
        condition = " AND ".join(f"{name} = :{name}" for name in where) or "1 = 1"
        return self.rows(f"SELECT COUNT(*) FROM {table} WHERE {condition}", **where)[0][0]

    def change(self, sql: str, **values: object) -> None:
        """Do what another program, or a person, does to the rows."""
        with self.admin.begin() as connection:
            connection.execute(text(sql), values)

    def program(self, program_id: int) -> Row[Any]:
        """Return the row of an attempt."""
        return self.rows(
            "SELECT processingStatus AS status, processingMessage AS message,"
            " processingStartTime AS started, processingEndTime AS ended,"
            " processingPrograms AS programs, processingPipelineId AS pipeline,"
            " processingJobId AS job, processingEnvironment AS environment,"
            " processingCommandLine AS command_line, recordTimeStamp AS recorded"
            " FROM AutoProcProgram WHERE autoProcProgramId = :id",
            id=program_id,
        )[0]

    def columns(self, table: str) -> set[str]:
        """Return the names of the columns that this schema has."""
        return {column["name"] for column in inspect(self.admin).get_columns(table)}

    def a_measured_collection(self, **given: Any) -> DataCollection:
        """Return a new data collection, written as a beamline writes it."""
        collection = a_collection(**({"id": next(ids)} | given))
        self.owner.create_job(a_request(collection))
        return collection

    def a_job(self, **given: Any) -> ProcessingJob:
        """Return a new job on a new data collection."""
        return self.store.job(
            self.store.create_job(a_request(self.a_measured_collection(), **given))
        )

    def an_attempt(self, job: ProcessingJob | None = None, **given: Any) -> int:
        """Return the id of a new attempt at this job, or at a new one."""
        chosen = job or self.a_job()
        environment = f"guid=guid-{next(ids)}, flow_run=scarlet-boar"
        usual = {"environment": environment} | given
        return self.store.register(a_registration(chosen.id, chosen.collection.id, **usual))


def sqlite_ispyb(directory: Path, *, job_uuid: bool = False) -> Ispyb:
    """Return an ISPyB of our own, of a schema that has columns which we do not know."""
    url = f"sqlite:///{directory / 'ispyb.db'}"
    create_tables(url)
    admin = create_engine(url)
    added = [statement.removesuffix(" FIRST") for statement in UNKNOWN_COLUMNS]
    uuid = ["ALTER TABLE AutoProcProgram ADD jobUuid BLOB"] if job_uuid else []
    with admin.begin() as connection:
        for statement in (*added, *uuid):
            connection.execute(text(statement))
    return Ispyb(open_store(url), open_store(url), admin)


def facility_ispyb(server: MariaDb, name: str, **options: Any) -> Ispyb:
    """Return a facility's ISPyB: `store` works under the two restricted roles."""
    urls = server.create_ispyb(name, **options)
    store = open_store(urls.reader, processing_url=urls.processing)
    return Ispyb(store, open_store(urls.admin, ours=True), create_engine(urls.admin))


# How each kind of ISPyB is made: the directory for its files, and a server asked for when needed.
KINDS: dict[str, Callable[[Path, Callable[[], MariaDb]], Ispyb]] = {
    "sqlite": lambda directory, _: sqlite_ispyb(directory),
    "mariadb-strict": lambda _, server: facility_ispyb(
        server(), f"strict_{next(ids)}", job_uuid=True, sql_mode=None
    ),
    "mariadb-lax": lambda _, server: facility_ispyb(
        server(), f"lax_{next(ids)}", job_uuid=False, sql_mode=""
    ),
}

FACILITIES = [
    pytest.param("mariadb-strict", marks=pytest.mark.services),
    pytest.param("mariadb-lax", marks=pytest.mark.services),
]
only_ours = pytest.mark.parametrize("ispyb", ["sqlite"], indirect=True)
only_facilities = pytest.mark.parametrize("ispyb", FACILITIES, indirect=True)
