"""Make an EnteroBase of a million assemblies, for what goes over a whole database.

    python -m tests.benchmarks.night_database postgresql+psycopg://user@host/empty_database

Rows are made inside PostgreSQL: strains with one best assembly each, schemes, and of every hundred
pairs one that is not called yet. Files are not made; the schemes are rehearsals, which need none.
"""

import argparse
import sys
import time

from sqlalchemy import Connection, text

from blocks.database import engine_for
from blocks.genomics.schema import migrate

STRAINS = """
INSERT INTO strains (id, barcode, strain, best_assembly, version, created)
SELECT i, 'SAL_' || i || 'AA', 'strain ' || i, i, 1, timestamp '2020-01-01' + i * interval '2 min'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) i"""
ASSEMBLIES = """
INSERT INTO assemblies (id, barcode, strain_id, status, version, n50, created)
SELECT i, 'SAL_' || i || 'AA_AS', i, 'Assembled', 1, 300000,
  timestamp '2020-01-01' + i * interval '2 min'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) i"""
SCHEMES = """
INSERT INTO schemes (id, description, name, param, version)
SELECT i, 'rehearsal_' || i, 'Rehearsal ' || i, '{"pipeline": "rehearsal"}', 1
FROM generate_series(1, CAST(:schemes AS int)) i"""
# The gaps are spread: each scheme lacks as many, and no assembly lacks more than it must.
CALLS = """
INSERT INTO scheme_calls (assembly_id, scheme_id, status, job_id, flow_run_id, assembly_version,
  scheme_version, tool, sent, completed, failed, changed)
SELECT a, s, 'COMPLETE', a * :schemes + s, CAST(CAST(md5(CAST(a AS text)) AS uuid) AS text), 1, 1,
  'rehearsal', 1, 1, 0, timestamp '2026-01-01'
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) a,
  generate_series(1, CAST(:schemes AS int)) s
WHERE (a + s * GREATEST(:every / :schemes, 1)) % :every <> 0"""
LOOKUPS = """
INSERT INTO assembly_lookup (assembly_id, scheme_id, st_barcode, status, version, other_data)
SELECT assembly_id, scheme_id, '', 'COMPLETE', '1',
  '{"job_id": ' || job_id || ', "job_count": 1, "complete_count": 1, "fail_count": 0}'
FROM scheme_calls"""
NUMBERED = ("strains", "assemblies", "schemes")


def fill(url: str, *, assemblies: int, schemes: int, every: int = 100) -> None:
    """Make the rows in an empty PostgreSQL database.

    Args:
        url: Of the database; its tables are made.
        assemblies: How many, each its strain's best.
        schemes: How many, all called by themselves.
        every: One of so many pairs is not called yet: 100 is 99 % complete.
    """
    migrate(url)
    values = {"first": 1, "last": assemblies, "schemes": schemes, "every": every}
    with engine_for(url).begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        again = _drop_indexes(connection)
        for statement in (STRAINS, ASSEMBLIES, SCHEMES, CALLS, LOOKUPS):
            _execute(connection, statement, values)
        for index in again:
            connection.execute(text(index))
        _number_on(connection)
    _vacuum(url)


def arrive(url: str, number: int) -> None:
    """Add assemblies that came today: the newest, called by no scheme."""
    with engine_for(url).begin() as connection:
        last = connection.scalar(text("SELECT coalesce(max(id), 0) FROM assemblies")) or 0
        for statement in (STRAINS, ASSEMBLIES):
            _execute(connection, statement, {"first": last + 1, "last": last + number})
        _number_on(connection)


def _execute(connection: Connection, statement: str, values: dict[str, int]) -> None:
    wanted = {name: value for name, value in values.items() if f":{name}" in statement}
    connection.execute(text(statement), wanted)


def _number_on(connection: Connection) -> None:
    """Let new rows be numbered behind those that were made with a number."""
    for table in NUMBERED:
        highest = f"(SELECT max(id) FROM {table})"
        connection.execute(
            text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {highest})")
        )


def _vacuum(url: str) -> None:
    with engine_for(url).connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        alone.execute(text("SET statement_timeout = 0"))
        alone.execute(text("VACUUM ANALYZE"))
        alone.execute(text("RESET statement_timeout"))


def _drop_indexes(connection: Connection) -> list[str]:
    """Drop what slows the rows down; return the statements that make it again.

    Rows first and keys and indexes after them: ten times as fast.
    """
    made = list[str]()
    for table in ("scheme_calls", "assembly_lookup"):
        for name, definition in _constraints(connection, table):
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
            made.append(definition)
        for name, definition in _indexes(connection, table):
            connection.execute(text(f"DROP INDEX {name}"))
            made.append(definition)
    return made


def _constraints(connection: Connection, table: str) -> list[tuple[str, str]]:
    """Return a table's foreign and unique keys, and what makes them; unique ones first."""
    query = (
        "SELECT conname, 'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT ' ||"
        " quote_ident(conname) || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = CAST(:t AS regclass) AND contype IN ('f', 'u') ORDER BY contype DESC"
    )
    return [(row[0], row[1]) for row in connection.execute(text(query), {"t": table})]


def _indexes(connection: Connection, table: str) -> list[tuple[str, str]]:
    query = (
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE tablename = :t AND indexname NOT LIKE 'pk!_%' ESCAPE '!'"
    )
    return [(row[0], row[1]) for row in connection.execute(text(query), {"t": table})]


def main() -> int:
    """Make it, and say how long that took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("url", help="SQLAlchemy URL of an empty PostgreSQL database")
    parser.add_argument("--assemblies", type=int, default=1_000_000)
    parser.add_argument("--schemes", type=int, default=10)
    parser.add_argument("--every", type=int, default=100, help="one of so many pairs is not called")
    given = parser.parse_args()
    began = time.monotonic()
    fill(given.url, assemblies=given.assemblies, schemes=given.schemes, every=given.every)
    print(f"{given.assemblies:,} assemblies x {given.schemes}: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
