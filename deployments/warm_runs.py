"""The processes of a worker's runs: started, cancelled, and watched until they have ended.

Prefect's own runner does it, which its process worker opens anew for each run. Here one is open
for the worker's life, so what it does badly in a long life is done here: it stops looking for
cancelled runs when its connection closes.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import anyio
from prefect._internal.attempt_control import AttemptConclusion, EngineOutcomeReceipt
from prefect.client.schemas.objects import FlowRun
from prefect.runner._flow_run_executor import FlowRunExecutorContext, ProcessStarter
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter

from blocks.record import Record
from deployments.warm_job import WarmConfiguration
from deployments.warm_starter import ConcludedStarter, ForkHooks, Forks, ForkStarter

KILL_AFTER_S = 30.0  # what a run has to close after itself


class End(Record):
    """How a run's process ended."""

    pid: int
    status: int
    state: str  # completed, failed, crashed, cancelled ...; unknown if nobody said
    failure: str = ""  # the state's own name, if it has one
    seconds: float


@dataclass
class _Claim:
    """A run of ours, from before Prefect knows to after its end."""

    has_process: asyncio.Event = field(default_factory=asyncio.Event)
    cancelling: asyncio.Lock = field(default_factory=asyncio.Lock)
    was_cancelled: bool = False


class WarmRuns:
    """Runs flow runs in processes.

    Args:
        forks: Makes the processes.
        context: Prefect's runner.
    """

    def __init__(self, forks: Forks, context: FlowRunExecutorContext) -> None:
        self._forks = forks
        self._context = context
        self._hooks = ForkHooks(forks)
        self._claims = dict[UUID, _Claim]()
        self._none = asyncio.Event()
        self._none.set()

    @property
    def ours(self) -> set[UUID]:
        """The runs that we claim."""
        return set(self._claims)

    @contextlib.contextmanager
    def claimed(self, run_id: UUID) -> Generator[None, None, None]:
        """Let a run be cancelled from here on, also while it has no process yet."""
        self._claims[run_id] = _Claim()
        self._none.clear()
        try:
            yield
        finally:
            del self._claims[run_id]
            if not self._claims:
                self._none.set()

    def was_cancelled(self, run_id: UUID) -> bool:
        """Whether somebody has asked for the end of a run of ours."""
        return self._claims[run_id].was_cancelled

    async def execute(
        self,
        run: FlowRun,
        configuration: WarmConfiguration,
        *,
        started: Callable[[int], None],
    ) -> End | None:
        """Run a claimed run to its end; None: it could not be started, which Prefect was told.

        Args:
            run: In the state that Prefect accepted.
            configuration: Of its process.
            started: Called with the number of its process.
        """
        claim, began = self._claims[run.id], time.monotonic()

        def has_process(handle: ProcessHandle) -> None:
            started(handle.pid or 0)
            claim.has_process.set()

        with _directory(configuration) as directory:
            self._hooks.orders[run.id] = configuration.order_for(run, directory)
            starter = self._starter(run.id, configuration, directory)
            executor = self._context.create_executor(
                run, starter, hook_runner=self._hooks, propose_submitting=False
            )
            try:
                ended = await executor.submit(task_status=_Told(has_process))
            finally:
                claim.has_process.set()
                async with claim.cancelling:  # its hooks need the directory
                    del self._hooks.orders[run.id]
        if ended is None or ended.handle.pid is None or ended.handle.returncode is None:
            return None
        return _end(ended.handle.pid, ended.handle.returncode, starter.conclusion, began)

    def _starter(
        self, run_id: UUID, configuration: WarmConfiguration, directory: Path
    ) -> ConcludedStarter:
        channel = self._context.control_channel
        starter: ProcessStarter
        if configuration.is_warm:
            starter = ForkStarter(self._forks, self._hooks.orders[run_id], channel)
        else:
            starter = EngineCommandStarter(
                command=configuration.command,
                cwd=directory,
                env=configuration.env,
                stream_output=configuration.stream_output,
                control_channel=channel,
            )
        return ConcludedStarter(starter, channel)

    async def cancel(self, run_id: UUID) -> None:
        """Cancel a run as Prefect does: its process is told and ended, then its hooks run.

        Does nothing for a run that is not ours or that is being cancelled already.
        """
        claim = self._claims.get(run_id)
        if claim is None or claim.cancelling.locked():
            return
        async with claim.cancelling:
            claim.was_cancelled = True
            await claim.has_process.wait()
            await self._context._cancellation_manager.cancel_by_id(run_id)  # pyright: ignore[reportPrivateUsage] # noqa: SLF001 - see SEAM

    async def wait_for_all(self, hurry: asyncio.Event) -> None:
        """Wait until no run is ours, or until there is a hurry."""
        waiting = {asyncio.create_task(hurry.wait()), asyncio.create_task(self._none.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def end_all(self) -> None:
        """End all processes: their engines report a crash and run its hooks, or we do."""
        manager = self._context.process_manager
        async with anyio.create_task_group() as ending:
            for run_id in manager.flow_run_ids():
                ending.start_soon(manager.kill, run_id, KILL_AFTER_S)


@contextlib.asynccontextmanager
async def warm_runs(forks: Forks) -> AsyncGenerator[WarmRuns, None]:
    """Open Prefect's runner while the block runs; processes that are left are ended."""
    async with FlowRunExecutorContext() as context:
        # It would give up for ever when its connection closes: the worker looks itself.
        await context._observer.__aexit__(None, None, None)  # pyright: ignore[reportPrivateUsage] # noqa: SLF001 - see SEAM
        yield WarmRuns(forks, context)


class _Told:
    """Calls a function when a process is there; what anyio calls a task's status."""

    def __init__(self, function: Callable[[ProcessHandle], None]) -> None:
        self._function = function

    def started(self, value: ProcessHandle | None = None) -> None:
        if value is not None:
            self._function(value)


def _end(pid: int, status: int, said: AttemptConclusion | None, began: float) -> End:
    seconds = time.monotonic() - began
    if isinstance(said, EngineOutcomeReceipt):
        state, name = (said.state_type or "aborted").lower(), said.state_name or ""
    elif said is not None:
        state, name = "cancelled", ""
    else:
        state, name = ("crashed" if status else "unknown"), ""
    failure = name if state in ("failed", "crashed") and name.lower() != state else ""
    return End(pid=pid, status=status, state=state, failure=failure, seconds=seconds)


@contextlib.contextmanager
def _directory(configuration: WarmConfiguration) -> Generator[Path, None, None]:
    """Give the directory that pool or deployment name, or a new one for the run alone."""
    if configuration.working_dir:
        yield configuration.working_dir
    else:
        with tempfile.TemporaryDirectory(suffix="prefect", ignore_cleanup_errors=True) as made:
            yield Path(made)
