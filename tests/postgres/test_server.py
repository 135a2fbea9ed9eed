"""What the tests on PostgreSQL rely on: its server keeps what it said, and never stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from tests.postgres import server
from tests.postgres.server import PREFIX, PostgresServer, private_postgres

services = pytest.mark.services
REPOSITORY = Path(__file__).parents[2]
TWO_MINUTES_S = 120

A_SESSION_OF_TESTS = """
import time
from tests.postgres.server import private_postgres
with private_postgres() as server:
    print(server.create_database("isolates"), server.directory, flush=True)
    time.sleep(100)
"""


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresServer]:
    """A server that may be killed: nobody else is on it."""
    with private_postgres() as server:
        yield server


def engine(url: str | URL) -> Engine:
    return create_engine(url, poolclass=NullPool)


def value(url: str, sql: str) -> object:
    with engine(url).begin() as connection:
        result = connection.execute(text(sql))
        return result.scalar() if result.returns_rows else None


def answers(url: str) -> bool:
    try:
        return value(url, "SELECT 1") == 1
    except DBAPIError:
        return False


@services
def test_each_database_is_empty_and_its_owner_may_make_tables(postgres: PostgresServer) -> None:
    first, second = (postgres.create_database(name) for name in ("first_lab", "second_lab"))
    with engine(first).begin() as connection:
        connection.execute(text("CREATE TABLE strains (id int)"))

    assert value(first, "SELECT to_regclass('strains') IS NOT NULL")
    assert value(second, "SELECT to_regclass('strains') IS NULL")


@services
def test_the_owner_of_a_database_is_no_superuser(postgres: PostgresServer) -> None:
    url = postgres.create_database("ordinary_lab")

    assert value(url, "SELECT NOT rolsuper FROM pg_roles WHERE rolname = current_user")
    with pytest.raises(DBAPIError, match="permission denied"):
        value(url, "CREATE ROLE another")


@services
def test_nobody_comes_in_without_the_password(postgres: PostgresServer) -> None:
    url = make_url(postgres.create_database("closed_lab"))
    guessed = url.set(password="guessed")  # noqa: S106 - it is wrong

    with pytest.raises(DBAPIError, match="password authentication failed"):
        engine(guessed).connect()
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(host=url.host, port=url.port, user="postgres", dbname="postgres")


@pytest.mark.parametrize("name", ["", "a b", 'x"; DROP', "1st", "a" * 64, "straße"])
def test_what_is_no_name_makes_no_database(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name for a database"):
        PostgresServer(tmp_path).create_database(name)


@services
def test_what_was_committed_survives_a_kill_and_what_was_not_does_not(own: PostgresServer) -> None:
    url = own.create_database("survivors")
    value(url, "CREATE TABLE strains AS SELECT 1 AS id")
    with engine(url).connect() as cut_off:
        cut_off.execute(text("INSERT INTO strains VALUES (2)"))
        own.kill()
        with pytest.raises(DBAPIError):
            cut_off.execute(text("SELECT 1"))
    own.restart()

    assert value(url, "SELECT array_agg(id) FROM strains") == [1]


@services
def test_a_killed_server_does_not_answer_until_it_is_started(own: PostgresServer) -> None:
    url = own.create_database("on_and_off")
    states = [answers(url)]
    for change in (own.kill, own.kill, own.restart, own.restart):
        change()
        states.append(answers(url))

    assert states == [True, False, False, True, True]


@services
def test_a_killed_pytest_leaves_no_server_and_the_next_removes_its_files() -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", A_SESSION_OF_TESTS],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert tests.stdout
    url, left = tests.stdout.readline().split()
    answered = answers(url)
    tests.send_signal(signal.SIGKILL)
    tests.communicate()
    while answers(url):
        time.sleep(0.05)
    assert Path(left).is_dir()
    os.utime(left, (0, time.time() - TWO_MINUTES_S))
    with private_postgres() as next_one:
        own_directory = next_one.directory
        assert own_directory.is_dir()

    assert answered
    assert not Path(left).exists()
    assert not own_directory.exists()


@services
def test_the_files_of_a_session_that_lives_stay(own: PostgresServer) -> None:
    os.utime(own.directory, (0, time.time() - TWO_MINUTES_S))
    with private_postgres():
        pass

    assert own.directory.is_dir()
    assert own.directory.parent == Path(tempfile.gettempdir())
    assert own.directory.name.startswith(PREFIX)


def test_without_postgresql_the_tests_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "VERSIONS", tmp_path)
    monkeypatch.setenv("PATH", os.fsdecode(tmp_path))

    with pytest.raises(RuntimeError, match=r"`initdb` is not installed.*run `make services`"):
        PostgresServer(tmp_path).install()


def test_the_newest_version_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "VERSIONS", tmp_path)
    for version in ("9.6", "15", "17", "extra"):
        program = tmp_path / version / "bin" / "postgres"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)

    assert server._program("postgres") == str(tmp_path / "17" / "bin" / "postgres")
