"""The fork server of `limsflow worker`, its children, and what they are told; no server needed."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import Flow, FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from deployments.warm_child import Order
from deployments.warm_job import WarmConfiguration, job_variables
from deployments.warm_starter import Child, Forks
from deployments.work import few_authorities, modules_of_flows
from tests.fakes import warm_children
from tests.fakes.warm_worker import said_when_warm

STEP = "prefect.deployments.steps.set_working_directory"
AT_HOME = [{STEP: {"directory": "/opt/lab"}}]


@pytest.fixture(scope="module")
def forks() -> Forks:
    """A warm fork server, which ends with this process."""
    forks = Forks(["tests.fakes.warm_children"])
    asyncio.run(forks.warm_up())
    return forks


def call(forks: Forks, name: str, *arguments: Any) -> int:
    return asyncio.run(forks.call(getattr(warm_children, name), *arguments))


def test_a_child_says_how_it_ended(forks: Forks) -> None:
    assert call(forks, "end_with", 0) == 0
    assert call(forks, "end_with", 3) == 3
    assert call(forks, "kill_itself", signal.SIGKILL) == -signal.SIGKILL


def test_children_run_side_by_side_and_each_is_a_process(forks: Forks, tmp_path: Path) -> None:
    async def both() -> list[int]:
        paths = [str(tmp_path / name) for name in ("a", "b")]
        return await asyncio.gather(
            forks.call(warm_children.meet, *paths), forks.call(warm_children.meet, *paths[::-1])
        )

    assert asyncio.run(both()) == [0, 0]
    assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()


def test_a_child_outlives_its_fork_server_and_is_waited_for(forks: Forks, tmp_path: Path) -> None:
    told = tmp_path / "go"

    async def orphaned() -> tuple[bool, int]:
        number = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(
            forks.call(
                warm_children.wait_for_file,
                str(told),
                started=lambda child: number.set_result(child.pid),
            )
        )
        pid = await number
        os.kill(parent_of(pid), signal.SIGKILL)
        _, still = await asyncio.wait({waiting}, timeout=1)
        told.touch()
        return bool(still), await waiting

    went_on, _ = asyncio.run(orphaned())

    assert went_on
    assert call(forks, "end_with", 0) == 0


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_flow_that_cannot_be_imported_is_told_before_any_run_comes() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "tests.fakes.warm_children", "tests.fakes.no_such_module"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "InvalidRequest: a flow cannot be imported" in said.stderr
    assert "No module named 'tests.fakes.no_such_module'" in said.stderr


def test_what_is_loaded_before_a_fork_leaves_no_thread_and_no_connection() -> None:
    program = (
        "import importlib, os, sys, threading\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "handles = [os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')"
        " if os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "print(threading.active_count(), [one for one in handles if 'socket' in one])\n"
    )
    said = said_when_warm(program)

    assert said == "1 []\n"


def test_all_flows_that_are_deployed_and_a_sites_own_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIMSFLOW_WARM_MODULES", "lab.flows  lab.more")
    modules = modules_of_flows()

    assert {"flows.reprocess_job", "flows.nightly_update", "lab.flows", "lab.more"} <= set(modules)


@pytest.mark.parametrize(
    ("url", "n_authorities"), [("http://prefect/api", 1), ("https://prefect/api", 0)]
)
def test_only_over_https_are_authorities_read(
    url: str, n_authorities: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    with temporary_settings({PREFECT_API_URL: url, PREFECT_HOME: tmp_path}):
        found = few_authorities()

    context = ssl.create_default_context(cafile=found.get("PREFECT_API_SSL_CERT_FILE"))
    assert len(found) == n_authorities
    assert n_authorities == 0 or context.cert_store_stats()["x509"] == 1


# What a child is told


def configured(run: dict[str, Any] | None = None, **deployment: Any) -> WarmConfiguration:
    flow = Flow(name="reprocess", labels={})
    given = {"entrypoint": "flows.reprocess_job.reprocess_job", "pull_steps": AT_HOME}
    of = DeploymentResponse(flow_id=flow.id, name="default", **(given | deployment))
    one = FlowRun(flow_id=flow.id, deployment_id=of.id, job_variables=run or {})
    configuration = WarmConfiguration(**job_variables(one, of))
    configuration.prepare_for_flow_run(one, of, flow, None, "worker")
    return configuration


def order_of(configuration: WarmConfiguration) -> Order:
    return configuration.order_for(FlowRun(id=uuid4(), flow_id=uuid4()), Path.cwd())


def test_a_run_has_the_variables_of_the_worker_its_deployment_and_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB", "worker")
    variables = {"env": {"A": "deployment", "B": "deployment"}}
    found = order_of(configured({"env": {"B": "run"}}, job_variables=variables)).environment

    assert (found["LAB"], found["A"], found["B"]) == ("worker", "deployment", "run")
    assert found["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] == "false"
    assert found["PREFECT__DEPLOYMENT_NAME"] == "default"


def test_a_loaded_flow_is_used_where_nothing_has_to_be_fetched() -> None:
    order = order_of(configured())

    assert (order.code, order.entrypoint) == ("/opt/lab", "flows.reprocess_job.reprocess_job")


@pytest.mark.parametrize(
    "steps",
    [
        None,
        [],
        [{"prefect.deployments.steps.git_clone": {"repository": "https://example.org/x"}}],
        [*AT_HOME, {"prefect.deployments.steps.run_shell_script": {"script": "true"}}],
        [{STEP: {"directory": "{{ prefect.variables.code }}"}}],
        [{STEP: {"directory": "/opt/lab", "requires": "lab"}}],
    ],
)
def test_what_has_to_be_fetched_is_left_to_prefects_engine(steps: Any) -> None:
    order = order_of(configured(pull_steps=steps))

    assert (order.code, order.entrypoint) == ("", "")


@pytest.mark.parametrize(
    ("command", "is_warm"),
    [
        (None, True),
        ("python -m prefect.engine", True),
        (f"{sys.executable} -m prefect.engine", True),
        ("python3.13 -m prefect.engine", False),
        ("python -m prefect.engine --more", False),
        ("srun python -m prefect.engine", False),
        ("prefect flow-run execute", False),
    ],
)
def test_a_command_that_is_not_prefects_engine_gets_a_cold_process(
    command: str | None, is_warm: bool
) -> None:
    variables = {"command": command} if command else {}

    assert configured(job_variables=variables).is_warm is is_warm


def test_a_child_that_nobody_has_waited_for_has_no_status() -> None:
    assert Child(1).returncode is None
