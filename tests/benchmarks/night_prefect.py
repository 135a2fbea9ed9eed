"""Plain Prefect, one flow run for each job, on the same server: resident, and its stock worker.

Resident: one process that is warm calls the flow again and again; once one after another, once
eight at a time. Stock: `prefect worker start` with its defaults, of which only the limit is set.
"""

import argparse
import asyncio
import contextlib
import time
from typing import Any

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.context import AsyncClientContext
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow

from tests.benchmarks.night_items import own_cpu_s
from tests.benchmarks.night_outcomes import WARM_UP, require_outcomes
from tests.benchmarks.night_prefect_flow import three_no_ops
from tests.benchmarks.night_servers import (
    SETTLE_S,
    Stack,
    answer,
    cpu_s,
    program,
    running,
    servers_cpu_s,
    used,
)
from tests.fakes.served import REPOSITORY

POOL = "stock"
STOCK_AT_ONCE = 2  # more than there are cores does not help it
ENTRYPOINT = "tests/benchmarks/night_prefect_flow.py:three_no_ops"
LOOK_EVERY_S = 1.0
LIMIT_S = 900


def resident(stack: Stack, items: int, at_once: int) -> dict[str, Any]:
    """Return what so many jobs took in a resident process."""
    found = stack.answer_of(__name__, "resident", items, "--at-once", at_once)
    require_outcomes(stack.lims, f"resident {at_once}", items)
    return found | {"rate": items / found["wall_s"]}


def stock(stack: Stack, items: int) -> dict[str, Any]:
    """Return what so many jobs took by Prefect's stock process worker."""
    argv = [program("prefect"), "worker", "start", "--pool", POOL, "--type", "process"]
    log = stack.log("stock-worker")
    with running([*argv, "--limit", STOCK_AT_ONCE], log, stack.variables()) as worker:
        found = stack.answer_of(__name__, "stock", items, "--worker", worker.pid)
    require_outcomes(stack.lims, "stock", items)
    return found | {"rate": items / found["wall_s"]}


# In a process of its own


def main() -> None:
    """Run jobs; leave seconds, and CPU by whom."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("how", choices=("resident", "stock"))
    parser.add_argument("items", type=int)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--worker", type=int, default=0, help="process of the stock worker")
    given = parser.parse_args()
    if given.how == "resident":
        asyncio.run(_resident(given.items, given.at_once))
    else:
        asyncio.run(_stock(given.items, given.worker))


async def _resident(items: int, at_once: int) -> None:
    slots, peer = asyncio.Semaphore(at_once), f"resident {at_once}"

    async def run(item: int) -> None:
        async with slots:
            await three_no_ops(item, peer)

    async with AsyncClientContext.get_or_create():  # or each run makes a client of its own
        await run(WARM_UP)
        await asyncio.sleep(SETTLE_S)
        servers, own, began = servers_cpu_s(), own_cpu_s(), time.perf_counter()
        await asyncio.gather(*(run(item) for item in range(items)))
        wall_s, client = time.perf_counter() - began, own_cpu_s() - own
    await asyncio.sleep(SETTLE_S)
    answer(wall_s=wall_s, cpu_s={"client": client, **used(servers, servers_cpu_s())})


async def _stock(items: int, worker: int) -> None:
    async with get_client() as client:
        await _until_there(client, POOL)
        flow = await Flow.afrom_source(source=str(REPOSITORY), entrypoint=ENTRYPOINT)
        deployment = await flow.adeploy("stock", work_pool_name=POOL, print_next_steps=False)
        servers, own, began = servers_cpu_s(), cpu_s(worker), time.time()
        for item in range(items):
            given = {"item": item, "peer": "stock"}
            await client.create_flow_run_from_deployment(deployment, parameters=given)
        runs = await _all_over(client, deployment, items)
        await asyncio.sleep(SETTLE_S)
    answer(
        wall_s=max(run.end_time.timestamp() for run in runs if run.end_time) - began,
        cpu_s={"client": cpu_s(worker) - own, **used(servers, servers_cpu_s())},
    )


async def _until_there(client: PrefectClient, pool: str) -> None:
    """Wait until the worker has made its pool."""
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        with contextlib.suppress(ObjectNotFound):
            await client.read_work_pool(pool)
            return
        await asyncio.sleep(LOOK_EVERY_S)
    raise RuntimeError("the stock worker does not make its pool")


async def _all_over(client: PrefectClient, deployment: Any, items: int) -> list[FlowRun]:
    mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        runs = await client.read_flow_runs(flow_run_filter=mine)
        if sum(run.state_type is StateType.COMPLETED for run in runs) == items:
            return runs
        await asyncio.sleep(LOOK_EVERY_S)
    raise RuntimeError("the stock worker's runs do not end")


if __name__ == "__main__":
    main()
