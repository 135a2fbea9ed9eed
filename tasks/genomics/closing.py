"""Closing what a flow run left open: in Prefect's state hooks, and when a run is lost."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from blocks.connections import EnteroBase
from blocks.errors import DataError, LimsflowError, NoSuchRecord
from blocks.genomics.jobs import OPEN
from blocks.genomics.records import Fate, JobStatus, UserJob
from blocks.genomics.store import EnteroStore
from blocks.record import Record
from tasks.genomics.dispatch import Handler, handler_of
from tasks.genomics.fates import fate_of
from tasks.policies import step
from tasks.prefect_runs import crash, run_state
from tasks.runs import SECOND_LOOK_S, RunState, why_lost, why_over

logger = logging.getLogger(__name__)

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
    lims = await EnteroBase.named(flow_run.parameters.get("entero", "entero"))
    reason = why_over(RunState(type=state.type.value, message=state.message or ""))
    await close_run(lims, str(flow_run.id), await _fate(state), reason)


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
    await asyncio.to_thread(store.calls.fail_open, run_id, fate, reason)
    await asyncio.to_thread(_close_job, store, run_id, reason)


def _close_job(store: EnteroStore, run_id: str, reason: str) -> None:
    job = _job_of(store, run_id)
    if job is None or job.status not in OPEN or store.jobs.runs(job.id)[-1] != run_id:
        return
    handler = handler_of(job.pipeline)
    if handler is Handler.SEARCH:
        _close_analysis(store, job, reason)
    elif handler is Handler.ASSEMBLE and (made := store.isolates.assembly_of_job(job.id)):
        where = str(made.file_pointer) if made.file_pointer else None
        store.jobs.close(job.id, JobStatus.COMPLETE, output_location=where)
    else:
        done = handler is Handler.TYPE and store.calls.has_completed(run_id)
        store.jobs.close(job.id, JobStatus.COMPLETE if done else JobStatus.FAILED)


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
    return await asyncio.to_thread(lims.store().jobs.last_seen, run_id)


def _lost_run(store: EnteroStore, run_id: str, reason: str, state: RunState) -> LostRun:
    job = _job_of(store, run_id)
    facts = {"accession": job.accession, "pipeline": job.pipeline} if job else {}
    return LostRun(
        flow_run_id=run_id, job_id=job.id if job else None, reason=reason, state=state, **facts
    )


@step(name="close lost runs")
async def close_lost_runs(
    lims: EnteroBase, *, stale_after: timedelta, dry_run: bool
) -> list[LostRun]:
    """Close what lost runs left open in this EnteroBase; return them, whether closed or only seen.

    A row that is damaged keeps its run from being closed, and no other.
    """
    store = lims.store()
    held = await asyncio.to_thread(store.calls.open_runs)
    working = await asyncio.to_thread(store.jobs.open_runs)
    lost = await lost_among(lims, sorted({*held, *working}), stale_after=stale_after)
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
