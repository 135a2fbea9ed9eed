"""The tables are made and migrated with Alembic, beside what an EnteroBase has already."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, event, inspect

from blocks.database import engine_for
from blocks.errors import InconsistentInput, InvalidRequest
from blocks.genomics.records import LookupStatus
from blocks.genomics.schema import _config, migrate
from blocks.genomics.store import open_store
from blocks.genomics.tables import Base
from tests.fakes.entero import PREFIX, Entero, Look, at_once, postgres_url

TABLES = set(Base.metadata.tables)
OURS = "limsflow_schema"
KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.services)]

# As the contract has them (1.2, 1.4, 1.6), in the manner of the site: narrow, and with columns
# that nobody told us.
OLD_TABLES = """
CREATE TABLE user_jobs (
  job_id INTEGER PRIMARY KEY, accession VARCHAR(400), user_id INTEGER, status VARCHAR(20),
  pipeline VARCHAR(40), date_sent TIMESTAMP, "database" VARCHAR(20), output_location VARCHAR(200),
  version VARCHAR(20), nobody_knows VARCHAR(9) DEFAULT 'kept');
CREATE TABLE strains (
  id INTEGER PRIMARY KEY, strain VARCHAR(200), best_assembly INTEGER, barcode VARCHAR(20),
  serovar VARCHAR(50), owner INTEGER, uberstrain INTEGER NOT NULL DEFAULT 7);
CREATE TABLE assemblies (
  id INTEGER PRIMARY KEY, barcode VARCHAR(20) UNIQUE, status VARCHAR(20), n50 INTEGER,
  file_pointer VARCHAR(200), ref_id INTEGER);
CREATE TABLE schemes (
  id INTEGER PRIMARY KEY, description VARCHAR(40) UNIQUE NOT NULL, name VARCHAR(80), param TEXT);
CREATE TABLE data_param (
  id INTEGER PRIMARY KEY, tabname VARCHAR(40) NOT NULL, name VARCHAR(40) NOT NULL,
  label VARCHAR(80), datatype VARCHAR(20), display_order INTEGER, nested_order INTEGER);
CREATE TABLE assembly_lookup (
  id INTEGER PRIMARY KEY, assembly_id INTEGER REFERENCES assemblies (id), scheme_id INTEGER,
  version VARCHAR(20), st_barcode VARCHAR(20), annotation TEXT, status VARCHAR(20),
  other_data TEXT);
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);
INSERT INTO alembic_version VALUES ('the-site-s-own');
INSERT INTO user_jobs (job_id, accession, status, pipeline) VALUES
  (7, 'SRR1,SRR2', 'WAIT RESUME', 'QAssembly;again');
INSERT INTO strains (id, strain, best_assembly, serovar) VALUES (1, 'LT2', 2, 'Typhimurium');
INSERT INTO assemblies (id, barcode, status, ref_id) VALUES (2, 'SAL_AA0002AA_AS', 'Assembled', 4);
INSERT INTO schemes (id, description, param) VALUES
  (3, 'SeroPred', '{"pipeline": "SeroPred", "max_age": 3}');
INSERT INTO assembly_lookup (id, assembly_id, scheme_id, status, other_data) VALUES
  (4, 2, 3, 'QUEUED', '"{\\"fail_count\\": 99, \\"old\\": 1}"');
"""


@pytest.fixture(params=KINDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'new.db'}"
    else:
        url = postgres_url(request.getfixturevalue("postgres"))
    yield url
    engine_for(url).dispose()


@pytest.fixture
def old(empty: str) -> str:
    """The URL of an EnteroBase that the site has used for years."""
    look = look_at(empty)
    ready = OLD_TABLES
    if look.engine.dialect.name == "postgresql":
        ready = ready.replace("INTEGER PRIMARY KEY", "SERIAL PRIMARY KEY")
    for statement in ready.split(";\n"):
        if statement.strip():
            with look.engine.begin() as connection:
                connection.exec_driver_sql(statement)
    if look.engine.dialect.name == "postgresql":
        for table, key in (("user_jobs", "job_id"), ("assembly_lookup", "id")):
            look.change(f"SELECT setval(pg_get_serial_sequence('{table}', '{key}'), 100)")
    return empty


def look_at(url: str) -> Look:
    return Look(create_engine(url, poolclass=NullPool))


def tables_of(url: str) -> set[str]:
    return set(inspect(look_at(url).engine).get_table_names())


def with_connection(url: str, do: Callable[[Connection], Any]) -> Any:
    with look_at(url).engine.begin() as connection:
        return do(connection)


def differences(connection: Connection) -> list[Any]:
    options = {"version_table": OURS, "compare_type": True, "compare_server_default": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)


# New databases


def test_a_migrated_database_is_what_the_stores_expect(empty: str) -> None:
    new = migrate(empty)

    assert set(new) == TABLES
    assert with_connection(empty, differences) == []
    assert tables_of(empty) == TABLES | {OURS}


def test_migrating_again_does_nothing(empty: str) -> None:
    migrate(empty)
    before = look_at(empty).rows(f"SELECT * FROM {OURS}")

    assert migrate(empty) == []
    assert look_at(empty).rows(f"SELECT * FROM {OURS}") == before


def test_three_that_migrate_at_once_do_it_once(empty: str) -> None:
    made = at_once([lambda: migrate(empty)] * 3)

    assert sorted(map(len, made)) == [0, 0, len(TABLES)]
    assert with_connection(empty, differences) == []


def test_going_back_to_the_beginning_drops_everything(empty: str) -> None:
    migrate(empty)
    with_connection(empty, lambda connection: command.downgrade(_config(connection), "base"))
    after = tables_of(empty)

    assert after == {OURS}
    assert set(migrate(empty)) == TABLES


def test_jobs_of_the_first_schema_stay_and_their_runs_can_give_signs_of_life(empty: str) -> None:
    migrate(empty)
    with_connection(empty, lambda connection: command.downgrade(_config(connection), "0001"))
    look = look_at(empty)
    look.change("INSERT INTO user_jobs (job_id, status, database) VALUES (7, 'QUEUED', 'x')")
    look.change("INSERT INTO job_runs (flow_run_id, job_id) VALUES ('run', 7)")
    jobs = open_store(empty, database="x", prefix=PREFIX).jobs
    made = migrate(empty)
    before = jobs.last_seen("run")
    jobs.sign_of_life("run")

    assert made == ["assembly_calls", "nights", "taken_over"]
    assert (before, jobs.open_runs()) == (None, ["run"])
    assert jobs.last_seen("run")


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 1_000)

    with pytest.raises(InvalidRequest, match="this file is no SQLite database"):
        migrate(f"sqlite:///{tmp_path / 'notes.txt'}")


@pytest.mark.services
def test_a_long_migration_is_not_ended_by_the_limit_of_a_statement(
    request: pytest.FixtureRequest,
) -> None:
    url = postgres_url(request.getfixturevalue("postgres"))
    engine = engine_for(url)
    limits = set[str]()

    def see(connection: Connection, *statement: Any) -> None:
        if str(statement[1]).lstrip().startswith("CREATE"):
            with connection.connection.cursor() as cursor:
                cursor.execute("SHOW statement_timeout")
                limits.add(cursor.fetchone()[0])

    event.listen(engine, "before_cursor_execute", see)
    migrate(url)
    event.remove(engine, "before_cursor_execute", see)
    with engine.connect() as connection:
        afterwards = connection.exec_driver_sql("SHOW statement_timeout").scalar()
    engine.dispose()

    assert (limits, afterwards) == ({"0"}, "1min")


# An EnteroBase of its own


def test_rows_and_columns_of_an_old_database_survive(old: str) -> None:
    new = migrate(old)
    look = look_at(old)

    assert "assembly_lookup" not in new
    assert look.rows("SELECT job_id, accession, status, pipeline, nobody_knows FROM user_jobs") == [
        (7, "SRR1,SRR2", "WAIT RESUME", "QAssembly;again", "kept")
    ]
    assert look.rows("SELECT serovar, uberstrain FROM strains") == [("Typhimurium", 7)]
    assert look.rows("SELECT ref_id FROM assemblies") == [(4,)]
    assert look.value("SELECT version_num FROM alembic_version") == "the-site-s-own"


def test_an_old_table_gets_the_columns_that_it_lacks_and_keeps_its_own(old: str) -> None:
    migrate(old)
    tables = inspect(look_at(old).engine)

    for name in TABLES:
        present = {column["name"] for column in tables.get_columns(name)}
        assert {column.name for column in Base.metadata.tables[name].columns} <= present
    assert "nested_order" in {column["name"] for column in tables.get_columns("data_param")}


def test_an_old_database_is_used_as_a_new_one_is(old: str) -> None:
    migrate(old)
    store = open_store(old, database="senterica", prefix=PREFIX)
    look = look_at(old)
    entero = Entero(store, look, look)
    assembly = store.isolates.assembly("SAL_AA0002AA_AS")
    [listed] = store.schemes.schemes()
    scheme = store.schemes.scheme("SeroPred")
    claim = entero.given(entero.a_claim(scheme, assembly))
    store.calls.store_results(claim, {"O": "4"})
    row = entero.lookup(claim)

    assert (listed.is_automatic, listed.version, assembly.strain_id) == (True, 1, None)
    assert store.jobs.job(7).status == "WAIT RESUME"
    assert claim.job_id > 7
    assert (row.id, row.status, row.version) == (4, "COMPLETE", "1")
    data = json.loads(row.other_data)
    assert (data["old"], data["fail_count"], data["results"]) == (1, 99, {"O": "4"})
    assert store.calls.claim(entero.a_claim(scheme, assembly)).status is LookupStatus.COMPLETE


def test_a_text_that_is_too_long_for_an_old_column_is_refused_or_kept(old: str) -> None:
    migrate(old)
    store = open_store(old, database="senterica", prefix=PREFIX)
    pipeline, kept = "nomenclature:" + "x" * 300, ""
    try:
        job = store.jobs.start(accession="SRR1", pipeline=pipeline, flow_run_id="run")
        kept = store.jobs.job(job.id).pipeline
    except InconsistentInput as error:
        kept = pipeline if "cannot hold a value: value too long for type" in str(error) else ""

    assert kept == pipeline


def test_a_table_of_that_name_which_is_not_enterobases_is_refused(empty: str) -> None:
    look_at(empty).change("CREATE TABLE loci (locus TEXT PRIMARY KEY)")
    look_at(empty).change("INSERT INTO loci VALUES ('aroC')")
    with pytest.raises(InconsistentInput, match="a table loci without id: it is not EnteroBase's"):
        migrate(empty)

    assert tables_of(empty) == {"loci"}
    assert look_at(empty).value("SELECT locus FROM loci") == "aroC"
