"""The reads of one strain: assembled, judged, and typed by every scheme of the database."""

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from blocks.connections import PLAIN_NAME, EnteroBase, Toolchain
from blocks.errors import DataError, LimsflowError, ProgramError, TransientError
from blocks.record import Record
from flows.type_assembly import type_assembly
from tasks.genomics.assembling import (
    assemble_reads,
    automatic_schemes,
    begin_assembly,
    calls_of,
    evaluate,
    get_reads,
    polish_assembly,
    store_assembly,
    store_assembly_failure,
    take_over,
    trim_reads,
)
from tasks.genomics.closing import close_what_run_left
from tasks.genomics.publish import living, publish_failure, publish_strain
from tasks.genomics.reads_claim import claim_reads, settle_failed_reads, settle_reads
from tasks.genomics.stages import AssemblerName, Assembling, Isolate
from tasks.genomics.stamps import alone_in, clear
from tasks.life import Life


class Assembled(Record):
    """A strain's assembly, its verdict, and how many schemes were called on it."""

    assembly: str
    job_id: int
    passed: bool
    reason: str = Field(default="", description="why it failed")
    schemes: tuple[str, ...] = Field(default=(), description="that were called")
    failed_schemes: tuple[str, ...] = ()


@flow(
    name="assemble-strain",
    flow_run_name="assemble-{reads}",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def assemble_strain(
    reads: Annotated[str, Field(min_length=1, max_length=1000)],
    strain: Annotated[str, Field(max_length=200)] = "",
    assembler: AssemblerName = "spades",
    entero: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "entero",
    toolchain: Annotated[str, Field(min_length=1)] = "genomics",
    type_it: bool = True,
    user_id: Annotated[int | None, Field(ge=1)] = None,
    sent_by: Annotated[str, Field(max_length=64)] = "",
) -> Assembled:
    """Assemble the reads of one strain; type the assembly if it is good enough.

    1. make the job, so that the user sees it   2. find or fetch the reads, and check them
    3. trim   4. assemble   5. polish, with the quality of every base   6. judge by the genus
    7. store, status last   8. if it passed, call every automatic scheme at once   9. report

    Args:
        reads: Run accessions with commas between them (SRR1,SRR2), or an upload as
            trace#reads_1.fastq.gz#reads_2.fastq.gz. Illumina paired-end.
        strain: Name of the strain; the first accession unless given.
        assembler: Which program assembles. Another one may give other alleles.
        entero: Name of the EnteroBase block.
        toolchain: Name of the toolchain block: which programs, with what memory.
        type_it: Call the schemes of the database after a pass.
        user_id: users.id of whoever asks, whose job it will be; empty for the site itself.
        sent_by: Flow run of the night that claimed the reads; a person leaves it empty.
    """
    lims, programs = await EnteroBase.named(entero), await Toolchain.named(toolchain)
    task = await begin_assembly(
        lims, reads, strain, assembler, flow_run.get_id() or "", user_id=user_id
    )
    failures = list[Exception]()
    async with AsyncExitStack() as holding:
        try:
            await holding.enter_async_context(alone_in(task.working))
            await claim_reads(lims, programs, task, sent_by)
            life = await holding.enter_async_context(living(lims, task))
            isolate = await assembled(lims, programs, task, life)
            await settle_reads(lims, task, isolate)
        except (ProgramError, DataError, TransientError) as failure:
            await settle_failed_reads(lims, task, failure)
            await store_assembly_failure(lims, task, failure)
            await publish_failure(str(task.reads), failure)
            raise
        if isolate.judged.verdict.passed and type_it:
            life.tell(0.97, "calling every scheme")
            barcode = isolate.stored.assembly.barcode
            failures = await type_by_every_scheme(lims, barcode, entero, toolchain, user_id)
        life.tell(1.0, "done")
        clear(task.working)
    calls = await calls_of(lims, isolate.stored)
    await publish_strain(isolate, calls)
    for failure in failures:
        if not isinstance(failure, LimsflowError):
            raise failure
    return Assembled(
        assembly=isolate.stored.assembly.barcode,
        job_id=task.job_id,
        passed=isolate.judged.verdict.passed,
        reason=isolate.judged.verdict.reason,
        schemes=tuple(call.scheme for call in calls),
        failed_schemes=tuple(call.scheme for call in calls if call.fate),
    )


async def assembled(lims: EnteroBase, programs: Toolchain, task: Assembling, life: Life) -> Isolate:
    """Go from the reads to the stored assembly, from where an earlier run was stopped."""
    await take_over(lims, task)
    reads = await get_reads(lims, programs, task, life)
    trimmed = await trim_reads(programs, task, reads, life)
    draft = await assemble_reads(programs, task, trimmed, life)
    polished = await polish_assembly(programs, task, trimmed, draft, life)
    judged = await evaluate(lims, programs, task, polished, life)
    stored = await store_assembly(lims, task, reads, polished, judged)
    return Isolate(stored=stored, trimmed=trimmed, polished=polished, judged=judged)


async def type_by_every_scheme(
    lims: EnteroBase, assembly: str, entero: str, toolchain: str, user_id: int | None
) -> list[Exception]:
    """Call every automatic scheme at once, each a run of its own; return what failed.

    A scheme that fails stops no other: its run and its rows say why.
    """
    schemes = await automatic_schemes(lims)
    calls = [
        type_assembly(assembly, one.description, entero, toolchain, user_id=user_id)
        for one in schemes
    ]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    return [outcome for outcome in ended if isinstance(outcome, Exception)]
