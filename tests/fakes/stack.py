"""A Prefect server and what runs on it, in processes of their own that can be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from deployments.embedded import Home
from tests.fakes.served import environment, runs_of, submitted, told, wait_for


@dataclass(kw_only=True)
class Stack:
    """Processes of one home; all can be killed with `kill -9`, and started again."""

    home: Home
    settings: dict[str, str] = field(default_factory=dict[str, str])
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def environment(self) -> dict[str, str]:
        """Of every process."""
        usual = environment()
        # A worker starts runs as `python`, which must be the one that limsflow is installed in.
        path = f"{Path(sys.executable).parent}{os.pathsep}{usual['PATH']}"
        return usual | self.home.variables() | {"PATH": path} | self.settings

    # Processes

    def start(self, *command: str, log: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a program of our environment, the leader of its own group."""
        with (self.home.folder / "logs" / f"{log}.txt").open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment | variables,
                cwd=self.home.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_server(self) -> subprocess.Popen[bytes]:
        """Start the Prefect server and wait until it answers."""
        at = ("--host", "127.0.0.1", "--port", str(self.home.port))
        server = self.start("prefect", "server", "start", *at, log="server")

        def healthy() -> bool:
            with suppress(httpx.TransportError):
                answer = httpx.get(f"{self.home.api_url}/health", timeout=5)
                return answer.status_code == HTTPStatus.OK
            return False

        wait_for(healthy, seconds=120)
        return server

    def start_worker(self, limit: int) -> subprocess.Popen[bytes]:
        """Start a worker of processes."""
        pool = ("--pool", "limsflow", "--type", "process", "--limit", str(limit))
        return self.start("prefect", "worker", "start", *pool, log="worker")

    def start_night(self, *arguments: str, log: str = "night") -> subprocess.Popen[bytes]:
        """Start a night as a person does in a shell."""
        return self.start("deployments.cli", *arguments, log=log)

    def limsflow(self, *arguments: str) -> str:
        """Run a command to its end; return what it printed."""
        run = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *arguments],
            env=self.environment,
            cwd=self.home.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def kill(self, process: subprocess.Popen[bytes], *, alone: bool = False) -> None:
        """End a process, and its group unless it goes alone, as a power cut does."""
        with suppress(ProcessLookupError):
            (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        process.wait(30)
        self.processes.remove(process)

    # What Prefect says

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        """Return all runs of a flow, as the page lists them."""
        return runs_of(self.home.api_url, flow)

    def running(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a flow that are running."""
        return [run for run in self.runs_of(flow) if run["state"]["type"] == "RUNNING"]

    def state(self, run_id: str) -> str:
        """Return the type of a run's state."""
        return str(self.ask("GET", f"flow_runs/{run_id}")["state"]["type"])

    def submit(self, deployment: str, **parameters: object) -> str:
        """Start a run as the page's form does; return its id."""
        return submitted(self.home.api_url, deployment, parameters)

    def deployment(self, deployment_id: str) -> dict[str, Any]:
        """Return a deployment."""
        return dict[str, Any](self.ask("GET", f"deployments/{deployment_id}"))

    def let_queue_have(self, queue: str, limit: int) -> None:
        """Change a work queue's limit as the page does."""
        at = f"work_pools/limsflow/queues/{queue}"
        self.ask("PATCH", at, {"concurrency_limit": limit})

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the server."""
        return told(self.home.api_url, method, path, body)
