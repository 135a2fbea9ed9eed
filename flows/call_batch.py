"""One batch of a night: its pairs called one after another, their outcomes stored as they come."""

from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from blocks.connections import PLAIN_NAME, EnteroBase, Toolchain
from tasks.fan_out import stopped_with_its_sender
from tasks.genomics.batch import Batch, BatchEnded, begin_batch, call_claims
from tasks.genomics.closing import close_what_run_left
from tasks.policies import program_step
from tasks.work_pools import Courtesy


@flow(
    name="call-batch",
    flow_run_name="{about}",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def call_batch(
    batch: Batch,
    entero: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "entero",
    toolchain: Annotated[str, Field(min_length=1)] = "genomics",
    about: str = "batch",  # noqa: ARG001 - names the run
) -> BatchEnded:
    """Call the pairs that a night claimed as one batch.

    1. take them over from the night, a job for each   2. call each; what the machine fails is
    tried again   3. store what comes of each, as it comes   4. hand back what is not begun when
    somebody more urgent waits

    A known failure is one pair's outcome; a bug is too, and fails this run after the last pair.

    Args:
        batch: Which one; nights fill this in.
        entero: Name of the EnteroBase block.
        toolchain: Name of the toolchain block; generic schemes run its programs.
        about: What the run is called on the page.
    """
    lims, programs = await EnteroBase.named(entero), await Toolchain.named(toolchain)
    run_id = flow_run.get_id() or ""
    claims = await begin_batch(lims, batch, run_id)
    courtesy = Courtesy(run_id)
    ended, bug = await call_claims(
        lims, programs, batch, claims, someone_waits=courtesy.someone_waits
    )
    if bug:
        raise bug
    return ended


@program_step(name="run batch")
async def run_batch(batch: dict[str, Any], entero: str, toolchain: str, about: str) -> BatchEnded:
    """Run a batch's flow where a task runner puts this step."""
    with stopped_with_its_sender():
        return await call_batch(Batch.model_validate(batch), entero, toolchain, about)
