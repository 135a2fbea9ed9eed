"""The peers' job as a plain Prefect flow: three no-ops, the last of which stores an outcome.

Prefect's stock worker loads this file in a new process for each job.
"""

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tests.benchmarks.night_outcomes import store_outcome


@task(cache_policy=NO_CACHE)
async def no_op(item: int) -> int:
    return item


@task(cache_policy=NO_CACHE)
async def store(item: int, peer: str) -> None:
    store_outcome(peer, item)


@flow
async def three_no_ops(item: int, peer: str) -> None:
    await store(await no_op(await no_op(item)), peer)
