"""Children of a fork server: started in milliseconds, watched until they are gone."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Iterable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
from anyio import to_thread
from prefect._internal.attempt_control import AttemptConclusion
from prefect.client.schemas.objects import FlowRun, State
from prefect.runner._control_channel import ControlChannel
from prefect.runner._flow_run_executor import ProcessStarter
from prefect.runner._process_manager import ProcessHandle

from blocks.errors import InvalidRequest
from deployments import warm_child
from deployments.warm_child import Order

LOST = 255  # what multiprocessing says of a child whose fork server is gone


class Child:
    """A process that Prefect's runner asks for its number and, once it has ended, its status."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None


class Forks:
    """The fork server of this worker; all children come from it.

    Server and children outlive a worker that is killed; children outlive a server that is.

    Args:
        modules: What it imports before it forks: those of the flows.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._modules = tuple(modules)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        # multiprocessing looks at all children at each start, and must not do so twice at once
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def warm_up(self) -> None:
        """Start the server, and a first child that finds everything loaded.

        Raises:
            InvalidRequest: a flow cannot be imported; the reason is on standard error.
        """
        self._context.set_forkserver_preload([warm_child.__name__, *self._modules])
        if await self.call(warm_child.load, self._modules):
            msg = "a flow cannot be imported: its error is above"
            raise InvalidRequest(msg)

    async def call(
        self,
        target: Callable[..., None],
        *arguments: Any,
        started: Callable[[Child], None] = lambda _: None,
    ) -> int:
        """Run a function of an imported module in a child; return the child's exit status.

        A negative status is the signal that ended it; `LOST` if nobody can say.
        """
        process = self._context.Process(target=target, args=arguments)
        await to_thread.run_sync(process.start, limiter=self._one_at_a_time)
        child = Child(process.pid or 0)
        gone = _watch(child.pid)
        try:
            started(child)
            if gone is not None:
                await _readable(gone)
            await _readable(process.sentinel)
        finally:
            if gone is not None:
                os.close(gone)
        status = await to_thread.run_sync(_status, process, limiter=self._one_at_a_time)
        child.returncode = status
        return status


def _watch(pid: int) -> int | None:
    """Return a handle that becomes readable when the process has ended, whoever its parent is."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


async def _readable(handle: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(handle)


def _status(process: ForkServerProcess) -> int:
    process.join()
    status = process.exitcode
    process.close()
    return LOST if status is None else status


class ForkStarter:
    """Starts one flow run in a child; what Prefect calls a process starter."""

    def __init__(self, forks: Forks, order: Order, channel: ControlChannel) -> None:
        self._forks = forks
        self._order = order
        self._channel = channel

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run it to its end; say when its process is there."""
        port, token = self._channel.register(flow_run.id)
        control = {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}

        def started(child: Child) -> None:
            task_status.started(ProcessHandle(child))  # pyright: ignore[reportArgumentType]

        await self._forks.call(warm_child.run, self._order.with_variables(control), started=started)


class ConcludedStarter:
    """A starter that keeps what the run's engine said of its end, before Prefect forgets it."""

    def __init__(self, starter: ProcessStarter, channel: ControlChannel) -> None:
        self._starter = starter
        self._channel = channel
        self.conclusion: AttemptConclusion | None = None

    async def start(
        self,
        flow_run: FlowRun,
        task_status: anyio.abc.TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run it to its end."""
        await self._starter.start(flow_run, task_status=task_status)
        self.conclusion = self._channel.get_conclusion(flow_run.id)


class ForkHooks:
    """Runs the hooks of runs that were cancelled or crashed, each in a child of its own.

    So they find the run's directory and environment, and a hook that fails harms no other run.
    """

    def __init__(self, forks: Forks) -> None:
        self._forks = forks
        self.orders = dict[UUID, Order]()

    async def run_cancellation_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        """Run those of `on_cancellation`."""
        await self._run(flow_run, "cancellation", state)

    async def run_crashed_hooks(self, flow_run: FlowRun, state: State[Any]) -> None:
        """Run those of `on_crashed`; none if Prefect did not accept that it crashed."""
        if state.is_crashed():
            await self._run(flow_run, "crashed", state)

    async def _run(self, flow_run: FlowRun, kind: str, state: State[Any]) -> None:
        now = self.orders[flow_run.id].model_copy(update={"flow_run": flow_run.model_dump_json()})
        await self._forks.call(warm_child.run_hooks, now, kind, state.model_dump_json())
