"""Many runs at once, by whatever runs them: threads, processes, Dask, or a work pool of hosts.

What runs a task is Prefect's task runner: another one (Ray's, say) is one more line of `RUNNERS`.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import ContextVar
from enum import StrEnum
from typing import Any, Self, cast

from prefect.futures import PrefectWrappedFuture
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task
from pydantic import Field

from blocks.errors import InvalidRequest
from blocks.record import Record
from tasks.work_pools import CRASHED, Send, in_work_pool

COMPLETED, FAILED = "COMPLETED", "FAILED"


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
        yield await in_work_pool(deployment, work_queue)
        return
    at_work = _AtWork()
    with _Runners(how) as runners:
        try:
            yield _by(runners, work, at_work)
        finally:  # the runner waits for its threads, however long their programs take
            at_work.stop()


class _Runners:
    """The task runner of a night; a new one when its processes are broken."""

    def __init__(self, how: FanOut) -> None:
        self._how, self._open = how, contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.current = self._begun()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def renew(self, broken: TaskRunner[Any]) -> None:
        """Begin another runner, unless somebody has: one process that dies breaks them all."""
        if self._how.engine is Engine.PROCESSES and broken is self.current:
            self.current = self._begun()

    def _begun(self) -> TaskRunner[Any]:
        return self._open.enter_context(RUNNERS[self._how.engine](self._how))


def _by(runners: _Runners, work: Task[..., Any], at_work: "_AtWork") -> Send:
    async def send(parameters: dict[str, Any], key: str) -> str:  # noqa: ARG001 - one protocol
        runner = runners.current
        token = _AT_WORK.set(at_work)  # a thread has a copy of what is set where it is begun
        try:
            future = cast("PrefectWrappedFuture[Any, Any]", runner.submit(work, parameters))
        finally:
            _AT_WORK.reset(token)
        ended = await _ended(future)
        if ended == CRASHED:
            runners.renew(runner)
        return ended

    return send


class _AtWork:
    """What the threads of one fan-out are at; stopped when whoever sent it is."""

    def __init__(self) -> None:
        self._lock, self._is_over = threading.Lock(), False
        self._running = dict[asyncio.Task[Any], asyncio.AbstractEventLoop]()

    def stop(self) -> None:
        """Cancel everything, with the programs that it runs."""
        with self._lock:
            self._is_over = True
            for task, loop in self._running.items():
                loop.call_soon_threadsafe(task.cancel)

    def begin(self, task: asyncio.Task[Any]) -> None:
        """Remember a task of this thread; it is cancelled at once if all is over."""
        with self._lock:
            self._running[task] = asyncio.get_running_loop()
            if self._is_over:
                task.cancel()

    def end(self, task: asyncio.Task[Any]) -> None:
        """Forget a task."""
        with self._lock:
            del self._running[task]


_AT_WORK = ContextVar[_AtWork | None]("_AT_WORK", default=None)


@contextlib.contextmanager
def stopped_with_its_sender() -> Generator[None, None, None]:
    """Let this work, in a thread, be cancelled when the run that sent it is."""
    at_work, task = _AT_WORK.get(), asyncio.current_task()
    if at_work is None or task is None:  # in a process, or on another host
        yield
        return
    at_work.begin(task)
    try:
        yield
    finally:
        at_work.end(task)


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


class Slots:
    """Runs so many coroutines at once, and begins no more than there is room for."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._running = set[asyncio.Task[None]]()

    async def free(self) -> None:
        """Wait until there is room for one more; what failed meanwhile is raised."""
        await self._until_fewer_than(self._number)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin one."""
        self._running.add(asyncio.create_task(work))

    async def all_over(self) -> None:
        """Wait until none is running."""
        await self._until_fewer_than(1)

    def cancel(self) -> None:
        """Cancel those that run."""
        for task in self._running:
            task.cancel()

    async def _until_fewer_than(self, number: int) -> None:
        while len(self._running) >= number:
            done, self._running = await asyncio.wait(
                self._running, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
