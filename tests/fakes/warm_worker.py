"""`limsflow worker` as a process of its own, and the server and database that it works with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.embedded import make_home
from tests.fakes.served import REPOSITORY, wait_for
from tests.fakes.stack import Stack

POOL = "limsflow"
FLOWS = "tests.fakes.warm_flows"


@dataclass(kw_only=True)
class WarmStack(Stack):
    """A Prefect server, workers and their runs; all of it can be killed and started again."""

    @property
    def marks(self) -> Path:
        """Where the flows leave their files."""
        return self.home.folder / "marks"

    @property
    def environment(self) -> dict[str, str]:
        """Of every process."""
        return super().environment | {"LIMSFLOW_WARM_MODULES": FLOWS}

    def start_warm(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it takes runs."""
        said = self.said()
        worker = self.start("deployments.cli", "worker", *options, log="worker", **variables)
        wait_for(lambda: worker.poll() is not None or "takes runs" in self.said()[len(said) :])
        assert worker.poll() is None, self.said()
        return worker

    def said(self) -> str:
        """Return what all workers and runs have said."""
        log = self.home.folder / "logs" / "worker.txt"
        return log.read_text(errors="replace") if log.exists() else ""

    # What Prefect's page does

    def make_pool(self, kind: str = "process", name: str = POOL, **given: Any) -> None:
        """Make a work pool as `limsflow deploy` does."""
        import asyncio  # noqa: PLC0415

        from prefect.client.orchestration import get_client  # noqa: PLC0415 - loads Prefect
        from prefect.client.schemas.actions import WorkPoolCreate  # noqa: PLC0415
        from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

        async def make() -> None:
            async with get_client() as client:
                await client.create_work_pool(WorkPoolCreate(name=name, type=kind, **given))

        with temporary_settings({PREFECT_API_URL: self.home.api_url}):
            asyncio.run(make())

    def deploy(self, name: str, **given: Any) -> str:
        """Deploy the flow that leaves marks; return the deployment's id."""
        flow = self.ask("POST", "flows/", {"name": "leave-marks"})
        usual: dict[str, Any] = {
            "name": name,
            "flow_id": flow["id"],
            "work_pool_name": POOL,
            "entrypoint": f"{FLOWS}.leave_marks",
            "pull_steps": [_in_directory(REPOSITORY)],
            "parameters": {"folder": str(self.marks)},
            "enforce_parameter_schema": False,
        }
        return str(self.ask("POST", "deployments/", usual | given)["id"])

    def run(self, deployment: str, name: str, **given: Any) -> str:
        """Start a run; return its id."""
        variables = given.pop("job_variables", {})
        parameters = {"folder": str(self.marks), **given}
        body = {"name": name, "parameters": parameters, "job_variables": variables}
        body["state"] = {"type": "SCHEDULED"}
        return str(self.ask("POST", f"deployments/{deployment}/create_flow_run", body)["id"])

    def state(self, run_id: str) -> str:
        """Return the type of a run's state."""
        return str(self.ask("GET", f"flow_runs/{run_id}")["state"]["type"])

    def until(self, run_id: str, state: str, seconds: float = 60) -> None:
        """Wait until a run has come to a state."""
        wait_for(lambda: self.state(run_id) == state, seconds=seconds)

    def mark(self, name: str, seconds: float = 60) -> dict[str, Any]:
        """Wait for a mark; return what it says."""
        path = self.marks / name
        wait_for(path.exists, seconds=seconds)
        return json.loads(path.read_text())

    def has(self, name: str) -> bool:
        """Whether a mark is there now."""
        return (self.marks / name).exists()


def _in_directory(directory: object) -> dict[str, Any]:
    return {"prefect.deployments.steps.set_working_directory": {"directory": str(directory)}}


@contextmanager
def warm_stack(folder: Path, database: str = "") -> Iterator[WarmStack]:
    """Run a server with an empty pool while the block runs; nothing is left of it."""
    url = database.replace("+psycopg", "+asyncpg")
    settings = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url} if url else {}
    stack = WarmStack(home=make_home(folder), settings=settings)
    stack.marks.mkdir()
    try:
        stack.start_server()
        stack.make_pool()
        yield stack
    finally:
        for process in reversed(stack.processes):
            end(process)


def said_when_warm(program: str) -> str:
    """Return what a program prints that is told, as arguments, what a worker loads beforehand."""
    from deployments.work import modules_of_flows  # noqa: PLC0415 - loads Prefect

    run = subprocess.run(
        [sys.executable, "-c", program, "deployments.warm_child", *modules_of_flows()],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return run.stdout


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its session at once."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
