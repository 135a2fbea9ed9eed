"""One batch of a night, from its claims to its outcomes: a few statements for all of its pairs."""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from pydantic import Field

from blocks.connections import EnteroBase, Toolchain
from blocks.genomics.batches import Key, Waiting
from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.pairs import Outcome
from blocks.genomics.records import Claim, JobStatus, LookupStatus, Scheme
from blocks.record import Record
from tasks.genomics.calling import Called, call_pair, outcomes
from tasks.genomics.dispatch import pipeline_of
from tasks.genomics.publish import alive
from tasks.patience import stored

logger = logging.getLogger(__name__)

GOES_ON_EVERY_S = 2.0
LONGEST_VERSION = 50  # letters of user_jobs.version


class Batch(Record):
    """Which batch, of which night, and how it is called."""

    id: str = Field(description="that its pairs were claimed by")
    night_id: int
    night_run: str = Field(description="flow run of the night, to hand back to")
    at_once: int = 1


class BatchEnded(Record):
    """What became of a batch's pairs."""

    n_pairs: int
    outcomes: dict[str, int] = Field(description="how many by status and fate")
    n_handed_back: int = Field(default=0, description="left for later, as somebody waited")


async def begin_batch(lims: EnteroBase, batch: Batch, run_id: str) -> list[Claim]:
    """Take a batch's pairs, each with its job; what another run of the batch finished is left out.

    Of a night that is over there are none: a run that waited long for a slot begins nothing.

    Raises:
        TransientError: the database is away for long.
    """
    store = lims.store()
    if not await stored(store.nights.goes_on, batch.night_id):
        return []
    waiting = await stored(store.batches.waiting, batch.id)
    schemes = await _schemes(store.schemes, {one.scheme_id for one in waiting})
    jobs = {one.key: one.job_id for one in waiting if one.job_id}
    new = [one for one in waiting if not one.job_id]
    about = [(one.assembly.barcode, pipeline_of(schemes[one.scheme_id])) for one in new]
    ids = await stored(store.jobs.start_many, about, run_id)
    await stored(store.jobs.add_run_to, list(jobs.values()), run_id)
    jobs |= {one.key: job for one, job in zip(new, ids, strict=True)}
    mine = await stored(store.batches.begin, batch.id, run_id, jobs)
    return [_claim(one, schemes, jobs, run_id) for one in waiting if one.key in mine]


async def _schemes(store: SchemeStore, wanted: set[int]) -> dict[int, Scheme]:
    """Return schemes by id, with their loci."""
    known = [one for one in await stored(store.schemes) if one.id in wanted]
    return {one.id: await stored(store.scheme, one.description) for one in known}


def _claim(one: Waiting, schemes: dict[int, Scheme], jobs: dict[Key, int], run_id: str) -> Claim:
    return Claim(
        assembly=one.assembly,
        scheme=schemes[one.scheme_id],
        job_id=jobs[one.key],
        flow_run_id=run_id,
        tool=one.tool,
    )


async def call_claims(
    lims: EnteroBase,
    programs: Toolchain,
    batch: Batch,
    claims: Sequence[Claim],
    *,
    someone_waits: Callable[[], Awaitable[bool]],
) -> tuple[BatchEnded, BaseException | None]:
    """Call the pairs of a batch and store what comes of them as it comes; return a bug, too.

    When the night is ended, or somebody more urgent waits, what is not begun is handed back. One
    pair is begun at least, so that a batch that is handed back again and again gets on.
    """
    run_id = claims[0].flow_run_id if claims else ""
    goes_on, tools = _asked_seldom(lims, batch), {one.job_id: one.tool for one in claims}
    counted, first_bug, n_begun = Counter[str](), None, 0

    async def call(claim: Claim) -> Called:
        return await call_pair(lims, programs, claim)

    async def may_begin() -> bool:
        nonlocal n_begun
        n_begun += 1
        return await goes_on() and (n_begun == 1 or not await someone_waits())

    async with alive(lims, run_id):
        async for ended, broken in outcomes(claims, call, at_once=batch.at_once, goes_on=may_begin):
            await _store(lims, run_id, ended, tools)
            counted.update(_told(one) for one in ended)
            for bug in broken:
                logger.error("a bug in a call of batch %s", batch.id, exc_info=bug)
            first_bug = first_bug or next(iter(broken), None)  # each holds on to its frames
    store = lims.store()
    left = await stored(store.batches.hand_back, batch.id, run_id, batch.night_run)
    await stored(store.jobs.add_run_to, left, batch.night_run)
    await _close_forgotten(lims, run_id, [one.job_id for one in claims])
    told = {"n_pairs": len(claims), "outcomes": dict(counted), "n_handed_back": len(left)}
    return BatchEnded.model_validate(told), first_bug


async def _store(
    lims: EnteroBase, run_id: str, ended: Sequence[Outcome], tools: dict[int, str]
) -> None:
    store = lims.store()
    mine = await stored(store.batches.finish, run_id, ended)
    by_end = dict[tuple[JobStatus, str], list[int]]()
    for one in mine:
        complete = one.status is LookupStatus.COMPLETE
        status = JobStatus.COMPLETE if complete else JobStatus.FAILED
        by_end.setdefault((status, tools[one.job_id]), []).append(one.job_id)
    for (status, tool), jobs in by_end.items():
        await stored(store.jobs.close_many, jobs, status, version=tool[:LONGEST_VERSION])


async def _close_forgotten(lims: EnteroBase, run_id: str, ours: Sequence[int]) -> None:
    """Close jobs that were made twice, where an answer of the database never came."""
    store = lims.store()
    held = {job.id for job in await stored(store.jobs.open_of_run, run_id)} - set(ours)
    if held:
        await stored(store.jobs.close_many, sorted(held), JobStatus.FAILED)


def _told(outcome: Outcome) -> str:
    return f"{outcome.status} {outcome.fate}" if outcome.fate else str(outcome.status)


def _asked_seldom(lims: EnteroBase, batch: Batch) -> Callable[[], Awaitable[bool]]:
    """Return what says whether the night goes on; the database is asked every two seconds."""
    asked_at, answer = -GOES_ON_EVERY_S, True

    async def goes_on() -> bool:
        nonlocal asked_at, answer
        if time.monotonic() - asked_at >= GOES_ON_EVERY_S:
            asked_at = time.monotonic()
            answer = await stored(lims.store().nights.goes_on, batch.night_id)
        return answer

    return goes_on
