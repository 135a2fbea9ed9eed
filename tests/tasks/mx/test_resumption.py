import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.mx.resumption import (
    FinishedStep,
    chain_key,
    finished_step,
    images_key,
    record_step,
    take_over,
)

KEY, VERSION = "key of index", "DIALS 3.12"
FILES = ("indexed.expt", "indexed.refl")


def a_finished_step(directory: Path, *, key: str = KEY, content: str = "spots") -> Path:
    directory.mkdir()
    for name in FILES:
        (directory / name).write_text(f"{content} {name}")
    files = [directory / name for name in FILES]
    record_step(directory, "index", key=key, version=VERSION, files=files, wall_s=4.5)
    return directory


def taken_over(
    directory: Path, *earlier: Path, key: str = KEY, version: str = VERSION
) -> Path | None:
    directory.mkdir()
    return take_over("index", key=key, version=version, earlier=earlier, directory=directory)


def test_a_finished_step_is_taken_over_with_its_files(tmp_path: Path) -> None:
    earlier = a_finished_step(tmp_path / "earlier")

    assert taken_over(tmp_path / "now", earlier) == earlier
    assert [(tmp_path / "now" / name).read_text() for name in FILES] == [
        "spots indexed.expt",
        "spots indexed.refl",
    ]


def test_what_was_taken_over_can_be_taken_over_again(tmp_path: Path) -> None:
    taken_over(tmp_path / "second", a_finished_step(tmp_path / "first"))

    assert taken_over(tmp_path / "third", tmp_path / "second") == tmp_path / "second"


@pytest.mark.parametrize("asked", [{"key": "of other images"}, {"version": "DIALS 3.30"}])
def test_a_step_with_another_key_or_version_is_done_again(
    tmp_path: Path, asked: dict[str, str]
) -> None:
    earlier = a_finished_step(tmp_path / "earlier")

    assert taken_over(tmp_path / "now", earlier, **asked) is None
    assert list((tmp_path / "now").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda file: file.unlink(), id="removed"),
        pytest.param(lambda file: file.write_text(""), id="emptied"),
        pytest.param(lambda file: file.write_text("spots and more spots"), id="grown"),
    ],
)
def test_a_step_whose_files_have_changed_is_done_again(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    earlier = a_finished_step(tmp_path / "earlier")
    change(earlier / "indexed.refl")

    assert taken_over(tmp_path / "now", earlier) is None


@pytest.mark.parametrize(
    "record", [b"", b"{", b"[]", b'{"key": "key of index"}', b"\0" * 64, b"\xff\xfe\x00"]
)
def test_a_damaged_record_means_that_the_step_is_done_again(tmp_path: Path, record: bytes) -> None:
    earlier = a_finished_step(tmp_path / "earlier")
    (earlier / ".steps" / "index.json").write_bytes(record)

    assert taken_over(tmp_path / "now", earlier) is None


def test_an_attempt_that_never_began_has_no_finished_steps(tmp_path: Path) -> None:
    assert finished_step(tmp_path / "never", "index") is None
    assert taken_over(tmp_path / "now", tmp_path / "never") is None


def test_the_first_attempt_that_fits_is_taken(tmp_path: Path) -> None:
    other = a_finished_step(tmp_path / "other", key="of other images")
    best = a_finished_step(tmp_path / "best", content="best")
    old = a_finished_step(tmp_path / "old")

    assert taken_over(tmp_path / "now", other, best, old) == best
    assert (tmp_path / "now" / "indexed.expt").read_text() == "best indexed.expt"


def test_the_record_says_what_a_step_left(tmp_path: Path) -> None:
    directory = a_finished_step(tmp_path / "run")

    assert finished_step(directory, "index") == FinishedStep(
        key=KEY, version=VERSION, files={"indexed.expt": 18, "indexed.refl": 18}, wall_s=4.5
    )


def test_a_step_that_lacks_a_file_is_not_recorded_as_finished(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        record_step(
            tmp_path, "index", key=KEY, version=VERSION, files=[tmp_path / "none"], wall_s=1
        )

    assert finished_step(tmp_path, "index") is None


def test_a_step_that_is_done_again_replaces_its_record(tmp_path: Path) -> None:
    directory = a_finished_step(tmp_path / "run")

    record_step(directory, "index", key="new", version=VERSION, files=[], wall_s=1)

    kept = json.loads((directory / ".steps" / "index.json").read_text())
    assert (kept["key"], [path.name for path in (directory / ".steps").iterdir()]) == (
        "new",
        ["index.json"],
    )


@pytest.mark.parametrize(
    ("previous", "commands"),
    [
        ("other images", [("dials.index", "a.expt", "method=fft3d")]),
        ("images", [("dials.index", "a.expt", "method=fft1d")]),
        ("images", [("dials.index", "a.expt method=fft3d")]),
        ("images", [("dials.index", "a.expt"), ("method=fft3d",)]),
        ("images", []),
    ],
)
def test_another_command_or_another_past_is_another_step(
    previous: str, commands: list[tuple[str, ...]]
) -> None:
    one = chain_key("images", [("dials.index", "a.expt", "method=fft3d")])

    assert chain_key(previous, commands) != one
    assert chain_key("images", [("dials.index", "a.expt", "method=fft3d")]) == one


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image.write_text("longer"), id="size"),
        pytest.param(lambda image: os.utime(image, (1, 1)), id="time"),
        pytest.param(lambda image: image.rename(image.with_name("b.cbf")), id="name"),
    ],
)
def test_images_that_were_written_again_are_other_images(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    (tmp_path / "a.cbf").write_text("counts")
    before = images_key([str(tmp_path / "a.cbf")])
    change(tmp_path / "a.cbf")

    assert images_key(map(str, tmp_path.iterdir())) != before


def test_the_same_images_have_the_same_key(tmp_path: Path) -> None:
    images = [str(tmp_path / name) for name in ("a.cbf", "b.cbf")]
    for image in images:
        Path(image).write_text("counts")

    assert images_key(images) == images_key(images)
    assert images_key(images) != images_key(images[:1])
