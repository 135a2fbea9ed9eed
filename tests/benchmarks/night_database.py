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

# Rows first and keys and indexes after them: ten times as fast.



STRAINS = """
INSERT INTO strains (id, barcode, strain, best_assembly, version, created)
SELECT i, 'SAL_' || i || 'AA', 'strain ' || i, i, 1, timestamp '2020-01-01' + i * interval '2 min'
FROM generate_series(1, :n) i"""
ASSEMBLIES = """
INSERT INTO assemblies (id, barcode, strain_id, status, version, n50, created)
SELECT i, 'SAL_' || i || 'AA_AS', i, 'Assembled', 1, 300000,
  timestamp '2020-01-01' + i * interval '2 min'
FROM generate_series(1, :n) i"""
SCHEMES = """
INSERT INTO schemes (id, description, name, param, version)
SELECT i, 'rehearsal_' || i, 'Rehearsal ' || i, '{"pipeline": "rehearsal"}', 1
FROM generate_series(1, :schemes) i"""
CALLS = """
INSERT INTO scheme_calls (assembly_id, scheme_id, status, job_id, flow_run_id, assembly_version,
  scheme_version, tool, sent, completed, failed, changed)
SELECT a, s, 'COMPLETE', a * :schemes + s, md5(a::text)::uuid::text, 1, 1, 'rehearsal', 1, 1, 0,
  timestamp '2026-01-01'
FROM generate_series(1, :n) a, generate_series(1, :schemes) s
WHERE (a * :schemes + s) % :every <> 0"""
LOOKUPS = """
INSERT INTO assembly_lookup (assembly_id, scheme_id, st_barcode, status, version, other_data)
SELECT assembly_id, scheme_id, '', 'COMPLETE', '1',
  '{"job_id": ' || job_id || ', "job_count": 1, "complete_count": 1, "fail_count": 0}'
FROM scheme_calls"""


def fill(url: str, *, assemblies: int, schemes: int, every: int = 100) -> None:
    """Make the rows in an empty PostgreSQL database.

    Args:
        url: Of the database; its tables are made.
        assemblies: How many, each its strain's best.
        schemes: How many, all called by themselves.
        every: One of so many pairs is not called yet: 100 is 99 % complete.
    """
    migrate(url)
    values = {"n": assemblies, "schemes": schemes, "every": every}
    with engine_for(url).begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        indexes = _drop_indexes(connection)
        for statement in (STRAINS, ASSEMBLIES, SCHEMES, CALLS, LOOKUPS):
            wanted = {name: values[name] for name in values if f":{name}" in statement}
            connection.execute(text(statement.replace("::text", "::TEXT")), wanted)
        for index in indexes:
            connection.execute(text(index))
        for table, key in (("strains", "id"), ("assemblies", "id"), ("schemes", "id")):
            said = "SELECT setval(pg_get_serial_sequence(:t, :k), (SELECT max(id) FROM {}))"
            connection.execute(text(said.format(table)), {"t": table, "k": key})
    with engine_for(url).connect() as connection:
        vacuum = connection.execution_options(isolation_level="AUTOCOMMIT")
        vacuum.execute(text("SET statement_timeout = 0"))
        vacuum.execute(text("VACUUM ANALYZE"))


def _drop_indexes(connection: Connection) -> list[str]:
    """Drop what slows the rows down; return the statements that make it again."""
    made = list[str]()
    for table in ("scheme_calls", "assembly_lookup"):
        found = connection.execute(
            text(
                "SELECT conname, 'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT ' ||"
                " quote_ident(conname) || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conrelid = CAST(:t AS regclass) AND contype IN ('f', 'u') ORDER BY contype DESC"
            ),
            {"t": table},
        ).all()
        for name, definition in found:
            connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
            made.append(definition)
        found = connection.execute(
            text(
                "SELECT indexname, indexdef FROM pg_indexes"
                " WHERE tablename = :t AND indexname NOT LIKE 'pk!_%' ESCAPE '!'"
            ),
            {"t": table},
        ).all()
        for name, definition in found:
            connection.execute(text(f"DROP INDEX {name}"))
            made.append(definition)
    return made


def main() -> int:
    """Make it, and say how long that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
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
