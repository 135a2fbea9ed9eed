"""Closing what a flow run left open: in Prefect's state hooks."""

import asyncio
from typing import Any

from blocks.connections import EnteroBase
from blocks.errors import LimsflowError, NoSuchRecord
from blocks.genomics.records import Fate, JobStatus
from tasks.genomics.dispatch import LOCUS_SEARCH
from tasks.genomics.fates import fate_of
from tasks.runs import RunState, why_over

OPEN = (JobStatus.QUEUED, JobStatus.RUNNING)


async def close_what_run_left(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect names them
    """State hook: close the call and the job of a run that failed, crashed or was cancelled.

    A known failure has closed them already; what is open then is a bug's, or a lost process'.
    """
    lims = await EnteroBase.named(flow_run.parameters.get("entero", "entero"))
    store, run_id = lims.store(), str(flow_run.id)
    reason = why_over(RunState(type=state.type.value, message=state.message or ""))
    fate = await _fate(state)
    await asyncio.to_thread(store.calls.fail_open, run_id, fate, reason)
    try:
        job = await asyncio.to_thread(store.jobs.of_run, run_id)
    except NoSuchRecord:
        return
    if job.status not in OPEN:
        return
    if job.pipeline == LOCUS_SEARCH and job.accession.isdigit():
        changes = {"failed": "true", "reason": reason}
        await asyncio.to_thread(store.jobs.update_analysis, int(job.accession), changes)
    await asyncio.to_thread(store.jobs.close, job.id, JobStatus.FAILED)


async def _fate(state: Any) -> Fate:
    """Return the fate of what is still open: a flow that failed has a bug, or no database."""
    if state.type.value != "FAILED":
        return Fate.TRANSIENT
    failure = await state.aresult(raise_on_failure=False) if state.data else None
    return fate_of(failure) if isinstance(failure, LimsflowError) else Fate.BUG
