"""The report of a night: one table for the page, and the same as JSON for the LIMS."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from blocks.genomics.nights import Failure
from blocks.genomics.records import Fate
from blocks.record import Record
from tasks.genomics.night import Counts, Progress
from tasks.markdown import cut, escape, link, picture, section, shown, table

MOST_FAILURES = 50
SHOWN_PAIRS = 200
ASSEMBLIES = "assemblies from reads"
FATES = (Fate.TRANSIENT, Fate.PERMANENT, Fate.BUG)


class Part(Record):
    """What a night did in one database: its schemes, or its assemblies."""

    database: str = Field(description="name of the EnteroBase block")
    kind: str = Field(description="the flow that does this part by itself")
    night_id: int | None = Field(default=None, description="row of `nights`; none of a dry run")
    counts: list[Counts]
    n_looked_at: int = Field(description="assemblies that passed, or strains without one")
    limit: int | None = None
    planned_s: float = 0.0
    wall_s: float = 0.0
    n_lost: int = Field(default=0, description="runs that were lost, and closed first")
    failures: list[Failure] = Field(default_factory=list[Failure])
    listed: list[tuple[str, str]] = Field(
        default_factory=list[tuple[str, str]], description="of a dry run: what would be claimed"
    )
    progress: Progress = Field(default_factory=Progress)
    was_ended: bool = Field(default=False, description="by others, before it was done")
    error: str = Field(default="", description="why it could not be gone over at all")

    @property
    def problem(self) -> str:
        """What a person must know of it, in a sentence; empty if there is nothing."""
        if self.error:
            return f"{self.kind} of {self.database}: {self.error}"
        if self.was_ended:
            return f"{self.kind} of {self.database} was ended before it was done"
        bugs = f"{self.bugs} failed by a bug: a person must look"
        return f"{self.kind} of {self.database}: {bugs}" if self.bugs else ""

    @property
    def claimed(self) -> int:
        """How many items were sent."""
        return sum(one.claimed for one in self.counts)

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(number for one in self.counts for number in one.failed.values())

    @property
    def bugs(self) -> int:
        """How many failed by a bug, which a person must look at."""
        return sum(one.failed.get(Fate.BUG, 0) for one in self.counts)


class NightReport(Record):
    """What a night did, database by database. Times are UTC."""

    started: datetime
    ended: datetime
    dry_run: bool = False
    parts: list[Part]

    @property
    def problems(self) -> list[str]:
        """What a person must know, a sentence each."""
        return [part.problem for part in self.parts if part.problem]

    @property
    def title(self) -> str:
        """What it was, in one line."""
        if self.dry_run:
            would = sum(claimable(part) for part in self.parts)
            return f"dry run: {would:,} would be claimed"
        claimed = sum(part.claimed for part in self.parts)
        failed = sum(part.failed for part in self.parts)
        return f"{claimed:,} claimed, {failed:,} failed"


def claimable(part: Part) -> int:
    """Return how many items a part would claim."""
    eligible = sum(one.eligible for one in part.counts)
    return eligible if part.limit is None else min(eligible, part.limit)


def night_report(report: NightReport, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Return the report as Markdown.

    Args:
        report: What was done.
        pictures: Our title and the data URI of each.
    """
    minutes = (report.ended - report.started).total_seconds() / 60
    when = f"{report.started:%Y-%m-%d %H:%M} to {report.ended:%H:%M} UTC, {minutes:.1f} min"
    simulated = ["This was a dry run: nothing was claimed, and nothing written."]
    return "\n\n".join(
        [
            f"# {escape(report.title)}",
            when,
            *(simulated if report.dry_run else []),
            *(f"**{shown(problem)}**" for problem in report.problems),
            _table(report),
            *(picture(title, uri) for title, uri in pictures),
            *_skipped(report),
            *_failures(report.parts),
            *_listed(report),
        ]
    )


def _table(report: NightReport) -> str:
    header = ["Eligible", "Claimed", "Left", "Complete", *(fate.value.title() for fate in FATES)]
    rows = [
        [*_names(report, part, one), *(f"{number:,}" for number in _numbers(one))]
        for part in report.parts
        for one in part.counts
    ]
    return table([*_of_what(report), *header], rows)


def _numbers(one: Counts) -> list[int]:
    """Return the numbers of a line: what is left waits for another night."""
    left = max(0, one.eligible - one.claimed)
    failed = (one.failed.get(fate, 0) for fate in FATES)
    return [one.eligible, one.claimed, left, one.complete, *failed]


def _of_what(report: NightReport) -> list[str]:
    """Return the first headers of a table: the page is narrow, and one database needs no column."""
    return ["Database", "Scheme"] if _has_several(report) else ["Scheme"]


def _names(report: NightReport, part: Part, one: Counts) -> list[str]:
    scheme = shown(one.scheme or ASSEMBLIES)
    return [shown(part.database), scheme] if _has_several(report) else [scheme]


def _has_several(report: NightReport) -> bool:
    return len({part.database for part in report.parts}) > 1


def _skipped(report: NightReport) -> list[str]:
    """Return why what is not eligible is not."""
    reasons = sorted({r for part in report.parts for one in part.counts for r in one.skipped})
    if not reasons:
        return []
    rows = [
        [*_names(report, part, one), *(f"{one.skipped.get(reason, 0):,}" for reason in reasons)]
        for part in report.parts
        for one in part.counts
    ]
    return ["## Not sent", table([*_of_what(report), *map(escape, reasons)], rows)]


def _failures(parts: Sequence[Part]) -> list[str]:
    rows = [_failure(one) for part in parts for one in part.failures[:MOST_FAILURES]]
    if not rows:
        return []
    n_failed = sum(part.failed for part in parts)
    more = [f"{n_failed - len(rows):,} more are in the database."] if n_failed > len(rows) else []
    return ["## Failed", table(["Run", "Scheme", "Fate", "Reason"], rows), *more]


def _failure(one: Failure) -> list[str]:
    """Return a line that leads to the run, with its logs."""
    run = shown(one.about)
    if one.flow_run_id:
        run = link(cut(one.about), f"/runs/flow-run/{one.flow_run_id}")
    fate = one.fate.value if one.fate else "-"
    return [run, shown(one.scheme), fate, shown(one.reason.partition("\n")[0])]


def _listed(report: NightReport) -> list[str]:
    if not report.dry_run:
        return []
    lines = [
        f"* {escape(cut(about))} {escape(cut(scheme))}".rstrip()
        for part in report.parts
        for about, scheme in part.listed
    ]
    more = sum(claimable(part) for part in report.parts) - min(len(lines), SHOWN_PAIRS)
    tail = [f"* and {more:,} more"] if more > 0 else []
    return section("Would be claimed, in this order", [*lines[:SHOWN_PAIRS], *tail])
