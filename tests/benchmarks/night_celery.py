"""Celery with a broker as a peer: chains of three no-ops by two processes, in one run with ours.

Celery is installed into an environment of its own, unless `LIMSFLOW_CELERY` names one that has
`celery[redis]` and `psycopg[binary]`. The broker is Debian's redis-server, on a port of its own,
and keeps nothing on a disk.
"""

import os
import shutil
import subprocess
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.embedded import free_port
from tests.benchmarks import night_outcomes
from tests.benchmarks.night_servers import answer_of, cpu_s, running, used
from tests.fakes.served import REPOSITORY, environment

FOLDER, BROKER = "LIMSFLOW_CELERY", "LIMSFLOW_BENCH_BROKER"
NEEDED = ("celery[redis]==5.7.0", "psycopg[binary]>=3.2,<4")
APP = "tests.benchmarks.night_celery_app"
PROCESSES = 2
START_LIMIT_S = 60


class NotHere(Exception):
    """Celery or its broker is not on this machine."""


@dataclass(frozen=True)
class Celery:
    """A worker that waits, and its broker."""

    python: Path
    folder: Path
    lims: str  # SQLAlchemy URL
    broker: str
    pids: dict[str, int]

    def measure(self, jobs: int, *, stores: bool) -> dict[str, Any]:
        """Return what so many chains took, until the last result was there."""
        before = self._cpu_s()
        argv, given = [self.python, "-m", APP], [jobs, *["--stores"] * stores]
        log = self.folder / f"sender-{stores}.log"
        found = answer_of(argv, given, variables(self.lims, self.broker), log)
        if stores:
            night_outcomes.require_outcomes(self.lims, "Celery", jobs)
        cpu = {"client": found["sender_s"], **used(before, self._cpu_s())}
        return {"wall_s": found["wall_s"], "rate": jobs / found["wall_s"], "cpu_s": cpu}

    def _cpu_s(self) -> dict[str, float]:
        return {name: cpu_s(pid) for name, pid in self.pids.items()}


@contextmanager
def celery(folder: Path, lims: str, postgres: int) -> Iterator[Celery]:
    """Run a broker and a worker while the block runs.

    Raises:
        NotHere: one of them is not installed, and cannot be.
    """
    redis, python = shutil.which("redis-server"), python_with(NEEDED, FOLDER, folder / "venv")
    if redis is None:
        raise NotHere("redis-server is not installed: apt-get install redis-server")
    port = free_port()
    broker = f"redis://127.0.0.1:{port}/0"
    kept = ["--save", "", "--appendonly", "no", "--dir", folder]
    listening = [redis, "--bind", "127.0.0.1", "--port", port, *kept]
    working = [python, "-m", "celery", "-A", APP, "worker", "--pool", "prefork"]
    working += ["--concurrency", PROCESSES, "--loglevel", "WARNING"]
    told, log = variables(lims, broker), folder / "celery.log"
    with running(listening, folder / "redis.log") as server, running(working, log, told) as worker:
        pids = {"worker": worker.pid, "broker": server.pid, "lims_pg": postgres}
        _until_it_answers(python, told, log)
        yield Celery(python, folder, lims, broker, pids)


def variables(lims: str, broker: str) -> dict[str, str]:
    """Return the environment of the worker and of who sends."""
    return environment() | night_outcomes.variables(lims) | {BROKER: broker}


def _until_it_answers(python: Path, told: dict[str, str], log: Path) -> None:
    ask = [str(python), "-m", "celery", "-A", APP, "inspect", "ping", "--timeout", "2"]
    give_up_at = time.monotonic() + START_LIMIT_S
    while time.monotonic() < give_up_at:
        with suppress(subprocess.TimeoutExpired):
            asked = subprocess.run(
                ask, env=told, cwd=REPOSITORY, capture_output=True, check=False, timeout=30
            )
            if asked.returncode == 0:
                return
    raise RuntimeError(f"Celery's worker does not answer:\n{log.read_text()[-3000:]}")


def python_with(needed: Sequence[str], folder: str, home: Path) -> Path:
    """Return the Python of an environment that has these packages.

    Args:
        needed: What pip installs, unless an environment is named.
        folder: The variable that may name one.
        home: Where it is made.

    Raises:
        NotHere: they cannot be installed.
    """
    named = os.environ.get(folder)
    if named:
        return Path(named) / "bin" / "python"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", *needed],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NotHere(f"{', '.join(needed)} cannot be installed: {done.stderr.strip()[-300:]}")
    return python
