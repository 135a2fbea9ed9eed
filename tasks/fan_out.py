"""Many runs at once, by whatever runs them: threads, processes, Dask, or a work pool of hosts.

What runs a task is Prefect's task runner: another one (Ray's, say) is one more line of `RUNNERS`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, cast
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkQueueFilter,
    WorkQueueFilterId,
)
from prefect.client.schemas.objects import StateType
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectException
from prefect.futures import PrefectWrappedFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task
from pydantic import Field

from blocks.errors import InvalidRequest, ServiceUnavailable
from blocks.record import Record
from tasks.patience import patiently

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
QUEUES_EVERY_S = 30.0
IN_A_QUESTION = 100  # runs
COMPLETED, FAILED, CRASHED = "COMPLETED", "FAILED", "CRASHED"
POOL = "limsflow"


class Engine(StrEnum):
    """What runs batches."""

    THREADS = "threads"
    PROCESSES = "processes"
    DASK = "dask"
    WORK_POOL = "work pool"


class FanOut(Record):
    """How the work is cut, and what runs it: the same flows, whatever it is."""

    engine: Engine = Field(
        default=Engine.THREADS,
        description="threads or processes of this machine, a Dask cluster, or runs of a work pool, "
        "whose workers may be on many hosts",
    )
    concurrency: int = Field(default=2, ge=1, le=1_000, description="batches at once")
    batch_size: int = Field(
        default=50,
        ge=1,
        le=10_000,
        description="pairs in one run; 1 gives each its own, thousands suit a back-fill",
    )
    at_once: int = Field(default=1, ge=1, le=64, description="pairs of one batch at once")
    dask_scheduler: str | None = Field(
        default=None,
        pattern=r"^(?:tcp|tls)://[A-Za-z0-9.\[\]:-]+$",
        description="address of a Dask cluster, like tcp://host:8786; empty: one of its own here",
    )


class Send(Protocol):
    """Runs one piece of work somewhere, and returns when it is over."""

    async def __call__(self, parameters: dict[str, Any], key: str) -> str:
        """Return what became of it, in Prefect's words: COMPLETED, FAILED, CRASHED ..."""
        ...


def _threads(how: FanOut) -> TaskRunner[Any]:
    return cast("TaskRunner[Any]", ThreadPoolTaskRunner(max_workers=how.concurrency))


def _processes(how: FanOut) -> TaskRunner[Any]:
    return ProcessPoolTaskRunner(max_workers=how.concurrency)


def _dask(how: FanOut) -> TaskRunner[Any]:
    try:
        from prefect_dask.task_runners import DaskTaskRunner  # noqa: PLC0415 - only who has a cluster needs it
    except ImportError as error:
        msg = "the engine dask needs prefect-dask: pip install 'limsflow[dask]'"
        raise InvalidRequest(msg) from error
    if how.dask_scheduler:
        return DaskTaskRunner(address=how.dask_scheduler)
    cluster = {"n_workers": how.concurrency, "threads_per_worker": 1, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


RUNNERS: dict[Engine, Callable[[FanOut], TaskRunner[Any]]] = {
    Engine.THREADS: _threads,
    Engine.PROCESSES: _processes,
    Engine.DASK: _dask,
}


@contextlib.asynccontextmanager
async def sending(
    how: FanOut, work: Task[..., Any], deployment: str, work_queue: str
) -> AsyncGenerator[Send, None]:
    """Give what sends work, for as long as the block runs.

    Args:
        how: What runs it.
        work: The step that does one piece, where a task runner runs it.
        deployment: The flow that does the same, where a work pool runs it.
        work_queue: Of that pool.

    Raises:
        InvalidRequest: the engine is not installed.
    """
    if how.engine is Engine.WORK_POOL:
        yield _in_work_pool(deployment, work_queue)
        return
    with RUNNERS[how.engine](how) as runner:
        yield _by(runner, work)


def _by(runner: TaskRunner[Any], work: Task[..., Any]) -> Send:
    async def send(parameters: dict[str, Any], key: str) -> str:  # noqa: ARG001 - one protocol
        future = cast("PrefectWrappedFuture[Any, Any]", runner.submit(work, parameters))
        return await _ended(future)

    return send


async def _ended(future: PrefectWrappedFuture[Any, Any]) -> str:
    """Return what became of work; the process that it was in may have died."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: object) -> None:
        loop.call_soon_threadsafe(over.set)

    future.add_done_callback(tell)  # not a thread that waits: there are few, and stores need them
    await over.wait()
    if future.wrapped_future.exception() is not None:
        return CRASHED
    made: object = future.result(raise_on_failure=False)
    return FAILED if isinstance(made, BaseException) else COMPLETED


# Runs of a work pool


def _in_work_pool(deployment: str, work_queue: str) -> Send:
    states = _States()

    async def send(parameters: dict[str, Any], key: str) -> str:
        run = await patiently(lambda: _submitted(deployment, parameters, work_queue, key))
        return await states.over(run)

    return send


async def _submitted(
    deployment: str, parameters: dict[str, Any], work_queue: str, key: str
) -> UUID:
    """Return the run of this key; sent again after an answer that never came, it is the same."""
    try:
        with _answering():
            run = await arun_deployment(
                deployment,
                parameters=parameters,
                timeout=0,
                idempotency_key=key,
                work_queue_name=work_queue,
                as_subflow=True,
            )
    except ServiceUnavailable as failure:
        if isinstance(failure.__cause__, ObjectNotFound):
            msg = f"there is no deployment {deployment} with a work queue {work_queue}: "
            raise InvalidRequest(f"{msg}see 'limsflow deploy'") from failure
        raise
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
        while self._waiting:
            await asyncio.sleep(LOOK_EVERY_S)
            runs = list(self._waiting)
            for start in range(0, len(runs), IN_A_QUESTION):
                some = runs[start : start + IN_A_QUESTION]
                for run, state in (await patiently(lambda some=some: _final(some))).items():
                    self._waiting.pop(run).set_result(state)


async def _final(runs: list[UUID]) -> dict[UUID, str]:
    """Return the states of those of these runs that are over; one that Prefect forgot is lost."""
    asked = FlowRunFilter(id=FlowRunFilterId(any_=runs))
    with _answering():
        async with get_client() as client:
            found = await client.read_flow_runs(flow_run_filter=asked)
    gone = dict.fromkeys(set(runs) - {one.id for one in found}, CRASHED)
    return gone | {
        one.id: one.state.type.value for one in found if one.state and one.state.is_final()
    }


@contextlib.contextmanager
def _answering() -> Generator[None, None, None]:
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        msg = f"Prefect does not answer: {error}"
        raise ServiceUnavailable(msg) from error


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
        self._urgent: list[UUID] = []
        self._someone_waits = False

    async def someone_waits(self) -> bool:
        """Whether a run of a more urgent work queue waits for a slot of this run's work pool.

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


async def _more_urgent(run_id: str) -> list[UUID]:
    with _answering():
        async with get_client() as client:
            run = await client.read_flow_run(UUID(run_id))
            if not run.work_pool_name:
                return []
            queues = await client.read_work_queues(work_pool_name=run.work_pool_name)
    mine = [queue.priority or 1 for queue in queues if queue.id == run.work_queue_id]
    return [queue.id for queue in queues if mine and (queue.priority or 1) < mine[0]]


async def _waits_in(queues: list[UUID]) -> bool:
    due = FlowRunFilterNextScheduledStartTime.model_validate({"before_": datetime.now(UTC)})
    scheduled = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    with _answering():
        async with get_client() as client:
            waiting = await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(state=scheduled, next_scheduled_start_time=due),
                work_queue_filter=WorkQueueFilter(id=WorkQueueFilterId(any_=list(queues))),
                limit=1,
            )
    return bool(waiting)
