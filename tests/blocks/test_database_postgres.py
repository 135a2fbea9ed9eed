"""What we make of a real PostgreSQL that is killed, locked, slow, empty or closed to us."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import URL, CursorResult, Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from blocks.database import engine_for, transaction
from blocks.errors import DatabaseUnavailable, InconsistentInput, InvalidRequest
from tests.postgres.server import PostgresServer, private_postgres

pytestmark = pytest.mark.services
names = (f"away_{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that may be killed and closed: nobody else is on it."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return with_strains(postgres)


@pytest.fixture
def engine(url: str) -> Engine:
    return engine_for(url)


def with_strains(server: PostgresServer) -> str:
    """Return the URL of a new database with two strains, 1 and 2."""
    url = server.create_database(next(names))
    with engine_for(url).begin() as connection:
        connection.execute(text("CREATE TABLE strains (id int, name text)"))
        connection.execute(text("INSERT INTO strains VALUES (1, 'old'), (2, 'old')"))
    return url


def run(engine: Engine, *steps: str | Callable[[], object]) -> list[object]:
    """Do statements, and what happens between them, in one transaction.

    Return the first column of the last statement.
    """
    values: list[object] = []
    with transaction(engine) as session:
        for step in steps:
            if isinstance(step, str):
                values = column(session.connection().execute(text(step)))
            else:
                step()
    return values


def column(result: CursorResult[Any]) -> list[object]:
    return list(result.scalars()) if result.returns_rows else []


def rename(number: int, name: str = "new") -> str:
    return f"UPDATE strains SET name = '{name}' WHERE id = {number}"


def with_options(url: str, options: str) -> str:
    longer = make_url(url).update_query_dict({"options": options})
    return longer.render_as_string(hide_password=False)


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.02)


class Connections:
    """What an administrator sees of the connections to one database, and does with them."""

    def __init__(self, server: PostgresServer, url: str) -> None:
        self._server = server
        self._database = make_url(url).database

    def ask(self, sql: str, where: str) -> list[Any]:
        of_one = f"SELECT {sql} FROM pg_stat_activity WHERE datname = %s AND {where}"
        with self._server.connect_admin() as admin:
            return admin.execute(of_one.encode(), (self._database,)).fetchall()


# Away


def test_a_server_that_is_killed_may_come_back_and_the_same_engine_works(
    own: PostgresServer,
) -> None:
    engine = engine_for(with_strains(own))
    with pytest.raises(DatabaseUnavailable, match=r"the database does not answer: .*connection"):
        run(engine, rename(1), own.kill, rename(2))
    with pytest.raises(DatabaseUnavailable, match="Connection refused"):
        run(engine, rename(1))
    own.restart()

    assert run(engine, "SELECT name FROM strains") == ["old", "old"]
    own.restart()
    assert run(engine, "SELECT name FROM strains") == ["old", "old"]


def test_what_could_not_be_committed_is_not_said_to_be_written(own: PostgresServer) -> None:
    engine = engine_for(with_strains(own))
    with pytest.raises(DatabaseUnavailable):
        run(engine, rename(1), own.kill)
    own.restart()

    assert run(engine, "SELECT name FROM strains") == ["old", "old"]


def test_an_administrator_who_ends_our_connection_is_no_bug(
    url: str, postgres: PostgresServer
) -> None:
    engine, connections = engine_for(url), Connections(postgres, url)
    with pytest.raises(DatabaseUnavailable, match="terminating"):
        run(
            engine,
            rename(1),
            lambda: connections.ask("pg_terminate_backend(pid)", "true"),
            rename(2),
        )

    assert run(engine, "SELECT name FROM strains") == ["old", "old"]


def test_who_waits_in_a_transaction_too_long_loses_it(url: str, postgres: PostgresServer) -> None:
    connections = Connections(postgres, url)
    in_a_hurry = engine_for(with_options(url, "-c idle_in_transaction_session_timeout=50"))
    with pytest.raises(DatabaseUnavailable, match="idle-in-transaction"):
        run(
            in_a_hurry,
            rename(1),
            lambda: wait_until(lambda: not connections.ask("pid", "state LIKE '%%transaction'")),
            rename(2),
        )

    assert run(in_a_hurry, "SELECT name FROM strains") == ["old", "old"]


def test_a_server_that_is_full_may_have_room_later(own: PostgresServer) -> None:
    engine = engine_for(with_strains(own))
    engine.dispose()
    with own.connect_admin() as admin:
        admin.execute("ALTER ROLE limsflow CONNECTION LIMIT 0")
        with pytest.raises(DatabaseUnavailable, match="too many connections"):
            run(engine, "SELECT 1")
        admin.execute("ALTER ROLE limsflow CONNECTION LIMIT -1")

    assert run(engine, "SELECT 1") == [1]


# Locked and slow


def test_of_two_that_wait_for_each_other_one_is_told_to_try_again(engine: Engine) -> None:
    hold_one = threading.Barrier(2)
    orders = [(rename(1, "one"), rename(2, "one")), (rename(2, "two"), rename(1, "two"))]
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(run, engine, first, hold_one.wait, then) for first, then in orders]
        errors = [end.exception() for end in ends]
    winner = ("one", "two")[errors.index(None)]
    (loser,) = filter(None, errors)

    assert isinstance(loser, DatabaseUnavailable)
    assert str(loser) == "the database does not answer: deadlock detected"
    assert run(engine, "SELECT name FROM strains") == [winner, winner]


def test_a_row_that_is_locked_too_long_may_be_free_later(engine: Engine) -> None:
    def second() -> None:
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            run(engine, "SET LOCAL lock_timeout = 50", rename(1, "second"))

    run(engine, rename(1, "first"), second)

    assert run(engine, "SELECT name FROM strains WHERE id = 1") == ["first"]


def test_a_row_that_somebody_changed_meanwhile_is_tried_again(engine: Engine) -> None:
    with pytest.raises(DatabaseUnavailable, match="concurrent update"):
        run(
            engine,
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SELECT name FROM strains",
            lambda: run(engine, rename(1, "by another")),
            rename(1, "by us"),
        )

    assert run(engine, "SELECT name FROM strains WHERE id = 1") == ["by another"]


def test_a_statement_that_takes_too_long_is_tried_again(engine: Engine) -> None:
    with pytest.raises(DatabaseUnavailable, match="statement timeout"):
        run(engine, "SET LOCAL statement_timeout = 50", "SELECT pg_sleep(100)")


def test_a_statement_that_a_person_cancels_is_not_tried_again(
    url: str, postgres: PostgresServer
) -> None:
    connections = Connections(postgres, url)
    asleep = "query = 'SELECT pg_sleep(99)' AND state = 'active'"
    with ThreadPoolExecutor(1) as pool:
        sleep = pool.submit(run, engine_for(url), "SELECT pg_sleep(99)")
        wait_until(lambda: connections.ask("pg_cancel_backend(pid)", asleep))
        error = sleep.exception()

    assert isinstance(error, DBAPIError)
    assert "user request" in str(error)


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("statement_timeout", "1min"),
        ("lock_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "2min"),
    ],
)
def test_every_connection_has_limits_that_its_url_may_change(
    url: str, limit: str, value: str
) -> None:
    changed = engine_for(with_options(url, f"-c {limit}=7s -c search_path=genus"))

    assert run(engine_for(url), f"SHOW {limit}") == [value]
    assert run(changed, f"SHOW {limit}") == ["7s"]
    assert run(changed, "SHOW search_path") == ["genus"]


# Empty and closed


@pytest.mark.parametrize("sql", ["SELECT * FROM nothing", "SELECT nothing FROM strains"])
def test_a_table_or_column_that_is_missing_is_told_how_to_get_it(engine: Engine, sql: str) -> None:
    with pytest.raises(
        InconsistentInput, match=r"\"nothing\" does not exist; see 'limsflow init'$"
    ):
        run(engine, sql)


def test_a_function_that_is_missing_is_a_bug(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match="does not exist"):
        run(engine, "SELECT nothing(1)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.set(password="guessed"), "password authentication failed"),  # noqa: S106
        (lambda url: url.set(username="nobody"), "password authentication failed"),
        (lambda url: url._replace(password=None), "no password supplied"),
        (lambda url: url.set(database="nothing"), 'database "nothing" does not exist'),
        (lambda url: url.set(query={"sslmode": "require"}), "does not support SSL"),
        (lambda url: url.set(query={"options": "-c nothing=1"}), 'parameter "nothing"'),
        (lambda url: url.set(query={"options": "-c lock_timeout=soon"}), "invalid value"),
    ],
)
def test_what_the_server_refuses_is_for_a_person(
    url: str, change: Callable[[URL], URL], said: str
) -> None:
    refused = change(make_url(url))
    with pytest.raises(InvalidRequest, match="the database refuses us") as caught:
        run(engine_for(refused.render_as_string(hide_password=False)), "SELECT 1")

    assert said in str(caught.value)
    assert str(refused.password) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("close", "open_again"),
    [
        ("ALTER ROLE limsflow NOLOGIN", "ALTER ROLE limsflow LOGIN"),
        (
            "REVOKE CONNECT ON DATABASE {} FROM public, limsflow",
            "GRANT CONNECT ON DATABASE {} TO limsflow",
        ),
        ("ALTER DATABASE {} ALLOW_CONNECTIONS off", "ALTER DATABASE {} ALLOW_CONNECTIONS on"),
    ],
)
def test_a_database_that_an_administrator_closed_is_for_a_person(
    own: PostgresServer, close: str, open_again: str
) -> None:
    url = with_strains(own)
    engine_for(url).dispose()
    with own.connect_admin() as admin:
        admin.execute(close.format(make_url(url).database).encode())
        with pytest.raises(InvalidRequest, match="the database refuses us"):
            run(engine_for(url), "SELECT 1")
        admin.execute(open_again.format(make_url(url).database).encode())

    assert run(engine_for(url), "SELECT 1") == [1]


def test_a_server_that_does_not_know_our_machine_is_for_a_person(own: PostgresServer) -> None:
    engine = engine_for(with_strains(own))
    who_may_come = own.directory / "data" / "pg_hba.conf"
    everybody = who_may_come.read_text()
    who_may_come.write_text("host all postgres 127.0.0.1/32 scram-sha-256\n")
    own.restart()
    with pytest.raises(InvalidRequest, match="the database refuses us"):
        run(engine, "SELECT 1")
    who_may_come.write_text(everybody)
    own.restart()

    assert run(engine, "SELECT 1") == [1]
