"""The reports on an isolate as Markdown, for the Prefect page: its assembly, or why there is none.

Names of strains and species, versions of programs and texts of errors come from outside: each
goes through `tasks.markdown`, and none makes a page endless.
"""

from collections.abc import Sequence

from pydantic import Field

from blocks.genomics.quality_limits import DEFAULT
from blocks.genomics.records import (
    AssemblyFiles,
    AssemblyStatistics,
    CallStatus,
    Criterion,
    Fate,
    LookupStatus,
    ReadCounts,
    SpeciesShare,
    Verdict,
)
from blocks.record import Record
from tasks.markdown import cut, fenced, link, picture, section, shown, table

MAX_SPECIES = 3
MAX_EVIDENCE = 20_000  # letters, the last ones
MEGABASE = 1_000_000
NONE = "-"

COUNTED = (
    CallStatus.EXACT,
    CallStatus.NOVEL,
    CallStatus.MISSING,
    CallStatus.FRAGMENTED,
    CallStatus.DUPLICATED,
)
NEXT = {
    Fate.TRANSIENT: "It is not its input's fault: another run of it may go well.",
    Fate.PERMANENT: "It is put aside: the same input would fail again.",
    Fate.BUG: "This is a bug: a person must look.",
}
AFTER_CALL = NEXT | {
    Fate.PERMANENT: "It is put aside until its input, its scheme or its program changes, "
    "or somebody forces it.",
}

Pictures = Sequence[tuple[str, str]]  # our title and the data URI


class SchemeRow(Record):
    """What became of one scheme, for the table of an assembled strain."""

    scheme: str
    status: LookupStatus
    result: str = Field(default="", description="sequence type, serovar: what a person wants")
    counts: dict[CallStatus, int] = Field(
        default_factory=dict[CallStatus, int], description="loci; none: generic"
    )
    fate: Fate | None = None
    reason: str = Field(default="", description="why it failed")
    link: str = Field(default="", description="address of its run")


# An assembled strain


def strain_report(
    strain: str,
    verdict: Verdict,
    statistics: AssemblyStatistics,
    *,
    species: Sequence[SpeciesShare] | None = None,
    reads: ReadCounts | None = None,
    files: AssemblyFiles | None = None,
    schemes: Sequence[SchemeRow] = (),
    pictures: Pictures = (),
    links: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the report of an assembly, its verdict first.

    Args:
        strain: Its name, or the accession of its reads.
        verdict: On the assembly.
        statistics: Of the assembly.
        species: How much of it looks like which; None if nobody looked.
        reads: Before and after trimming.
        files: What the assembling programs left.
        schemes: One row for each that was called.
        pictures: Title and data URI.
        links: Name and address of what else can be opened.
    """
    return "\n\n".join(
        [
            f"# {shown(strain)}",
            *_verdict(verdict),
            *_answers(schemes),
            table(["Criterion", "Value", "Limit", ""], [_criterion(c) for c in verdict.criteria]),
            "## Assembly",
            table(["", ""], _statistics(statistics, species)),
            *(picture(title, uri) for title, uri in pictures),
            *([] if reads is None else _reads(reads)),
            *([] if files is None else _files(files)),
            *section("Links", [f"* {link(cut(name), to)}" for name, to in links]),
            *_schemes(schemes, verdict),
        ]
    )


def _verdict(verdict: Verdict) -> list[str]:
    limits = f"the limits for {shown(verdict.genus)}"
    if verdict.genus == DEFAULT:
        limits = "the default limits: its genus has none of its own"
    if verdict.passed:
        return [f"**PASSED** by {limits}."]
    reasons = "\n".join(f"* {shown(one.reason)}" for one in verdict.failures)
    return [f"**FAILED** by {limits}. It is not typed.", reasons]


def _answers(rows: Sequence[SchemeRow]) -> list[str]:
    """Return what a person wants to know of all schemes, in one line."""
    results = [f"{shown(row.scheme)}: **{shown(row.result)}**" for row in rows if row.result]
    if failed := sum(row.status is LookupStatus.FAILED for row in rows):
        results.append(f"**{failed} of {len(rows)} schemes failed**")
    return [", ".join(results)] if results else []


def _criterion(one: Criterion) -> list[str]:
    said = {True: "passed", False: "**FAILED**", None: shown(one.reason)}[one.passed]
    return [shown(one.name), shown(one.value), shown(one.limit), said]


def _statistics(
    found: AssemblyStatistics, species: Sequence[SpeciesShare] | None
) -> list[list[str]]:
    largest = sorted(species or (), key=lambda one: -one.percent)[:MAX_SPECIES]
    shares = [f"{shown(one.name)} {one.percent:.2f} %" for one in largest]
    return [
        ["Length", f"{found.total_length:,} bp"],
        [f"Contigs of {found.min_contig} bp or more", f"{found.n_contigs:,}"],
        ["N50", f"{found.n50:,} bp"],
        ["L50", f"{found.l50:,}"],
        ["Longest contig", f"{found.longest:,} bp"],
        ["GC", _percent(found.gc_share)],
        ["Low-quality bases", f"{found.low_quality:,} ({_percent(found.low_quality_share)})"],
        ["Mean depth", NONE if found.mean_depth is None else f"{found.mean_depth:.1f}"],
        ["Species", "not looked at" if species is None else ", ".join(shares) or "none found"],
    ]


def _reads(counts: ReadCounts) -> list[str]:
    rows = [
        ["Reads", f"{counts.reads:,}", f"{counts.reads_kept:,}"],
        ["Bases (Mb)", f"{counts.bases / MEGABASE:,.1f}", f"{counts.bases_kept / MEGABASE:,.1f}"],
    ]
    kept = [(counts.reads_kept, counts.reads), (counts.bases_kept, counts.bases)]
    for row, (left, whole) in zip(rows, kept, strict=True):
        row.append(_percent(left / whole) if whole else NONE)
    q30 = f"{_percent(counts.q30_share)} of the bases have quality 30 or better."
    return [
        "## Reads",
        table(["", "Before trimming", "After", "Kept"], rows),
        *([q30] if counts.q30_share else []),
    ]


def _files(files: AssemblyFiles) -> list[str]:
    programs = [[shown(name), shown(version)] for name, version in files.tools]
    return [
        "## Programs",
        f"Assembled by {shown(files.assembler)}.",
        table(["Program", "Version"], programs),
        "## Files",
        fenced("\n".join(map(str, (files.fastq, files.fasta)))),
    ]


def _schemes(rows: Sequence[SchemeRow], verdict: Verdict) -> list[str]:
    if not rows:
        return [] if verdict.passed else ["No scheme was called."]
    header = ["Scheme", "Result", *(status.value.capitalize() for status in COUNTED), "Other", ""]
    return ["## Schemes", table(header, [_scheme(row) for row in rows])]


def _scheme(row: SchemeRow) -> list[str]:
    counts = [f"{row.counts.get(status, 0):,}" for status in COUNTED]
    counts.append(f"{sum(row.counts.values()) - sum(row.counts.get(s, 0) for s in COUNTED):,}")
    said = row.status.value if row.status is not LookupStatus.FAILED else "**FAILED**"
    if row.fate is not None:
        said += f", {row.fate.value}"
    if row.reason:
        said += f": {shown(row.reason)}"
    numbers = counts if row.counts else [NONE] * len(counts)
    return [link(cut(row.scheme), row.link) or NONE, shown(row.result), *numbers, said]


# A failure


def failure_report(
    subject: str,
    reason: str,
    evidence: str,
    *,
    fate: Fate,
    of_call: bool = False,
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the report of a failure: the reason first, then what happens next, the evidence last.

    Args:
        subject: What failed: a strain, or a scheme on an assembly.
        reason: One sentence.
        evidence: Directory, last lines of a log; its end is kept if it is long.
        fate: What is done about it.
        of_call: Whether it is a scheme on an assembly: only that is held back by its fate.
        facts: Our own names, and values: job, accession, run.
    """
    rows = [[name, shown(value)] for name, value in facts]
    cut = "...\n" if len(evidence) > MAX_EVIDENCE else ""
    return "\n\n".join(
        [
            f"# {shown(subject)} failed",
            f"**{shown(reason)}**",
            (AFTER_CALL if of_call else NEXT)[fate],
            *([table(["", ""], rows)] if rows else []),
            fenced(cut + evidence[-MAX_EVIDENCE:]),
        ]
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
