"""Runs of a work pool, whose workers may be on many hosts: sent, waited for, and polite."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    WorkQueueFilter,
    WorkQueueFilterId,
)
from prefect.client.schemas.objects import WorkQueue
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from blocks.errors import InvalidRequest, ServiceUnavailable
from tasks.flow_runs import answering
from tasks.patience import patiently

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
QUEUES_EVERY_S = 30.0
IN_A_QUESTION = 100  # runs
CRASHED = "CRASHED"
POOL = "limsflow"
WAITING = ["Scheduled", "Late"]  # names: one that waits for a limit of its own needs no slot
WORKING = ["Pending", "Submitting", "InfrastructurePending", "Running", "Retrying"]

# Runs work with these parameters, known by this key, and returns what became of it when it is
# over, in Prefect's words: COMPLETED, FAILED, CRASHED ...
Send = Callable[[dict[str, Any], str], Awaitable[str]]


async def in_work_pool(deployment: str, work_queue: str) -> Send:
    """Return what sends work to a work pool, as runs of a deployment.

    Raises:
        InvalidRequest: there is no such deployment, or work queue: before anything is claimed.
    """
    await patiently(lambda: _require(deployment, work_queue))
    states = _States()

    async def send(parameters: dict[str, Any], key: str) -> str:
        run = await patiently(lambda: _submitted(deployment, parameters, work_queue, key))
        return await states.over(run)

    return send


async def _require(deployment: str, work_queue: str) -> None:
    msg = f"there is no deployment {deployment}, or its pool has no work queue {work_queue}: "
    try:
        with answering():
            async with get_client() as client:
                found = await client.read_deployment_by_name(deployment)
                pool = found.work_pool_name
                await client.read_work_queue_by_name(work_queue, work_pool_name=pool)
    except ServiceUnavailable as failure:
        if isinstance(failure.__cause__, ObjectNotFound):
            raise InvalidRequest(f"{msg}see 'limsflow deploy'") from failure
        raise


async def _submitted(
    deployment: str, parameters: dict[str, Any], work_queue: str, key: str
) -> UUID:
    """Return the run of this key; sent again after an answer that never came, it is the same."""
    with answering():
        run = await arun_deployment(
            deployment,
            parameters=parameters,
            timeout=0,
            idempotency_key=key,
            work_queue_name=work_queue,
            as_subflow=True,
        )
    return run.id


class _States:
    """Waits for many runs with one question at a time."""

    def __init__(self) -> None:
        self._waiting = dict[UUID, asyncio.Future[str]]()
        self._looking: asyncio.Task[None] | None = None

    async def over(self, run: UUID) -> str:
        """Return the state that a run ends in."""
        self._waiting[run] = asyncio.get_running_loop().create_future()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await self._waiting[run]

    async def _look(self) -> None:
        """Look until nobody waits; a Prefect that is away, for however long, is waited for."""
        try:
            while self._waiting:
                await asyncio.sleep(LOOK_EVERY_S)
                try:
                    await self._look_once()
                except ServiceUnavailable as failure:
                    logger.warning("%s; asked again", failure)
                    await asyncio.sleep(QUEUES_EVERY_S)
        finally:  # by a bug: nobody waits for what never comes
            for state in self._waiting.values():
                state.cancel()

    async def _look_once(self) -> None:
        runs = list(self._waiting)
        for start in range(0, len(runs), IN_A_QUESTION):
            for run, state in (await _final(runs[start : start + IN_A_QUESTION])).items():
                self._waiting.pop(run).set_result(state)


async def _final(runs: list[UUID]) -> dict[UUID, str]:
    """Return the states of those of these runs that are over; one that Prefect forgot is lost."""
    asked = FlowRunFilter(id=FlowRunFilterId(any_=runs))
    with answering():
        async with get_client() as client:
            found = await client.read_flow_runs(flow_run_filter=asked)
    gone = dict.fromkeys(set(runs) - {one.id for one in found}, CRASHED)
    return gone | {
        one.id: one.state.type.value for one in found if one.state and one.state.is_final()
    }


async def set_priority(work_queue: str, priority: int, *, pool: str = POOL) -> None:
    """Give a work queue a priority, 1 before 2; the queue is made if it is missing.

    Raises:
        InvalidRequest: there is no such work pool.
    """
    async with get_client() as client:
        try:
            await client.create_work_queue(work_queue, priority=priority, work_pool_name=pool)
        except ObjectAlreadyExists:
            queue = await client.read_work_queue_by_name(work_queue, work_pool_name=pool)
            await client.update_work_queue(queue.id, priority=priority)
        except ObjectNotFound as error:
            msg = f"there is no work pool {pool}: see 'limsflow deploy'"
            raise InvalidRequest(msg) from error


class Courtesy:
    """Lets more urgent runs go first, by the priorities of work queues on Prefect's page."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._asked_at = self._queues_at = -QUEUES_EVERY_S
        self._urgent: list[WorkQueue] = []
        self._someone_waits = False

    async def someone_waits(self) -> bool:
        """Whether a run of a more urgent work queue waits for a slot of this run's work pool.

        One that could not start with a free slot either, as its queue is paused or full, does not.
        Asked of Prefect at most once a second; a run that is in no pool keeps nobody waiting.
        """
        now = time.monotonic()
        if now - self._asked_at < LOOK_EVERY_S:
            return self._someone_waits
        self._asked_at = now
        try:
            if now - self._queues_at >= QUEUES_EVERY_S:
                self._urgent, self._queues_at = await _more_urgent(self._run_id), now
            self._someone_waits = bool(self._urgent) and await _waits_in(self._urgent)
        except ServiceUnavailable as failure:  # nobody can be started then
            logger.warning("%s", failure)
        return self._someone_waits


async def _more_urgent(run_id: str) -> list[WorkQueue]:
    with answering():
        async with get_client() as client:
            run = await client.read_flow_run(UUID(run_id))
            if not run.work_pool_name:
                return []
            queues = await client.read_work_queues(work_pool_name=run.work_pool_name)
    mine = [queue.priority or 1 for queue in queues if queue.id == run.work_queue_id]
    urgent = [queue for queue in queues if mine and (queue.priority or 1) < mine[0]]
    return [queue for queue in urgent if not queue.is_paused]


async def _waits_in(queues: list[WorkQueue]) -> bool:
    due = FlowRunFilterNextScheduledStartTime.model_validate({"before_": datetime.now(UTC)})
    waiting = FlowRunFilterState(name=FlowRunFilterStateName(any_=WAITING))
    wanted = FlowRunFilter(state=waiting, next_scheduled_start_time=due)
    working = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=WORKING)))
    for queue in queues:
        limit = queue.concurrency_limit
        if limit is not None and await _number(working, queue, limit) >= limit:
            continue
        if await _number(wanted, queue, 1):
            return True
    return False


async def _number(runs: FlowRunFilter, queue: WorkQueue, at_most: int) -> int:
    """Return how many runs of a queue there are, counted up to a number."""
    if at_most == 0:
        return 0
    of_queue = WorkQueueFilter(id=WorkQueueFilterId(any_=[queue.id]))
    with answering():
        async with get_client() as client:
            found = await client.read_flow_runs(
                flow_run_filter=runs, work_queue_filter=of_queue, limit=min(at_most, IN_A_QUESTION)
            )
    return len(found)
