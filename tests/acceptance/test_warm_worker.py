"""`limsflow worker` in production: PostgreSQL, a Prefect server, and what goes wrong with them."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.served import wait_for
from tests.fakes.warm_worker import WarmStack, end, warm_stack
from tests.postgres.server import PostgresServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def stack(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WarmStack]:
    database = postgres.create_database("warm_worker")
    with warm_stack(tmp_path_factory.mktemp("warm"), database) as stack:
        yield stack


@pytest.fixture
def deployment(stack: WarmStack) -> str:
    return stack.deploy("usual")


@pytest.fixture
def worker(stack: WarmStack) -> Iterator[int]:
    process = stack.start_warm("--drain-s", "0", PREFECT_WORKER_QUERY_SECONDS="10")
    yield process.pid
    process.terminate()
    process.wait(60)
    end(process)


def pid_of(stack: WarmStack, run: str) -> int:
    return int(stack.mark(f"begun-{run}")["pid"])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_run_has_a_process_of_its_own_and_its_log_is_in_prefect(
    stack: WarmStack, worker: int, deployment: str
) -> None:
    runs = [stack.run(deployment, f"own-{number}") for number in range(3)]
    for run in runs:
        stack.until(run, "COMPLETED")
    processes = {pid_of(stack, f"own-{number}") for number in range(3)}

    assert len(processes | {worker}) == 4
    logs = wait_for(lambda: lines_of(stack, runs[0]))
    assert "a line of the flow" in logs
    tasks = wait_for(lambda: tasks_of(stack, runs[0]) == 3)
    assert tasks
    found = stack.ask("GET", f"flow_runs/{runs[0]}")
    assert int(found["infrastructure_pid"]) == pid_of(stack, "own-0")


def lines_of(stack: WarmStack, run: str) -> list[str]:
    body = {"logs": {"flow_run_id": {"any_": [run]}}}
    return [one["message"] for one in stack.ask("POST", "logs/filter", body)]


def tasks_of(stack: WarmStack, run: str) -> int:
    body = {"flow_runs": {"id": {"any_": [run]}}}
    return len(stack.ask("POST", "task_runs/filter", body))


def test_a_run_that_is_cancelled_in_the_page_ends_with_its_hooks(
    stack: WarmStack, worker: int, deployment: str
) -> None:
    run = stack.run(deployment, "cancelled", seconds=300)
    pid = pid_of(stack, "cancelled")
    stack.ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    stack.until(run, "CANCELLED")
    assert stack.mark("cancelling-cancelled")["pid"] != worker
    wait_for(lambda: not is_alive(pid))
    assert not stack.has("ended-cancelled")
    assert not stack.has("crashed-cancelled")


def test_a_run_whose_process_is_killed_is_crashed_and_its_hooks_run(
    stack: WarmStack, worker: int, deployment: str
) -> None:
    run = stack.run(deployment, "killed", seconds=300)
    os.kill(pid_of(stack, "killed"), signal.SIGKILL)

    stack.until(run, "CRASHED")
    assert stack.mark("crashed-killed")["pid"] != worker


def test_a_killed_worker_leaves_its_runs_which_complete(stack: WarmStack, deployment: str) -> None:
    worker = stack.start_warm()
    run = stack.run(deployment, "left", seconds=8)
    pid_of(stack, "left")
    worker.send_signal(signal.SIGKILL)
    worker.wait()

    stack.until(run, "COMPLETED")
    assert stack.has("ended-left")


def test_runs_outlive_the_fork_server_and_new_ones_get_a_new_one(
    stack: WarmStack, worker: int, deployment: str
) -> None:
    run = stack.run(deployment, "orphan", seconds=8)
    pid = pid_of(stack, "orphan")
    server = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGKILL)
    other = stack.run(deployment, "after", seconds=0)

    stack.until(other, "COMPLETED")
    stack.until(run, "COMPLETED")
    assert "ended completed" in stack.said().rpartition("leave-marks/usual orphan")[2]


def test_a_terminated_worker_takes_no_run_and_lets_those_that_go_on_end(
    stack: WarmStack, deployment: str
) -> None:
    worker = stack.start_warm("--drain-s", "60")
    run = stack.run(deployment, "draining", seconds=8)
    pid_of(stack, "draining")
    worker.terminate()
    wait_for(lambda: "takes no new runs" in stack.said().rpartition("draining")[2])
    late = stack.run(deployment, "late")

    assert worker.wait(60) == 0
    assert stack.state(run) == "COMPLETED"
    assert stack.state(late) == "SCHEDULED"
    again = stack.start_warm("--drain-s", "0")
    stack.until(late, "COMPLETED")
    again.terminate()
    assert again.wait(60) == 0


def test_runs_that_go_on_too_long_are_ended_as_crashed_with_their_hooks(
    stack: WarmStack, deployment: str
) -> None:
    worker = stack.start_warm("--drain-s", "300")
    run = stack.run(deployment, "endless", seconds=300)
    pid = pid_of(stack, "endless")
    worker.terminate()
    time.sleep(1)
    worker.terminate()

    assert worker.wait(60) == 0
    assert not is_alive(pid)
    assert stack.state(run) == "CRASHED"
    assert stack.has("crashed-endless")


def test_a_worker_outlives_its_prefect_server(
    stack: WarmStack, worker: int, deployment: str
) -> None:
    run = stack.run(deployment, "through", seconds=10)
    pid_of(stack, "through")
    server = next(one for one in stack.processes if "server" in one.args)  # pyright: ignore
    end(server)
    time.sleep(15)
    stack.processes.remove(server)
    stack.processes.insert(0, stack.start_server())
    later = stack.run(deployment, "later")

    stack.until(later, "COMPLETED")
    stack.until(run, "COMPLETED", seconds=120)
    hanging = stack.run(deployment, "still-cancelled", seconds=300)
    pid_of(stack, "still-cancelled")
    stack.ask("POST", f"flow_runs/{hanging}/set_state", {"state": {"type": "CANCELLING"}})
    stack.until(hanging, "CANCELLED")


def test_a_deployment_runs_as_often_at_once_as_it_may(stack: WarmStack, worker: int) -> None:
    one_at_a_time = stack.deploy("alone", concurrency_limit=1, concurrency_options=CANCEL_NEW)
    first = stack.run(one_at_a_time, "first", seconds=5)
    pid_of(stack, "first")
    second = stack.run(one_at_a_time, "second")

    stack.until(second, "CANCELLED")
    stack.until(first, "COMPLETED")
    assert not stack.has("begun-second")


CANCEL_NEW = {"collision_strategy": "CANCEL_NEW"}


def test_urgent_queues_come_first_and_a_worker_has_a_limit(stack: WarmStack) -> None:
    for name, priority in (("urgent", 1), ("patient", 9)):
        body = {"name": name, "priority": priority}
        stack.ask("POST", "work_pools/limsflow/queues", body)
    patient = stack.deploy("patient", work_queue_name="patient")
    urgent = stack.deploy("urgent", work_queue_name="urgent")
    runs = [stack.run(patient, f"patient-{number}", seconds=1) for number in range(2)]
    runs.append(stack.run(urgent, "urgent", seconds=1))
    worker = stack.start_warm("--limit", "1", "--queue", "urgent", "--queue", "patient")
    for run in runs:
        stack.until(run, "COMPLETED")
    worker.terminate()
    worker.wait(60)

    began = sorted(
        (stack.marks / f"begun-{name}" for name in ("patient-0", "patient-1", "urgent")),
        key=lambda path: path.stat().st_mtime,
    )
    assert began[0].name == "begun-urgent"
    ended = stack.marks / "ended-urgent"
    assert began[1].stat().st_mtime > ended.stat().st_mtime
