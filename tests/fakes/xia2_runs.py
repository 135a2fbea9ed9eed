"""Recorded runs of xia2, rebuilt as the directory and the `Run` that they left."""

import re
import shutil
from pathlib import Path

from blocks.program import Run

RECORDED = Path(__file__).parents[1] / "data" / "xia2-runs"
GOOD = "good_mx_pipeline_dials"

# Where the text of a file was recorded under another name.
STALE = {"xia2-error.STALE.txt": "xia2-error.txt"}
TEXTS = ("xia2.txt", "xia2-error.txt", "xia2.json", "ispyb.json", "xia2-report.json")


def recorded_run(record: Path, directory: Path) -> Run:
    """Rebuild in `directory` what a recorded run left, and return what was seen of it.

    Files that `files.txt` lists exist but are empty, except those whose text was recorded.
    """
    for line in (record / "files.txt").read_text().splitlines():
        kind, _, listed = line.split(maxsplit=2)
        path = directory / re.sub(r"^(\.|wd)/", "", listed)
        if kind == "d":
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.touch()
    for name in (*TEXTS, *STALE):
        if (record / name).exists():
            shutil.copyfile(record / name, directory / STALE.get(name, name))
    return a_run(directory, exit_status=exit_status(record), output=record)


def a_run(directory: Path, *, output: Path | None = None, **seen: int | None) -> Run:
    """Return a run of xia2 in `directory`, silent unless `output` has its recorded streams."""
    streams = {name: directory / f"xia2.{name}" for name in ("stdout", "stderr")}
    for name, path in streams.items():
        path.write_bytes((output / f"{name}.txt").read_bytes() if output else b"")
    return Run.model_validate(
        {"argv": ("/opt/xia2", "pipeline=dials"), "directory": directory, **streams, **seen}
    )


def exit_status(record: Path) -> int:
    """Return the status that a recorded run ended with."""
    found = re.search(r"exit=(\d+)", (record / "result.txt").read_text())
    assert found is not None
    return int(found[1])
