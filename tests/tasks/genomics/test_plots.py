import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from numpy.typing import NDArray

from blocks.genomics.quality_limits import limits_of
from blocks.genomics.records import AssemblyStatistics, CallStatus, LocusCall
from tasks.genomics.assembly_quality import statistics
from tasks.genomics.plots import (
    COLORS,
    GOOD,
    MAX_CELLS,
    calls_picture,
    contigs_picture,
    depth_picture,
)

SALMONELLA = limits_of("Salmonella")


def pixels(uri: str) -> NDArray[np.float32]:
    """Return the picture of a data URI: rows, columns, red, green and blue of 0 to 1."""
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return imread(io.BytesIO(base64.b64decode(data)), format="png")[..., :3]


def share_of(uri: str, color: str) -> float:
    """Return how much of a picture has a color."""
    return float(np.all(np.abs(pixels(uri) - to_rgb(color)) < 0.01, axis=2).mean())


def an_assembly(*lengths: int) -> AssemblyStatistics:
    return statistics((str(n), b"A" * length, None) for n, length in enumerate(lengths))


def calls_of(*statuses: CallStatus) -> list[LocusCall]:
    return [
        LocusCall(locus=f"locus {n}", status=status, allele=n if status == "exact" else None)
        for n, status in enumerate(statuses, 1)
    ]


# Contigs


@pytest.mark.parametrize(
    "lengths", [(), (299,), (5_000_000,), (300, 300), tuple(range(300, 1500)), (4_700_000, 1040)]
)
def test_any_assembly_can_be_drawn(lengths: tuple[int, ...]) -> None:
    for limits in (None, SALMONELLA):
        assert pixels(contigs_picture(an_assembly(*lengths), limits)).shape == (297, 792, 3)


def test_a_picture_has_a_light_ground() -> None:
    corners = pixels(contigs_picture(an_assembly(5_000, 400)))[[0, 0, -1, -1], [0, -1, 0, -1]]

    assert (corners == 1).all()


def test_the_limits_are_drawn_if_they_are_given() -> None:
    found = an_assembly(400_000, 5_000)

    assert share_of(contigs_picture(found), GOOD) == 0
    assert share_of(contigs_picture(found, SALMONELLA), GOOD) > 0.02


@pytest.mark.parametrize(
    ("lengths", "depths", "mean"),
    [([], [], 0), ([300], [0], 0), ([300, 400_000], [0.0, 51.5], 51.4)],
)
def test_any_depth_can_be_drawn(lengths: list[int], depths: list[float], mean: float) -> None:
    assert pixels(depth_picture(lengths, depths, mean)).min() < 1


# Calls


@pytest.mark.parametrize("status", CallStatus)
def test_a_locus_has_a_cell_in_the_color_of_its_status(status: CallStatus) -> None:
    uri = calls_picture(calls_of(*[CallStatus.EXACT] * 6, status))

    assert share_of(uri, COLORS[status]) > 0.05


def test_the_statuses_can_be_told_apart() -> None:
    assert len(set(COLORS.values())) == len(CallStatus) == len(COLORS)


def test_few_loci_are_cells_and_many_are_bars() -> None:
    exact = [CallStatus.EXACT] * MAX_CELLS

    cells, bars = (
        pixels(calls_picture(calls_of(*exact, *more))) for more in ([], [CallStatus.EXACT])
    )

    assert cells.shape != bars.shape


def test_the_few_loci_of_many_that_are_not_exact_are_seen() -> None:
    statuses = [CallStatus.EXACT] * 3_000 + [CallStatus.MISSING, CallStatus.DUPLICATED]

    uri = calls_picture(calls_of(*statuses))

    assert share_of(uri, COLORS[CallStatus.MISSING]) > 0.05
    assert share_of(uri, COLORS[CallStatus.DUPLICATED]) > 0.05


def test_no_locus_at_all_is_said() -> None:
    assert pixels(calls_picture([])).min() < 1


@pytest.mark.parametrize("name", ["$\\frac$", "$x$", "\0\n", "座位", "\ud800", "_" * 5_000, " "])
def test_no_name_of_a_locus_spoils_the_picture(name: str) -> None:
    # A warning of the font, or of a formula, fails the test.
    call = LocusCall(locus=name, status=CallStatus.MISSING)

    assert share_of(calls_picture([call]), COLORS[CallStatus.MISSING]) > 0.5


@settings(deadline=None, max_examples=8)
@given(st.lists(st.text(max_size=15), min_size=1, max_size=4))
def test_whatever_loci_are_called_they_are_drawn(names: list[str]) -> None:
    calls = [LocusCall(locus=name, status=CallStatus.NOVEL, allele=3) for name in names]

    assert share_of(calls_picture(calls), COLORS[CallStatus.NOVEL]) > 0.4
