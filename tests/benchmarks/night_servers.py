"""The processes that a night is measured with, and the processor time that each has used."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deployments.embedded import Home, make_home
from tests.benchmarks import night_outcomes
from tests.fakes.served import REPOSITORY, environment
from tests.postgres.server import PostgresServer, private_postgres

TICKS = os.sysconf("SC_CLK_TCK")
START_LIMIT_S = 180
STOP_LIMIT_S = 30
RUN_LIMIT_S = 4 * 3600
SETTLE_S = 3.0  # in which a server writes down what it has heard last
LIMS, SERVERS, ANSWER = "LIMSFLOW_BENCH_LIMS", "LIMSFLOW_BENCH_SERVERS", "LIMSFLOW_BENCH_ANSWER"


@dataclass(frozen=True)
class Stack:
    """A Prefect server on PostgreSQL as ours is set, and what is measured while others work."""

    home: Home
    lims: str  # SQLAlchemy URL
    servers: dict[str, int]  # process by name

    def variables(self) -> dict[str, str]:
        """Return the environment of whoever works with this stack."""
        told = {LIMS: self.lims, SERVERS: json.dumps(self.servers)}
        told |= night_outcomes.variables(self.lims)
        return environment() | self.home.variables() | told

    def answer_of(self, module: str, *arguments: object) -> dict[str, Any]:
        """Run a module of these benchmarks in a process of its own; return what it measured."""
        name = f"{module.rpartition('.')[2]}-{'-'.join(map(str, arguments))}".replace("/", "")
        return answer_of(
            [sys.executable, "-m", module], arguments, self.variables(), self.log(name)
        )

    def log(self, name: str) -> Path:
        """Return where what a process says is kept."""
        return self.home.folder / "logs" / f"{name}.log"


def answer_of(
    argv: Sequence[object], arguments: Sequence[object], variables: Mapping[str, str], log: Path
) -> dict[str, Any]:
    """Run a program to its end; return the JSON that it left.

    Raises:
        RuntimeError: it failed; the end of its log is in the message.
    """
    answer = log.with_suffix(".json")
    with log.open("wb") as output:
        ended = subprocess.run(
            [*map(str, argv), *map(str, arguments)],
            env={**variables, ANSWER: str(answer)},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=RUN_LIMIT_S,
        )
    if ended.returncode:
        raise RuntimeError(f"{argv[-1]} failed:\n{log.read_text(errors='replace')[-3000:]}")
    return json.loads(answer.read_text())


def answer(**figures: Any) -> None:
    """Leave what was measured for `answer_of`."""
    Path(os.environ[ANSWER]).write_text(json.dumps(figures))


@contextmanager
def stack(folder: Path, lims: PostgresServer, url: str) -> Iterator[Stack]:
    """Run a Prefect server on a PostgreSQL of its own while the block runs."""
    home = make_home(folder)
    with private_postgres() as postgres:
        database = postgres.create_database("prefect")
        own = database.replace("postgresql+psycopg", "postgresql+asyncpg")
        variables = environment() | home.variables()
        variables |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": own}
        argv = [program("prefect"), "server", "start", "--host", "127.0.0.1"]
        with running([*argv, "--port", home.port], home.folder / "server.log", variables) as server:
            _until_healthy(server, home)
            pids = {"server": server.pid, "prefect_pg": pid_of(postgres), "lims_pg": pid_of(lims)}
            yield Stack(home, url, pids)


def program(name: str) -> Path:
    """Return a program of the environment that this runs in."""
    return Path(sys.executable).parent / name


def pid_of(postgres: PostgresServer) -> int:
    """Return the process that started all others of a PostgreSQL."""
    assert postgres._process is not None
    return postgres._process.pid


@contextmanager
def running(
    argv: Sequence[object], log: Path, variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that does not end by itself while the block runs; it dies with us."""
    setpriv = shutil.which("setpriv")
    guard = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*guard, *map(str, argv)],
            env=variables,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
        process.kill()
        process.wait()


def _until_healthy(server: subprocess.Popen[bytes], home: Home) -> None:
    give_up_at = time.monotonic() + START_LIMIT_S
    while time.monotonic() < give_up_at and server.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{home.api_url}/health", timeout=2, trust_env=False).is_success:
                return
        time.sleep(0.3)
    said = (home.folder / "server.log").read_text(errors="replace")[-3000:]
    raise RuntimeError(f"the Prefect server did not start:\n{said}")


# Processor time


def servers_cpu_s() -> dict[str, float]:
    """Return what each server of the stack has used, in a process that `Stack` started."""
    return {name: cpu_s(pid) for name, pid in json.loads(os.environ[SERVERS]).items()}


def cpu_s(pid: int) -> float:
    """Return what a process, its children and those that it waited for have used."""
    total = 0.0
    with suppress(FileNotFoundError, ProcessLookupError):
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = sum(map(int, values[11:15])) / TICKS
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += sum(cpu_s(int(child)) for child in (thread / "children").read_text().split())
    return total


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what was used between two moments."""
    return {name: after[name] - before[name] for name in before}
