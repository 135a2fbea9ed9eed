"""The row that a peer stores for each job, as we do; needs psycopg only, as Celery's world has."""

import os
from functools import cache

import psycopg

WHERE = "LIMSFLOW_BENCH_OUTCOMES"  # variable with the database, in libpq's words
TABLE = """
CREATE TABLE IF NOT EXISTS peer_outcomes (
  peer text, item int, status text NOT NULL, PRIMARY KEY (peer, item))"""
ROW = "INSERT INTO peer_outcomes (peer, item, status) VALUES (%s, %s, 'COMPLETE')"
COUNT = "SELECT count(*) FROM peer_outcomes WHERE peer = %s AND item >= 0 AND status = 'COMPLETE'"
WARM_UP = -1  # number of a first job, which does not count


@cache
def _connection() -> psycopg.Connection:
    return psycopg.connect(os.environ[WHERE], autocommit=True)


def store_outcome(peer: str, item: int) -> None:
    """Store that a job is complete, in its own transaction; a job that ran twice is an error."""
    _connection().execute(ROW, (peer, item))


def variables(url: str) -> dict[str, str]:
    """Return what says where outcomes are, to another process."""
    return {WHERE: url.replace("+psycopg", "", 1)}


def make_table(url: str) -> None:
    """Make the table of outcomes if it is not there."""
    with psycopg.connect(variables(url)[WHERE], autocommit=True) as connection:
        connection.execute(TABLE)


def require_outcomes(url: str, peer: str, items: int) -> None:
    """Require an outcome of each job.

    Raises:
        RuntimeError: some are missing.
    """
    with psycopg.connect(variables(url)[WHERE]) as connection:
        [found] = connection.execute(COUNT, (peer,)).fetchone() or [0]
    if found != items:
        raise RuntimeError(f"{peer} stored {found:,} outcomes of {items:,} jobs")
