"""`limsflow job retry/cancel`: what an operator does with one processing job.

The command and the page do the same: `retry_job` and `cancel_job`.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar
from uuid import UUID, uuid4

from prefect.settings import get_current_settings
from pydantic import Field

from blocks.database import refuse_secret
from blocks.errors import AlreadyRunning, InconsistentInput, InvalidRequest, ServiceUnavailable
from blocks.mx.records import Attempt, AttemptState, Message, Severity
from blocks.mx.store import IspybStore
from blocks.record import Record
from deployments.job import store_of
from deployments.job_facts import JobFacts, RunFacts, facts_of_job, rows_of_job
from deployments.job_log import plain
from deployments.job_runs import CANCELLED_BY, JobRuns, job_runs
from tasks.flow_runs import OVER, run_page
from tasks.mx.hand_off import Outcome, hand_off
from tasks.mx.liveness import is_silent
from tasks.prefect_runs import crash
from tasks.runs import STALE_AFTER

OPERATOR = "operator"
TOOLCHAIN = "mx"
REASON = "cancelled by an operator"

DoneT = TypeVar("DoneT")


class Retried(Record):
    """The run that an operator asked for."""

    job_id: int
    run_id: UUID
    page: str = Field(description="in Prefect; empty if it does not say")


class Cancelled(Record):
    """What an operator's wish to cancel a job did: a sentence for each run and attempt."""

    job_id: int
    done: tuple[str, ...] = Field(description="empty: nothing was open")


async def retry_job(
    store: IspybStore,
    runs: JobRuns,
    job_id: int,
    *,
    by: str,
    ispyb: str,
    toolchain: str | None = None,
) -> Retried:
    """Start a new attempt at a job, as the last one was started.

    What else its last run was told, such as the step of zocalo's recipe that is sent on
    afterwards, the new one is told too.

    Args:
        store: The ISPyB that has the job.
        runs: Prefect's.
        job_id: The processing job.
        by: Who asks.
        ispyb: What flows call that ISPyB.
        toolchain: Block of the programs; None: the last run's, or `mx`.

    Raises:
        NoSuchRecord: there is no such job.
        AlreadyRunning: it waits, or is being worked on.
        TransientError: the database or Prefect does not answer.
    """
    await asyncio.to_thread(store.job_header, job_id)
    attempts = await asyncio.to_thread(store.attempts, job_id)
    found = await runs.of_job(job_id, ispyb=ispyb, attempts=attempts)
    _require_idle(job_id, attempts, found)
    parameters = dict(found[-1].parameters) if found else {}
    parameters.pop("job_id", None)
    parameters |= {"ispyb": ispyb, "toolchain": toolchain or parameters.get("toolchain", TOOLCHAIN)}
    done = await hand_off(
        store, runs, job_id, parameters=parameters, source=by, wish=uuid4().hex
    )  # fmt: skip
    if done.run_id is None or done.outcome is not Outcome.STARTED:
        msg = f"job {job_id} was started at the same moment by somebody else: {done.why}"
        raise AlreadyRunning(msg)
    return Retried(job_id=job_id, run_id=done.run_id, page=run_page(done.run_id))


def _require_idle(job_id: int, attempts: Sequence[Attempt], found: Sequence[RunFacts]) -> None:
    """Refuse a second run beside one that is open.

    Raises:
        AlreadyRunning: says which, and what to do.
    """
    going_on = [run for run in found if run.state not in OVER]
    if going_on:
        run = going_on[-1]
        doing = run.state_name or run.state
        msg = f"flow run {run.id} of job {job_id} is {doing}: wait, or 'limsflow job cancel'"
        raise AlreadyRunning(msg)
    known = {str(run.id) for run in found}
    for one in attempts:
        is_open = one.state is AttemptState.RUNNING and one.flow_run_id not in known
        if is_open and not is_silent(one):
            msg = f"{_living(one)}: wait until it ends, or end it where it runs"
            raise AlreadyRunning(msg)


async def cancel_job(
    store: IspybStore, runs: JobRuns, job_id: int, *, by: str, ispyb: str
) -> Cancelled:
    """End what goes on for a job; close what was left open by a run that is gone.

    Args:
        store: The ISPyB that has the job.
        runs: Prefect's.
        job_id: The processing job.
        by: Who asks.
        ispyb: What flows call that ISPyB.

    Raises:
        NoSuchRecord: there is no such job.
        AlreadyRunning: an attempt is alive, and Prefect does not know its run.
        TransientError: the database or Prefect does not answer; it can be asked again.
    """
    with suppress(InconsistentInput):  # whatever its rows are like, it can be ended
        await asyncio.to_thread(store.job_header, job_id)
    attempts = await asyncio.to_thread(store.attempts, job_id)
    found = await runs.of_job(job_id, ispyb=ispyb, attempts=attempts)
    going_on = [run for run in found if run.state not in OVER]
    done = [await _end(runs, run, by) for run in going_on]
    known = {str(run.id): run for run in found}
    for one in attempts:
        if one.state is AttemptState.RUNNING:
            done += await _close(store, one, known.get(one.flow_run_id))
    return Cancelled(job_id=job_id, done=tuple(done))


async def _end(runs: JobRuns, run: RunFacts, by: str) -> str:
    if run.state == "CANCELLING":
        return f"flow run {run.id} is ending already"
    await runs.add_labels(run.id, {CANCELLED_BY: by})
    await runs.cancel(run.id)
    if (await runs.find(run.id)).is_over:
        when = " before it began" if run.started_at is None else ""
        return f"flow run {run.id} is cancelled{when}"
    return f"flow run {run.id} is asked to end; its worker closes the attempt"


async def _close(store: IspybStore, attempt: Attempt, run: RunFacts | None) -> list[str]:
    """Close an attempt that nobody will close otherwise.

    Raises:
        AlreadyRunning: it is alive, and only Prefect could end it, which does not know its run.
    """
    name = f"AutoProcProgram {attempt.id}"
    if not attempt.flow_run_id:
        return [f"{name} is not limsflow's and is left as it is"]
    silent, goes_on = is_silent(attempt), bool(run and run.state not in OVER)
    if goes_on and not silent:
        return []  # the run that ends closes it
    if run is None and not silent:
        msg = f"{_living(attempt)}: end it where it runs"
        raise AlreadyRunning(msg)
    said = Message(severity=Severity.ERROR, message=REASON, description=REASON)
    await asyncio.to_thread(store.add_messages, attempt.id, [said])
    await asyncio.to_thread(store.close, attempt.id, AttemptState.FAILED, REASON)
    if run and goes_on:  # its worker is lost: nobody would ever end it
        await crash(str(run.id), REASON)
    return [f"{name}, on which nobody works, is closed as failed"]


def _living(attempt: Attempt) -> str:
    minutes = STALE_AFTER.total_seconds() / 60
    whose = f"whose flow run {attempt.flow_run_id} this Prefect does not know"
    owner = whose if attempt.flow_run_id else "which is not limsflow's"
    return f"AutoProcProgram {attempt.id}, {owner}, was alive less than {minutes:.0f} min ago"


# Commands


def retry(options: argparse.Namespace) -> int:
    """Start a new attempt at a job; print its run."""

    async def ask(store: IspybStore, runs: JobRuns) -> Retried:
        return await retry_job(
            store,
            runs,
            options.id,
            by=OPERATOR,
            ispyb=options.ispyb,
            toolchain=options.toolchain,
        )

    done = _with_prefect(options.ispyb, ask)
    text = "\n".join(filter(None, [f"flow run {done.run_id}", done.page]))
    print(done.model_dump_json() if options.json else text)
    return 0


def cancel(options: argparse.Namespace) -> int:
    """End what goes on for a job; print what was done."""

    async def ask(store: IspybStore, runs: JobRuns) -> Cancelled:
        return await cancel_job(store, runs, options.id, by=OPERATOR, ispyb=options.ispyb)

    done = _with_prefect(options.ispyb, ask)
    lines = done.done or (f"nothing of job {options.id} is open",)
    print(done.model_dump_json() if options.json else "\n".join(map(plain, lines)))
    return 0


def known(store: IspybStore, job_id: int, ispyb: str, *, with_logs: bool) -> JobFacts:
    """Return all that is known of a job, for `limsflow job show`; without Prefect, its rows."""
    rows = rows_of_job(store, job_id)
    if not get_current_settings().api.url:
        return rows

    async def ask() -> JobFacts:
        async with job_runs() as runs:
            return await facts_of_job(store, job_id, runs=runs, ispyb=ispyb, with_logs=with_logs)

    try:
        return asyncio.run(ask())
    except ServiceUnavailable as failure:
        return rows.model_copy(update={"prefect": str(failure)})


def _with_prefect(ispyb: str, ask: Callable[[IspybStore, JobRuns], Awaitable[DoneT]]) -> DoneT:
    """Return what is answered to a question that needs Prefect.

    Raises:
        InvalidRequest: no Prefect server is named, or a flow's parameter would show a password.
    """
    if "://" in ispyb:
        refuse_secret(ispyb)
    if not get_current_settings().api.url:
        msg = "say which Prefect server: PREFECT_API_URL, like http://127.0.0.1:4200/api"
        raise InvalidRequest(msg)
    store = store_of(ispyb)

    async def asked() -> DoneT:
        async with job_runs() as runs:
            return await ask(store, runs)

    return asyncio.run(asked())
