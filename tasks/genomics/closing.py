"""Closing what a flow run left open: in Prefect's state hooks, and when a run is lost."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from blocks.connections import EnteroBase
from blocks.errors import DataError, LimsflowError, NoSuchRecord
from blocks.genomics.nights import Night
from blocks.genomics.records import Fate, JobStatus, UserJob
from blocks.genomics.store import EnteroStore
from blocks.record import Record
from tasks.genomics.dispatch import Handler, handler_of
from tasks.genomics.fates import fate_of
from tasks.patience import stored
from tasks.policies import step
from tasks.prefect_runs import crash, run_state
from tasks.runs import SECOND_LOOK_S, RunState, why_lost, why_over

logger = logging.getLogger(__name__)

IN_ITS_PROCESS = ("threads", "processes")  # engines whose work dies with the night's process
COMPLETE = "complete"  # key of an analysis


class LostRun(Record):
    """A flow run that left a job or a call open, and on which nobody works any more."""

    flow_run_id: str
    job_id: int | None = Field(default=None, description="that it worked on")
    accession: str = Field(default="", description="what the job is about")
    pipeline: str = ""
    reason: str
    state: RunState


async def close_what_run_left(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect names them
    """State hook: close the call and the job of a run that failed, crashed or was cancelled.

    A known failure has closed them already; what is open then is a bug's, or a lost process'.
    Where the worker is gone too, the reconciler does this.
    """
    reason = why_over(RunState(type=state.type.value, message=state.message or ""))
    for name in _databases(flow_run.parameters):
        lims = await EnteroBase.named(name)
        await close_run(lims, str(flow_run.id), await _fate(state), reason)


def _databases(parameters: Mapping[str, Any]) -> list[str]:
    """Return the databases that a run works on; a night may go over several."""
    one = parameters.get("entero") or parameters.get("database") or "entero"
    return list(parameters.get("databases") or [one])


async def _fate(state: Any) -> Fate:
    """Return the fate of what is still open: a flow that failed has a bug, or no database."""
    if state.type.value != "FAILED":
        return Fate.TRANSIENT
    failure = await state.aresult(raise_on_failure=False) if state.data else None
    return fate_of(failure) if isinstance(failure, LimsflowError) else Fate.BUG


async def close_run(lims: EnteroBase, run_id: str, fate: Fate, reason: str) -> None:
    """Close the calls of a run, then its job; what has a result is complete, not failed.

    Raises:
        DataError: a row of the site is damaged.
    """
    store = lims.store()
    nights = await stored(store.nights.end_of_run, run_id)
    for night in nights:
        if _in_its_process(night):
            await _close_runs_of(lims, night, reason)
    # What a night's own run still holds was never tried: its failure is not theirs.
    fate = Fate.TRANSIENT if nights else fate
    await stored(store.calls.fail_open, run_id, fate, reason)
    await stored(store.assembling.fail_open, run_id, fate, reason)
    await asyncio.to_thread(_close_jobs, store, run_id, reason)


async def _close_runs_of(lims: EnteroBase, night: Night, reason: str) -> None:
    """Close the runs that a night had in its own process, which is gone, and tell Prefect."""
    store = lims.store()
    children = await asyncio.to_thread(store.nights.runs_at_work, night.id)
    jobs = await asyncio.to_thread(store.batches.fail_night, night.id, reason)
    await asyncio.to_thread(store.jobs.close_many, jobs, JobStatus.FAILED)
    for run_id in sorted(children - {night.flow_run_id}):
        await close_run(lims, run_id, Fate.TRANSIENT, f"its night is over: {reason}")
        if (await run_state(run_id)).holds_a_slot:
            await crash(run_id, reason)


def _in_its_process(night: Night) -> bool:
    """Whether a night's batches ended with its process; other hosts may still work on theirs."""
    return night.parameters.get("fan_out", {}).get("engine") in IN_ITS_PROCESS


def _close_jobs(store: EnteroStore, run_id: str, reason: str) -> None:
    """Close the jobs of a run: one, or those of a batch."""
    jobs = store.jobs.open_of_run(run_id)
    calls = [job.id for job in jobs if handler_of(job.pipeline) is Handler.TYPE]
    done = store.calls.completed_jobs(run_id) & set(calls) if calls else set[int]()
    store.jobs.close_many(sorted(done), JobStatus.COMPLETE)
    store.jobs.close_many(sorted(set(calls) - done), JobStatus.FAILED)
    for job in jobs:
        handler = handler_of(job.pipeline)
        if handler is Handler.SEARCH:
            _close_analysis(store, job, reason)
        elif handler is Handler.ASSEMBLE:
            made = store.isolates.assembly_of_job(job.id)
            where = str(made.file_pointer) if made and made.file_pointer else None
            status = JobStatus.COMPLETE if made else JobStatus.FAILED
            store.jobs.close(job.id, status, output_location=where)


def _close_analysis(store: EnteroStore, job: UserJob, reason: str) -> None:
    """Close a search; its owner may have removed it meanwhile."""
    number, done = job.accession.rpartition(":")[2], False
    try:
        analysis = int(number)
        done = COMPLETE in store.jobs.analysis(analysis)
        if not done:
            changes = {"failed": "true", "reason": reason}
            store.jobs.update_analysis(analysis, changes)
    except (ValueError, DataError) as error:
        logger.warning("job %d: %s", job.id, error)
    store.jobs.close(job.id, JobStatus.COMPLETE if done else JobStatus.FAILED)


def _job_of(store: EnteroStore, run_id: str) -> UserJob | None:
    try:
        return store.jobs.of_run(run_id)
    except NoSuchRecord:
        return None


# Runs that are lost


async def lost_among(
    lims: EnteroBase, run_ids: Sequence[str], *, stale_after: timedelta
) -> list[LostRun]:
    """Return those of these runs that nobody works on any more.

    A run that is silent, and not over, is looked at a second time: after an outage of the
    database a living one has to get its sign through first.
    """
    looks = {run_id: await _look(lims, run_id, stale_after) for run_id in run_ids}
    lost = {run_id: look for run_id, look in looks.items() if look[0]}
    if any(not state.is_over for _, state, _ in lost.values()):
        await asyncio.sleep(min(SECOND_LOOK_S, stale_after.total_seconds()))
    return [
        await asyncio.to_thread(_lost_run, lims.store(), run_id, reason, state)
        for run_id, (reason, state, seen) in lost.items()
        if state.is_over or await _last_seen(lims, run_id) == seen
    ]


async def _look(
    lims: EnteroBase, run_id: str, stale_after: timedelta
) -> tuple[str, RunState, datetime | None]:
    state, seen = await run_state(run_id), await _last_seen(lims, run_id)
    return why_lost(state, seen, now=datetime.now(UTC), stale_after=stale_after), state, seen


async def _last_seen(lims: EnteroBase, run_id: str) -> datetime | None:
    """Return when a run was last seen, as one that works on jobs or as a night."""
    store = lims.store()
    seen = (
        await asyncio.to_thread(store.jobs.last_seen, run_id),
        await asyncio.to_thread(store.nights.last_seen, run_id),
    )
    return max((one for one in seen if one), default=None)


def _lost_run(store: EnteroStore, run_id: str, reason: str, state: RunState) -> LostRun:
    job = _job_of(store, run_id)
    facts = {"accession": job.accession, "pipeline": job.pipeline} if job else {}
    return LostRun(
        flow_run_id=run_id, job_id=job.id if job else None, reason=reason, state=state, **facts
    )


async def lost_runs(lims: EnteroBase, *, stale_after: timedelta) -> list[LostRun]:
    """Return the runs that left something open in this EnteroBase and on which nobody works."""
    store = lims.store()
    asked = (
        store.calls.open_runs,
        store.jobs.open_runs,
        store.assembling.open_runs,
        store.nights.open_runs,
    )
    found = [run for ask in asked for run in await asyncio.to_thread(ask)]
    return await lost_among(lims, sorted(set(found)), stale_after=stale_after)


@step(name="close lost runs")
async def close_lost_runs(
    lims: EnteroBase, *, stale_after: timedelta, dry_run: bool
) -> list[LostRun]:
    """Close what lost runs left open in this EnteroBase; return them, whether closed or only seen.

    A row that is damaged keeps its run from being closed, and no other.
    """
    lost = await lost_runs(lims, stale_after=stale_after)
    return lost if dry_run else [run for run in lost if await _closed(lims, run)]


async def _closed(lims: EnteroBase, run: LostRun) -> bool:
    try:
        await close_run(lims, run.flow_run_id, Fate.TRANSIENT, run.reason)
    except DataError as error:
        logger.warning("what flow run %s left cannot be closed: %s", run.flow_run_id, error)
        return False
    await end_in_prefect(run)
    return True


async def end_in_prefect(run: LostRun) -> None:
    """Tell Prefect that a lost run does nothing more."""
    if run.state.holds_a_slot:
        await crash(run.flow_run_id, run.reason)
