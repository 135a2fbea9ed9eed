"""Take over finished steps of an earlier attempt, if nothing that they depend on has changed.

Each finished step leaves `.steps/<name>.json` in its directory: a key over the whole chain of
commands up to it and over the images, the program's version, and the size of each file it made.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from blocks.record import Record

FOLDER = ".steps"


class FinishedStep(Record):
    """What one finished step left."""

    key: str
    version: str
    files: dict[str, int]
    wall_s: float


def images_key(paths: Iterable[str]) -> str:
    """Return a key over images: their paths, sizes and times of change."""
    digest = hashlib.sha256()
    for path in paths:
        facts = Path(path).stat()
        digest.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def chain_key(previous: str, commands: Sequence[tuple[str, ...]]) -> str:
    """Return the key of a step: the key before it and its own command lines."""
    text = json.dumps([previous, *commands])
    return hashlib.sha256(text.encode()).hexdigest()


def record_step(
    directory: Path, name: str, *, key: str, version: str, files: Iterable[Path], wall_s: float
) -> None:
    """Leave a record of a finished step, last of all that it writes."""
    sizes = {path.name: path.stat().st_size for path in files}
    finished = FinishedStep(key=key, version=version, files=sizes, wall_s=wall_s)
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    part = folder / f"{name}.json.part"
    part.write_text(finished.model_dump_json())
    part.rename(folder / f"{name}.json")


def finished_step(directory: Path, name: str) -> FinishedStep | None:
    """Return the record of a step, or None if it did not finish or its files have changed."""
    path = directory / FOLDER / f"{name}.json"
    try:
        finished = FinishedStep.model_validate_json(path.read_text())
        same = all((directory / f).stat().st_size == n for f, n in finished.files.items())
    except (OSError, ValueError):
        return None
    return finished if same else None


def take_over(
    name: str, *, key: str, version: str, earlier: Sequence[Path], directory: Path
) -> Path | None:
    """Copy a finished step with this key into `directory`; return where it came from, or None.

    Args:
        name: The step.
        key: What the step must depend on.
        version: Of the program that would run now.
        earlier: Directories of earlier attempts, the best first.
        directory: Of this attempt.
    """
    for source in earlier:
        finished = finished_step(source, name)
        if finished and finished.key == key and finished.version == version:
            for file in finished.files:
                shutil.copy2(source / file, directory / file)
            (directory / FOLDER).mkdir(exist_ok=True)
            shutil.copy2(source / FOLDER / f"{name}.json", directory / FOLDER / f"{name}.json")
            return source
    return None
