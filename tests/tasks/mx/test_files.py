import json
from pathlib import Path

import pytest

from blocks.mx.records import AttachmentType
from tasks.mx.files import (
    INTERMEDIATE,
    attachments,
    collect_dials_files,
    keep_results,
    link_results,
)

WHOLE_RUN = (
    "xia2.html", "xia2.txt", "xia2-error.txt", "xia2-debug.txt", "xia2.json", "automatic.xinfo",
    "DataFiles/AUTOMATIC_DEFAULT_free.mtz", "DataFiles/AUTOMATIC_DEFAULT_scaled.sca",
    "DataFiles/AUTOMATIC_DEFAULT.log", "DataFiles/notes.txt", "DataFiles/raw/more.mtz",
    "LogFiles/DEFAULT_merging-statistics.json", "LogFiles/DEFAULT_scale.log", "LogFiles/spots.png",
    "LogFiles/raw/more.log",
)  # fmt: skip


def a_run(directory: Path, *names: str) -> Path:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return directory


def shown(directory: Path) -> dict[str, tuple[str, int]]:
    return {
        str(one.path.relative_to(directory)): (one.type.value, one.rank)
        for one in attachments(directory)
    }


def names_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_the_files_of_a_run_are_shown_with_the_types_and_ranks_of_the_contract(
    tmp_path: Path,
) -> None:
    assert shown(a_run(tmp_path, *WHOLE_RUN)) == {
        "xia2.html": ("Log", 1),
        "xia2.txt": ("Log", 2),
        "xia2-error.txt": ("Log", 2),
        "DataFiles/AUTOMATIC_DEFAULT_free.mtz": ("Result", 1),
        "DataFiles/AUTOMATIC_DEFAULT_scaled.sca": ("Result", 2),
        "DataFiles/AUTOMATIC_DEFAULT.log": ("Log", 2),
        "DataFiles/notes.txt": ("Log", 2),
        "LogFiles/DEFAULT_merging-statistics.json": ("Graph", 2),
        "LogFiles/DEFAULT_scale.log": ("Log", 2),
        "LogFiles/spots.png": ("Log", 2),
    }


@pytest.mark.parametrize(
    ("left", "main"),
    [
        (WHOLE_RUN, "xia2.html"),
        (("xia2.txt", "xia2-error.txt"), "xia2.txt"),
        (("xia2.error",), "xia2.error"),
        (("xia2.html", "dials.merge.html"), "xia2.html"),
        (("dials.merge.html", "LogFiles/dials.scale.log"), "dials.merge.html"),
        (("DataFiles/x_free.mtz", "LogFiles/a.json", "LogFiles/x.log"), "LogFiles/x.log"),
    ],
)
def test_exactly_one_log_is_behind_the_processing_log_button(
    tmp_path: Path, left: tuple[str, ...], main: str
) -> None:
    ranks = shown(a_run(tmp_path, *left))

    assert [name for name, rank in ranks.items() if rank == ("Log", 1)] == [main]


def test_the_most_important_files_come_first(tmp_path: Path) -> None:
    ranks = [one.rank for one in attachments(a_run(tmp_path, *WHOLE_RUN))]

    assert ranks == sorted(ranks)


@pytest.mark.parametrize("left", [(), ("xia2-debug.txt", "DEFAULT/index/x.refl")])
def test_a_run_that_left_nothing_worth_showing_shows_nothing(
    tmp_path: Path, left: tuple[str, ...]
) -> None:
    assert attachments(a_run(tmp_path / "run", *left)) == []


def test_a_file_of_the_log_folder_is_no_result_whatever_its_name(tmp_path: Path) -> None:
    found = attachments(a_run(tmp_path, "LogFiles/x_free.mtz"))

    assert [one.type for one in found] == [AttachmentType.LOG]


def test_hidden_files_and_container_images_are_not_kept(tmp_path: Path) -> None:
    names = (
        "xia2.txt",
        ".launch/job",
        ".recipewrap",
        "dials.sif",
        "DataFiles/.x",
        "LogFiles/a.sif",
    )
    working = a_run(tmp_path / "working", *names)

    keep_results(working, tmp_path / "results")

    assert names_in(tmp_path / "results") == {"xia2.txt"}


def test_what_is_left_out_is_left_out_at_the_top_only(tmp_path: Path) -> None:
    names = ("indexed.refl", "merged.mtz", "dials.index.log", "DataFiles/merged.mtz")
    working = a_run(tmp_path / "working", *names)

    keep_results(working, tmp_path / "results", leave_out=INTERMEDIATE)

    assert names_in(tmp_path / "results") == {"dials.index.log", "DataFiles/merged.mtz"}


def test_keeping_results_again_completes_what_was_kept(tmp_path: Path) -> None:
    working = a_run(tmp_path / "working", "xia2.txt", "DataFiles/a.mtz")
    results = a_run(tmp_path / "results", "xia2.txt", "DataFiles/earlier.mtz")
    (results / "xia2.txt").write_text("half")

    keep_results(working, results)

    assert names_in(results) == {"xia2.txt", "DataFiles/a.mtz", "DataFiles/earlier.mtz"}
    assert (results / "xia2.txt").read_text() == "xia2.txt"


def test_results_with_a_symbolic_link_can_be_kept_twice(tmp_path: Path) -> None:
    working = a_run(tmp_path / "working", "DataFiles/a.mtz")
    (working / "latest.mtz").symlink_to("DataFiles/a.mtz")

    keep_results(working, tmp_path / "results")
    keep_results(working, tmp_path / "results")

    assert (tmp_path / "results" / "latest.mtz").readlink() == Path("DataFiles/a.mtz")


def test_an_engine_that_never_worked_leaves_nothing_to_keep(tmp_path: Path) -> None:
    keep_results(tmp_path / "working", tmp_path / "results")

    assert not (tmp_path / "results").exists()


def test_the_files_of_the_dials_steps_are_laid_out_as_xia2_does(tmp_path: Path) -> None:
    names = ("merged.mtz", "scaled.refl", "indexed.refl", "dials.scale.log", "dials.merge.html")
    run = a_run(tmp_path, *names)

    collect_dials_files(run, {"cc_half": [0.99]})

    assert shown(run) == {
        "dials.merge.html": ("Log", 1),
        "DataFiles/merged.mtz": ("Result", 1),
        "DataFiles/scaled.refl": ("Result", 2),
        "LogFiles/dials.scale.log": ("Log", 2),
        "LogFiles/merging-statistics.json": ("Graph", 2),
    }


def test_the_merging_statistics_are_kept_for_synchwebs_plots(tmp_path: Path) -> None:
    for _ in range(2):
        collect_dials_files(tmp_path, {"cc_half": [0.99, 0.31]})

    kept = json.loads((tmp_path / "LogFiles" / "merging-statistics.json").read_text())
    assert kept == {"cc_half": [0.99, 0.31]}


def test_dials_steps_that_failed_early_leave_no_statistics(tmp_path: Path) -> None:
    collect_dials_files(a_run(tmp_path, "dials.import.log"), {})

    assert shown(tmp_path) == {"LogFiles/dials.import.log": ("Log", 1)}


def test_the_link_to_the_results_is_relative(tmp_path: Path) -> None:
    results = a_run(tmp_path / "guid-1" / "xia2-dials", "xia2.txt")

    link = link_results(results, "xia2-dials-P1")

    assert link == tmp_path / "xia2-dials-P1"
    assert link.readlink() == Path("guid-1/xia2-dials")


def test_the_first_run_keeps_the_link(tmp_path: Path) -> None:
    for guid in ("guid-1", "guid-2"):
        link = link_results(a_run(tmp_path / guid / "xia2-dials", "xia2.txt"), "xia2-dials")

    assert link.readlink() == Path("guid-1/xia2-dials")


@pytest.mark.parametrize("name", ["a folder", "a file", "a broken link"])
def test_what_already_has_the_name_of_the_link_is_left_alone(tmp_path: Path, name: str) -> None:
    in_the_way = a_run(tmp_path, "a folder/keep", "a file") / name
    if name == "a broken link":
        in_the_way.symlink_to("gone")
    before = in_the_way.lstat()

    link_results(a_run(tmp_path / "guid-1" / "xia2-dials", "xia2.txt"), name)

    assert in_the_way.lstat() == before
