"""Transactions and addresses on SQLite, and what each of PostgreSQL's codes means for us."""

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from pymysql.err import MySQLError, raise_mysql_exception
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from blocks.database import database_errors, engine_for, transaction
from blocks.errors import DatabaseUnavailable, InconsistentInput, InvalidRequest, NoSuchRecord
from tests.postgres.server import PostgresServer

N_THREADS = 20
names = (f"counting_{number}" for number in itertools.count())
SERVER = "postgresql+psycopg://curator:secret@127.0.0.1:1/enterobase"


@pytest.fixture
def lab(tmp_path: Path) -> Engine:
    """A SQLite file with one table."""
    engine = engine_for(f"sqlite:///{tmp_path}/lab.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE barcodes (number INTEGER)"))
    return engine


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def counting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of each kind, with a row to lock and the numbers that were given out."""
    url = f"sqlite:///{tmp_path}/counting.db"
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create_database(next(names))
    engine = engine_for(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counters (name VARCHAR(20))"))
        connection.execute(text("INSERT INTO counters VALUES ('strains')"))
        connection.execute(text("CREATE TABLE barcodes (number INTEGER)"))
    yield engine
    engine.dispose()


def numbers(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return sorted(connection.execute(text("SELECT number FROM barcodes")).scalars())


def insert(session: Session, number: int) -> None:
    session.execute(text("INSERT INTO barcodes VALUES (:number)"), {"number": number})


def write(engine: Engine, *given: int, then: BaseException | None = None) -> None:
    with transaction(engine) as session:
        for number in given:
            insert(session, number)
        if then:
            raise then


def ask(url: str) -> None:
    with transaction(engine_for(url)) as session:
        session.execute(text("SELECT 1"))


def take_the_next(engine: Engine, start: Callable[[], object]) -> int:
    lock = "" if engine.dialect.name == "sqlite" else " FOR UPDATE"
    start()
    with transaction(engine) as session:
        session.execute(text(f"SELECT name FROM counters{lock}"))
        last: int = session.execute(text("SELECT MAX(number) FROM barcodes")).scalar() or 0
        insert(session, last + 1)
    return last + 1


def test_twenty_at_once_get_twenty_numbers(counting: Engine) -> None:
    barrier = threading.Barrier(N_THREADS)
    with ThreadPoolExecutor(N_THREADS) as pool:
        taken = list(pool.map(lambda _: take_the_next(counting, barrier.wait), range(N_THREADS)))

    assert sorted(taken) == list(range(1, N_THREADS + 1))
    assert numbers(counting) == sorted(taken)


@pytest.mark.parametrize("kind", [NoSuchRecord, ZeroDivisionError, KeyboardInterrupt])
def test_a_transaction_that_fails_writes_nothing(
    counting: Engine, kind: type[BaseException]
) -> None:
    with pytest.raises(kind, match="on purpose"):
        write(counting, 1, 2, then=kind("on purpose"))

    assert numbers(counting) == []


def test_a_part_of_a_transaction_may_fail_alone(counting: Engine) -> None:
    with transaction(counting) as session:
        insert(session, 1)
        with suppress(ZeroDivisionError), session.begin_nested():
            insert(session, 2)
            raise ZeroDivisionError
        insert(session, 3)

    assert numbers(counting) == [1, 3]


def test_a_session_that_only_reads_waits_for_no_transaction_and_stops_none(lab: Engine) -> None:
    count = text("SELECT COUNT(*) FROM barcodes")
    with transaction(lab) as session, Session(lab) as during:
        insert(session, 1)
        seen_during = during.execute(count).scalar()
    with Session(lab) as before:
        seen_before = before.execute(count).scalar()
        with transaction(lab) as session:
            insert(session, 2)

    assert (seen_during, seen_before) == (0, 1)
    assert numbers(lab) == [1, 2]


def test_a_transaction_waits_for_a_locked_file_and_then_gives_up(lab: Engine) -> None:
    impatient = create_engine(lab.url, connect_args={"timeout": 0.05})

    with transaction(lab), pytest.raises(DatabaseUnavailable, match="locked"):
        write(impatient)


def test_a_transaction_on_a_file_without_tables_says_how_to_get_them(tmp_path: Path) -> None:
    empty = engine_for(f"sqlite:///{tmp_path}/empty.db")

    with pytest.raises(InconsistentInput, match=r"no tables yet.*limsflow init"):
        write(empty, 1)


def test_a_row_that_is_there_already_is_no_fault_of_the_database(counting: Engine) -> None:
    with counting.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX once ON barcodes (number)"))

    with pytest.raises(IntegrityError):
        write(counting, 1, 1)
    assert numbers(counting) == []


# PostgreSQL, without its server


def raised(error: Exception, url: str = SERVER) -> None:
    """Fail as SQLAlchemy does when a driver raises this error for a statement."""
    dialect = engine_for(url).dialect
    with database_errors():
        raise DBAPIError.instance("SELECT 1", {}, error, Exception, dialect=dialect)


def postgres_says(state: str, said: str = "the server's words") -> Exception:
    return psycopg.errors.lookup(state)(said)


@pytest.mark.parametrize(
    "state",
    [
        *("08000", "08001", "08003", "08004", "08006", "53000", "53100", "53200", "53300", "53400"),
        *("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57014"),
    ],
)
def test_what_passes_is_tried_again(state: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="does not answer: the server's words"):
        raised(postgres_says(state))


@pytest.mark.parametrize("state", ["42P01", "42703"])
def test_what_is_missing_is_told_how_to_get_it(state: str) -> None:
    with pytest.raises(InconsistentInput, match=r"words; see 'limsflow init'"):
        raised(postgres_says(state))


@pytest.mark.parametrize("state", ["28000", "28P01", "3D000"])
def test_who_is_refused_is_told_where_to_look(state: str) -> None:
    with pytest.raises(InvalidRequest, match="refuses us: the server's words; look at the user"):
        raised(postgres_says(state))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("57014", "canceling statement due to user request"),
        ("42883", "function nope(integer) does not exist"),
        ("22P02", "malformed array literal"),
        ("23505", "duplicate key value violates unique constraint"),
        ("55000", "object not in prerequisite state"),
        ("25P02", "current transaction is aborted"),
        ("40002", "integrity constraint violation"),
    ],
)
def test_what_is_a_bug_stays_one(state: str, said: str) -> None:
    with pytest.raises(DBAPIError, match=re.escape(said)):
        raised(postgres_says(state, said))


def test_a_statement_that_the_driver_cannot_send_is_a_bug() -> None:
    with pytest.raises(DBAPIError, match="2 placeholders"):
        raised(psycopg.ProgrammingError("the query has 2 placeholders"))


def test_a_server_that_is_away_may_come_back() -> None:
    with pytest.raises(DatabaseUnavailable, match="Connection refused") as caught:
        ask(SERVER)

    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "query", ["nosuch=1", "sslmode=mostly", "keepalives=abc", "connect_timeout=abc"]
)
def test_an_option_that_the_driver_does_not_know_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest, match=r"refuses us: .*options of its URL") as caught:
        ask(f"{SERVER}?{query}")

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [SERVER.replace("psycopg", "psycopg_async"), SERVER.replace(":1/", ":port/"), "postgres://x"],
)
def test_an_address_that_cannot_be_used_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"postgresql\+psycopg://user@host") as caught:
        engine_for(url)

    assert "secret" not in str(caught.value)


# MariaDB, without its server


def mariadb_says(code: int, state: str, said: str) -> Exception:
    packet = b"\xff" + code.to_bytes(2, "little") + f"#{state}{said}".encode()
    with pytest.raises(MySQLError) as caught:
        raise_mysql_exception(packet)
    return caught.value


@pytest.mark.parametrize(
    ("code", "state", "said", "kind"),
    [
        (1146, "42S02", "Table 'ispyb.Proposal' doesn't exist", InconsistentInput),
        (1205, "HY000", "Lock wait timeout exceeded; try restarting", DatabaseUnavailable),
        (1213, "40001", "Deadlock found when trying to get lock", DatabaseUnavailable),
        (1227, "42000", "Access denied", DBAPIError),
    ],
)
def test_a_code_of_mariadb_is_not_read_as_one_of_postgresql(
    code: int, state: str, said: str, kind: type[Exception]
) -> None:
    error = mariadb_says(code, state, said)

    with pytest.raises(kind, match=said):
        raised(error, "mysql+pymysql://reader:secret@127.0.0.1:1/ispyb")
