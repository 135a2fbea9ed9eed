"""What the DIALS programs found: from their JSON where they write it, else from their logs."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocks.errors import UNREADABLE, OutputInvalid
from blocks.mx.experiments import read_integrations
from blocks.mx.records import Shell, ShellName, Solution, UnitCell

# our name: (table of merge.json, its key). "merging_stats" merges I+ and I-, the other does not.
ALL, WITHIN = "merging_stats", "merging_stats_anom"
STATISTICS = {
    "completeness": (ALL, "completeness"),
    "multiplicity": (ALL, "multiplicity"),
    "i_over_sigma": (ALL, "i_over_sigma_mean"),
    "cc_half": (ALL, "cc_one_half"),
    "r_merge": (WITHIN, "r_merge"),
    "r_meas_all": (ALL, "r_meas"),
    "r_meas_within": (WITHIN, "r_meas"),
    "r_pim_all": (ALL, "r_pim"),
    "r_pim_within": (WITHIN, "r_pim"),
    "n_observations": (ALL, "n_obs"),
    "n_unique": (ALL, "n_uniq"),
    "anomalous_multiplicity": (WITHIN, "multiplicity"),
    "cc_anomalous": (ALL, "cc_anom"),
}


def read_solution(directory: Path) -> Solution:
    """Return what a finished chain of DIALS programs found.

    Shells are those of `dials.merge`: overall, its first and its last resolution bin.

    Raises:
        OutputInvalid: a file is missing or is not what it should be.
    """
    try:
        statistics = merging_statistics(directory)
        integrations = read_integrations(directory / "scaled.expt")
        overall = _shell("overall", statistics, None, resolution_at_misigma(directory))
        return Solution(
            space_group=space_group(directory),
            cell=merged_cell(directory),
            shells=(
                overall,
                _shell("innerShell", statistics, 0),
                _shell("outerShell", statistics, -1),
            ),
            integrations=integrations,
        )
    except UNREADABLE as error:
        msg = f"DIALS' results cannot be read: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, program="dials.merge", directory=directory) from error


def merging_statistics(directory: Path) -> dict[str, Any]:
    """Return the tables of `merge.json`; of several wavelengths those of the last."""
    document = json.loads((directory / "merge.json").read_text(encoding="utf-8"))
    return list(document.values())[-1]


def _shell(
    name: ShellName,
    tables: Mapping[str, Any],
    index: int | None,
    i_over_sigma_2: float | None = None,
) -> Shell:
    """Return one shell: a bin, or the whole where `index` is None."""

    def at(table: str, key: str) -> Any:
        values = tables[table]["overall"] if index is None else tables[table]
        return values[key] if index is None else values[key][index]

    # The names are those of 1/d^2: the "max" of a bin is its low-resolution end.
    low, high = at(ALL, "d_star_sq_max"), at(ALL, "d_star_sq_min")
    anomalous = at(WITHIN, "anom_completeness")
    return Shell(
        name=name,
        d_max=_d(low),
        d_min=_d(high),
        anomalous_completeness=None if anomalous is None else 100 * anomalous,  # a fraction here
        d_min_i_over_sigma_2=i_over_sigma_2,
        **{ours: at(*where) for ours, where in STATISTICS.items()},
    )


def _d(d_star_squared: float | None) -> float:
    if not d_star_squared:
        msg = "a resolution bin has no limits"
        raise ValueError(msg)
    return d_star_squared**-0.5


def space_group(directory: Path) -> str:
    """Return the space group of `merged.mtz`, as `dials.merge` prints it.

    Raises:
        ValueError: the log names none.
    """
    return _printed_by_merge(directory, r"Space group from matrices: (.+?) \(No\.")


def merged_cell(directory: Path) -> UnitCell:
    """Return the cell of `merged.mtz`, the median over the sweeps, as `dials.merge` prints it.

    Raises:
        ValueError: the log names none.
    """
    values = map(float, _printed_by_merge(directory, r"Unit cell: \(([^)]+)\)").split(","))
    return UnitCell(**dict(zip(UnitCell.model_fields, values, strict=True)))


def _printed_by_merge(directory: Path, pattern: str) -> str:
    """Return the last thing of this pattern in the log of `dials.merge`."""
    found = re.findall(pattern, (directory / "dials.merge.log").read_text(errors="replace"))
    if not found:
        msg = f"dials.merge.log has nothing like {pattern}"
        raise ValueError(msg)
    return found[-1].strip()


def resolution_limit(directory: Path) -> float | None:
    """Return the worst limit in Å that `dials.estimate_resolution` found, or None.

    Each of the user's criteria gives one; the data are good to the first that ends them.
    """
    return max(_limits(directory / "dials.estimate_resolution.log").values(), default=None)


def resolution_at_misigma(directory: Path) -> float | None:
    """Return the limit in Å at the I/sigma that ISPyB asks for, or None.

    xia2 runs are asked for it alone, so there it is in the program's usual log.
    """
    own = directory / "dials.estimate_resolution-misigma.log"
    usual = directory / "dials.estimate_resolution.log"
    return _limits(own if own.exists() else usual).get("Mn(I/sig)")


def _limits(path: Path) -> dict[str, float]:
    log = path.read_text(errors="replace") if path.exists() else ""
    found = re.findall(r"^Resolution (\S+):\s+([\d.]+)\s*$", log, re.MULTILINE)
    return {metric: float(limit) for metric, limit in found}


def indexed_share(directory: Path) -> list[tuple[int, int]]:
    """Return numbers of indexed and unindexed spots for each sweep, from the last table."""
    log = (directory / "dials.index.log").read_text(errors="replace")
    table = log.rpartition("# indexed")[2]
    rows = re.findall(r"^\|\s+(\d+) \|\s+(\d+) \|\s+(\d+) \|\s+[\d.]+%", table, re.MULTILINE)
    return [(int(indexed), int(not_indexed)) for _, indexed, not_indexed in rows]


def spots_per_image(directory: Path) -> list[int]:
    """Return the number of spots on each image, the sweeps one after the other."""
    return json.loads((directory / "spots.json").read_text(encoding="utf-8"))["n_spots_total"]


def rmsds(directory: Path) -> list[tuple[float, float, float]]:
    """Return the final RMSD of each sweep in x (px), y (px) and rotation (images)."""
    log = (directory / "dials.refine.log").read_text(errors="replace")
    table = log.rpartition("RMSDs by experiment:")[2]
    number = r"\|\s+([\d.e+-]+)\s+"
    rows = re.findall(rf"^\|\s+\d+ \|\s+\d+ {number * 3}\|", table, re.MULTILINE)
    return [(float(x), float(y), float(z)) for x, y, z in rows]


def intensity_by_image(directory: Path) -> list[tuple[int, float]]:
    """Return image number and mean I/sigma (profile fitted) of the integrated images."""
    log = (directory / "dials.integrate.log").read_text(errors="replace")
    table = log.partition("Summary vs image number")[2].partition("Summary vs resolution")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    fitted = next((i for line in lines for i, cell in enumerate(line) if cell == "(prf)"), None)
    if fitted is None:
        return []
    rows = [line for line in lines if len(line) > fitted and line[1].isdigit()]
    return [(int(row[1]), float(row[fitted] or 0)) for row in rows]


def symmetry_scores(directory: Path) -> list[tuple[str, float]]:
    """Return Patterson groups and their likelihoods, best first; nothing if the user knew."""
    path = directory / "dials.symmetry.json"
    if not path.exists():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    scores = [(s["patterson_group"], float(s["likelihood"])) for s in document["subgroup_scores"]]
    return sorted(scores, key=lambda score: -score[1])


def version(directory: Path) -> str:
    """Return the version that DIALS writes into its logs ("DIALS 3.12"), or an empty text."""
    for log in sorted(directory.glob("dials.import*.log")):
        found = re.search(r"^DIALS \d\S*", log.read_text(errors="replace"), re.MULTILINE)
        if found:
            return found[0]
    return ""
