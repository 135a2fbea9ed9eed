"""Who assembles which reads: one run at a time, and what came of it for the nights to come."""

import asyncio

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import AlreadyRunning, LimsflowError
from blocks.genomics.records import Fate
from tasks.genomics.closing import lost_among
from tasks.genomics.fates import fate_of, story_of
from tasks.genomics.stages import Assembling, Isolate
from tasks.genomics.tools import assembly_tool
from tasks.policies import step
from tasks.runs import STALE_AFTER

REASON_LENGTH = 2_000


@step(name="claim reads")
async def claim_reads(
    lims: EnteroBase, programs: Toolchain, task: Assembling, sent_by: str
) -> None:
    """Take the reads; for whoever holds their working directory, so no other run works on them.

    Raises:
        AlreadyRunning: a night that is alive has claimed them, or a run with another assembler
            works on them.
    """
    store, reads = lims.store(), str(task.reads)
    tool = await assembly_tool(lims, programs, task.assembler)
    facts = {"flow_run_id": task.flow_run_id, "tool": tool, "job_id": task.job_id}
    holder = await asyncio.to_thread(store.assembling.claim, reads, held_by=sent_by, **facts)  # pyright: ignore[reportArgumentType] - by name
    if holder == task.flow_run_id:
        return
    if await _is_alive(lims, task, holder):
        msg = f"{reads} are being assembled by, or for, another flow run: {holder}"
        raise AlreadyRunning(msg)
    await asyncio.to_thread(store.assembling.claim, reads, held_by=holder, **facts)  # pyright: ignore[reportArgumentType] - by name


async def _is_alive(lims: EnteroBase, task: Assembling, holder: str) -> bool:
    """Whether whoever has the reads works on them.

    A run with the same assembler would hold the directory that is ours now: it is dead, however
    lately it gave a sign. A night, and a run with another assembler, are known by their signs.
    """
    store, reads = lims.store(), str(task.reads)
    is_night = await asyncio.to_thread(store.nights.last_seen, holder)
    tool = await asyncio.to_thread(store.assembling.tool, reads)
    if not is_night and tool.partition(" ")[0] == task.assembler:
        return False
    return not await lost_among(lims, [holder], stale_after=STALE_AFTER)


@step(name="settle reads")
async def settle_reads(lims: EnteroBase, task: Assembling, isolate: Isolate) -> None:
    """Write what came of the reads: a poor assembly is put aside until something changes."""
    verdict = isolate.judged.verdict
    await asyncio.to_thread(
        lims.store().assembling.finish,
        str(task.reads),
        task.flow_run_id,
        fate=None if verdict.passed else Fate.PERMANENT,
        reason=verdict.reason,
    )


@step(name="settle reads")
async def settle_failed_reads(lims: EnteroBase, task: Assembling, failure: LimsflowError) -> None:
    """Write that there is no assembly of the reads, and whether another run may make one."""
    await asyncio.to_thread(
        lims.store().assembling.finish,
        str(task.reads),
        task.flow_run_id,
        failed=True,
        fate=fate_of(failure),
        reason=story_of(failure)[:REASON_LENGTH],
    )
