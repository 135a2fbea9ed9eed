"""A whole night's machinery in processes of its own: PostgreSQL, Prefect, workers, nights.

All of it can be killed with `kill -9`, and started again.
"""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import NullPool, create_engine

from blocks.genomics.records import SchemeParam
from blocks.genomics.schema import migrate
from blocks.genomics.store import EnteroStore, open_store
from deployments.embedded import Home, make_home
from tests.fakes.entero import Look
from tests.fakes.served import environment, wait_for
from tests.postgres.server import PostgresServer

SLOW, REHEARSAL = "Slow", "rehearsal_1"
PROGRAM = """#!/bin/sh
# Says that it was run on an assembly, takes a while, and finds nothing much.
[ "$1" = --version ] && echo "slow 1.0" && exit 0
name=$(head -n 1 assembly.fasta | cut -c 2-)
echo "$name" >> {log}
sleep {seconds}
echo '{{"seen": "'"$name"'"}}'
"""


@dataclass
class NightStack:
    """A species database in PostgreSQL, a Prefect server, and what runs on them."""

    home: Home
    url: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def store(self) -> EnteroStore:
        """The database's store."""
        return open_store(self.url, database="nights", prefix="SAL")

    @property
    def look(self) -> Look:
        """A look at its rows past the store."""
        return Look(create_engine(self.url, poolclass=NullPool))

    @property
    def log(self) -> Path:
        """Where the slow program says what it was run on, a line for each time."""
        return self.home.folder / "slow.log"

    @property
    def environment(self) -> dict[str, str]:
        """Of every process."""
        usual = environment()
        # A worker starts runs as `python`, which must be the one that limsflow is installed in.
        path = f"{Path(sys.executable).parent}{os.pathsep}{usual['PATH']}"
        return usual | self.home.variables() | {"PATH": path}

    # Processes

    def start(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        """Start a program of our environment, the leader of its own group."""
        with (self.home.folder / "logs" / f"{log}.txt").open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment,
                cwd=self.home.folder,
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

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and its group as a power cut does."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        self.processes.remove(process)

    def pool_process_of(self, night: subprocess.Popen[bytes]) -> int:
        """Return a process of a night's own pool."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == night.pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
        msg = "the night has no pool of processes"
        raise AssertionError(msg)

    # What there is

    def save_blocks(self) -> None:
        """Save the database and the programs under the names `entero` and `genomics`."""
        from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

        from blocks.connections import EnteroBase, Toolchain  # noqa: PLC0415 - loads Prefect

        lims = EnteroBase(
            url=SecretStr(self.url),
            database="nights",
            prefix="SAL",
            genus="Salmonella",
            share=str(self.home.folder / "share"),
        )
        programs = Toolchain(
            directory=str(self.home.folder / "bin"),
            pipelines_directory=str(self.home.folder / "pipelines"),
            environment={"PATH": os.environ["PATH"]},
        )

        async def save() -> None:
            await lims.asave("entero", overwrite=True)
            await programs.asave("genomics", overwrite=True)

        with temporary_settings({PREFECT_API_URL: self.home.api_url}):
            asyncio.run(save())

    def slow_scheme(self, *, seconds: float) -> None:
        """Make a scheme whose program takes so long, and says what it was run on."""
        folder = self.home.folder
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "pipelines").mkdir(exist_ok=True)
        program = folder / "bin" / "slow"
        program.write_text(PROGRAM.format(log=self.log, seconds=seconds))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        pipeline = {
            "about": "Takes a while.",
            "program": "slow",
            "arguments": ["{fasta}"],
            "output": "stdout",
            "reader": "json",
            "version": {"arguments": ["--version"], "pattern": "slow (.+)"},
            "time_limit_s": 600,
            "fields": {"seen": "seen"},
        }
        (folder / "pipelines" / f"{SLOW}.json").write_text(json.dumps(pipeline))
        self.store.schemes.save_scheme(
            SLOW, name=SLOW, param=SchemeParam(pipeline=SLOW), columns=[]
        )

    def rehearsal(self) -> None:
        """Make a scheme that calls nothing."""
        param = SchemeParam(pipeline="rehearsal")
        self.store.schemes.save_scheme(REHEARSAL, name=REHEARSAL, param=param, columns=[])

    def genomes(self, number: int) -> list[str]:
        """Register so many small genomes, each of a strain of its own; return their barcodes."""
        folder, barcodes = self.home.folder / "genomes", list[str]()
        folder.mkdir(exist_ok=True)
        for one in range(number):
            path = folder / f"genome_{one}.fasta"
            path.write_text(f">genome_{one}\n" + "ACGT" * 100 + "\n")
            barcodes.append(self.store.isolates.add_genome(path, strain=f"strain {one}").barcode)
        return barcodes

    # What came of it

    def outcomes(self) -> dict[str, int]:
        """Return how many pairs have each status."""
        query = "SELECT status, count(*) AS n FROM scheme_calls GROUP BY status"
        return {row.status: row.n for row in self.look.rows(query)}

    def runs_of(self, flow: str) -> list[dict[str, Any]]:
        """Return all runs of a flow, as the page lists them."""
        found, body = list[dict[str, Any]](), {"flows": {"name": {"any_": [flow]}}, "limit": 200}
        while True:
            page = httpx.post(
                f"{self.home.api_url}/flow_runs/filter",
                json={**body, "offset": len(found)},
                timeout=30,
            )
            some = page.raise_for_status().json()
            found += some
            if len(some) < 200:
                return found

    def running(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a flow that are running."""
        return [run for run in self.runs_of(flow) if run["state"]["type"] == "RUNNING"]

    def state(self, run_id: str) -> str:
        """Return the type of a run's state."""
        answer = httpx.get(f"{self.home.api_url}/flow_runs/{run_id}", timeout=30)
        return str(answer.raise_for_status().json()["state"]["type"])

    def submit(self, deployment: str, **parameters: object) -> str:
        """Start a run as the page's form does; return its id."""
        at = f"{self.home.api_url}/deployments"
        found = httpx.get(f"{at}/name/{deployment}", timeout=30).raise_for_status().json()
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        answer = httpx.post(f"{at}/{found['id']}/create_flow_run", json=body, timeout=30)
        return str(answer.raise_for_status().json()["id"])

    def deployment(self, deployment_id: str) -> dict[str, Any]:
        """Return a deployment."""
        answer = httpx.get(f"{self.home.api_url}/deployments/{deployment_id}", timeout=30)
        return dict[str, Any](answer.raise_for_status().json())

    def let_queue_have(self, queue: str, limit: int) -> None:
        """Change a work queue's limit as the page does."""
        at = f"{self.home.api_url}/work_pools/limsflow/queues/{queue}"
        body = {"concurrency_limit": limit}
        httpx.patch(at, json=body, timeout=30).raise_for_status()

    def called(self) -> list[str]:
        """Return what the slow program was run on, in order."""
        return self.log.read_text().split() if self.log.exists() else []


@contextmanager
def night_stack(folder: Path, postgres: PostgresServer, name: str) -> Iterator[NightStack]:
    """Make an empty species database and a Prefect server; end all processes with the block."""
    url = postgres.create_database(name)
    migrate(url)
    stack = NightStack(home=make_home(folder), url=url)
    try:
        stack.start_server()
        yield stack
    finally:
        for process in list(stack.processes):
            stack.kill(process)
