"""The reports of genomics on Prefect's page."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import cast

from blocks.connections import EnteroBase
from blocks.errors import LimsflowError
from blocks.genomics.records import CallStatus, Column, SchemeCall, Typing
from tasks.genomics.fates import fate_of, story_of
from tasks.genomics.generic import GenericResult
from tasks.genomics.plots import calls_picture, contigs_picture
from tasks.genomics.report import SchemeRow, failure_report, strain_report
from tasks.genomics.scheme_report import generic_report, typing_report
from tasks.genomics.stages import Assembling, Isolate
from tasks.life import Life, signs_of_life
from tasks.prefect_runs import ProgressBar, artifact_key, show

SHOWN = 3  # results of a generic scheme in the line about it


async def publish_typing(typing: Typing) -> None:
    """Publish alleles, type and picture of one nomenclature scheme."""
    picture = await asyncio.to_thread(calls_picture, typing.calls)
    st = f"ST {typing.st.number}" if typing.st else "no sequence type"
    await show(
        typing_report(typing, pictures=[("Calls", picture)]),
        key=artifact_key(typing.assembly, typing.scheme),
        description=f"{typing.assembly}, {typing.scheme}: {st}",
    )


async def publish_generic(
    assembly: str, scheme: str, found: GenericResult, columns: list[Column]
) -> None:
    """Publish what a generic scheme found."""
    await show(
        generic_report(scheme, assembly, found.stored(), columns=columns),
        key=artifact_key(assembly, scheme),
        description=f"{assembly}, {scheme}",
    )


async def publish_failure(subject: str, failure: LimsflowError, *, of_call: bool = False) -> None:
    """Publish why something failed, and what is done about it.

    Args:
        subject: What failed.
        failure: Why.
        of_call: Whether it is a scheme on an assembly, which is put aside after it.
    """
    fate, story = fate_of(failure), story_of(failure)
    await show(
        failure_report(subject, str(failure), story, fate=fate, of_call=of_call),
        key=artifact_key(subject, "failure"),
        description=f"{subject} failed: {failure}"[:500],
    )


@contextlib.asynccontextmanager
async def living(lims: EnteroBase, task: Assembling) -> AsyncGenerator[Life, None]:
    """Show an assembly's progress in Prefect, and that it lives, while the block runs."""
    bar = ProgressBar(f"assembly-{task.job_id}-progress")
    to_lims = _sign_of(lims, task.flow_run_id)
    async with signs_of_life(to_lims=to_lims, to_prefect=bar.show) as life:
        yield life
    await bar.end(life.fraction)  # after the last sign, which else might overtake it


@contextlib.asynccontextmanager
async def alive(lims: EnteroBase, run_id: str) -> AsyncGenerator[None, None]:
    """Give signs of a run's life while the block runs; it has no progress to show."""

    async def nothing(_fraction: float, _doing: str) -> None:
        """Prefect's page has the steps."""

    async with signs_of_life(to_lims=_sign_of(lims, run_id), to_prefect=nothing):
        yield


def _sign_of(lims: EnteroBase, run_id: str) -> Callable[[str], Awaitable[None]]:
    jobs = lims.store().jobs

    async def sign(_message: str) -> None:
        """Say that the run lives; `user_jobs` has no place for its progress."""
        await asyncio.to_thread(jobs.sign_of_life, run_id)

    return sign


def scheme_row(call: SchemeCall) -> SchemeRow:
    """Return the report's line about what became of one scheme."""
    st = call.results.get("ST")
    counts = cast("dict[str, int]", call.results.get("loci") or {})
    return SchemeRow(
        scheme=call.scheme,
        status=call.status,
        result=f"ST {st}" if st else ", ".join(call.plain_results[:SHOWN]) or call.st_barcode,
        counts={CallStatus(name): count for name, count in counts.items()},
        fate=call.fate,
        reason=call.reason.partition("\n")[0],
        link=f"/runs/flow-run/{call.flow_run_id}" if call.flow_run_id else "",
    )


async def publish_strain(isolate: Isolate, calls: Sequence[SchemeCall]) -> None:
    """Publish the verdict of an assembly, its contigs, and what every scheme says of it."""
    judged, assembly = isolate.judged, isolate.stored.assembly
    picture = await asyncio.to_thread(contigs_picture, judged.statistics, judged.limits)
    verdict = "passed" if judged.verdict.passed else f"failed: {judged.verdict.reason}"
    await show(
        strain_report(
            assembly.strain or assembly.barcode,
            judged.verdict,
            judged.statistics,
            species=judged.shares,
            reads=isolate.trimmed.counts,
            files=isolate.stored.files,
            schemes=[scheme_row(call) for call in calls],
            pictures=[("Contigs", picture)],
        ),
        key=artifact_key(assembly.barcode, "assembly"),
        description=f"{assembly.strain} {assembly.barcode}: {verdict}"[:500],
    )
