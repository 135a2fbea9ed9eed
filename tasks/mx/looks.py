"""What a scientist looks at after each step: one sentence and one picture."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blocks.errors import UNREADABLE, OutputInvalid
from blocks.mx import dials_results as found
from blocks.mx.experiments import read_integrations
from blocks.mx.records import Picture
from tasks.mx import plots

logger = logging.getLogger(__name__)

ANGSTROM = "Å"
Look = tuple[str, Picture | None]


def look_at(step: str, directory: Path) -> Look:
    """Return what to say and to show after a DIALS step, read from what it left.

    A log in another form than expected costs the picture, not the run.
    """
    try:
        return LOOKS[step](directory)
    except (*UNREADABLE, OutputInvalid) as error:
        logger.warning("no picture of %s: %s: %s", step, type(error).__name__, error)
        return "Done; its log could not be read for a picture.", None


def _imported(directory: Path) -> Look:
    sweeps = [s for path in _imports(directory) for s in read_integrations(path)]
    return "; ".join(f"{s.file_template} {s.start_image}-{s.end_image}" for s in sweeps) + ".", None


def _imports(directory: Path) -> list[Path]:
    return sorted(directory.glob("imported_*.expt"), key=lambda p: int(p.stem.rpartition("_")[2]))


def _spots(directory: Path) -> Look:
    counts = found.spots_per_image(directory)
    starts, at = list[int](), 0
    for path in _imports(directory):
        for sweep in read_integrations(path):
            starts.append(at)
            at += sweep.end_image - sweep.start_image + 1
    text = f"{sum(counts)} spots on {len(counts)} images."
    return text, Picture(title="Spots per image", uri=plots.spots_picture(counts, starts))


def _indexed(directory: Path) -> Look:
    shares = found.indexed_share(directory)
    indexed = sum(a for a, _ in shares)
    total = sum(a + b for a, b in shares)
    cell = read_integrations(directory / "indexed.expt")[0].cell
    share = 100 * indexed / total if total else 0.0
    text = f"{share:.1f} % of {total} spots indexed; cell {cell}."
    return text, Picture(title="Indexed spots", uri=plots.indexed_picture(shares))


def _refined(directory: Path) -> Look:
    rmsds = found.rmsds(directory)
    text = "; ".join(f"RMSD {x:.2f} px, {y:.2f} px, {z:.2f} images" for x, y, z in rmsds) + "."
    return text, Picture(title="Observed against predicted", uri=plots.rmsd_picture(rmsds))


def _integrated(directory: Path) -> Look:
    points = found.intensity_by_image(directory)
    mean = sum(value for _, value in points) / len(points) if points else 0.0
    text = f"Mean I/σ(I) {mean:.1f} over {len(points)} images."
    return text, Picture(title="I/σ(I) by image", uri=plots.intensity_picture(points))


def _symmetry(directory: Path) -> Look:
    scores = found.symmetry_scores(directory)
    if not scores:
        return "The space group is the user's.", None
    best, likelihood = scores[0]
    text = f"Patterson group {best} with likelihood {likelihood:.3f}."
    return text, Picture(title="Patterson groups", uri=plots.symmetry_picture(scores))


def _scaled(directory: Path) -> Look:
    sweeps = read_integrations(directory / "scaled.expt")
    return f"{len(sweeps)} sweeps on one scale; cell {sweeps[0].cell}.", None


def _resolution(directory: Path) -> Look:
    known = (found.resolution_limit(directory), found.resolution_at_misigma(directory))
    limits = [
        f"{name} {limit:.2f} {ANGSTROM}"
        for name, limit in zip(("cut at", "I/σ(I) = 2:"), known, strict=True)
        if limit is not None
    ]
    return f"Resolution limits: {', '.join(limits) or 'none suggested'}.", None


def _merged(directory: Path) -> Look:
    table = found.merging_statistics(directory)[found.ALL]
    whole = found.read_solution(directory).overall
    text = f"{whole.n_unique} unique reflections to {whole.d_min:.2f} {ANGSTROM}."
    return text, shells_from(table)


LOOKS: dict[str, Callable[[Path], Look]] = {
    "import": _imported,
    "find_spots": _spots,
    "index": _indexed,
    "refine": _refined,
    "integrate": _integrated,
    "symmetry": _symmetry,
    "scale": _scaled,
    "resolution": _resolution,
    "merge": _merged,
}


def shells_from(table: dict[str, Any]) -> Picture:
    """Return the picture of merging statistics by resolution bin, in DIALS' and xia2's JSON."""
    uri = plots.shells_picture(
        [value**-0.5 for value in table["d_star_sq_min"]],
        table["cc_one_half"],
        table["i_over_sigma_mean"],
        table["completeness"],
    )
    return Picture(title="Resolution shells", uri=uri)


def xia2_pictures(directory: Path) -> tuple[Picture, ...]:
    """Return the picture of xia2's merging statistics, if it left them and they can be read."""
    paths = sorted((directory / "LogFiles").glob("*merging-statistics.json"))
    try:
        tables = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return tuple(shells_from(table) for table in tables)
    except UNREADABLE as error:
        logger.warning("no picture of xia2's shells: %s: %s", type(error).__name__, error)
        return ()
