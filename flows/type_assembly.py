"""One assembly typed by one scheme: alleles and a sequence type, or what a program finds."""

import asyncio
from typing import Annotated, Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from blocks.connections import PLAIN_NAME, EnteroBase, Toolchain
from blocks.errors import DataError, ProgramError, TransientError
from blocks.genomics.records import CallStatus, Claim
from blocks.record import Record
from tasks.genomics.closing import close_what_run_left
from tasks.genomics.publish import alive, publish_failure, publish_generic, publish_typing
from tasks.genomics.steps import (
    Begun,
    begin_call,
    run_generic,
    store_call_failure,
    store_generic,
    type_loci,
)


class Typed(Record):
    """What one scheme says of an assembly."""

    assembly: str
    scheme: str
    job_id: int
    st: int | None = Field(default=None, description="sequence type, of a nomenclature scheme")
    counts: dict[CallStatus, int] = Field(default_factory=dict[CallStatus, int])
    results: dict[str, Any] = Field(default_factory=dict[str, Any])
    was_known: bool = Field(default=False, description="stored by an earlier run")


@flow(
    name="type-assembly",
    flow_run_name="type-{assembly}-{scheme}",
    on_failure=[close_what_run_left],
    on_crashed=[close_what_run_left],
    on_cancellation=[close_what_run_left],
)
async def type_assembly(
    assembly: Annotated[str, Field(min_length=1, max_length=30)],
    scheme: Annotated[str, Field(min_length=1, max_length=200)],
    entero: Annotated[str, Field(min_length=1, pattern=PLAIN_NAME)] = "entero",
    toolchain: Annotated[str, Field(min_length=1)] = "genomics",
    force: bool = False,
    user_id: Annotated[int | None, Field(ge=1)] = None,
) -> Typed:
    """Type one assembly by one scheme and store what is found.

    1. claim the pair, so that nobody else calls it   2. call its loci, or run its program
    3. mint new alleles and type, store, status last   4. report

    Args:
        assembly: Barcode of the assembly, like SAL_AA0019AA_AS.
        scheme: Description of the scheme: schemes.description, like MLST_Achtman.
        entero: Name of the EnteroBase block.
        toolchain: Name of the toolchain block; generic schemes run its programs.
        force: Call it although there is a result for this version, or a failure that would come
            again, or the assembly failed its quality control.
        user_id: users.id of whoever asks, whose job it will be; empty for the site itself.
    """
    lims, programs = await EnteroBase.named(entero), await Toolchain.named(toolchain)
    run_id = flow_run.get_id() or ""
    async with alive(lims, run_id):
        begun = await begin_call(
            lims, programs, assembly, scheme, run_id, force=force, user_id=user_id
        )
        return await called(lims, programs, begun)


async def called(lims: EnteroBase, programs: Toolchain, begun: Begun) -> Typed:
    """Make the call that was claimed, and store and report what comes of it."""
    claim, assembly, scheme = begun.claim, begun.claim.assembly, begun.claim.scheme
    if begun.stored:
        known = begun.stored.results
        return _typed(claim, _stored_st(claim, known), results=known, was_known=True)
    try:
        if scheme.is_nomenclature:
            typing = await type_loci(lims, claim)
            await publish_typing(typing)
            return _typed(claim, typing.st.number if typing.st else None, counts=typing.counts)
        found = await run_generic(lims, programs, claim)
        await store_generic(lims, claim, found)
    except (ProgramError, DataError, TransientError) as failure:
        await store_call_failure(lims, claim, failure)
        subject = f"{assembly.barcode} {scheme.description}"
        await publish_failure(subject, failure, of_call=True)
        raise
    columns = await asyncio.to_thread(lims.store().schemes.columns, scheme.description)
    await publish_generic(assembly.barcode, scheme.description, found, columns)
    return _typed(claim, None, results=found.stored())


def _stored_st(claim: Claim, results: dict[str, Any]) -> int | None:
    """Return the type of stored results; a program's field of the same name is none."""
    st = results.get("ST") if claim.scheme.is_nomenclature else None
    return st if isinstance(st, int) else None


def _typed(claim: Claim, st: int | None, **rest: Any) -> Typed:
    return Typed(
        assembly=claim.assembly.barcode,
        scheme=claim.scheme.description,
        job_id=claim.job_id,
        st=st,
        **rest,
    )
