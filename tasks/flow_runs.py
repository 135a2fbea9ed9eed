"""Flow runs on a Prefect server: started once for each key, looked at, cancelled."""

import contextlib
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectException, PrefectHTTPStatusError
from prefect.settings import get_current_settings
from prefect.states import Cancelling, Scheduled
from pydantic import Field

from blocks.errors import InvalidRequest, NoSuchRecord, ServiceUnavailable
from blocks.record import Record

REFUSED = {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_REQUEST}
TAGS = ("mx", "genomics", "beamline", "house")  # one of these is on every deployment of ours
AT_MOST = 200  # what Prefect's server returns at once
OVER = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class NoDeployment(InvalidRequest):
    """Prefect has no such deployment: it was never registered, or its database is new."""


class Run(Record):
    """A flow run, as Prefect has it."""

    id: UUID
    name: str
    deployment_id: UUID | None = None
    state: str = Field(description="SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CRASHED ...")
    state_name: str = ""
    message: str = Field(default="", description="of its state")
    since: datetime | None = Field(default=None, description="when it came into its state")
    labels: dict[str, Any] = Field(default_factory=dict[str, Any])
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])

    @property
    def is_over(self) -> bool:
        """Whether it will do nothing more."""
        return self.state in OVER

    @property
    def page(self) -> str:
        """Where a browser finds it; empty if Prefect does not say where its page is."""
        return run_page(self.id)


def run_page(run_id: UUID | str) -> str:
    """Return the address of a run's page; empty if Prefect's settings name none."""
    page = get_current_settings().ui_url
    return f"{page}/runs/flow-run/{run_id}" if page else ""


class Runs:
    """Starts, finds and cancels flow runs through one client, which is safe to share.

    Raises:
        ServiceUnavailable: from every method, when Prefect does not answer.
    """

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._deployments = dict[str, UUID]()

    async def start(
        self,
        deployment: str,
        parameters: Mapping[str, Any],
        *,
        key: str | None = None,
        labels: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        name: str | None = None,
    ) -> Run:
        """Return the run of this key, made if there is none.

        Args:
            deployment: Its name: flow/deployment.
            parameters: Of the flow; what is left out is the deployment's.
            key: Of idempotency, within the flow; a second call returns the first one's run, in
                whatever state that is. None: always a new run.
            labels: Facts of the run that others can read and add to.
            tags: Shown in Prefect's page.
            name: Of a new run; one that Prefect makes up unless given.

        Raises:
            InvalidRequest: there is no such deployment, or it refuses the parameters.
        """
        remembered = deployment in self._deployments
        try:
            with answering():
                run = await self._client.create_flow_run_from_deployment(
                    await self._deployment(deployment),
                    parameters=dict(parameters),
                    idempotency_key=key,
                    labels=dict(labels or {}),
                    tags=tags,
                    name=name,
                )
        except ServiceUnavailable as failure:
            self._deployments.pop(deployment, None)
            if remembered and _is_gone(failure.__cause__):  # it was made anew, with another id
                return await self.start(
                    deployment, parameters, key=key, labels=labels, tags=tags, name=name
                )
            refusal = _refusal(failure, deployment)
            if refusal:
                raise refusal from failure
            raise
        return _run(run)

    async def find(self, run_id: UUID | str) -> Run:
        """Return a run.

        Raises:
            NoSuchRecord: Prefect has none of this id.
        """
        try:
            with answering():
                return _run(await self._client.read_flow_run(UUID(str(run_id))))
        except ServiceUnavailable as failure:
            if isinstance(failure.__cause__, ObjectNotFound):
                msg = f"Prefect has no flow run {run_id}"
                raise NoSuchRecord(msg) from failure
            raise
        except ValueError as error:
            msg = f"{run_id!r} is no id of a flow run"
            raise NoSuchRecord(msg) from error

    async def add_labels(self, run_id: UUID, labels: Mapping[str, Any]) -> None:
        """Add facts to a run; those that it has stay."""
        with answering():
            await self._client.update_flow_run_labels(run_id, dict(labels))

    async def stuck(self, after: timedelta) -> list[Run]:
        """Return our runs that a worker took so long ago, and died before it began; at most 200."""
        wanted = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])),
            tags=FlowRunFilterTags(any_=list(TAGS)),
        )
        with answering():
            found = await self._client.read_flow_runs(flow_run_filter=wanted, limit=AT_MOST)
        old = datetime.now(UTC) - after
        return [run for run in map(_run, found) if run.since and run.since <= old]

    async def reschedule(self, run: Run) -> bool:
        """Let another worker have a run that one took and never began.

        Returns:
            False: it has begun meanwhile and is left alone, or somebody deleted it.
        """
        try:
            now = await self.find(run.id)
        except NoSuchRecord:
            return False
        if (now.state, now.since) != (run.state, run.since):
            return False
        with answering():
            await self._client.set_flow_run_state(
                run.id, Scheduled(message="the worker that took it was lost"), force=True
            )
        return True

    async def cancel(self, run_id: UUID) -> None:
        """Ask for the end of a run; its worker ends the programs and closes what is open."""
        with answering():
            await self._client.set_flow_run_state(run_id, Cancelling(), force=False)

    async def _deployment(self, name: str) -> UUID:
        if name not in self._deployments:
            found = await self._client.read_deployment_by_name(name)
            self._deployments[name] = found.id
        return self._deployments[name]


@contextlib.asynccontextmanager
async def prefect_runs() -> AsyncGenerator[Runs, None]:
    """Return the runs of the Prefect server of this environment, while the block runs.

    Raises:
        ServiceUnavailable: it does not answer.
    """
    async with prefect_client() as client:
        yield Runs(client)


@contextlib.asynccontextmanager
async def prefect_client() -> AsyncGenerator[PrefectClient, None]:
    """Return a client of the Prefect server of this environment, while the block runs.

    Raises:
        ServiceUnavailable: it does not answer.
    """
    async with contextlib.AsyncExitStack() as stack:
        with answering():
            client = await stack.enter_async_context(get_client())
        yield client


@contextlib.contextmanager
def answering() -> Generator[None, None, None]:
    """Say that Prefect does not answer, if it does not.

    Raises:
        ServiceUnavailable: its cause says why.
    """
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        msg = f"Prefect does not answer: {error}"
        raise ServiceUnavailable(msg) from error


def _refusal(failure: ServiceUnavailable, deployment: str) -> InvalidRequest | None:
    """Return what Prefect refuses of a start; None if it only is away."""
    cause = failure.__cause__
    if _is_gone(cause):
        return NoDeployment(f"there is no deployment {deployment}: see 'limsflow deploy'")
    if isinstance(cause, PrefectHTTPStatusError) and cause.response.status_code in REFUSED:
        return InvalidRequest(f"Prefect refuses to start {deployment}: {_detail(cause.response)}")
    return None


def _is_gone(cause: BaseException | None) -> bool:
    """Whether Prefect does not have what it was asked for, however its client says so."""
    if isinstance(cause, PrefectHTTPStatusError):
        return cause.response.status_code == HTTPStatus.NOT_FOUND
    return isinstance(cause, ObjectNotFound)


def _detail(response: httpx.Response) -> str:
    try:
        detail = response.json().get("detail")
    except (AttributeError, ValueError):
        detail = None
    return str(detail or response.text or response.reason_phrase)


def _run(run: FlowRun) -> Run:
    state = run.state
    return Run(
        id=run.id,
        name=run.name,
        deployment_id=run.deployment_id,
        state=state.type.value if state else "PENDING",
        state_name=(state.name or "") if state else "",
        message=(state.message or "") if state else "",
        since=state.timestamp if state else None,
        labels=dict(run.labels),
        parameters=dict(run.parameters),
    )
