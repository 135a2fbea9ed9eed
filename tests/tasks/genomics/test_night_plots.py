"""Pictures of a night: how it went on, and what came of each scheme."""

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tasks.genomics.night import Counts, Progress
from tasks.genomics.night_plots import COLORS, MOST_BARS, outcomes_picture, progress_picture
from tasks.genomics.night_report import Part
from tests.tasks.genomics.test_plots import pixels, share_of

RISING = [(0.0, 0), (60.0, 40), (120.0, 100)]


def a_part(*counts: Counts, moments: list[tuple[float, int]] | None = None, **more: Any) -> Part:
    usual = {"database": "salmonella", "kind": "update-all-schemes", "n_looked_at": 9}
    progress = Progress(moments=RISING if moments is None else moments, total=100)
    return Part(**(usual | more), counts=list(counts), progress=progress)


def a_scheme(name: str = "MLST", **failed: int) -> Counts:
    claimed = 10 + sum(failed.values())
    return Counts(scheme=name, eligible=claimed, claimed=claimed, complete=10, failed=failed)


@pytest.mark.parametrize(
    "moments",
    [[], [(0.0, 0)], RISING, [(0.0, 0), (30_000.0, 1_000_000)]],
    ids=["none", "one", "minutes", "hours"],
)
def test_any_progress_is_a_picture_on_a_light_ground(moments: list[tuple[float, int]]) -> None:
    picture = pixels(progress_picture([a_part(a_scheme(), moments=moments)]))

    assert picture.shape == (297, 792, 3)
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == 1).all()


def test_a_night_that_went_on_looks_otherwise_than_one_that_stood_still() -> None:
    still = [(at, 0) for at, _ in RISING]
    one, other = (progress_picture([a_part(moments=some)]) for some in (RISING, still))

    assert not np.array_equal(pixels(one), pixels(other))


def test_each_part_of_a_night_has_its_line() -> None:
    one = progress_picture([a_part(kind="a")])
    two = progress_picture([a_part(kind="a"), a_part(kind="b", moments=[(0.0, 0), (90.0, 10)])])

    assert (pixels(two) < 0.9).sum() > (pixels(one) < 0.9).sum()


def so_many(outcome: str, number: int) -> dict[str, Any]:
    return {"complete": number} if outcome == "complete" else {"failed": {outcome: number}}


@pytest.mark.parametrize("outcome", COLORS)
def test_an_outcome_has_its_color_only_where_there_is_one(outcome: str) -> None:
    other = "bug" if outcome == "transient" else "transient"
    nothing: dict[str, Any] = {"complete": 0, "claimed": 20}
    with_it = Counts(scheme="x", **(nothing | so_many(outcome, 10)))
    without = Counts(scheme="x", **(nothing | so_many(other, 10)))

    assert share_of(outcomes_picture([a_part(with_it)]), COLORS[outcome]) > 0.01
    assert share_of(outcomes_picture([a_part(without)]), COLORS[outcome]) < 0.0005


def test_the_outcomes_can_be_told_apart() -> None:
    assert len(set(COLORS.values())) == len(COLORS) == 4


def test_a_picture_of_outcomes_has_a_light_ground_and_grows_with_its_bars_to_a_bound() -> None:
    heights = list[int]()
    for number in (0, 1, 5, MOST_BARS, 500):
        schemes = [a_scheme(f"scheme {one}") for one in range(number)]
        picture = pixels(outcomes_picture([a_part(*schemes)]))
        assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == 1).all()
        heights.append(picture.shape[0])

    assert heights == sorted(heights)
    assert heights[-1] == heights[-2] > heights[-3]


def test_what_was_not_sent_has_no_bar() -> None:
    idle = Counts(scheme="idle", eligible=5)

    assert np.array_equal(
        pixels(outcomes_picture([a_part(a_scheme(), idle)])),
        pixels(outcomes_picture([a_part(a_scheme())])),
    )


@pytest.mark.parametrize("name", ["$\\frac$", "$x$", "\0\n", "座位", "\ud800", "_" * 5_000, " "])
def test_no_name_spoils_a_picture(name: str) -> None:
    # A warning of the font, or of a formula, fails the test.
    part = a_part(a_scheme(name), database=name)

    assert share_of(outcomes_picture([part]), COLORS["complete"]) > 0.05
    assert pixels(progress_picture([part])).min() < 1


def test_schemes_whose_names_begin_alike_have_a_bar_each() -> None:
    long = "cgMLST_of_a_name_that_fills_all_of_its_line_"
    shares = [
        share_of(outcomes_picture([a_part(*map(a_scheme, names))]), COLORS["complete"])
        for names in (("one", "other"), (f"{long}V1", f"{long}V2"))
    ]

    assert shares[1] > 0.6 * shares[0]  # a longer name leaves less room for its bar


@settings(deadline=None, max_examples=5, phases=(Phase.generate,))
@given(st.lists(st.text(max_size=15), min_size=1, max_size=3))
def test_whatever_schemes_are_called_they_are_drawn(names: list[str]) -> None:
    part = a_part(*(a_scheme(name) for name in names))

    assert share_of(outcomes_picture([part]), COLORS["complete"]) > 0.05
