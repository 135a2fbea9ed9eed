"""The reports of genomics on Prefect's page."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, cast

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


async def publish_failure(subject: str, failure: LimsflowError) -> None:
    """Publish why something failed, and what is done about it."""
    await show(
        failure_report(subject, str(failure), story_of(failure), fate=fate_of(failure)),
        key=artifact_key(subject, "failure"),
        description=f"{subject} failed: {failure}"[:500],
    )


@contextlib.asynccontextmanager
async def living(task: Assembling) -> AsyncGenerator[Life, None]:
    """Show an assembly's progress in Prefect while the block runs."""
    bar = ProgressBar(f"assembly-{task.job_id}-progress")

    async def to_lims(_message: str) -> None:
        """`user_jobs` has no place for progress."""

    async with signs_of_life(to_lims=to_lims, to_prefect=bar.show) as life:
        yield life
    await bar.end(life.fraction)  # after the last sign, which else might overtake it


def scheme_row(call: SchemeCall) -> SchemeRow:
    """Return the report's line about what became of one scheme."""
    st = call.results.get("ST")
    counts = cast("dict[str, int]", call.results.get("loci") or {})
    return SchemeRow(
        scheme=call.scheme,
        status=call.status,
        result=f"ST {st}" if st else _in_short(call.results),
        counts={CallStatus(name): count for name, count in counts.items()},
        fate=call.fate,
        reason=call.reason.partition("\n")[0],
        link=f"/runs/flow-run/{call.flow_run_id}",
    )


def _in_short(results: Mapping[str, Any]) -> str:
    """Return the first plain values of a generic scheme's results."""
    plain = {
        name: value
        for name, value in results.items()
        if isinstance(value, str | int | float) and value != "" and not name.endswith("_file")
    }
    return ", ".join(f"{name} {value}" for name, value in list(plain.items())[:3])


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
