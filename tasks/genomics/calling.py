"""Calling pairs without a step for each: what a batch does, and one call's run does too."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import DataError, InconsistentInput, LimsflowError, ProgramError, TransientError
from blocks.genomics.genome import read_genome
from blocks.genomics.pairs import Outcome
from blocks.genomics.pipeline import load_pipeline
from blocks.genomics.records import Claim, Fate, LookupStatus, Scheme, Typing
from blocks.record import Record
from tasks.genomics.alleles import TypingIndex, type_genome
from tasks.genomics.fates import fate_of, story_of
from tasks.genomics.generic import GenericResult, run_pipeline
from tasks.genomics.indexes import IndexCache, folder_name
from tasks.genomics.tools import REHEARSAL, pipeline_name
from tasks.patience import patiently

INDEXES = IndexCache()
ERROR_LENGTH = 2_000
TRIES = 3  # of one pair: what the machine failed may go well in a minute
WAIT_S = 5.0
TELL_EVERY_S = 0.5

Call = Callable[[Claim], Awaitable["Called"]]


class Called(Record):
    """What a call of one pair found."""

    results: dict[str, Any] = Field(default_factory=dict[str, Any])
    is_stored: bool = Field(default=False, description="as a typing is, with its alleles")


async def call_pair(lims: EnteroBase, programs: Toolchain, claim: Claim) -> Called:
    """Call one scheme on one assembly, by loci or by a program.

    Raises:
        ProgramError: the program failed.
        DataError: the scheme or the assembly cannot be used, or the claim was lost.
        TransientError: a file or the database is away.
    """
    if claim.scheme.is_nomenclature:
        await asyncio.to_thread(typed, lims, claim)
        return Called(is_stored=True)
    return Called(results=(await generic_result(lims, programs, claim)).stored())


def typed(lims: EnteroBase, claim: Claim) -> Typing:
    """Call every locus, mint what is new, store all of it in one transaction.

    Raises:
        FileNotYetVisible: the assembly's file is not on this disk.
        InconsistentInput: it is no assembly, or the claim was lost.
    """
    calls = type_genome(read_genome(assembly_file(claim)), index_of(lims, claim.scheme))
    return lims.store().calls.store_typing(claim, calls)


async def generic_result(lims: EnteroBase, programs: Toolchain, claim: Claim) -> GenericResult:
    """Run a generic scheme's program in the job's own folder.

    Raises:
        ProgramError: the program failed.
        DataError: the scheme or the assembly cannot be used.
    """
    name = pipeline_name(claim.scheme)
    if name == REHEARSAL:
        said = {REHEARSAL: "simulated: nothing was called"}
        return GenericResult(pipeline=name, results=said, files={}, argv=(), tools=(), wall_s=0.0)
    pipeline = load_pipeline(name, programs.pipelines)
    return await run_pipeline(
        pipeline,
        programs.program(pipeline.program),
        assembly_file(claim),
        Path(lims.share) / str(claim.job_id),
        n_processes=programs.n_processes,
        time_limit_s=programs.time_limit_s,
        genus=lims.genus,
    )


def index_of(lims: EnteroBase, scheme: Scheme) -> TypingIndex:
    """Return the index of a scheme as its alleles are now.

    Raises:
        InconsistentInput: it has no allele.
    """
    where, store = lims.url.get_secret_value(), lims.store().schemes
    folder = Path(lims.share) / "indexes" / folder_name(lims.database, where)
    index = INDEXES.index(store, scheme, where=where, folder=folder)
    if not index.exact.n_alleles:
        msg = f"scheme {scheme.description} has no alleles: see 'limsflow scheme load'"
        raise InconsistentInput(msg)
    return index


def assembly_file(claim: Claim) -> Path:
    """Return the file of the claim's assembly.

    Raises:
        InconsistentInput: the database names none.
    """
    if claim.assembly.file_pointer is None:
        msg = f"assembly {claim.assembly.barcode} has no file in the database"
        raise InconsistentInput(msg)
    return claim.assembly.file_pointer


# Many of them


async def outcome_of(claim: Claim, call: Call, *, tries: int = TRIES) -> Outcome:
    """Return what became of one pair; what the machine failed is tried again, with longer waits.

    A known failure is an outcome of this pair and of no other. Any other error is a bug.
    """
    failures = list[TransientError]()
    try:
        found = await patiently(
            lambda: call(claim), tries=tries, first_wait_s=WAIT_S, on_failure=failures.append
        )
    except TransientError as failure:
        return _failed(claim, failure, attempts=len(failures))
    except (ProgramError, DataError) as failure:
        return _failed(claim, failure, attempts=len(failures) + 1)
    return Outcome(
        **_of(claim),
        status=LookupStatus.COMPLETE,
        results=found.results,
        is_stored=found.is_stored,
        attempts=len(failures) + 1,
    )


def _failed(claim: Claim, failure: LimsflowError, *, attempts: int) -> Outcome:
    reason = story_of(failure)[:ERROR_LENGTH]
    failed = LookupStatus.FAILED
    return Outcome(
        **_of(claim), status=failed, fate=fate_of(failure), reason=reason, attempts=attempts
    )


def _of(claim: Claim) -> dict[str, Any]:
    return {
        "assembly_id": claim.assembly.id,
        "scheme_id": claim.scheme.id,
        "job_id": claim.job_id,
    }


async def outcomes(
    claims: Sequence[Claim],
    call: Call,
    *,
    at_once: int,
    goes_on: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[tuple[list[Outcome], list[BaseException]], None]:
    """Call pairs, some at once; give what ended, and bugs, at least every half second.

    Args:
        claims: In the order in which they are begun.
        call: Calls one.
        at_once: How many.
        goes_on: Asked before each; False lets those that run end, and begins no more.
    """
    left, running = iter(claims), dict[asyncio.Task[Outcome], Claim]()
    ended, bugs, told = list[Outcome](), list[BaseException](), time.monotonic()
    await _fill(running, left, call, at_once, goes_on)
    try:
        while running:
            done, _ = await asyncio.wait(
                running, timeout=TELL_EVERY_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                claim, bug = running.pop(task), task.exception()
                ended.append(_buggy(claim, bug) if bug else task.result())
                bugs += [bug] if bug else []
            await _fill(running, left, call, at_once, goes_on)
            if ended and time.monotonic() - told >= TELL_EVERY_S:
                yield ended, bugs
                ended, bugs, told = [], [], time.monotonic()
        if ended:
            yield ended, bugs
    finally:
        for task in running:
            task.cancel()


async def _fill(
    running: dict[asyncio.Task[Outcome], Claim],
    left: Iterator[Claim],
    call: Call,
    at_once: int,
    goes_on: Callable[[], Awaitable[bool]],
) -> None:
    while len(running) < at_once and await goes_on():
        claim = next(left, None)
        if claim is None:
            return
        running[asyncio.create_task(outcome_of(claim, call))] = claim


def _buggy(claim: Claim, bug: BaseException) -> Outcome:
    reason = f"a bug, for a person to look at: {type(bug).__name__}: {bug}"[:ERROR_LENGTH]
    return Outcome(**_of(claim), status=LookupStatus.FAILED, fate=Fate.BUG, reason=reason)
