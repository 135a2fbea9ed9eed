"""A night over one species database: what there is to do, sent in batches, and what came of it."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pydantic import Field

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import InconsistentInput, TransientError
from blocks.genomics.nights import Night
from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.pairs import Limits, Pair, Skip, Wanted
from blocks.genomics.records import JobStatus, Scheme
from blocks.genomics.selection import Window
from blocks.record import Record
from tasks.fan_out import COMPLETED, Engine, FanOut, Slots
from tasks.genomics.batch import Batch
from tasks.genomics.closing import lost_runs
from tasks.genomics.tools import tool_of
from tasks.life import Life
from tasks.patience import stored
from tasks.prefect_runs import crash, run_state
from tasks.work_pools import Send

logger = logging.getLogger(__name__)

LISTED = 1_000  # pairs that a report names
ROUNDS = 3  # of one batch whose run crashes
WATCH_EVERY_S, LONGEST_WATCH_S = 2.0, 60.0


class Counts(Record):
    """What there was to do of one scheme, and what became of what was sent."""

    scheme: str = Field(description="empty: assemblies from reads")
    eligible: int = 0
    claimed: int = 0
    complete: int = 0
    failed: dict[str, int] = Field(default_factory=dict[str, int], description="by fate")
    skipped: dict[str, int] = Field(default_factory=dict[str, int], description="by reason")
    queued: int = Field(default=0, description="still to be called: in a report of a running night")


class Plan(Record):
    """What a night would do, and in which order."""

    counts: list[Counts]
    listed: list[tuple[str, str]] = Field(
        default_factory=list[tuple[str, str]],
        description="barcode and scheme, or reads and nothing, of the first that would be claimed",
    )
    n_looked_at: int = Field(default=0, description="assemblies that passed, or strains")
    took_s: float = 0.0

    @property
    def eligible(self) -> int:
        """How many pairs there are to be called."""
        return sum(one.eligible for one in self.counts)

    def claimable(self, limit: int | None) -> int:
        """Return how many of them a limit allows."""
        return self.eligible if limit is None else min(limit, self.eligible)


class Progress(Record):
    """How far a night was at some moments: seconds from its start, and items that had ended."""

    moments: list[tuple[float, int]] = Field(default_factory=list[tuple[float, int]])
    total: int = 0


async def wanted_schemes(
    lims: EnteroBase, programs: Toolchain, names: Sequence[str] | None = None
) -> list[Wanted]:
    """Return schemes with what calls them; those that are called by themselves unless named.

    Raises:
        NoSuchRecord: there is no scheme of a name.
        InconsistentInput: one that is named has no alleles yet.
    """
    store = lims.store().schemes
    if names is None:
        automatic = await stored(store.automatic)
        schemes = [one for one in automatic if await _can_be_called(store, one)]
    else:
        schemes = [await stored(store.scheme, name) for name in names]
        for one in schemes:
            if not await _can_be_called(store, one):
                msg = f"scheme {one.description} has no alleles: see 'limsflow scheme load'"
                raise InconsistentInput(msg)
    return [Wanted(scheme, await tool_of(scheme, programs)) for scheme in schemes]


async def _can_be_called(store: SchemeStore, scheme: Scheme) -> bool:
    """Whether a scheme has what it is called with: before its first load, every call would fail."""
    if not scheme.is_nomenclature:
        return True
    n_alleles, *_ = await stored(store.allele_stamp, scheme.id)
    if not n_alleles:
        logger.warning("scheme %s has no alleles yet; not called", scheme.description)
    return bool(n_alleles)


async def lost_run_ids(lims: EnteroBase, stale_after: timedelta) -> set[str]:
    """Return the runs on which nobody works any more, whose claims a night will take."""
    return {run.flow_run_id for run in await lost_runs(lims, stale_after=stale_after)}


def plan_pairs(
    lims: EnteroBase, wanted: Sequence[Wanted], limits: Limits, *, lost: set[str] | None = None
) -> Plan:
    """Return what a night would call: counts of all, and names of the first."""
    began, names = time.monotonic(), {one.scheme.id: one.scheme.description for one in wanted}
    eligible, skipped = Counter[int](), {scheme: Counter[Skip]() for scheme in names}
    first, then, n_looked_at = list[Pair](), list[Pair](), 0
    store, room = lims.store().pairs, min(limits.limit or LISTED, LISTED)
    options = {"since": limits.since, "force": limits.force, "lost": lost or set[str]()}
    for window in store.windows(wanted, **options):  # pyright: ignore[reportArgumentType] - by name
        n_looked_at += window.n_assemblies
        eligible.update(pair.scheme_id for pair in (*window.pairs, *window.again))
        for scheme, reasons in window.skipped.items():
            skipped[scheme].update(reasons)
        first += window.pairs[: room - len(first)]
        then += window.again[: room - len(then)]
    poor = store.failed_quality_control(limits.since)
    return Plan(
        counts=[
            _counts(name, eligible[scheme], skipped[scheme], poor) for scheme, name in names.items()
        ],
        listed=[(one.barcode, names[one.scheme_id]) for one in (*first, *then)[:room]],
        n_looked_at=n_looked_at,
        took_s=round(time.monotonic() - began, 3),
    )


def _counts(scheme: str, eligible: int, skipped: Counter[Skip], poor: int) -> Counts:
    reasons = {str(reason): number for reason, number in skipped.items() if number}
    if poor:
        reasons[str(Skip.FAILED_QC)] = poor
    return Counts(scheme=scheme, eligible=eligible, skipped=reasons)


class PairNight:
    """Claims pairs batch by batch and sends each batch to whatever runs it."""

    def __init__(
        self,
        lims: EnteroBase,
        night: Night,
        wanted: Sequence[Wanted],
        limits: Limits,
        how: FanOut,
        *,
        names: dict[str, str],
    ) -> None:
        """Take what a night is about.

        Args:
            lims: The database.
            night: Its row.
            wanted: The schemes.
            limits: What may be chosen.
            how: Sizes and numbers.
            names: Of the blocks, as `call_batch` takes them: entero and toolchain.
        """
        self._store = lims.store()
        self._night = night
        self._wanted = {one.scheme.id: one for one in wanted}
        self._limits, self._how, self._names = limits, how, names
        self._room = limits.limit
        self.was_ended = False
        self._slots = Slots(how.concurrency)

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
        n_again = 0
        while self._has_room() and (window := await self._window(below)):
            n_again += len(window.again)
            await self._send_some(window.again if again else window.pairs, send)
            if not await self._goes_on():
                break
            below = window.lowest
        return n_again

    async def _goes_on(self) -> bool:
        """Whether nobody has ended the night: a person, or a reconciler that took it for lost."""
        if not self.was_ended:
            self.was_ended = not await stored(self._store.nights.goes_on, self._night.id)
        return not self.was_ended

    async def _window(self, below: int | None) -> Window | None:
        wanted, limits = list(self._wanted.values()), self._limits
        options = {"below": below, "since": limits.since, "force": limits.force}
        return await stored(self._store.pairs.window, wanted, **options)

    def _has_room(self) -> bool:
        return self._room is None or self._room > 0

    async def _send_some(self, pairs: Sequence[Pair], send: Send) -> None:
        start = 0
        while start < len(pairs) and self._has_room():
            await self._slots.free()
            if not await self._goes_on():
                return
            size = min(self._how.batch_size, self._room or self._how.batch_size)
            some, start = pairs[start : start + size], start + size
            await self._claim_and_send(some, send)

    async def _claim_and_send(self, pairs: Sequence[Pair], send: Send) -> None:
        batch_id = str(uuid4())
        n_claimed = await stored(
            self._store.batches.claim,
            pairs,
            self._wanted,
            batch_id=batch_id,
            flow_run_id=self._night.flow_run_id,
            night_id=self._night.id,
            force=self._limits.force,
        )
        if n_claimed:
            self._room = None if self._room is None else self._room - n_claimed
            run = self._run(batch_id, self._about(pairs, n_claimed), send)
            self._slots.begin(run)

    def _about(self, pairs: Sequence[Pair], n_claimed: int) -> str:
        """Return what a batch's run is called."""
        first = pairs[0]
        if len(pairs) == 1:
            return f"{first.barcode} {self._wanted[first.scheme_id].scheme.description}"
        return f"{n_claimed} pairs from {first.barcode}"

    async def _run(self, batch_id: str, about: str, send: Send) -> None:
        """Send a batch until nothing of it is left: again when it was handed back, or crashed."""
        night = self._night
        batch = Batch(
            id=batch_id, night_id=night.id, night_run=night.flow_run_id, at_once=self._how.at_once
        )
        parameters: dict[str, Any] = {"batch": batch.model_dump(), **self._names, "about": about}
        n_sent = crashed = 0
        while True:
            n_sent += 1
            ended = await send(parameters, f"{batch_id}-{n_sent}")
            left = await stored(self._store.batches.n_queued, batch_id)
            if not left:
                return
            if ended != COMPLETED:
                crashed += 1
                await self._tell_prefect(batch_id, ended)
            if not await self._goes_on() or crashed >= self._rounds:
                stopped = "the night was ended"
                why = stopped if self.was_ended else f"the run of its batch ended {ended}"
                jobs = await stored(self._store.batches.fail_left, batch_id, why)
                await stored(self._store.jobs.close_many, jobs, JobStatus.FAILED)
                return

    async def _tell_prefect(self, batch_id: str, ended: str) -> None:
        """Say of runs whose process died that they do nothing more: nobody else will."""
        holders = await stored(self._store.batches.holders, batch_id)
        for run_id in sorted(holders - {self._night.flow_run_id}):
            if (await run_state(run_id)).holds_a_slot:
                await crash(run_id, f"its process ended: {ended}")

    @property
    def _rounds(self) -> int:
        """How often a batch may crash: another host may do what one could not."""
        return 1 if self._how.engine is Engine.THREADS else ROUNDS


@asynccontextmanager
async def watched(
    lims: EnteroBase, night: Night, total: int, life: Life
) -> AsyncGenerator[Progress, None]:
    """Give signs of a night's life and progress while the block runs; note them for the plot."""
    progress = Progress(total=total)
    watcher = asyncio.create_task(_watch(lims, night, progress, life))
    try:
        yield progress
    finally:
        watcher.cancel()
        await asyncio.wait([watcher])
        if not watcher.cancelled() and watcher.exception():
            logger.error("nobody watched the night any more: %r", watcher.exception())


async def _watch(lims: EnteroBase, night: Night, progress: Progress, life: Life) -> None:
    """Look now and then; a database that is away is asked again soon, so that a night lives."""
    store, began = lims.store().nights, time.monotonic()
    while True:
        try:
            await asyncio.to_thread(store.sign_of_life, night.id)
            done = await asyncio.to_thread(n_ended, lims, night.id)
        except TransientError as failure:
            logger.warning("no sign of the night's life: %s", failure)
        else:
            progress.moments.append((round(time.monotonic() - began, 1), done))
            if progress.total:
                life.tell(0.99 * done / progress.total, f"{done:,} of {progress.total:,}")
        # As the night gets long, the moments get fewer.
        await asyncio.sleep(
            min(LONGEST_WATCH_S, WATCH_EVERY_S * (1 + len(progress.moments) // 100))
        )


def n_ended(lims: EnteroBase, night_id: int) -> int:
    """Return how many items of a night have an outcome."""
    store = lims.store().nights
    counted = [*store.counts(night_id).values(), store.assembly_counts(night_id)]
    return sum(one.total() - one["QUEUED"] for one in counted)


def with_outcomes(
    lims: EnteroBase, night_id: int, plan: Plan, wanted: Sequence[Wanted]
) -> list[Counts]:
    """Return the counts of a plan with what came of it, out of the database."""
    found, ids = (
        lims.store().nights.counts(night_id),
        {w.scheme.description: w.scheme.id for w in wanted},
    )
    return [counted(one, found.get(ids[one.scheme], Counter())) for one in plan.counts]


def counted(counts: Counts, found: Counter[str]) -> Counts:
    """Return counts with how many ended how."""
    failed = {
        name.partition(" ")[2]: number
        for name, number in found.items()
        if name.startswith("FAILED ")
    }
    return counts.model_copy(
        update={
            "claimed": found.total(),
            "complete": found["COMPLETE"],
            "failed": failed,
            "queued": found["QUEUED"],
        }
    )
