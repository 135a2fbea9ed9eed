"""What xia2 found: from `ispyb.json` of `xia2.ispyb_json`, else from `xia2.json`.

The text table in xia2.txt is not read: its columns change places when xia2 suggests a resolution
limit. `xia2.json` is written before scaling too, so it counts only after `xia2.check`.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocks.errors import UNREADABLE, OutputInvalid
from blocks.mx.records import (
    Integration,
    Message,
    Severity,
    Shell,
    ShellName,
    Solution,
    UnitCell,
)

SHELLS: tuple[ShellName, ShellName, ShellName] = ("overall", "innerShell", "outerShell")

# our name: (name in xia2.json, name in ispyb.json). ispyb.json has R values under ISPyB's names;
# of Rmerge, ISPyB has one column and xia2 fills it with Rmerge(I+/-).
STATISTICS = {
    "d_min": ("High resolution limit", "resolutionLimitHigh"),
    "d_max": ("Low resolution limit", "resolutionLimitLow"),
    "completeness": ("Completeness", "completeness"),
    "multiplicity": ("Multiplicity", "multiplicity"),
    "i_over_sigma": ("I/sigma", "meanIOverSigI"),
    "cc_half": ("CC half", "ccHalf"),
    "r_merge": ("Rmerge(I+/-)", "rMerge"),
    "r_meas_all": ("Rmeas(I)", "rMeasAllIPlusIMinus"),
    "r_meas_within": ("Rmeas(I+/-)", "rMeasWithinIPlusIMinus"),
    "r_pim_all": ("Rpim(I)", "rPimAllIPlusIMinus"),
    "r_pim_within": ("Rpim(I+/-)", "rPimWithinIPlusIMinus"),
    "partial_bias": ("Partial Bias", "fractionalPartialBias"),
    "n_observations": ("Total observations", "nTotalObservations"),
    "n_unique": ("Total unique", "nTotalUniqueObservations"),
    "anomalous_completeness": ("Anomalous completeness", "anomalousCompleteness"),
    "anomalous_multiplicity": ("Anomalous multiplicity", "anomalousMultiplicity"),
    "cc_anomalous": ("Anomalous correlation", "ccAnomalous"),
}
XTRIAGE_LEVELS = {0: Severity.INFO, 1: Severity.WARNING, 2: Severity.ERROR}
WRONG_SPACE_GROUP = "may be assigned to the wrong space group"  # skipped, as today


def read_solution(directory: Path) -> Solution:
    """Return what xia2 found in this finished run.

    Raises:
        OutputInvalid: the files are missing, are not JSON, or do not describe one crystal.
    """
    try:
        if (directory / "ispyb.json").exists():
            found = from_ispyb_json(_load(directory / "ispyb.json"))
        else:
            found = from_xia2_json(_load(directory / "xia2.json"))
        return found.model_copy(update={"messages": xtriage_messages(directory)})
    except UNREADABLE as error:
        msg = f"xia2's results cannot be read: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, program="xia2", directory=directory) from error


def from_ispyb_json(document: Mapping[str, Any]) -> Solution:
    """Return the solution in the output of `xia2.ispyb_json`."""
    scaling = document["AutoProcScalingContainer"]
    rows = {row["scalingStatisticsType"]: row for row in scaling["AutoProcScalingStatistics"]}
    shells = [
        Shell(name=name, **{ours: rows[name].get(key) for ours, (_, key) in STATISTICS.items()})
        for name in SHELLS
    ]
    return Solution(
        space_group=document["AutoProc"]["spaceGroup"],
        cell=_cell(document["AutoProc"], "refinedCell_"),
        shells=(shells[0], shells[1], shells[2]),
        integrations=tuple(map(_integration, scaling["AutoProcIntegrationContainer"])),
    )


def from_xia2_json(document: Mapping[str, Any]) -> Solution:
    """Return the solution in `xia2.json`; the refined geometry is not in it."""
    (crystal,) = document["_crystals"].values()
    scaler = crystal["_scaler"]
    # With several wavelengths ISPyB keeps the statistics of the last, as it always did.
    statistics = list(scaler["_scalr_statistics"].values())[-1]
    shells = [
        Shell(name=name, **{o: _at(statistics, key, i) for o, (key, _) in STATISTICS.items()})
        for i, name in enumerate(SHELLS)
    ]
    return Solution(
        space_group=scaler["_scalr_likely_spacegroups"][0],
        cell=_unit_cell(scaler["_scalr_cell"]),
        shells=(shells[0], shells[1], shells[2]),
        integrations=tuple(map(_integrater, scaler["_scalr_integraters"].values())),
    )


def xtriage_messages(directory: Path) -> tuple[Message, ...]:
    """Return what xtriage says of the data, from `xia2-report.json`; nothing if it did not run."""
    path = directory / "xia2-report.json"
    items: list[dict[str, Any]] = _load(path).get("xtriage", []) if path.exists() else []
    return tuple(
        Message(
            severity=XTRIAGE_LEVELS.get(int(item["level"]), Severity.WARNING),
            message=item["text"],
            description=item["summary"],
        )
        for item in items
        if WRONG_SPACE_GROUP not in item["text"]
    )


def _load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _at(statistics: Mapping[str, Any], key: str, index: int) -> Any:
    values = statistics.get(key, ())
    return values[index] if index < len(values) else None


def _cell(row: Mapping[str, Any], prefix: str) -> UnitCell:
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    return UnitCell(**{name: row[f"{prefix}{name}"] for name in names})


def _unit_cell(values: list[float]) -> UnitCell:
    a, b, c, alpha, beta, gamma = values
    return UnitCell(a=a, b=b, c=c, alpha=alpha, beta=beta, gamma=gamma)


def _integration(entry: Mapping[str, Any]) -> Integration:
    row, image = entry["AutoProcIntegration"], entry["Image"]
    return Integration(
        image_directory=image["fileLocation"],
        file_template=_template(image["fileName"]),
        start_image=row["startImageNumber"],
        end_image=row["endImageNumber"],
        cell=_cell(row, "cell_"),
        detector_distance=row.get("refinedDetectorDistance"),
        beam_x=row.get("refinedXBeam"),
        beam_y=row.get("refinedYBeam"),
    )


def _template(file_name: str) -> str:
    """Turn the image name back: xia2 names image 0, so the last run of zeros is the number."""
    found = list(re.finditer("0+(?=[^0-9]*$)", file_name))
    if not found or file_name.endswith((".h5", ".nxs")):
        return file_name
    last = found[-1]
    return file_name[: last.start()] + "#" * len(last[0]) + file_name[last.end() :]


def _integrater(entry: Mapping[str, Any]) -> Integration:
    template = Path(entry["_fp_imageset"]["template"])
    first, last = entry["_intgr_wedge"]
    return Integration(
        image_directory=str(template.parent),
        file_template=template.name,
        start_image=first,
        end_image=last,
        cell=_unit_cell(entry["_intgr_cell"]),
    )
