"""What the store says of a database that is away, or that has no tables."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import DatabaseUnavailable, InconsistentInput, InvalidRequest
from blocks.mx.records import AttemptState, Message, Severity
from blocks.mx.store import IspybStore, create_tables, open_store
from tests.fakes.builders import a_job, a_registration, a_request, a_solution
from tests.fakes.ispyb import facility_ispyb, ids, sqlite_ispyb
from tests.mariadb.server import MariaDb

FAILED = AttemptState.FAILED
A_MESSAGE = Message(severity=Severity.INFO, message="Twinned.")

CALLS: dict[str, Callable[[IspybStore], object]] = {
    "create_job": lambda store: store.create_job(a_request()),
    "job": lambda store: store.job(1),
    "job_header": lambda store: store.job_header(1),
    "job_ids": lambda store: store.job_ids(),
    "attempts": lambda store: store.attempts(1),
    "open_attempts": lambda store: store.open_attempts(),
    "register": lambda store: store.register(a_registration(1, 1)),
    "report_progress": lambda store: store.report_progress(1, "running"),
    "close": lambda store: store.close(1, FAILED, "failed"),
    "add_messages": lambda store: store.add_messages(1, [A_MESSAGE]),
    "add_solution": lambda store: store.add_solution(
        1, a_job(), a_solution(), to_own_collection=False
    ),
    "attachments": lambda store: store.attachments(1),
    "messages": lambda store: store.messages(1),
    "solution": lambda store: store.solution(1),
    "integrations": lambda store: store.integrations(1),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@pytest.fixture
def away() -> str:
    """The address of a MariaDB on a port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"mysql+pymysql://reader:secret@127.0.0.1:{port}/ispyb"


@every_call
def test_a_server_that_is_away_may_come_back(
    call: Callable[[IspybStore], object], away: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match="the database does not answer") as caught:
        call(open_store(away))
    assert "secret" not in str(caught.value)


@every_call
def test_a_disk_that_is_away_may_come_back(
    call: Callable[[IspybStore], object], tmp_path: Path
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/not-mounted/ispyb.db")

    with pytest.raises(DatabaseUnavailable, match="unable to open database file"):
        call(store)


def test_tables_cannot_be_made_where_the_server_is_away(away: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        create_tables(away)


@pytest.mark.parametrize("name", ["report_progress", "close"])
def test_the_processing_server_may_be_away_while_the_reading_one_answers(
    name: str, away: str, tmp_path: Path
) -> None:
    sqlite_ispyb(tmp_path)
    store = open_store(f"sqlite:///{tmp_path}/ispyb.db", processing_url=away)

    assert store.job_ids() == []
    with pytest.raises(DatabaseUnavailable):
        CALLS[name](store)


@every_call
def test_a_database_without_tables_is_told_how_to_get_them(
    call: Callable[[IspybStore], object], tmp_path: Path
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/empty.db")

    with pytest.raises(InconsistentInput, match=r"no tables yet.*see 'limsflow init'"):
        call(store)


@pytest.mark.services
@every_call
def test_a_server_without_our_tables_is_told_how_to_get_them(
    call: Callable[[IspybStore], object], mariadb: MariaDb
) -> None:
    ispyb = facility_ispyb(mariadb, f"empty_{next(ids)}")
    name = ispyb.admin.url.database
    with mariadb.connect_root() as root, root.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")
        cursor.execute(f"CREATE DATABASE {name}")

    with pytest.raises(InconsistentInput, match=r"no tables yet.*see 'limsflow init'"):
        call(ispyb.store)


def test_tables_are_made_once_and_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ispyb.db"
    made = create_tables(url)

    assert {"ProcessingJob", "AutoProcProgram", "AutoProcScaling_has_Int"} < set(made)
    assert create_tables(url) == []
    assert open_store(url).job_ids() == []


@pytest.mark.parametrize("url", ["ispyb.db", "", "nosuchdb://x:secret@h/i", "sqlite:/:secret@"])
def test_what_is_no_address_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"not a database URL like sqlite:///ispyb\.db") as no:
        open_store(url)
    assert "secret" not in str(no.value)
