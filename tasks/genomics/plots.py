"""Pictures that a microbiologist looks at, as PNG data URIs for a Markdown report."""

# Matplotlib leaves the types of its keyword arguments open:
# pyright: reportUnknownMemberType=false

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from blocks.genomics.quality_limits import QualityLimits
from blocks.genomics.records import AssemblyStatistics, CallStatus, LocusCall
from tasks.pictures import (
    ACCENT,
    DPI,
    INK,
    SECOND,
    WIDTH_IN,
    data_uri,
    dress,
    empty_figure,
    one_panel,
)

PALE, GOOD, GOOD_INK = "#a9c9e8", "#d8ecdf", "#2f6b47"
MEGABASE = 1_000_000

COLORS = {
    CallStatus.EXACT: ACCENT,
    CallStatus.NOVEL: "#2e8b8b",
    CallStatus.MISSING: "#6b7480",
    CallStatus.FRAGMENTED: SECOND,
    CallStatus.DUPLICATED: "#7b3fa0",
    CallStatus.AMBIGUOUS: "#a07800",
    CallStatus.NO_ORF: "#6b2c1a",
}
SHORT = {status: status.value for status in CallStatus} | {CallStatus.NO_ORF: "no ORF"}
MAX_CELLS = 60  # above it, loci are counted and not shown one by one
CELLS_IN_ROW = 8
CELL_HEIGHT_IN = 0.44
LETTERS_IN_CELL = 11
NUMBER_PERCENT = 5  # a narrower piece of a bar has no room for a number
MAX_LONE_CONTIGS = 30  # up to it, each contig has its own dot
LOW_DEPTH = 0.2  # of the mean: a contig below it is taken for contamination


# Contigs


def contigs_picture(statistics: AssemblyStatistics, limits: QualityLimits | None = None) -> str:
    """Draw the length of each contig, and how much of the genome they make up together.

    Args:
        statistics: Of the assembly.
        limits: Drawn too, if given.
    """
    figure, (each, together) = _two_panels()
    dress(each, "", "contig, longest first")
    each.set_title("length of each contig (bp)", fontsize=9, color=INK, loc="left")
    dress(together, "", "number of contigs, longest first")
    together.set_title("length together (Mb)", fontsize=9, color=INK, loc="left")
    if statistics.contig_lengths:
        _draw_each(each, statistics, limits)
        _draw_together(together, statistics.contig_lengths, limits)
    else:
        _write(each, f"no contig of {statistics.min_contig} bp or more")
        together.set_axis_off()
    return data_uri(figure)


def depth_picture(lengths: Sequence[int], depths: Sequence[float], mean: float) -> str:
    """Draw how deep the reads lie on each contig.

    Args:
        lengths: Of the contigs (bp).
        depths: Reads over a base, one number for each contig.
        mean: Of the whole assembly.
    """
    figure, axes = one_panel("mean depth of reads", "length of the contig (bp)")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.scatter(
        lengths, [max(depth, 0.01) for depth in depths], s=14, color=ACCENT, alpha=0.7, zorder=3
    )
    for value, text in ((mean, f"mean {mean:.0f}"), (LOW_DEPTH * mean, "a fifth of it")):
        axes.axhline(max(value, 0.01), color=SECOND, lw=1, ls="--")
        _note(axes, text, max(value, 0.01))
    return data_uri(figure)


def _draw_each(axes: Axes, statistics: AssemblyStatistics, limits: QualityLimits | None) -> None:
    found = statistics.contig_lengths
    edges = [number + 0.5 for number in range(len(found) + 1)]
    bottom = min(statistics.min_contig, found[-1]) / 1.5
    axes.set_yscale("log")
    axes.stairs(found, edges, baseline=bottom, fill=True, facecolor=PALE, edgecolor=ACCENT, lw=1)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(bottom, max(6 * found[0], 3 * limits.min_n50 if limits else 0))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.plot([statistics.l50], [statistics.n50], "o", color=SECOND, ms=6, mec="white", zorder=4)
    text = f"N50 {statistics.n50:,} bp"
    axes.text(
        0.98, 0.96, text, transform=axes.transAxes, ha="right", va="top", fontsize=9, color=SECOND
    )
    if limits is not None:
        axes.axhline(limits.min_n50, color=SECOND, lw=1, ls="--")
        _note(axes, f"N50 at least {limits.min_n50:,} bp", limits.min_n50)


def _draw_together(axes: Axes, lengths: Sequence[int], limits: QualityLimits | None) -> None:
    sums = [0.0, *(length / MEGABASE for length in accumulate(lengths))]
    marker = "." if len(lengths) <= MAX_LONE_CONTIGS else ""
    axes.plot(range(len(sums)), sums, color=ACCENT, lw=1.8, marker=marker, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.set_xlim(0, 1.05 * len(lengths))
    axes.set_ylim(0, 1.12 * max(sums[-1], limits.max_length / MEGABASE if limits else 0))
    axes.annotate(
        f"{sums[-1]:.2f} Mb", (len(lengths), sums[-1]), xytext=(0, 5), va="bottom",
        textcoords="offset points", ha="right", fontsize=9, color=ACCENT, zorder=4,
    )  # fmt: skip
    if limits is not None:
        _draw_limits(axes, len(lengths), limits)


def _draw_limits(axes: Axes, number: int, limits: QualityLimits) -> None:
    low, high = limits.min_length / MEGABASE, limits.max_length / MEGABASE
    axes.axhspan(low, high, color=GOOD, lw=0)
    axes.text(
        0.02, high, f" {limits.genus}: {low:.1f} to {high:.1f} Mb", va="bottom",
        transform=axes.get_yaxis_transform(), fontsize=8, color=GOOD_INK,
    )  # fmt: skip
    if 2 * number > limits.max_contigs:
        axes.axvline(limits.max_contigs, color=SECOND, lw=1, ls="--")
        axes.set_xlim(0, 1.05 * max(number, limits.max_contigs))
        axes.annotate(
            f"at most {limits.max_contigs:,}", (limits.max_contigs, 0), xytext=(-3, 4),
            textcoords="offset points", ha="right", fontsize=8, color=SECOND,
        )  # fmt: skip


# Calls


def calls_picture(calls: Sequence[LocusCall]) -> str:
    """Draw what was found of the loci: one cell each, or of many how many have each status."""
    return _cells(calls) if 0 < len(calls) <= MAX_CELLS else _bars(calls)


def _cells(calls: Sequence[LocusCall]) -> str:
    columns = min(CELLS_IN_ROW, len(calls))
    rows = -(-len(calls) // columns)
    figure = Figure(figsize=(WIDTH_IN, CELL_HEIGHT_IN * rows + 0.1), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.01, 0.02, 0.98, 0.96))
    axes.set_axis_off()
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    for index, call in enumerate(calls):
        _draw_cell(axes, index % columns, index // columns, call)
    return data_uri(figure)


def _draw_cell(axes: Axes, x: int, y: int, call: LocusCall) -> None:
    color = COLORS[call.status]
    axes.add_patch(Rectangle((x + 0.03, y + 0.05), 0.94, 0.9, facecolor=color, edgecolor="none"))
    for text, height, size, weight in (
        (_shown(call.locus), 0.32, 7, "normal"),
        (_result(call), 0.7, 8.5, "bold"),
    ):
        axes.text(
            x + 0.5, y + height, text, ha="center", va="center", fontsize=size, color="white",
            fontweight=weight, parse_math=False,
        )  # fmt: skip


def _result(call: LocusCall) -> str:
    new = "new " if call.status is CallStatus.NOVEL else ""
    if call.allele is not None:
        return f"{new}{call.allele}"
    return SHORT[call.status]


def _shown(name: str) -> str:
    """Return a name that fits into a cell, in letters that the font has."""
    text = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)
    return text if len(text) <= LETTERS_IN_CELL else f"{text[: LETTERS_IN_CELL - 1]}…"


def _bars(calls: Sequence[LocusCall]) -> str:
    """Draw all loci as one bar, and those that are not exact once more: they are few."""
    counts = Counter(call.status for call in calls)
    rest = Counter({status: n for status, n in counts.items() if status is not CallStatus.EXACT})
    rows = {f"all {counts.total():,}": counts, f"not exact {rest.total():,}": rest}
    figure, axes = one_panel("", "share of the loci (%)")
    if not calls:
        _write(axes, "no locus was looked at")
        return data_uri(figure)
    for y, found in enumerate(rows.values()):
        _draw_bar(axes, y, found)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(1.5, -0.5)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    keys = [Rectangle((0, 0), 1, 1, color=COLORS[one]) for one in CallStatus if counts[one]]
    words = [f"{SHORT[one]} {counts[one]:,}" for one in CallStatus if counts[one]]
    figure.legend(keys, words, frameon=False, ncols=5, loc="outside upper left", fontsize=8)
    return data_uri(figure)


def _draw_bar(axes: Axes, y: int, counts: Counter[CallStatus]) -> None:
    left = 0.0
    for status in CallStatus:
        width = 100 * counts[status] / max(counts.total(), 1)
        axes.barh(y, width, 0.62, left=left, color=COLORS[status])
        if width > NUMBER_PERCENT:
            text = f"{counts[status]:,}"
            axes.text(
                left + width / 2, y, text, ha="center", va="center", fontsize=9, color="white"
            )
        left += width


# What all pictures have in common


def _note(axes: Axes, text: str, y: float) -> None:
    axes.annotate(
        text, (0.98, y), xycoords=axes.get_yaxis_transform(), xytext=(0, 2),
        textcoords="offset points", ha="right", fontsize=8, color=SECOND, zorder=2,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.8},
    )  # fmt: skip


def _write(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=9, color=SECOND)
    axes.set_axis_off()


def _two_panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = empty_figure()
    left, right = figure.subplots(1, 2)
    return figure, (left, right)
