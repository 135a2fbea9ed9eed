"""Pictures of a night: how it went on, and what came of each scheme."""

# Matplotlib leaves the types of its keyword arguments open:
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from blocks.genomics.records import Fate
from tasks.genomics.night_report import ASSEMBLIES, Part
from tasks.pictures import ACCENT, DPI, INK, SECOND, WIDTH_IN, data_uri, dress, one_panel

MOST_BARS = 20
BAR_IN = 0.32
LONGEST_NAME = 40
MINUTE_S, LONG_S = 60.0, 600.0
COLORS = {
    "complete": ACCENT,
    Fate.TRANSIENT.value: "#a07800",
    Fate.PERMANENT.value: SECOND,
    Fate.BUG.value: "#7b3fa0",
}


def progress_picture(parts: Sequence[Part]) -> str:
    """Draw how many items had ended at each moment, one line for each part of a night."""
    longest = max((t for part in parts for t, _ in part.progress.moments), default=0.0)
    unit, name = (MINUTE_S, "minutes") if longest > LONG_S else (1.0, "seconds")
    figure, axes = one_panel("items ended", f"{name} from the start of the part")
    for number, part in enumerate(parts):
        times = [moment / unit for moment, _ in part.progress.moments]
        ended = [count for _, count in part.progress.moments]
        line = "-" if number % 2 == 0 else "--"
        axes.plot(times, ended, line, label=f"{part.kind}: {_shown(part.database)}", lw=1.6)
        if part.progress.total:
            axes.axhline(part.progress.total, color=INK, lw=0.6, ls=":")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if parts:
        legend = axes.legend(fontsize=8, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return data_uri(figure)


def outcomes_picture(parts: Sequence[Part]) -> str:
    """Draw what came of what was sent, one bar for each scheme of each database."""
    bars = [(part, one) for part in parts for one in part.counts if one.claimed][:MOST_BARS]
    height = 0.9 + BAR_IN * max(1, len(bars))
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots()
    dress(axes, "", "items")
    places = range(len(bars))  # by name, two schemes that are shown alike would be one bar
    left = [0] * len(bars)
    for outcome, color in COLORS.items():
        widths = [
            one.complete if outcome == "complete" else one.failed.get(outcome, 0) for _, one in bars
        ]
        if any(widths):
            axes.barh(places, widths, left=left, color=color, label=outcome, height=0.7)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    names = [_shown(f"{part.database} {one.scheme or ASSEMBLIES}") for part, one in bars]
    axes.set_yticks(places, names, parse_math=False)
    _finish(axes)
    return data_uri(figure)


def _shown(name: str) -> str:
    """Return a name that any font can draw."""
    text = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in name)
    return text[:LONGEST_NAME]


def _finish(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="lower center", ncols=4, bbox_to_anchor=(0.5, 1))
