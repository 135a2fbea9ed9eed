"""From a message to a flow's first line, and runs in a second: our worker beside Prefect's own.

    python -m tests.benchmarks.warm_worker            # ours, a server on PostgreSQL as ours is set
    python -m tests.benchmarks.warm_worker --stock    # and `prefect worker start`
    python -m tests.benchmarks.warm_worker --servers 2   # one server of two processes, with Redis

A run is a flow of three tasks that do nothing. Latency: from sending the request that makes the
run to the flow's first line, one run at a time. Rate: so many runs asked for at once, from the
first request to the end of the last run. Each figure is printed beside the load of the machine.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import flow, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.embedded import Home, free_port, make_home
from tests.benchmarks.night_servers import _until_healthy, cpu_s, pid_of, program, running
from tests.fakes.served import REPOSITORY, environment
from tests.postgres.server import private_postgres

POOL, MODULE = "limsflow", "tests.benchmarks.warm_worker"
LATENCIES, BURST, LIMIT, WARM_UP = 12, 48, 4, 2
SETTLE_S = 2.0  # in which a server writes down what it has heard last
GIVE_UP_S = 600.0
PREFECT_REDIS = "prefect-redis==0.3.0"  # its own needs Prefect brings
REDIS = {
    "PREFECT_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
}


@task(cache_policy=NO_CACHE)
async def no_op(number: int) -> int:
    return number


@flow
async def three_no_ops(mark: str) -> None:
    new = Path(f"{mark}.new")
    new.write_text(repr(time.time()))
    new.rename(mark)
    for number in range(3):
        await no_op(number)


@dataclass(frozen=True)
class Bench:
    """A server on PostgreSQL, and where runs leave their marks."""

    home: Home
    variables: Mapping[str, str]
    servers: Mapping[str, int]  # process by name

    @property
    def marks(self) -> Path:
        return self.home.folder / "marks"


@contextmanager
def bench(folder: Path, servers: int = 1) -> Iterator[Bench]:
    """Run Prefect on a PostgreSQL of its own while the block runs; more than one needs Redis."""
    home = make_home(folder)
    (folder / "marks").mkdir()
    with ExitStack() as stack:
        postgres = stack.enter_context(private_postgres())
        database = postgres.create_database("prefect")
        variables = environment() | home.variables()
        variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database.replace(
            "+psycopg", "+asyncpg"
        )
        variables["LIMSFLOW_WARM_MODULES"] = MODULE
        argv: list[object] = [program("prefect"), "server", "start", "--host", "127.0.0.1"]
        argv += ["--port", home.port]
        theirs = dict[str, str]()
        if servers > 1:
            with running(argv, folder / "first.log", variables) as first:  # makes what two would
                _until_healthy(first, home)
                time.sleep(SETTLE_S)
            theirs = stack.enter_context(_redis(folder))
            argv += ["--workers", servers]
        server = stack.enter_context(running(argv, folder / "server.log", variables | theirs))
        _until_healthy(server, home)
        yield Bench(home, variables, {"server": server.pid, "postgres": pid_of(postgres)})


@contextmanager
def _redis(folder: Path) -> Iterator[dict[str, str]]:
    """Run Redis, and say how servers find it, and the package of Prefect's that they need."""
    port, package = free_port(), folder / "prefect-redis"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", package]
    subprocess.run([*install, PREFECT_REDIS], check=True)
    argv = [shutil.which("redis-server") or "redis-server", "--port", port, "--save", ""]
    with running(argv, folder / "redis.log"):
        yield REDIS | {
            "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
            "PREFECT_REDIS_MESSAGING_PORT": str(port),
            "PREFECT_SERVER_DOCKET_URL": f"redis://127.0.0.1:{port}/1",
            "PYTHONPATH": str(package),
        }


@contextmanager
def our_worker(bench: Bench, limit: int) -> Iterator[int]:
    """Run `limsflow worker`; give its process."""
    argv = [program("python"), "-m", "deployments.cli", "worker", "--limit", limit]
    with running(argv, bench.home.folder / "worker.log", bench.variables) as worker:
        yield worker.pid


@contextmanager
def stock_worker(bench: Bench, limit: int) -> Iterator[int]:
    """Run Prefect's own process worker; give its process."""
    argv = [program("prefect"), "worker", "start", "--pool", POOL, "--type", "process"]
    variables = {**bench.variables, "PATH": f"{program('python').parent}:{os.environ['PATH']}"}
    log = bench.home.folder / "stock.log"
    with running([*argv, "--limit", limit], log, variables) as worker:
        yield worker.pid


async def deployed(client: PrefectClient, command: str | None = None) -> UUID:
    """Return a deployment of the flow in the process pool, which is made."""
    pools = [pool.name for pool in await client.read_work_pools()]
    if POOL not in pools:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    directory = {"directory": str(REPOSITORY)}
    variables = {"working_dir": str(REPOSITORY)} | ({"command": command} if command else {})
    return await client.create_deployment(
        flow_id=await client.create_flow(three_no_ops),
        name="bench",
        work_pool_name=POOL,
        entrypoint=f"{MODULE}.three_no_ops",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": directory}],
        job_variables=variables,
    )


async def latencies(client: PrefectClient, deployment: UUID, marks: Path, n: int) -> list[float]:
    """Return seconds from the request that makes a run to the first line, one after another."""
    found = list[float]()
    for _ in range(n + WARM_UP):
        mark = marks / f"latency-{time.time_ns()}"
        began = time.time()
        run = await client.create_flow_run_from_deployment(
            deployment, parameters={"mark": str(mark)}
        )
        await ended(client, [run])
        found.append(float(mark.read_text()) - began)
        await asyncio.sleep(0.5)
    return found[WARM_UP:]


async def burst(client: PrefectClient, deployment: UUID, marks: Path, n: int) -> float:
    """Return seconds from the first request to the end of the last of so many runs."""
    began = time.time()
    runs = await asyncio.gather(
        *(
            client.create_flow_run_from_deployment(
                deployment, parameters={"mark": str(marks / f"burst-{time.time_ns()}-{number}")}
            )
            for number in range(n)
        )
    )
    over = await ended(client, runs)
    return max(run.end_time.timestamp() for run in over if run.end_time) - began


async def ended(client: PrefectClient, runs: list[FlowRun]) -> list[FlowRun]:
    """Wait until all runs have completed."""
    ids = FlowRunFilter(id=FlowRunFilterId(any_=[run.id for run in runs]))
    give_up_at = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up_at:
        await asyncio.sleep(0.2)
        found = await client.read_flow_runs(flow_run_filter=ids)
        if sum(run.state_type is StateType.COMPLETED for run in found) == len(runs):
            return found
    raise RuntimeError("the runs do not end")


async def measured(
    bench: Bench, worker: int, command: str | None, n: int, m: int
) -> dict[str, Any]:
    """Return latency, rate, and the processor time that a run of the burst took of whom."""
    async with get_client() as client:
        deployment = await deployed(client, command)
        waits = await latencies(client, deployment, bench.marks, n)
        await asyncio.sleep(SETTLE_S)
        processes = {"worker": worker, **bench.servers}
        before = {name: cpu_s(pid) for name, pid in processes.items()}
        wall_s = await burst(client, deployment, bench.marks, m)
        await asyncio.sleep(SETTLE_S)
        used = {name: (cpu_s(pid) - before[name]) / m for name, pid in processes.items()}
    return {
        "median_s": round(statistics.median(waits), 3),
        "least_s": round(min(waits), 3),
        "most_s": round(max(waits), 3),
        "runs_per_s": round(m / wall_s, 2),
        "cpu_s_per_run": {name: round(value, 3) for name, value in used.items()},
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def main() -> None:
    """Measure, and print a line of JSON for each worker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stock", action="store_true", help="Prefect's own worker too")
    parser.add_argument("--servers", type=int, default=1, help="processes of the server")
    parser.add_argument("--runs", type=int, default=LATENCIES, help="one after another")
    parser.add_argument("--burst", type=int, default=BURST, help="at once")
    parser.add_argument("--limit", type=int, default=LIMIT, help="runs at once of a worker")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="warm-") as folder,
        bench(Path(folder), given.servers) as b,
        temporary_settings({PREFECT_API_URL: b.home.api_url}),
    ):
        asyncio.run(_make_pool())
        with our_worker(b, given.limit) as worker:
            found = asyncio.run(measured(b, worker, None, given.runs, given.burst))
        print(json.dumps({"worker": "limsflow", "limit": given.limit} | found), flush=True)
        if given.stock:
            with stock_worker(b, 2) as worker:
                few = (min(given.runs, 5), min(given.burst, 9))
                found = asyncio.run(measured(b, worker, "python -m prefect.engine", *few))
            print(json.dumps({"worker": "stock", "limit": 2} | found), flush=True)


async def _make_pool() -> None:
    async with get_client() as client:
        await deployed(client)


if __name__ == "__main__":
    main()
