"""Pictures that a crystallographer looks at, as PNG data URIs for a Markdown report."""

# Matplotlib leaves the types of its keyword arguments open:
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

from tasks.pictures import ACCENT, INK, SECOND, data_uri, dress, empty_figure, one_panel


def spots_picture(counts: Sequence[int], first_images: Sequence[int]) -> str:
    """Draw the number of spots on each image, the sweeps side by side.

    Args:
        counts: One number for each image, the sweeps one after the other.
        first_images: Where in `counts` each sweep begins (index).
    """
    figure, axes = one_panel("spots on the image", "image (sweeps side by side)")
    axes.plot(range(1, len(counts) + 1), counts, color=ACCENT, lw=1.2)
    for start in first_images[1:]:
        axes.axvline(start + 0.5, color=SECOND, lw=1, ls="--")
    axes.set_ylim(bottom=0)
    return data_uri(figure)


def indexed_picture(shares: Sequence[tuple[int, int]]) -> str:
    """Draw indexed and unindexed spots of each sweep.

    Args:
        shares: Indexed and unindexed spots, one pair for each sweep.
    """
    figure, axes = one_panel("sweep", "spots")
    labels = [f"sweep {n}" for n in range(1, len(shares) + 1)]
    indexed, rest = [a for a, _ in shares], [b for _, b in shares]
    axes.barh(labels, indexed, color=ACCENT, label="indexed")
    axes.barh(labels, rest, left=indexed, color=SECOND, label="not indexed")
    axes.invert_yaxis()
    axes.set_ylabel("")
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    return data_uri(figure)


def rmsd_picture(rmsds: Sequence[tuple[float, float, float]]) -> str:
    """Draw the RMSD between observed and predicted spots: x and y in px, rotation in images."""
    figure, axes = one_panel("RMSD", "")
    for offset, (label, color) in enumerate(
        (("x (px)", ACCENT), ("y (px)", "#5b9bd5"), ("rotation (images)", SECOND))
    ):
        places = [n + 0.25 * (offset - 1) for n in range(len(rmsds))]
        axes.bar(places, [rmsd[offset] for rmsd in rmsds], 0.23, color=color, label=label)
    axes.set_xticks(range(len(rmsds)), [f"sweep {n}" for n in range(1, len(rmsds) + 1)])
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    return data_uri(figure)


def intensity_picture(points: Sequence[tuple[int, float]]) -> str:
    """Draw mean I/sigma (profile fitted) of each integrated image."""
    figure, axes = one_panel("mean I/σ(I)", "image (sweeps side by side)")
    axes.plot(range(1, len(points) + 1), [value for _, value in points], color=ACCENT, lw=1.2)
    axes.set_ylim(bottom=0)
    return data_uri(figure)


def symmetry_picture(scores: Sequence[tuple[str, float]]) -> str:
    """Draw the likelihood of each Patterson group, best on top."""
    best = list(scores[:8])
    figure, axes = one_panel("", "likelihood")
    axes.barh([name for name, _ in best], [score for _, score in best], color=ACCENT)
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    return data_uri(figure)


def shells_picture(
    d_min: Sequence[float],
    cc_half: Sequence[float | None],
    i_over_sigma: Sequence[float | None],
    completeness: Sequence[float | None],
) -> str:
    """Draw CC half, I/sigma and completeness by resolution.

    Args:
        d_min: High-resolution end of each bin in Å, low resolution first.
        cc_half: -1 to 1.
        i_over_sigma: Mean I/sigma.
        completeness: Per cent.
    """
    figure = empty_figure()
    panels = figure.subplots(1, 3)
    x = [1 / d**2 for d in d_min]
    ticks = x[:: max(1, len(x) // 4)]
    for axes, values, title in zip(
        panels,
        (cc_half, i_over_sigma, completeness),
        ("CC½", "mean I/σ(I)", "completeness (%)"),
        strict=True,
    ):
        dress(axes, "", "resolution (Å)")
        axes.set_title(title, fontsize=9, color=INK, loc="left")
        axes.plot(x, [_or_gap(value) for value in values], color=ACCENT, lw=1.5, marker=".", ms=4)
        axes.set_xticks(ticks, [f"{tick**-0.5:.1f}" for tick in ticks])
    panels[0].axhline(0.3, color=SECOND, lw=1, ls="--")
    panels[0].set_ylim(min(0, *panels[0].get_ylim()), 1.05)
    panels[1].axhline(2, color=SECOND, lw=1, ls="--")
    panels[2].set_ylim(0, 105)
    return data_uri(figure)


def _or_gap(value: float | None) -> float:
    return float("nan") if value is None else value
