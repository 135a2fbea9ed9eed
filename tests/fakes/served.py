"""`limsflow serve` as a person leaves it running, and what its page would ask of its API."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from blocks.mx.store import IspybStore, open_store

REPOSITORY = Path(__file__).parents[2]
FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Served:
    """A stack that runs: its API, its folder, its process."""

    api: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def page(self) -> str:
        """The address of the page."""
        return self.api.removesuffix("/api")

    @property
    def ispyb(self) -> IspybStore:
        """The stack's ISPyB."""
        return open_store(f"sqlite:///{self.folder / 'ispyb.db'}")

    def limsflow(self, *arguments: str) -> str:
        """Run a command against this stack; return what it printed."""
        run = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *arguments],
            env=environment() | {"PREFECT_API_URL": self.api},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return run.stdout

    def start(self, deployment: str, **parameters: object) -> str:
        """Start a run as the page's form does; return its id."""
        return submitted(self.api, deployment, parameters)

    def state(self, run_id: str) -> str:
        """Return the type of a run's state."""
        return str(told(self.api, "GET", f"flow_runs/{run_id}")["state"]["type"])

    def cancel(self, run_id: str) -> None:
        """Cancel a run as the page's button does."""
        told(self.api, "POST", f"flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}})


def told(api: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Return what Prefect says; asked again, as its page is, while its SQLite is locked."""

    def asked() -> httpx.Response | None:
        answer = httpx.request(method, f"{api}/{path}", json=body, timeout=30)
        busy = answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        return None if busy else answer.raise_for_status()

    answer = wait_for(asked)
    return answer.json() if answer.content else None


def runs_of(api: str, flow: str) -> list[dict[str, Any]]:
    """Return all runs of a flow, as the page lists them."""
    found, body = list[dict[str, Any]](), {"flows": {"name": {"any_": [flow]}}, "limit": 200}
    while True:
        some = told(api, "POST", "flow_runs/filter", {**body, "offset": len(found)})
        found += some
        if len(some) < 200:
            return found


def submitted(api: str, deployment: str, parameters: Mapping[str, object]) -> str:
    """Start a run as the page's form does; return its id."""
    found = told(api, "GET", f"deployments/name/{deployment}")
    body = {"parameters": dict(parameters), "state": {"type": "SCHEDULED"}}
    body["idempotency_key"] = str(uuid4())  # for an answer that was busy
    return str(told(api, "POST", f"deployments/{found['id']}/create_flow_run", body)["id"])


def environment() -> dict[str, str]:
    """Return this environment without settings of another Prefect."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    return kept | {"PYTHONPATH": str(REPOSITORY)}


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Run `limsflow serve` in a folder on a free port; end it as Ctrl-C does."""
    command = [sys.executable, "-m", "deployments.cli", "serve", "--json"]
    with (folder / "serve.stderr").open("w") as errors:
        process = subprocess.Popen(
            [*command, "--home", str(folder / "home"), "--port", "0"],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (folder / "serve.stderr").read_text()
        facts: dict[str, Any] = json.loads(line)
        yield Served(api=facts["api"], folder=Path(facts["folder"]), process=process)
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.stdout.close()


def wait_for(found: Callable[[], FoundT], *, seconds: float = 60) -> FoundT:
    """Wait until something is found (is true); return it."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.2)
    return value


def processes_of(directory: Path) -> dict[int, str]:
    """Return id and command line of the living processes that work below a directory."""
    found = dict[int, str]()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").resolve().is_relative_to(directory):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                if command:  # a zombie has none
                    found[int(entry.name)] = command.decode(errors="replace")
    return found
