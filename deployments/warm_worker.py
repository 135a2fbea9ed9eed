"""A worker for pools of type `process` that starts a run in a tenth of the stock worker's time.

Prefect's own process worker starts one or two cold interpreters for each run: 4 to 11 s until the
flow's first line. This one forks a process that has loaded Prefect and the flows already, and
hears of runs instead of asking. A run is a process of its own as before; limits, priorities,
cancelling, crashes, hooks and logs are Prefect's. A change of code needs a restart of the worker.

Where the pool or a deployment has a `command` that is not Prefect's engine, the run gets a cold
process with that command, as from the stock worker.
"""

import asyncio
import collections
import contextlib
import datetime
from collections.abc import Generator
from typing import Any
from uuid import UUID

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.clients import RETRYABLE_EXCEPTIONS, get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.events.schemas.events import Event
from prefect.exceptions import Abort, ObjectNotFound, PrefectException
from prefect.settings import get_current_settings
from prefect.states import Pending, Scheduled
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessVariables, ProcessWorkerResult

from blocks.errors import InvalidRequest
from deployments import metrics
from deployments.warm_job import Known, WarmConfiguration, job_variables
from deployments.warm_runs import End, WarmRuns, warm_runs
from deployments.warm_starter import Forks

RUN = "prefect.flow-run."
SCHEDULED, CANCELLING = "prefect.flow-run.Scheduled", "prefect.flow-run.Cancelling"
# Prefect's server does not answer, or says no.
AWAY = (httpx.HTTPError, PrefectException, OSError, *RETRYABLE_EXCEPTIONS)
BETWEEN_POLLS_S = 0.05  # a burst of a hundred runs is asked for a few times, not a hundred times
POLL_LIMIT_S = 10.0  # Prefect's client would wait for a minute, also when the server is back
LISTEN_AGAIN_S = 1.0
LOOK_EVERY_S = 10.0
ENDED_AGAIN_S = 0.2
TAKEN = 1000  # more than can end while an answer is under way


class WarmWorker(BaseWorker[WarmConfiguration, ProcessVariables, ProcessWorkerResult]):
    """Takes the runs of a process pool and forks a process for each.

    Args:
        forks: Makes the processes; warmed up.
        options: Of Prefect's BaseWorker.
    """

    type = "process"
    job_configuration = WarmConfiguration
    job_configuration_variables = ProcessVariables

    def __init__(self, forks: Forks, **options: Any) -> None:
        super().__init__(create_pool_if_not_found=False, **options)
        self._forks = forks
        self._wake = asyncio.Event()
        self._is_draining = False
        # Scheduled states that became runs: a late answer to a poll may name one again, and Prefect
        # would let a run that is over begin once more. One that is started again has a new state.
        self._taken = collections.deque[UUID | None](maxlen=TAKEN)
        self._runs: WarmRuns
        self._known: Known

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Return what it is registered as: the stock worker stays that of `process`."""
        return "limsflow-warm"

    # The worker's life

    async def work(self, stop: asyncio.Event, hurry: asyncio.Event, *, drain_s: float) -> None:
        """Take and run runs until told to stop; then let those that go on end.

        Args:
            stop: Takes no more runs from here on.
            hurry: Waits for none any more.
            drain_s: How long runs may go on after `stop`. What goes on then is ended as crashed,
                so that its hooks close what is open in the LIMS.
        """
        async with warm_runs(self._forks) as self._runs, self:
            self._known = Known(self.client)
            self._started_event = await self._emit_worker_started_event()
            async with anyio.create_task_group() as services:
                for service in (self._poll, self._synchronize, self._listen, self._look):
                    services.start_soon(service)
                await stop.wait()
                self._is_draining = True
                services.cancel_scope.cancel()
            await self._drain(hurry, drain_s)

    async def _drain(self, hurry: asyncio.Event, drain_s: float) -> None:
        going = len(self._runs.ours)
        self._logger.info("It takes no new runs; %d go on, for %g s at most", going, drain_s)
        with anyio.move_on_after(drain_s):
            await self._runs.wait_for_all(hurry)
        if self._runs.ours:
            self._logger.warning("%d runs are ended", len(self._runs.ours))
        while self._runs.ours:  # one that was just begun gets its process now
            await self._runs.end_all()
            await anyio.sleep(ENDED_AGAIN_S)

    async def _poll(self) -> None:
        """Ask for runs whenever there may be some, and every few seconds in any case."""
        every_s = get_current_settings().worker.query_seconds
        while True:
            if self._limiter is None or self._limiter.available_tokens:
                with self._said_if_away("runs are looked for again"):
                    with anyio.fail_after(POLL_LIMIT_S):
                        await self.get_and_submit_flow_runs()
            await anyio.sleep(BETWEEN_POLLS_S)
            with anyio.move_on_after(every_s):
                await self._wake.wait()
            self._wake.clear()

    async def _synchronize(self) -> None:
        """Send heart-beats, and hear of changes of the pool."""
        while True:
            await anyio.sleep(self.heartbeat_interval_seconds)
            with self._said_if_away("the heart-beat is sent again"):
                await self.sync_with_backend()

    async def _listen(self) -> None:
        """Hear of runs that are due or cancelled, for ever."""
        while True:
            listening = asyncio.create_task(self._hear())
            try:
                await asyncio.wait({listening})
            finally:
                listening.cancel()
            # Whatever it was: both are also looked for, so nothing is lost, only later.
            reason = listening.cancelled() or listening.exception()
            self._logger.info("Prefect's events are listened to again: %s", reason)
            await anyio.sleep(LISTEN_AGAIN_S)

    async def _hear(self) -> None:
        wanted = EventFilter(
            event=EventNameFilter(name=[SCHEDULED, CANCELLING]),
            any_resource=EventAnyResourceFilter(id=[f"prefect.work-pool.{self.work_pool.id}"]),
        )
        async with get_events_subscriber(filter=wanted) as events:
            self._wake.set()
            async for event in events:
                self._heard(event)

    def _heard(self, event: Event) -> None:
        if event.event == SCHEDULED:
            self._wake.set()
        else:
            self._ask_to_cancel(UUID(event.resource["prefect.resource.id"].removeprefix(RUN)))

    async def _look(self) -> None:
        """Look for runs of ours that were cancelled, should we not have heard of it."""
        cancelling = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING]))
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            if not self._runs.ours:
                continue
            ours = FlowRunFilterId(any_=list(self._runs.ours))
            with self._said_if_away("cancelled runs are looked for again"):
                wanted = FlowRunFilter(id=ours, state=cancelling)
                for run in await self.client.read_flow_runs(flow_run_filter=wanted):
                    self._ask_to_cancel(run.id)

    def _ask_to_cancel(self, run_id: UUID) -> None:
        if self._runs_task_group:
            self._runs_task_group.start_soon(self._cancel, run_id)

    async def _cancel(self, run_id: UUID) -> None:
        with self._said_if_away("the run is cancelled later"):
            await self._runs.cancel(run_id)

    @contextlib.contextmanager
    def _said_if_away(self, what: str) -> Generator[None, None, None]:
        try:
            yield
        except AWAY as error:
            self._logger.warning("Prefect does not answer, %s: %s", what, error or type(error))

    # A run's life

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Bring a run to its end; what is not started stays, or becomes again, scheduled."""
        try:
            with self._runs.claimed(flow_run.id), self._said_if_away("the run waits"):
                if not self._is_draining and flow_run.state_id not in self._taken:
                    await self._claim_and_run(flow_run)
        finally:
            self._submitting_flow_run_ids.discard(flow_run.id)
            self._release_limit_slot(flow_run.id)
            self._wake.set()

    async def _claim_and_run(self, flow_run: FlowRun) -> None:
        preparing = asyncio.create_task(self._deployment(flow_run))  # while Prefect thinks
        try:
            state = await self._pending(flow_run)
            if state is None:
                return
            self._taken.append(flow_run.state_id)
            configuration = await self._configuration(flow_run, preparing)
        finally:
            preparing.cancel()
        if configuration is not None and self._is_draining:
            await self._put_back(flow_run)
        elif configuration is not None:
            accepted = {"state": state, "state_type": state.type, "state_name": state.name}
            await self.run(flow_run.model_copy(update=accepted), configuration)

    async def _pending(self, flow_run: FlowRun) -> State[Any] | None:
        """Return the state in which the run is ours; None: Prefect says no, or not yet."""
        try:
            state = await propose_state(self.client, Pending(), flow_run_id=flow_run.id)
        except Abort as refusal:
            self.get_flow_run_logger(flow_run).info("It is not started: %s", refusal)
            return None
        return state if state.is_pending() else None

    async def _deployment(self, flow_run: FlowRun) -> DeploymentResponse | None:
        if flow_run.deployment_id is None:
            return None
        return await self._known.deployment(flow_run.deployment_id)

    async def _configuration(
        self, flow_run: FlowRun, preparing: asyncio.Task[DeploymentResponse | None]
    ) -> WarmConfiguration | None:
        """Return what its process needs; None: it cannot be run, or not now, which is told."""
        try:
            return await self._configure(flow_run, await preparing)
        except ObjectNotFound as missing:
            told = {"message": f"What it needs no longer exists, so it is cancelled: {missing}"}
            await self._mark_flow_run_as_cancelled(flow_run, state_updates=told)
        except AWAY:
            await self._put_back(flow_run)
            raise
        except (ValueError, InvalidRequest) as error:
            await self._propose_crashed_state(flow_run, f"its process cannot be set up: {error}")
        return None

    async def _put_back(self, flow_run: FlowRun) -> None:
        """Let this or another worker have a run that was claimed and has not begun."""
        again: State[Any] = Scheduled(scheduled_time=flow_run.next_scheduled_start_time)
        await self.client.set_flow_run_state(flow_run.id, again, force=True)

    async def _configure(
        self, flow_run: FlowRun, deployment: DeploymentResponse | None
    ) -> WarmConfiguration:
        flow, pool = await self._known.flow(flow_run.flow_id), self.work_pool
        configuration = await WarmConfiguration.from_template_and_values(
            base_job_template=pool.base_job_template,
            values=job_variables(flow_run, deployment),
            client=self.client,
        )
        configuration.prepare_for_flow_run(
            flow_run, deployment, flow, pool, self.name, worker_id=self.backend_id
        )
        if configuration.working_dir and not configuration.working_dir.is_dir():
            msg = f"there is no directory {configuration.working_dir}"
            raise InvalidRequest(msg)
        return configuration

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run a run that is ours in a process of its own, to its end; Prefect calls it so."""
        submitted = self._emit_flow_run_submitted_event(configuration)

        def started(pid: int) -> None:
            self._began(flow_run, configuration, pid)
            if task_status:
                task_status.started(pid)

        end = await self._runs.execute(flow_run, configuration, started=started)
        result = ProcessWorkerResult(identifier=str(end and end.pid), status_code=-1)
        if end:
            result.status_code = end.status
            await self._ended(flow_run, configuration, end)
            self._emit_flow_run_executed_event(result, configuration, submitted)
        return result

    def _began(self, flow_run: FlowRun, configuration: WarmConfiguration, pid: int) -> None:
        due = flow_run.next_scheduled_start_time or flow_run.expected_start_time
        if due:
            waited = datetime.datetime.now(datetime.UTC) - due
            waited_s = max(0.0, waited.total_seconds())
            metrics.time_to_start_seconds.labels(configuration.title).observe(waited_s)
        metrics.runs_started.labels(configuration.title).inc()
        metrics.slots_in_use.inc()
        how = "" if configuration.is_warm else ", cold, because of its command"
        self._logger.info(
            "%s %s began in process %d%s", configuration.title, flow_run.name, pid, how
        )
        if self._runs_task_group:
            self._runs_task_group.start_soon(self._tell_process, flow_run.id, pid)

    async def _tell_process(self, run_id: UUID, pid: int) -> None:
        with self._said_if_away("it will not know the process"):
            await self.client.update_flow_run(run_id, infrastructure_pid=str(pid))

    async def _ended(self, flow_run: FlowRun, configuration: WarmConfiguration, end: End) -> None:
        metrics.slots_in_use.dec()
        metrics.run_seconds.labels(configuration.title).observe(end.seconds)
        metrics.runs_ended.labels(configuration.title, end.state, end.failure).inc()
        how = (configuration.title, flow_run.name, end.state, end.seconds, end.status)
        self._logger.info("%s %s ended %s after %.1f s, status %d", *how)
        if self._runs.was_cancelled(flow_run.id):
            found = await self.client.read_flow_run(flow_run.id)
            if found.state and found.state.is_cancelling():  # its engine had not begun
                await self._mark_flow_run_as_cancelled(found)
