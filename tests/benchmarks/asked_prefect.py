"""Asking Prefect for runs over REST: our worker, its own process worker, and `flow.serve`.

python -m tests.benchmarks.asked_prefect      # serves the flow of three no-ops, for `asked`
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect import get_client
from prefect.exceptions import ObjectNotFound

from tests.benchmarks.asked_found import Found, Size
from tests.benchmarks.night_servers import program, running
from tests.benchmarks.warm_worker import (
    Bench,
    burst,
    deployed,
    latencies,
    our_worker,
    stock_worker,
    three_no_ops,
)

AT_ONCE = 4  # runs of a worker
SERVED = "served"
LOOKS_S = 60.0
# flow.serve would ask every 10 s; so it asks as often as the workers here.
EVERY_SECOND = {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
ENGINE = "python -m prefect.engine"


def ours(bench: Bench, size: Size) -> Found:
    """Return what `limsflow worker` takes."""
    with our_worker(bench, AT_ONCE):
        return asyncio.run(_measured(bench, size))


def stock(bench: Bench, size: Size, command: str | None = None) -> Found:
    """Return what `prefect worker start` takes, with or without a command in the deployment."""
    with stock_worker(bench, AT_ONCE):
        return asyncio.run(_measured(bench, size, command))


def served(bench: Bench, size: Size) -> Found:
    """Return what `flow.serve` takes."""
    with _serving(bench):
        return asyncio.run(_measured_there(bench, size))


@contextmanager
def _serving(bench: Bench) -> Iterator[None]:
    argv = [program("python"), "-m", __name__]
    with running(argv, bench.home.folder / "serve.log", {**bench.variables, **EVERY_SECOND}):
        yield


async def _measured(bench: Bench, size: Size, command: str | None = None) -> Found:
    async with get_client() as client:
        deployment = await deployed(client, command)
        waits = await latencies(client, deployment, bench.marks, size.waits)
        wall_s = await burst(client, deployment, bench.marks, size.burst)
    return Found(waits, size.burst, wall_s)


async def _measured_there(bench: Bench, size: Size) -> Found:
    deployment = await _deployment()
    async with get_client() as client:
        waits = await latencies(client, deployment, bench.marks, size.waits)
        wall_s = await burst(client, deployment, bench.marks, size.burst)
    return Found(waits, size.burst, wall_s)


async def _deployment() -> UUID:
    """Return the deployment that `flow.serve` makes, when it has."""
    name = f"{three_no_ops.name}/{SERVED}"
    async with asyncio.timeout(LOOKS_S), get_client() as client:
        while True:
            try:
                return (await client.read_deployment_by_name(name)).id
            except ObjectNotFound:
                await asyncio.sleep(0.5)


if __name__ == "__main__":
    three_no_ops.serve(name=SERVED, limit=AT_ONCE, print_starting_message=False)
