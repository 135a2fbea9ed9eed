"""A night's assemblies: strains without a valid one, each sent as a run of its own."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection
from typing import Any
from uuid import uuid4

from blocks.connections import EnteroBase, Toolchain
from blocks.genomics.nights import Night
from blocks.genomics.pairs import Limits, Skip
from blocks.genomics.records import Fate
from blocks.genomics.unassembled import Unassembled, why_not_assembled
from tasks.fan_out import Slots
from tasks.genomics.night import LISTED, Counts, Plan, counted, watched
from tasks.genomics.night_report import MOST_FAILURES, Part
from tasks.genomics.night_steps import Request, shown_progress
from tasks.genomics.stages import AssemblerName
from tasks.genomics.tools import assembly_tool
from tasks.patience import stored
from tasks.policies import step
from tasks.work_pools import Send

logger = logging.getLogger(__name__)

ASSEMBLER: AssemblerName = "spades"


@step(name="plan")
async def plan_strains(
    lims: EnteroBase, programs: Toolchain, limits: Limits, lost: set[str]
) -> tuple[str, Plan]:
    """Find the strains that lack an assembly, and what would assemble them; it writes nothing."""
    tool = await assembly_tool(lims, programs, ASSEMBLER)
    found = await asyncio.to_thread(_plan, lims, tool, limits, lost)
    logger.info("%d to be assembled, found in %.1f s", found.eligible, found.took_s)
    return tool, found


def _plan(lims: EnteroBase, tool: str, limits: Limits, lost: Collection[str]) -> Plan:
    began, eligible, n_looked_at = time.monotonic(), 0, 0
    skipped = Counter[Skip]()
    first, then = list[tuple[str, str]](), list[tuple[str, str]]()
    room = min(limits.limit or LISTED, LISTED)
    for strains in lims.store().assembling.windows(since=limits.since, lost=lost):
        n_looked_at += len(strains)
        for strain in strains:
            skip = why_not_assembled(strain, tool, force=limits.force)
            if skip:
                skipped[skip] += 1
                continue
            eligible += 1
            listed = then if strain.was_tried else first
            if len(listed) < room:
                listed.append((strain.reads, ""))
    reasons = {str(reason): number for reason, number in skipped.items()}
    return Plan(
        counts=[Counts(scheme="", eligible=eligible, skipped=reasons)],
        listed=(first + then)[:room],
        n_looked_at=n_looked_at,
        took_s=round(time.monotonic() - began, 3),
    )


async def assemble_found(
    lims: EnteroBase, night: Night, tool: str, found: Plan, request: Request, send: Send
) -> Part:
    """Send every strain that a plan found, and return what came of them."""
    began, total = time.monotonic(), found.claimable(request.limits.limit)
    going = AssemblyNight(lims, night, tool, request)
    async with (
        shown_progress(lims, night, total) as life,
        watched(lims, night, total, life) as how_far,
    ):
        await going.go(send)
        life.tell(1.0, "done")
    store = lims.store().nights
    outcomes = await stored(store.assembly_counts, night.id)
    counts = counted(found.counts[0], _told(outcomes))
    how_far.moments.append((round(time.monotonic() - began, 1), counts.claimed - counts.queued))
    part = Part(
        database=request.database,
        kind=request.kind,
        night_id=night.id,
        counts=[counts],
        n_looked_at=found.n_looked_at,
        limit=request.limits.limit,
        planned_s=found.took_s,
        wall_s=round(time.monotonic() - began, 1),
        failures=await stored(store.assembly_failures, night.id, limit=MOST_FAILURES),
        progress=how_far,
        was_ended=going.was_ended,
    )
    await stored(store.end, night.id, part.model_dump(mode="json"))
    return part


def _told(outcomes: Counter[str]) -> Counter[str]:
    """Return outcomes in which an assembly of poor quality is a failure: it helps nobody."""
    poor = outcomes.pop(f"COMPLETE {Fate.PERMANENT}", 0)
    return outcomes + Counter({f"FAILED {Fate.PERMANENT}": poor})


class AssemblyNight:
    """Claims strains one by one and sends each to whatever runs it."""

    def __init__(self, lims: EnteroBase, night: Night, tool: str, request: Request) -> None:
        """Take what a night is about."""
        self._store = lims.store()
        self._night, self._tool, self._request = night, tool, request
        self._room = request.limits.limit
        self.was_ended = False
        self._slots = Slots(request.fan_out.concurrency)

    async def go(self, send: Send) -> None:
        """Claim and send until there is nothing left, or no room, or the night is ended."""
        try:
            n_again = await self._go_over(send, again=False)
            if n_again:
                await self._go_over(send, again=True)
            await self._slots.all_over()
        finally:
            self._slots.cancel()

    async def _go_over(self, send: Send, *, again: bool) -> int:
        """Send what was never tried, or what the machine failed; return how much of that there is.

        One after the other: what fails every night keeps nothing else waiting.
        """
        below: int | None = None
        n_again, since = 0, self._request.limits.since
        while self._room != 0 and (
            strains := await stored(self._store.assembling.window, below=below, since=since)
        ):
            n_again += sum(one.was_tried for one in strains)
            for strain in strains:
                if strain.was_tried is again and not await self._sent(strain, send):
                    break
            below = strains[-1].strain_id
        return n_again

    async def _sent(self, strain: Unassembled, send: Send) -> bool:
        """Send a strain if it is to be sent; return whether the night goes on."""
        limits = self._request.limits
        if why_not_assembled(strain, self._tool, force=limits.force):
            return True
        await self._slots.free()
        if not await stored(self._store.nights.goes_on, self._night.id):
            self._room, self.was_ended = 0, True
        if self._room == 0:
            return False
        mine = await stored(
            self._store.assembling.claim_for_night,
            strain,
            self._tool,
            flow_run_id=self._night.flow_run_id,
            night_id=self._night.id,
            force=limits.force,
        )
        if mine:
            self._room = None if self._room is None else self._room - 1
            self._slots.begin(self._run(strain, send))
        return True

    async def _run(self, strain: Unassembled, send: Send) -> None:
        parameters: dict[str, Any] = {
            "reads": strain.reads,
            "strain": strain.strain,
            "assembler": ASSEMBLER,
            "entero": self._request.database,
            "toolchain": self._request.toolchain,
            "sent_by": self._night.flow_run_id,
        }
        ended = await send(parameters, str(uuid4()))
        why = f"its run ended {ended}"
        await stored(self._store.assembling.fail_if_open, strain.reads, self._night.id, why)
