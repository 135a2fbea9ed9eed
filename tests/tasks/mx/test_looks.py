"""Pictures are made of what a program left; what cannot be read costs the picture, not the run."""

from pathlib import Path

import pytest

from tasks.mx.looks import look_at, xia2_pictures
from tests.fakes.xia2_runs import GOOD, RECORDED


def test_the_shells_of_a_recorded_run_of_xia2_become_a_picture() -> None:
    (picture,) = xia2_pictures(RECORDED / GOOD)

    assert picture.title == "Resolution shells"
    assert picture.uri.startswith("data:image/png;base64,")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"d_star_sq_min": [0]}'])
def test_statistics_of_another_shape_cost_the_picture_and_not_the_run(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "LogFiles").mkdir()
    (tmp_path / "LogFiles" / "A_merging-statistics.json").write_text(text)

    assert xia2_pictures(tmp_path) == ()


@pytest.mark.parametrize("step", ["find_spots", "index", "scale", "merge"])
def test_a_step_that_left_nothing_readable_has_no_picture(tmp_path: Path, step: str) -> None:
    text, picture = look_at(step, tmp_path)

    assert "could not be read" in text
    assert picture is None
