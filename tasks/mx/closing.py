"""Closing attempts: by a step that failed, by a hook, by the reconciler, by the next run."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from blocks.connections import IspybDatabase
from blocks.errors import AlreadyRunning
from blocks.mx.messages import RecipeStep
from blocks.mx.records import Attempt, AttemptState, Message, Severity
from tasks.mx.keeping import keep_what_is_left
from tasks.mx.liveness import reason_to_close
from tasks.policies import step
from tasks.prefect_runs import crash, run_state
from tasks.runs import SECOND_LOOK_S, STALE_AFTER, RunState, why_over


async def close_failed(
    lims: IspybDatabase, program_id: int, reason: str, *, description: str
) -> AttemptState:
    """Write the full story as a message, then the status; return the status that stands."""
    store = lims.store()
    message = Message(severity=Severity.ERROR, message=reason, description=description)
    await asyncio.to_thread(store.add_messages, program_id, [message])
    return await asyncio.to_thread(store.close, program_id, AttemptState.FAILED, reason)


async def require_dead(lims: IspybDatabase, attempt: Attempt) -> None:
    """Close an attempt that nobody works on.

    Raises:
        AlreadyRunning: somebody does.
    """
    if not await close_if_lost(lims, attempt, stale_after=STALE_AFTER):
        msg = f"AutoProcProgram {attempt.id} of this job is being worked on by another flow run"
        raise AlreadyRunning(msg)


async def close_if_lost(
    lims: IspybDatabase, attempt: Attempt, *, stale_after: timedelta, dry_run: bool = False
) -> str:
    """Close an attempt that nobody works on any more, and its flow run; return why, or ""."""
    state = await run_state(attempt.flow_run_id)
    reason = reason_to_close(attempt, state, now=datetime.now(UTC), stale_after=stale_after)
    if reason and not state.is_over:
        # After an outage of the database a living run has to get its sign through first.
        await asyncio.sleep(min(SECOND_LOOK_S, stale_after.total_seconds()))
        again = await asyncio.to_thread(lims.store().attempt, attempt.id)
        if again.updated_at != attempt.updated_at or again.state is not AttemptState.RUNNING:
            return ""
    if reason and not dry_run:
        await keep_what_is_left(lims, attempt)
        await close_failed(lims, attempt.id, reason, description=reason)
        if state.holds_a_slot:
            await crash(attempt.flow_run_id, reason)
    return reason


@step(name="find open attempts")
async def open_attempts(lims: IspybDatabase) -> list[Attempt]:
    """Return the attempts that limsflow made and nobody has closed, oldest first."""
    return await asyncio.to_thread(lims.store().open_attempts)


@step(name="close if lost")
async def close_attempt_if_lost(
    lims: IspybDatabase, attempt: Attempt, *, stale_after: timedelta, dry_run: bool
) -> str:
    """Close one attempt if nobody works on it; return why, or an empty text."""
    return await close_if_lost(lims, attempt, stale_after=stale_after, dry_run=dry_run)


async def close_attempts_of_run(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect names them
    """State hook: close what a flow run left open when it failed, crashed or was cancelled.

    After a crash or a cancellation it runs in the worker, so it knows only the run's parameters.
    Where the worker is gone too, the reconciler does this.
    """
    lims = await IspybDatabase.named(flow_run.parameters.get("ispyb", "ispyb"))
    over = RunState(type=state.type.value, message=state.message or "")
    reason = why_over(over)
    said = flow_run.parameters.get("step")
    asked = RecipeStep.model_validate(said) if said else None
    for attempt in await asyncio.to_thread(lims.store().attempts, flow_run.parameters["job_id"]):
        mine = attempt.flow_run_id == str(flow_run.id)
        if mine and attempt.state is AttemptState.RUNNING:
            await keep_what_is_left(lims, attempt, asked)
            await close_failed(lims, attempt.id, reason, description=reason)
