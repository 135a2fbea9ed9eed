"""The steps of typing as Prefect tasks; each looks before it writes, so it may run twice."""

import asyncio

from blocks.connections import EnteroBase, Toolchain
from blocks.errors import AlreadyRunning, InvalidRequest, LimsflowError
from blocks.genomics.isolates import FAILED
from blocks.genomics.records import (
    Claim,
    Fate,
    JobStatus,
    LookupStatus,
    SchemeCall,
    Typing,
)
from blocks.record import Record
from tasks.genomics.calling import ERROR_LENGTH, generic_result, typed
from tasks.genomics.closing import close_run, end_in_prefect, lost_among
from tasks.genomics.dispatch import pipeline_of
from tasks.genomics.fates import fate_of, story_of
from tasks.genomics.generic import GenericResult
from tasks.genomics.tools import tool_of
from tasks.policies import program_step, step
from tasks.runs import STALE_AFTER


class Begun(Record):
    """The right to call a scheme, or what is stored of an earlier call."""

    claim: Claim
    stored: SchemeCall | None = None


@step(name="claim")
async def begin_call(
    lims: EnteroBase,
    programs: Toolchain,
    assembly: str,
    scheme: str,
    run_id: str,
    *,
    force: bool,
    user_id: int | None,
) -> Begun:
    """Take the right to call a scheme on an assembly, and show it as QUEUED.

    Raises:
        NoSuchRecord: there is no such assembly or scheme.
        InvalidRequest: the assembly failed its quality control, or the pair was put aside and
            nothing of it has changed, and nobody forces it.
        AlreadyRunning: another run is alive and works on this pair.
    """
    store = lims.store()
    isolate = await asyncio.to_thread(store.isolates.assembly, assembly)
    if isolate.status == FAILED and not force:
        msg = f"{assembly} failed its quality control, so it is not typed unless it is forced"
        raise InvalidRequest(msg)
    wanted = await asyncio.to_thread(store.schemes.scheme, scheme)
    tool = await tool_of(wanted, programs)
    job = await asyncio.to_thread(
        store.jobs.start,
        accession=assembly,
        pipeline=pipeline_of(wanted),
        flow_run_id=run_id,
        user_id=user_id,
    )
    claim = Claim(assembly=isolate, scheme=wanted, job_id=job.id, flow_run_id=run_id, tool=tool)
    held = await asyncio.to_thread(store.calls.claim, claim, force=force)
    if held.status is LookupStatus.QUEUED and held.flow_run_id != run_id:
        held = await _take_over(lims, claim, held, force=force)
    if held.status is LookupStatus.FAILED:
        await asyncio.to_thread(store.jobs.close, job.id, JobStatus.FAILED)
        raise InvalidRequest(_put_aside(claim, held))
    if held.status is LookupStatus.COMPLETE:
        await asyncio.to_thread(store.jobs.close, job.id, JobStatus.COMPLETE)
        return Begun(claim=claim, stored=held)
    return Begun(claim=claim)


def _put_aside(claim: Claim, held: SchemeCall) -> str:
    reason = held.reason.strip().partition("\n")[0].rstrip(".")
    return (
        f"{held.scheme} of {claim.assembly.barcode} was put aside: {reason}. It is called again "
        f"when the version of the assembly or scheme, or the tool ({claim.tool}), changes, or by "
        "force (--force)"
    )


async def _take_over(
    lims: EnteroBase, claim: Claim, held: SchemeCall, *, force: bool
) -> SchemeCall:
    """Take the right from a run that is over, or lost; close its job, which nobody else will.

    Raises:
        AlreadyRunning: it lives.
    """
    store, before = lims.store(), held
    lost = await lost_among(lims, [before.flow_run_id], stale_after=STALE_AFTER)
    if lost:
        take, holder = store.calls.claim, before.flow_run_id
        held = await asyncio.to_thread(take, claim, force=force, held_by=holder)
    if held.status is LookupStatus.QUEUED and held.flow_run_id != claim.flow_run_id:
        await asyncio.to_thread(store.jobs.close, claim.job_id, JobStatus.FAILED)
        msg = (
            f"{held.scheme} of {claim.assembly.barcode} is being called by another flow run, "
            f"{held.flow_run_id}"
        )
        raise AlreadyRunning(msg)
    if held.status is LookupStatus.QUEUED:
        for run in lost:
            await close_run(lims, run.flow_run_id, Fate.TRANSIENT, run.reason)
            await end_in_prefect(run)
    return held


@step(name="call alleles")
async def type_loci(lims: EnteroBase, claim: Claim) -> Typing:
    """Call every locus, mint what is new, store all of it in one transaction.

    Raises:
        FileNotYetVisible: the assembly's file is not on this disk.
        InconsistentInput: it is no assembly, or the claim was lost.
    """
    return await asyncio.to_thread(_type_loci, lims, claim)


def _type_loci(lims: EnteroBase, claim: Claim) -> Typing:
    typing = typed(lims, claim)
    done, version = JobStatus.COMPLETE, str(claim.scheme.version)
    lims.store().jobs.close(claim.job_id, done, version=version)
    return typing


@program_step(name="run program")
async def run_generic(lims: EnteroBase, programs: Toolchain, claim: Claim) -> GenericResult:
    """Run a generic scheme's program in the job's own folder.

    Raises:
        ProgramError: the program failed.
        DataError: the scheme or the assembly cannot be used.
    """
    return await generic_result(lims, programs, claim)


@step(name="store results")
async def store_generic(lims: EnteroBase, claim: Claim, found: GenericResult) -> None:
    """Write what a generic scheme found, status last."""
    store = lims.store()
    await asyncio.to_thread(store.calls.store_results, claim, found.stored())
    tools = " ".join(" ".join(tool) for tool in found.tools)[:50]
    await asyncio.to_thread(store.jobs.close, claim.job_id, JobStatus.COMPLETE, version=tools)


@step(name="store failure")
async def store_call_failure(lims: EnteroBase, claim: Claim, failure: LimsflowError) -> Fate:
    """Close a call as failed, with its fate and the reason."""
    store, fate = lims.store(), fate_of(failure)
    await asyncio.to_thread(store.calls.fail, claim, fate, story_of(failure)[:ERROR_LENGTH])
    await asyncio.to_thread(store.jobs.close, claim.job_id, JobStatus.FAILED)
    return fate
