"""Nights on real PostgreSQL and a real Prefect server, in processes that are killed."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.night_stack import REHEARSAL, SLOW, NightStack, night_stack
from tests.fakes.served import wait_for
from tests.postgres.server import PostgresServer, private_postgres

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server of these tests' own: they kill it."""
    with private_postgres() as server:
        yield server


@pytest.fixture
def stack(
    own_postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[NightStack]:
    with night_stack(tmp_path, own_postgres, f"nights_{abs(hash(request.node.name))}") as stack:
        yield stack


def test_two_nights_at_once_over_200_pairs_make_exactly_200_runs(stack: NightStack) -> None:
    stack.rehearsal()
    stack.genomes(200)
    stack.save_blocks()
    options = ("--toolchain", "genomics", "--batch-size", "1", "--concurrency", "2")
    nights = [
        stack.start_night("update-scheme", REHEARSAL, *options, log=f"night_{number}")
        for number in (1, 2)
    ]

    assert [night.wait(400) for night in nights] == [0, 0]
    assert stack.outcomes() == {"COMPLETE": 200}
    # Prefect's SQLite may be asked twice for one run; of the two only one ever begins.
    begun = [run for run in stack.runs_of("call-batch") if run["start_time"]]
    assert len(begun) == 200
    [jobs] = stack.look.rows(
        "SELECT count(*) AS n, count(DISTINCT accession) AS own FROM user_jobs"
    )
    assert (jobs.n, jobs.own) == (200, 200)
    shares = stack.look.rows("SELECT count(*) AS n FROM scheme_calls GROUP BY night_id")
    assert len(shares) == 2


def test_a_night_whose_worker_server_and_database_are_killed_ends_by_the_next(
    stack: NightStack, own_postgres: PostgresServer
) -> None:
    stack.slow_scheme(seconds=0.2)
    stack.genomes(40)
    stack.save_blocks()
    options = ("--toolchain", "genomics", "--batch-size", "5", "--concurrency", "2")
    server = stack.processes[0]
    night = stack.start_night("update-scheme", SLOW, *options)
    wait_for(lambda: stack.outcomes().get("COMPLETE", 0) >= 8, seconds=120)
    stack.kill(night)
    stack.kill(server)
    own_postgres.kill()

    own_postgres.restart()
    finished = {
        row.assembly_id: row.changed
        for row in stack.look.rows("SELECT * FROM scheme_calls WHERE status = 'COMPLETE'")
    }
    left_open = stack.outcomes()["QUEUED"]
    stack.start_server()
    stack.limsflow("reconcile", "--ispyb", "", "--entero", "entero", "--stale-after-s", "1")
    closed = stack.outcomes()
    stack.limsflow("update-scheme", SLOW, *options)

    assert left_open > 0
    assert "QUEUED" not in closed
    assert stack.outcomes() == {"COMPLETE": 40}
    again = stack.look.rows("SELECT * FROM scheme_calls")
    assert {
        row.assembly_id: row.changed for row in again if row.assembly_id in finished
    } == finished
    times = Counter(stack.called())
    assert len(times) == 40
    assert sum(times.values()) - 40 <= left_open
    jobs = {row.status for row in stack.look.rows("SELECT DISTINCT status FROM user_jobs")}
    assert jobs == {"COMPLETE", "FAILED"}
    open_nights = stack.look.rows("SELECT id FROM nights WHERE ended IS NULL")
    assert open_nights == []


def test_a_night_goes_on_when_its_database_was_killed_meanwhile(
    stack: NightStack, own_postgres: PostgresServer
) -> None:
    stack.slow_scheme(seconds=0.1)
    stack.genomes(30)
    stack.save_blocks()
    options = ("--toolchain", "genomics", "--batch-size", "10", "--concurrency", "2")
    night = stack.start_night("update-scheme", SLOW, *options)
    wait_for(lambda: stack.outcomes().get("COMPLETE", 0) >= 4, seconds=120)
    own_postgres.kill()
    own_postgres.restart()

    assert night.wait(300) == 0
    assert stack.outcomes() == {"COMPLETE": 30}
    assert max(Counter(stack.called()).values()) == 1


def test_a_process_of_the_pool_that_is_killed_costs_no_more_than_what_it_had(
    stack: NightStack,
) -> None:
    stack.slow_scheme(seconds=0.3)
    stack.genomes(24)
    stack.save_blocks()
    options = ("--engine", "processes", "--concurrency", "2", "--batch-size", "6")
    night = stack.start_night("update-scheme", SLOW, "--toolchain", "genomics", *options)
    wait_for(lambda: len(stack.called()) >= 3, seconds=120)
    os.kill(stack.pool_process_of(night), signal.SIGKILL)

    status, ended = night.wait(200), stack.outcomes()
    running = stack.running("call-batch")
    stack.limsflow("update-scheme", SLOW, "--toolchain", "genomics")

    # The pool ends its other process too; a new pool goes on with the two batches behind them.
    assert (status, running) == (0, [])
    assert set(ended) <= {"COMPLETE", "FAILED"}
    assert ended["COMPLETE"] >= 12
    assert stack.outcomes() == {"COMPLETE": 24}


def test_a_user_s_run_waits_for_one_running_item_of_a_back_fill(stack: NightStack) -> None:
    stack.slow_scheme(seconds=1.5)
    stack.rehearsal()
    barcodes = stack.genomes(60)
    ispyb = stack.home.folder / "ispyb.db"
    stack.limsflow("init", str(ispyb))
    stack.limsflow(
        *("deploy", "--ispyb", f"sqlite:///{ispyb}", "--entero", stack.url, "--limit", "2"),
        *("--database", "nights", "--prefix", "SAL"),
    )
    stack.save_blocks()
    stack.start_worker(2)
    options = ("--engine", "work pool", "--concurrency", "2", "--batch-size", "30")
    night = stack.start_night("update-scheme", SLOW, "--toolchain", "genomics", *options)
    # The night's queue may have one of the two slots; an operator gives it both.
    stack.let_queue_have("night", 2)
    wait_for(lambda: len(stack.running("call-batch")) == 2, seconds=120)
    wait_for(lambda: len(stack.called()) >= 2, seconds=60)
    begun_before = len(stack.called())
    run = stack.submit("type-assembly/default", assembly=barcodes[0], scheme=REHEARSAL)
    wait_for(lambda: stack.state(run) in ("RUNNING", "COMPLETED"), seconds=120)
    begun_meanwhile = len(stack.called()) - begun_before
    wait_for(lambda: stack.state(run) == "COMPLETED", seconds=60)

    # Each slot may begin one item in the second before it hears of the user's run.
    assert begun_meanwhile <= 2 * 2
    assert stack.outcomes()["QUEUED"] > 0
    wait_for(lambda: stack.running("call-batch"), seconds=120)
    night.send_signal(signal.SIGKILL)
