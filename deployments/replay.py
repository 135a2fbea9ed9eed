"""Stand-ins for the DIALS programs: they check what they are asked, then show a recorded run.

For a machine without DIALS, and for tests. A stand-in refuses every command line but the recorded
one (the directory of the images and the number of processes may differ), so what is tested is the
command that limsflow builds and what it reads. Reflection tables and MTZ files are not recorded;
a text that says so is in their place. `tests/record_dials.py` makes the recording.
"""

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).with_name("recording.tar.xz")
BINARY = (".refl", ".mtz")
IMAGES = "@IMAGES@"
INSTEAD = "In place of a file of a recorded DIALS run: not recorded, REPLAYED by limsflow.\n"


def install(directory: Path) -> Path:
    """Write one executable for each recorded program into a directory; return it."""
    directory.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parent.parent
    for name in sorted({call["program"] for call in _recording()["calls"]}):
        path = directory / name
        path.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(root)!r})\n"
            f"from deployments.replay import stand_in\nsys.exit(stand_in({name!r}))\n"
        )
        path.chmod(0o755)
    return directory


def stand_in(program: str) -> int:
    """Do what the recorded program did: its output, its files, its exit status."""
    arguments = sys.argv[1:]
    calls = [call for call in _recording()["calls"] if call["program"] == program]
    asked, images = _without_places(arguments)
    call = next((call for call in calls if call["arguments"] == asked), None)
    if call is None:
        print(f"Sorry: {program} is REPLAYED and has no recording of: {' '.join(arguments)}")
        return 1
    for name, text in call["files"].items():
        Path(name).write_text(_with_images(text, images))
    for name in call["binary_files"]:
        Path(name).write_text(INSTEAD)
    print(_with_images(call["stdout"], images), end="")
    return int(call["exit_status"])


def _without_places(arguments: list[str]) -> tuple[list[str], str]:
    """Return arguments with the images' directory and the numbers of processes taken out."""
    images = next((os.path.dirname(a) for a in arguments if a.endswith(".cbf")), "")  # noqa: PTH120 - text of a command or a file
    same = [
        a.replace(images, IMAGES, 1) if images and a.startswith(images) else a for a in arguments
    ]
    return [a.partition("=")[0] + "=N" if "nproc=" in a else a for a in same], images


def _with_images(text: str, images: str) -> str:
    """Return a recorded text with the images where they are here, as the import was told."""
    if IMAGES in text and not images:
        document = json.loads(Path("imported_1.expt").read_text())
        images = os.path.dirname(document["imageset"][0]["template"])  # noqa: PTH120 - text of a command or a file
    return text.replace(IMAGES, images)


def _recording() -> dict[str, Any]:
    with tarfile.open(RECORDING) as archive:
        member = archive.extractfile("recording.json")
        if member is None:
            msg = f"{RECORDING} holds no recording"
            raise FileNotFoundError(msg)
        return json.load(member)
