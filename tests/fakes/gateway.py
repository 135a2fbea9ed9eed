"""A gateway in a process of its own, before a Prefect server, an ISPyB and an EnteroBase."""

import argparse
import asyncio
import base64
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore
from blocks.genomics.store import open_store as open_entero
from blocks.mx.store import IspybStore, create_tables, open_store
from deployments.clients import add_client
from deployments.embedded import ROOT, Home, free_port, make_home, own_program
from tests.fakes.served import environment, runs_of, told, wait_for

# What `limsflow gateway` does; its options are `argparse`'s.
COMMAND = """
import argparse, json, pathlib, sys
from deployments.gateway import gateway
options = json.loads(sys.argv[1])
options["clients"] = pathlib.Path(options["clients"])
sys.exit(gateway(argparse.Namespace(**options)))
"""
# Of a run's parameters, in bytes; Prefect's own default is less than a search may hold.
LARGEST = "PREFECT_SERVER_API_MAX_PARAMETER_SIZE"
# Who asks: rights, and how often.
CLIENTS: dict[str, dict[str, Any]] = {
    "lims": {"right": ["*"], "rate": 1000.0, "burst": 10_000},
    "website": {"right": ["assemble", "type"]},
    "watcher": {"right": ["read"]},
    "crobot": {"right": ["call-back"]},
    "hasty": {"right": ["read"], "rate": 0.01, "burst": 3},
}


def added(path: Path, name: str, **given: Any) -> str:
    """Add a client as the command does; return its token."""
    usual = {"right": [], "rate": None, "burst": None, "renew": False}
    options = argparse.Namespace(name=name, clients=path, json=True, **(usual | given))
    with redirect_stdout(io.StringIO()) as printed:
        assert add_client(options) == 0
    return str(json.loads(printed.getvalue())["token"])


@dataclass
class GatewayLab:
    """A gateway that runs, and what is behind it."""

    folder: Path
    prefect: str
    ispyb_url: str
    entero_url: str
    tokens: dict[str, str] = field(default_factory=dict[str, str])
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def clients(self) -> Path:
        """The file of clients."""
        return self.folder / "clients.json"

    @property
    def log(self) -> str:
        """What the gateway wrote."""
        return (self.folder / "gateway.log").read_text()

    @property
    def ispyb(self) -> IspybStore:
        """The ISPyB."""
        return open_store(self.ispyb_url)

    @property
    def entero(self) -> EnteroStore:
        """The EnteroBase."""
        return open_entero(self.entero_url, database="senterica", prefix="SAL")

    def start(self, **options: Any) -> None:
        """Start the gateway and wait until it answers."""
        usual: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "url": "",
            "clients": str(self.clients),
            "ispyb": "ispyb",
            "entero": "entero",
            "metrics_port": self.metrics_port,
            "metrics_host": "127.0.0.1",
            "json": False,
        }
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, json.dumps(usual | options)],
                env=environment() | {"PREFECT_API_URL": self.prefect},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            with suppress(httpx.TransportError):
                return httpx.get(f"{self.url}/openapi.json").status_code == 200
            return False

        wait_for(answers)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the gateway."""
        if self.process:
            os.kill(self.process.pid, number)
            self.process.wait(30)
            self.process = None

    def ask(self, method: str, path: str, *, by: str = "lims", **given: Any) -> httpx.Response:
        """Send a request with the token of a client; `headers` are added to it."""
        headers = {"Authorization": f"Bearer {self.tokens[by]}"} if by else {}
        given["headers"] = headers | given.get("headers", {})
        return httpx.request(method, f"{self.url}{path}", timeout=60, **given)

    def start_run(self, path: str, key: str | None = None, **parameters: Any) -> httpx.Response:
        """Ask for a run."""
        method = "PUT" if path.endswith("assemble") else "POST"
        headers = {"Idempotency-Key": key} if key else {}
        return self.ask(method, f"/api/v1.0{path}", json=parameters, headers=headers)

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        """Return all runs of a flow, as Prefect's page lists them."""
        return runs_of(self.prefect, flow)

    def ask_prefect(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask Prefect's own interface."""
        return told(self.prefect, method, path, body)

    def deployment(self, name: str) -> dict[str, Any]:
        """Return a deployment, as Prefect has it."""
        return dict[str, Any](self.ask_prefect("GET", f"deployments/name/{name}"))


def basic(token: str, password: str = "") -> dict[str, str]:
    """Return the header of HTTP Basic."""
    pair = base64.b64encode(f"{token}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def register(folder: Path, prefect: str, ispyb_url: str, entero_url: str) -> None:
    """Do what `limsflow deploy` does."""
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    from blocks.connections import EnteroBase  # noqa: PLC0415 - loads Prefect
    from deployments.register import register_all  # noqa: PLC0415 - loads Prefect

    ours = {"PREFECT_API_URL": prefect, "LIMSFLOW_ROOT": str(ROOT), "PYTHONPATH": str(ROOT)}
    (folder / "logs").mkdir()
    with temporary_settings({PREFECT_API_URL: prefect}):
        asyncio.run(
            register_all(
                own_program("prefect", ours),
                folder / "logs",
                ispyb_url=ispyb_url,
                entero=EnteroBase(url=SecretStr(entero_url), share=str(folder / "share")),
            )
        )


@contextmanager
def gateway_lab(
    folder: Path, prefect: str, *, ispyb_url: str, entero_url: str
) -> Iterator[GatewayLab]:
    """Run a gateway before this Prefect server and these databases, whose tables are there."""
    register(folder, prefect, ispyb_url, entero_url)
    lab = GatewayLab(folder, prefect, ispyb_url, entero_url)
    for name, given in CLIENTS.items():
        lab.tokens[name] = added(lab.clients, name, **given)
    try:
        lab.start()
        yield lab
    finally:
        lab.stop()


@contextmanager
def small_gateway(folder: Path) -> Iterator[GatewayLab]:
    """Run a gateway before a Prefect server of its own and databases in files."""
    home = make_home(folder / "home")
    create_tables(home.ispyb_url)
    migrate(home.entero_url)
    with (
        prefect_process(home),
        gateway_lab(
            folder, home.api_url, ispyb_url=home.ispyb_url, entero_url=home.entero_url
        ) as lab,
    ):
        yield lab


@contextmanager
def prefect_process(home: Home) -> Iterator[None]:
    """Run a Prefect server in a process of its own, beside that of other tests."""
    at = ("--host", "127.0.0.1", "--port", str(home.port))
    with (home.folder / "logs" / "server.txt").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", *at],
            env=environment() | home.variables() | {LARGEST: "6000000"},
            cwd=home.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def healthy() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{home.api_url}/health", timeout=5).status_code == 200
        return False

    try:
        wait_for(healthy, seconds=120)
        yield
    finally:
        server.terminate()
        server.wait(30)
