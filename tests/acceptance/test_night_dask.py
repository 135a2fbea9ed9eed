"""A night on a real Dask cluster of three processes, one of which is killed meanwhile."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.night_stack import SLOW, NightStack, night_stack
from tests.fakes.served import wait_for
from tests.postgres.server import PostgresServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]

N_WORKERS, N_PAIRS = 3, 60


@dataclass(frozen=True)
class Cluster:
    """A Dask scheduler, and its workers by the number that each has."""

    address: str
    workers: dict[str, subprocess.Popen[bytes]]


@pytest.fixture
def stack(postgres: PostgresServer, tmp_path: Path) -> Iterator[NightStack]:
    with night_stack(tmp_path, postgres, f"dask_{os.getpid()}") as stack:
        yield stack


@pytest.fixture
def cluster(stack: NightStack) -> Cluster:
    """Start a scheduler and three workers as an operator does, on any free port."""
    at = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    stack.start("distributed.cli.dask_scheduler", *at, log="dask")
    log = stack.home.folder / "logs" / "dask.txt"
    said = r"Scheduler at: +(tcp://127\.0\.0\.1:\d+)"
    address = wait_for(lambda: re.findall(said, log.read_text()))[0]
    return Cluster(address, {str(n): a_worker(stack, address, n) for n in range(N_WORKERS)})


def a_worker(stack: NightStack, address: str, number: int) -> subprocess.Popen[bytes]:
    folder = stack.home.folder / f"dask_{number}"
    folder.mkdir()
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(folder))
    return stack.start("distributed.cli.dask_worker", address, *options, log=f"dask_{number}")


def registered(stack: NightStack) -> bool:
    """Whether every worker has found the scheduler."""
    logs = [stack.home.folder / "logs" / f"dask_{n}.txt" for n in range(N_WORKERS)]
    return all("Registered to" in log.read_text() for log in logs)


def batches_of(stack: NightStack) -> Counter[str]:
    """Return how many batches each worker has begun."""
    return Counter(
        log.stem
        for log in (stack.home.folder / "logs").glob("dask_*.txt")
        for _ in re.finditer(r"for flow 'call-batch'", log.read_text())
    )


def test_a_dask_cluster_does_a_night_also_when_one_of_its_workers_is_killed(
    stack: NightStack, cluster: Cluster
) -> None:
    stack.slow_scheme(seconds=0.2)
    stack.genomes(N_PAIRS)
    stack.save_blocks()
    wait_for(lambda: registered(stack))
    night = stack.start_night(
        *("update-scheme", SLOW, "--toolchain", "genomics", "--batch-size", "5"),
        *("--engine", "dask", "--dask-scheduler", cluster.address),
        *("--concurrency", str(N_WORKERS)),
    )
    wait_for(lambda: len(batches_of(stack)) == N_WORKERS, seconds=60)
    wait_for(lambda: stack.outcomes().get("COMPLETE", 0) >= 6, seconds=60)
    stack.kill(cluster.workers["0"])
    finished = {
        row.assembly_id: row.changed
        for row in stack.look.rows(
            "SELECT assembly_id, changed FROM scheme_calls WHERE status = 'COMPLETE'"
        )
    }

    assert night.wait(200) == 0
    assert stack.outcomes() == {"COMPLETE": N_PAIRS}
    assert len(finished) < N_PAIRS
    again = stack.look.rows("SELECT assembly_id, changed FROM scheme_calls")
    assert {row.assembly_id: row.changed for row in again}.items() >= finished.items()
    times = Counter(stack.called())
    assert len(times) == N_PAIRS
    assert sum(times.values()) - N_PAIRS <= 5  # what the killed worker's batch had not stored
    jobs = {row.status for row in stack.look.rows("SELECT DISTINCT status FROM user_jobs")}
    assert jobs <= {"COMPLETE", "FAILED"}
    assert stack.look.rows("SELECT id FROM nights WHERE ended IS NULL") == []
