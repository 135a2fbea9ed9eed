"""A wish for a processing job, handed to Prefect exactly once.

A wish is a message of a broker, a request to the gateway, or a job that nobody started. What makes
it one run is a key of what the LIMS says: the job, and its last attempt. As long as that attempt
is the last one, every wish for the job is the same run; when a run has registered an attempt and
ended, the next wish is a new one.

A message that is delivered again may be the one whose run has ended, or a second wish that a
bridge lost before it handed it on. So a run keeps a label when the broker surely forgot the message
that it was made for: without it, the message that comes again is that one.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import Field

from blocks.errors import NoSuchRecord
from blocks.mx.records import Attempt, AttemptState
from blocks.mx.store import IspybStore
from blocks.record import Record
from tasks.flow_runs import Run, Runs
from tasks.mx.liveness import is_silent

DEPLOYMENT = "reprocess-job/default"
BY_MESSAGE, FORGOTTEN = "limsflow.message", "limsflow.forgotten"
SOURCE, WISH = "limsflow.source", "limsflow.wish"
RECONCILER = "reconcile-jobs"
# A broker that is away for longer, just when a run's message was about to be answered, makes a
# second run of it; else a mark that was lost would swallow a wish of the next day.
LONGEST_UNANSWERED = timedelta(hours=6)
LONGEST_LABEL = 2_000  # characters of a message


class Outcome(StrEnum):
    """What became of a wish."""

    STARTED = "started"
    REPEATED = "repeated"


class HandedOff(Record):
    """What became of a wish, and the run that stands for it, if Prefect still knows it."""

    outcome: Outcome
    run_id: UUID | None = None
    why: str = ""
    late: bool = Field(default=False, description="the reconciler was faster than the message")
    ended: str = Field(default="", description="how the run ended that registered no attempt")


async def hand_off(
    store: IspybStore,
    runs: Runs,
    job_id: int,
    *,
    parameters: Mapping[str, Any],
    source: str,
    wish: str,
    message: str = "",
    repeated: bool = False,
) -> HandedOff:
    """Start a run of a job, unless one stands for this wish already.

    Args:
        store: The ISPyB that has the job.
        runs: Prefect's.
        job_id: The processing job.
        parameters: Of the flow, beside the job.
        source: Who asked: a queue, a client of the gateway, the reconciler.
        wish: Any text that no other wish has; when an answer of Prefect was lost, the run of the
            second try is known by it.
        message: The broker's message as text; empty for a wish that no broker repeats.
        repeated: Whether this message may have been delivered before.

    Raises:
        NoSuchRecord: there is no such job.
        TransientError: the database or Prefect is away; nothing is lost by trying again.
        InvalidRequest: Prefect refuses the parameters.
    """
    await asyncio.to_thread(store.job_header, job_id)
    attempts = await asyncio.to_thread(store.attempts, job_id)
    last = attempts[-1] if attempts else None
    if last is not None:
        stands = await _stands_for_it(runs, last, wish, is_message=bool(message), repeated=repeated)
        if stands:
            return stands
    labels = {SOURCE: source, WISH: wish}
    if message:
        labels[BY_MESSAGE] = message.replace("\0", "\ufffd")[:LONGEST_LABEL]
    key = key_of(str(parameters.get("ispyb", "ispyb")), job_id, last.id if last else 0)
    wanted = {**parameters, "job_id": job_id}
    while True:
        name = f"reprocess-job-{job_id}"  # as the run calls itself when it begins
        run = await runs.start(DEPLOYMENT, wanted, key=key, labels=labels, name=name)
        if run.labels.get(WISH) == wish:
            return HandedOff(outcome=Outcome.STARTED, run_id=run.id)
        if not run.is_over:
            return HandedOff(outcome=Outcome.REPEATED, run_id=run.id, why="its run goes on")
        if _was_made_for_it(run, is_message=bool(message), repeated=repeated):
            how = f"its flow run ended before it began: {run.state_name} {run.message}".strip()
            return HandedOff(outcome=Outcome.REPEATED, run_id=run.id, why=how, ended=how)
        key = f"{key.partition('-again')[0]}-again-{run.id.hex}"  # it ended without an attempt


def key_of(ispyb: str, job_id: int, last: int) -> str:
    """Return Prefect's key of a wish for a job whose last attempt is this one; 0: it has none."""
    return f"{ispyb}-job-{job_id}-after-{last}"


async def _stands_for_it(
    runs: Runs, last: Attempt, wish: str, *, is_message: bool, repeated: bool
) -> HandedOff | None:
    """Return what the last attempt at a job makes of a new wish; None: nothing."""
    if not last.flow_run_id:
        return None  # zocalo's, or somebody's by hand
    try:
        run = await runs.find(last.flow_run_id)
    except NoSuchRecord:
        run = None
    run_id = run.id if run else None
    if run and run.labels.get(WISH) == wish:
        return HandedOff(outcome=Outcome.STARTED, run_id=run_id)
    if last.state is AttemptState.RUNNING:
        goes_on = not run.is_over if run else not is_silent(last)
        if goes_on:
            why = f"AutoProcProgram {last.id} is being worked on"
            return HandedOff(outcome=Outcome.REPEATED, run_id=run_id, why=why)
    its = _was_made_for_it(run, is_message=is_message, repeated=repeated) if run else repeated
    if its:
        why = f"AutoProcProgram {last.id} was made for this message"
        late = run is not None and run.labels.get(SOURCE) == RECONCILER
        return HandedOff(outcome=Outcome.REPEATED, run_id=run_id, why=why, late=late)
    return None


def _was_made_for_it(run: Run, *, is_message: bool, repeated: bool) -> bool:
    """Whether a run that is over is the one of this message.

    The reconciler's is that of the first message that comes after it, whose bridge was away.
    """
    if FORGOTTEN in run.labels:
        return False
    if run.labels.get(SOURCE) == RECONCILER:
        return is_message
    is_recent = run.since is None or datetime.now(UTC) - run.since < LONGEST_UNANSWERED
    return repeated and BY_MESSAGE in run.labels and is_recent
