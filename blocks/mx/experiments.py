"""DIALS experiment lists (`.expt`): sweeps, cells and geometry, read as the JSON that they are.

Format: dxtbx `ExperimentList`, version 1 JSON; DIALS 3.x.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blocks.errors import UNREADABLE, OutputInvalid
from blocks.mx.records import Integration, UnitCell

Vector = tuple[float, float, float]


def read_integrations(path: Path) -> tuple[Integration, ...]:
    """Return one integration for each experiment: images, refined cell, distance, beam centre.

    Raises:
        OutputInvalid: the file is missing or is no experiment list.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_integration(document, entry) for entry in document["experiment"])
    except UNREADABLE as error:
        msg = f"{path.name} cannot be read: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, program="dials", directory=path.parent) from error


def _integration(document: Mapping[str, Any], entry: Mapping[str, int]) -> Integration:
    images = document["imageset"][entry["imageset"]]
    template = Path(images.get("template") or images["images"][0])
    first, last = document["scan"][entry["scan"]]["image_range"]
    panels = document["detector"][entry["detector"]]["panels"]
    direction = document["beam"][entry["beam"]]["direction"]
    distance, x, y = beam_on_detector(panels, direction)
    crystal = document["crystal"][entry["crystal"]] if "crystal" in entry else None
    return Integration(
        image_directory=str(template.parent),
        file_template=template.name,
        start_image=first,
        end_image=last,
        cell=unit_cell(crystal) if crystal else None,
        detector_distance=distance,
        beam_x=x,
        beam_y=y,
    )


def unit_cell(crystal: Mapping[str, Any]) -> UnitCell:
    """Return the cell of a crystal model from its real-space vectors (Å)."""
    a, b, c = (tuple(crystal[f"real_space_{axis}"]) for axis in "abc")
    return UnitCell(
        a=_length(a),
        b=_length(b),
        c=_length(c),
        alpha=_angle(b, c),
        beta=_angle(a, c),
        gamma=_angle(a, b),
    )


def beam_on_detector(
    panels: Sequence[Mapping[str, Any]], direction: Sequence[float]
) -> tuple[float, float, float]:
    """Return distance and where the beam meets the detector along fast and slow axis, in mm.

    `direction` points from sample to source. Of several panels, the one that the beam meets, or
    the first. The distance is along the panel's normal.
    """
    beam = tuple(-component for component in direction)
    meetings = [_meeting(panel, beam) for panel in panels]
    inside = (
        meeting
        for meeting, panel in zip(meetings, panels, strict=True)
        if _is_on(panel, meeting[1], meeting[2])
    )
    return next(inside, meetings[0])


def _meeting(panel: Mapping[str, Any], beam: Sequence[float]) -> tuple[float, float, float]:
    fast, slow, origin = panel["fast_axis"], panel["slow_axis"], panel["origin"]
    normal = _cross(fast, slow)
    distance = _dot(origin, normal)
    steps = distance / _dot(beam, normal)
    to_beam = [steps * b - o for b, o in zip(beam, origin, strict=True)]
    return abs(distance), _dot(to_beam, fast), _dot(to_beam, slow)


def _is_on(panel: Mapping[str, Any], x: float, y: float) -> bool:
    width, height = (
        n * size for n, size in zip(panel["image_size"], panel["pixel_size"], strict=True)
    )
    return 0 <= x <= width and 0 <= y <= height


def _dot(u: Sequence[float], v: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(u, v, strict=True))


def _cross(u: Sequence[float], v: Sequence[float]) -> Vector:
    return (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])


def _length(v: Sequence[float]) -> float:
    return math.sqrt(_dot(v, v))


def _angle(u: Sequence[float], v: Sequence[float]) -> float:
    cosine = _dot(u, v) / (_length(u) * _length(v))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
