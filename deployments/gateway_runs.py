"""What the gateway starts, and what it says of runs and jobs."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID, uuid4

import anyio.to_thread
from pydantic import Field

from blocks.connections import EnteroBase, IspybDatabase
from blocks.errors import (
    AlreadyRunning,
    DataError,
    NoSuchRecord,
    ServiceUnavailable,
)
from blocks.genomics.store import EnteroStore
from blocks.mx.records import Attempt
from blocks.mx.store import IspybStore
from blocks.record import Record
from deployments.call_backs import CallBack, Taken, take
from deployments.clients import Client
from deployments.endpoints import READ, Endpoint
from deployments.gateway_answers import RunState, run_state
from deployments.gateway_requests import digest_of, require
from deployments.job_runs import JobRuns
from deployments.metrics import hand_off_seconds
from tasks.flow_runs import NoDeployment, Run, answering
from tasks.mx.hand_off import DEPLOYMENT, SOURCE, WISH, Outcome, hand_off

ANSWER_TIMEOUT_S = 30.0  # of Prefect; its client would go on for minutes
DATABASE_THREADS = 16  # at once: a database that hangs must not hold everything
NEWEST = 10  # runs of one job whose state is asked for
BODY = "limsflow.body"

FoundT = TypeVar("FoundT")
StoreT = TypeVar("StoreT", IspybStore, EnteroStore)


class Started(RunState):
    """The run that a request asked for."""

    replayed: bool = Field(description="whether an earlier request had it made")
    reason: str = Field(default="", description="why no new run was made")


class AttemptOnJob(Record):
    """One try at a processing job, as ISPyB shows it, and its run."""

    program_id: int = Field(description="autoProcProgramId")
    state: str = Field(description="running, success, failure")
    message: str
    started: datetime | None = Field(description="None: not yet")
    updated: datetime | None
    flow_run_id: str = Field(description="empty: not ours")
    run: RunState | None = Field(description="None: Prefect does not know it, or is away")


class ProcessingJobState(Record):
    """A processing job of ISPyB."""

    job_id: int
    recipe: str
    data_collection_id: int | None
    state: str = Field(description="of the newest attempt; waiting, if there is none")
    attempts: list[AttemptOnJob] = Field(description="oldest first")


class RunOnJob(Record):
    """A flow run that worked on a job of EnteroBase."""

    flow_run_id: str
    run: RunState | None = Field(description="None: Prefect does not know it, or is away")


class UserJobState(Record):
    """A job of EnteroBase: a row of user_jobs."""

    job_id: int
    accession: str
    pipeline: str
    status: str = Field(description="QUEUED, RUNNING, COMPLETE, FAILED, or what others wrote")
    database: str
    sent: datetime | None = Field(description="None in some old rows")
    version: str | None
    output_location: str | None
    runs: list[RunOnJob] = Field(description="the newest last")


class Lims:
    """The databases that the gateway looks into, by block; each is opened when it is needed."""

    def __init__(self, *, ispyb: str, entero: str) -> None:
        self._names = {"ispyb": ispyb, "entero": entero}
        self._ispyb = dict[str, IspybStore]()
        self._entero = dict[str, EnteroStore]()

    async def ispyb(self, name: str = "") -> IspybStore:
        """Return an ISPyB: the gateway's own unless a block is named.

        Raises:
            InvalidRequest: there is no such block.
        """
        chosen = name or self._names["ispyb"]
        if chosen not in self._ispyb:
            with answering():
                self._ispyb[chosen] = (await IspybDatabase.named(chosen)).store()
        return self._ispyb[chosen]

    async def entero(self) -> EnteroStore:
        """Return the gateway's EnteroBase.

        Raises:
            InvalidRequest: there is no such block.
        """
        chosen = self._names["entero"]
        if chosen not in self._entero:
            with answering():
                self._entero[chosen] = (await EnteroBase.named(chosen)).store()
        return self._entero[chosen]

    def forget(self) -> None:
        """Open all databases anew when they are next needed: their blocks may have changed."""
        self._ispyb.clear()
        self._entero.clear()


class Desk:
    """Starts runs for clients and tells what became of them.

    Args:
        runs: Prefect's.
        lims: The databases.
        address: Of the gateway, as clients see it.
    """

    def __init__(self, runs: JobRuns, lims: Lims, address: str) -> None:
        self.runs = runs
        self.lims = lims
        self._address = address
        self._threads = anyio.CapacityLimiter(DATABASE_THREADS)

    # Starting

    async def start(
        self, endpoint: Endpoint, client: Client, parameters: dict[str, Any], key: str | None
    ) -> Started:
        """Start a run, or return the one that this key started.

        Raises:
            AlreadyRunning: the key was used with another body, or somebody whom Prefect does not
                know works on the job.
            InvalidRequest: Prefect refuses the parameters.
            TransientError: nothing is known of a run; ask again.
        """
        began = time.monotonic()
        try:
            async with _answer_in_time():
                started = await self._once(endpoint, client, parameters, key)
        except NoDeployment as refusal:  # the facility's affair, not the client's
            raise ServiceUnavailable(str(refusal)) from refusal
        hand_off_seconds.labels(source="http").observe(time.monotonic() - began)
        return started

    async def _once(
        self, endpoint: Endpoint, client: Client, parameters: dict[str, Any], key: str | None
    ) -> Started:
        if key is None and endpoint.full_name == DEPLOYMENT:
            return await self._handed_off(client, parameters)
        return await self._started(endpoint, client, parameters, key)

    async def _started(
        self, endpoint: Endpoint, client: Client, parameters: dict[str, Any], key: str | None
    ) -> Started:
        wish, body = uuid4().hex, digest_of(parameters)
        run = await self.runs.start(
            endpoint.full_name,
            parameters,
            key=_key_for(endpoint, client, key),
            labels={SOURCE: _source(client), WISH: wish, BODY: body},
        )
        if run.labels.get(BODY) != body:
            msg = f"this Idempotency-Key began run {run.id} with another body: take a new key"
            raise AlreadyRunning(msg)
        replayed = run.labels.get(WISH) != wish
        return self._said(run, "the same request was sent before" if replayed else "")

    async def _handed_off(self, client: Client, parameters: dict[str, Any]) -> Started:
        """Start a processing job as a broker's message would: once until it was worked on."""
        given = dict(parameters)
        job_id = given.pop("job_id")
        store = await self.lims.ispyb(given.get("ispyb", "ispyb"))
        await self._asked(lambda: store.job_header(job_id))
        done = await hand_off(
            store,
            self.runs,
            job_id,
            parameters=given,
            source=_source(client),
            wish=uuid4().hex,
        )
        if done.run_id is None:
            msg = f"job {job_id}: {done.why}, by a run that Prefect does not know"
            raise AlreadyRunning(msg)
        run = await self.runs.find(done.run_id)
        return self._said(run, done.why if done.outcome is Outcome.REPEATED else "")

    def _said(self, run: Run, reason: str) -> Started:
        state = run_state(run, self._address)
        return Started(**state.model_dump(), replayed=bool(reason), reason=reason)

    # Telling

    async def run(self, run_id: UUID, client: Client) -> RunState:
        """Return a run; a client without the right to read sees its own only.

        Raises:
            NoSuchRecord: there is none.
        """
        try:
            found = await self._found(run_id)
        except NoSuchRecord:
            require(client, READ)  # whether there is one is no business of others
            raise
        if found.labels.get(SOURCE) != _source(client):
            require(client, READ)
        return run_state(found, self._address)

    async def processing_job(self, job_id: int) -> ProcessingJobState:
        """Return a job of ISPyB and its attempts.

        Raises:
            NoSuchRecord: there is none.
        """
        store = await self._lims(self.lims.ispyb)
        header = await self._asked(lambda: store.job_header(job_id))
        attempts = await self._asked(lambda: store.attempts(job_id))
        states = await self._states(one.flow_run_id for one in attempts)
        return ProcessingJobState(
            job_id=header.id,
            recipe=header.recipe,
            data_collection_id=header.collection_id,
            state=attempts[-1].state if attempts else "waiting",
            attempts=[_attempt(one, states) for one in attempts],
        )

    async def user_job(self, job_id: int) -> UserJobState:
        """Return a job of EnteroBase and its runs.

        Raises:
            NoSuchRecord: there is none.
        """
        store = await self._lims(self.lims.entero)
        job = await self._asked(lambda: store.jobs.job(job_id))
        runs = await self._asked(lambda: store.jobs.runs(job_id))
        states = await self._states(runs)
        told = job.model_dump(exclude={"id", "user_id", "sent"})
        sent = job.sent and (job.sent if job.sent.tzinfo else job.sent.replace(tzinfo=UTC))
        seen = [RunOnJob(flow_run_id=one, run=states.get(one)) for one in runs]
        return UserJobState(job_id=job.id, sent=sent, runs=seen, **told)

    async def call_back(self, told: CallBack) -> Taken:
        """Close a job of EnteroBase that another system worked on, once.

        Raises:
            NoSuchRecord: there is none.
            AlreadyRunning: it ended otherwise, or is not another system's.
        """
        store = await self._lims(self.lims.entero)
        return await self._asked(lambda: take(store.jobs, told))

    async def _asked(self, query: Callable[[], FoundT]) -> FoundT:
        """Ask a database in a thread.

        Raises:
            NoSuchRecord: what is asked for is not there.
            AlreadyRunning: what is asked for is not possible now.
            ServiceUnavailable: the database is not what it should be: nothing that a client sent.
            DatabaseUnavailable: it is away.
        """
        try:
            return await anyio.to_thread.run_sync(query, limiter=self._threads)
        except (NoSuchRecord, AlreadyRunning):
            raise
        except DataError as error:
            self.lims.forget()
            msg = f"a database of the gateway is of no use: {error}"
            raise ServiceUnavailable(msg) from error

    async def _lims(self, opened: Callable[[], Awaitable[StoreT]]) -> StoreT:
        try:
            return await opened()
        except DataError as error:
            msg = f"the gateway has no such database: {error}"
            raise ServiceUnavailable(msg) from error

    async def _found(self, run_id: UUID) -> Run:
        async with _answer_in_time():
            return await self.runs.find(run_id)

    async def _states(self, run_ids: Iterable[str]) -> dict[str, RunState]:
        """Return the states of the newest runs, as far as Prefect knows them and answers."""
        asked = [one for one in run_ids if one][-NEWEST:]
        found = await asyncio.gather(*(self._state(one) for one in asked))
        return {one: state for one, state in zip(asked, found, strict=True) if state}

    async def _state(self, run_id: str) -> RunState | None:
        with suppress(NoSuchRecord, ServiceUnavailable, ValueError):
            return run_state(await self._found(UUID(run_id)), self._address)
        return None


@asynccontextmanager
async def _answer_in_time() -> AsyncGenerator[None, None]:
    """Give up on what waits for Prefect too long.

    Raises:
        ServiceUnavailable: it did; a run may have been made.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            yield
    except TimeoutError as error:
        msg = f"Prefect did not answer in {ANSWER_TIMEOUT_S:g} s"
        raise ServiceUnavailable(msg) from error


def _key_for(endpoint: Endpoint, client: Client, key: str | None) -> str | None:
    """Return Prefect's key of what a client calls its request; clients never meet in one."""
    return f"http-{digest_of(client.name, endpoint.path, key)}" if key is not None else None


def _source(client: Client) -> str:
    return f"gateway: {client.name}"


def _attempt(attempt: Attempt, states: dict[str, RunState]) -> AttemptOnJob:
    return AttemptOnJob(
        program_id=attempt.id,
        state=attempt.state,
        message=attempt.message,
        started=attempt.started_at,
        updated=attempt.updated_at,
        flow_run_id=attempt.flow_run_id,
        run=states.get(attempt.flow_run_id),
    )
