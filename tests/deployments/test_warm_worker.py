"""`limsflow worker` on a real Prefect server: what a run finds, and what an operator sees."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.embedded import free_port
from deployments.warm_starter import Forks
from deployments.warm_worker import WarmWorker
from deployments.work import modules_of_flows
from tests.fakes.served import REPOSITORY, wait_for
from tests.fakes.warm_worker import WarmStack, said_when_warm, warm_stack

pytestmark = pytest.mark.timeout(240)
LOADED_WHEN_ASKED = ("anyio", "fastapi", "graphviz", "httpx", "prefect", "rich", "websockets")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmStack]:
    with warm_stack(tmp_path_factory.mktemp("warm")) as stack:
        yield stack


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module", autouse=True)
def worker(stack: WarmStack, port: int) -> subprocess.Popen[bytes]:
    """The worker of all these tests, whose metrics are served."""
    return stack.start_warm("--limit", "4", "--metrics-port", str(port), LAB="worker")


def test_a_run_finds_its_directory_its_variables_and_everything_loaded(
    stack: WarmStack, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    variables = {"working_dir": str(tmp_path), "env": {"A": "deployment", "B": "deployment"}}
    deployment = stack.deploy("found", job_variables=variables)
    run = stack.run(deployment, "found", job_variables={"env": {"B": "run"}})
    stack.until(run, "COMPLETED")
    begun = stack.mark("begun-found")
    loaded = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*sys.modules)\n"
    )
    before = said_when_warm(loaded).split()

    assert begun["directory"] == str(REPOSITORY)  # of its code: the last word is the pull step's
    found = begun["variables"]
    assert [found[name] for name in ("LAB", "A", "B")] == ["worker", "deployment", "run"]
    assert found["PREFECT__FLOW_RUN_ID"] == run
    assert "PREFECT__CONTROL_TOKEN" not in found
    assert begun["session"] == begun["pid"] != worker.pid
    late = set(stack.mark("ended-found")["modules"]) - set(before)
    assert [one for one in sorted(late) if one.partition(".")[0] in LOADED_WHEN_ASKED] == []


def test_a_run_without_a_directory_gets_an_empty_one_that_goes_with_it(stack: WarmStack) -> None:
    deployment = stack.deploy("nowhere", pull_steps=None)
    run = stack.run(deployment, "nowhere")
    stack.until(run, "COMPLETED")
    directory = Path(stack.mark("begun-nowhere")["directory"])

    wait_for(lambda: not directory.exists())


def test_settings_of_a_deployment_are_those_of_its_runs(stack: WarmStack) -> None:
    variables = {"env": {"PREFECT_LOGGING_TO_API_ENABLED": "false"}}
    deployment = stack.deploy("silent", job_variables=variables)
    run = stack.run(deployment, "silent")
    stack.until(run, "COMPLETED")
    loud = stack.run(stack.deploy("loud"), "loud")
    stack.until(loud, "COMPLETED")

    wait_for(lambda: "a line of the flow" in lines_of(stack, loud))
    assert "a line of the flow" not in lines_of(stack, run)


def lines_of(stack: WarmStack, run: str) -> list[str]:
    body = {"logs": {"flow_run_id": {"any_": [run]}}}
    return [one["message"] for one in stack.ask("POST", "logs/filter", body)]


def test_another_command_runs_cold_and_says_so(stack: WarmStack) -> None:
    variables = {
        "command": f"{sys.executable} -P -m prefect.engine",
        "working_dir": str(REPOSITORY),
    }
    deployment = stack.deploy("cold", job_variables=variables)
    run = stack.run(deployment, "cold")
    stack.until(run, "COMPLETED")

    wait_for(lambda: "leave-marks/cold cold ended completed" in stack.said())
    assert "cold, because of its command" in stack.said()


def test_what_became_of_runs_is_counted(stack: WarmStack, port: int) -> None:
    deployment = stack.deploy("counted")
    stack.until(stack.run(deployment, "counted"), "COMPLETED")
    stack.until(stack.run(deployment, "failing", fails=True), "FAILED")
    killed = stack.run(deployment, "killed", seconds=300)
    os.kill(int(stack.mark("begun-killed")["pid"]), signal.SIGKILL)
    stack.until(killed, "CRASHED")
    of = 'deployment="leave-marks/counted",failure="",state='
    wanted = [f'limsflow_runs_ended_total{{{of}"{s}"}} 1.0' for s in ("completed", "crashed")]

    def metrics() -> str:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text

    wait_for(lambda: all(one in metrics() for one in wanted))
    said = metrics()
    assert f'limsflow_runs_ended_total{{{of}"failed"}} 1.0' in said
    assert 'limsflow_runs_started_total{deployment="leave-marks/counted"} 3.0' in said
    assert 'limsflow_time_to_start_seconds_count{deployment="leave-marks/counted"} 3.0' in said
    assert "limsflow_slots_in_use 0.0" in said


def test_a_run_that_cannot_be_set_up_crashes_and_says_why(stack: WarmStack) -> None:
    variables = {"working_dir": "/no/such/directory"}
    run = stack.run(stack.deploy("impossible", job_variables=variables), "impossible")
    stack.until(run, "CRASHED")

    message = stack.ask("GET", f"flow_runs/{run}")["state"]["message"]
    assert message == "its process cannot be set up: there is no directory /no/such/directory"


def test_a_flow_that_is_not_loaded_runs_too(stack: WarmStack) -> None:
    at = f"{REPOSITORY}/tests/fakes/warm_flows.py:leave_marks"
    run = stack.run(stack.deploy("by-path", entrypoint=at), "by-path")

    stack.until(run, "COMPLETED")


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        ("cluster", "work pool cluster is of type kubernetes, and this worker starts processes"),
        ("nowhere", "there is no work pool nowhere: see 'limsflow deploy'"),
    ],
)
def test_pools_that_are_not_of_processes_are_refused(
    stack: WarmStack, pool: str, reason: str
) -> None:
    if pool == "cluster":
        stack.make_pool("kubernetes", pool)
    refused = stack.start("deployments.cli", "worker", "--pool", pool, log="refused")

    assert refused.wait(60) == 1
    assert reason in (stack.home.folder / "logs" / "refused.txt").read_text()


def test_the_stock_worker_is_still_the_one_of_process_pools() -> None:
    program = (
        "import warnings; warnings.simplefilter('error', UserWarning)\n"
        "import deployments.warm_worker\n"
        "from prefect.workers.base import BaseWorker\n"
        "print(BaseWorker.get_worker_class_from_type('process').__name__)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert said.stdout == "ProcessWorker\n"


def test_a_run_that_is_over_runs_again_only_if_it_is_scheduled_again(stack: WarmStack) -> None:
    deployment = stack.deploy("again")
    run = stack.run(deployment, "again")
    stack.until(run, "COMPLETED")
    first = stack.mark("begun-again")["pid"]
    again = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    stack.ask("POST", f"flow_runs/{run}/set_state", again)

    wait_for(lambda: stack.mark("begun-again")["pid"] != first)
    stack.until(run, "COMPLETED")


def test_a_late_answer_to_a_poll_starts_no_run_twice(stack: WarmStack) -> None:
    with temporary_settings({PREFECT_API_URL: stack.home.api_url}):
        states = asyncio.run(answered_late(stack))

    assert [state for state in states if state == "Pending"] == ["Pending"]


async def answered_late(stack: WarmStack) -> list[str]:
    """Let a worker of our own process run a run twice in the same state; return its states."""
    pool, forks = "late", Forks(modules_of_flows())
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    await forks.warm_up()
    run_id = stack.run(stack.deploy("late", work_pool_name=pool), "late")
    worker = WarmWorker(forks, work_pool_name=pool)
    stop, hurry = asyncio.Event(), asyncio.Event()
    working = asyncio.create_task(worker.work(stop, hurry, drain_s=30))
    async with get_client() as client:
        stale = await client.read_flow_run(UUID(run_id))
        await asyncio.to_thread(stack.until, run_id, "COMPLETED")
        await worker._runs.wait_for_all(hurry)
        await worker._submit_run(stale)
        stop.set()
        await working
        return [str(one.name) for one in await client.read_flow_run_states(UUID(run_id))]
