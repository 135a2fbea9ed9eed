"""Finished work that is not done twice: a step leaves a stamp beside its files.

A stamp holds a key of everything that went into a step, its result, and the files that it left.
It counts when the key is the same and every file has the size that it had.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from blocks.errors import AlreadyRunning
from blocks.record import Record

ResultT = TypeVar("ResultT", bound=Record)
LOCK = ".lock"


class Stamp(Record):
    """What a finished step says of itself."""

    key: str
    sizes: dict[str, int]
    result: str  # JSON


def key_of(*parts: object, files: Sequence[Path] = ()) -> str:
    """Return the key of a step: parameters, versions, and its input files' state."""
    text = [repr(part) for part in parts]
    for path in files:
        state = path.stat()
        text.append(f"{path} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def finished(directory: Path, step: str, key: str, kind: type[ResultT]) -> ResultT | None:
    """Return the result of a step that was finished before, None if it must run."""
    try:
        stamp = Stamp.model_validate_json(_path(directory, step).read_text())
        same = stamp.key == key and all(
            (directory / name).stat().st_size == size for name, size in stamp.sizes.items()
        )
        return kind.model_validate_json(stamp.result) if same else None
    except (OSError, UnicodeDecodeError, ValidationError):
        return None


def write_stamp(
    directory: Path, step: str, key: str, result: Record, files: Sequence[Path]
) -> None:
    """Say that a step is finished; the stamp appears whole or not at all."""
    sizes = {path.name: path.stat().st_size for path in files}
    stamp = Stamp(key=key, sizes=sizes, result=result.model_dump_json())
    part = _path(directory, f"{step}.part")
    part.write_text(json.dumps(stamp.model_dump()))
    part.replace(_path(directory, step))


def _path(directory: Path, step: str) -> Path:
    return directory / f"{step}.done.json"


@contextlib.contextmanager
def alone_in(directory: Path) -> Generator[None, None, None]:
    """Hold a directory while the block runs; the lock goes with the process, however it ends.

    Raises:
        AlreadyRunning: another process works there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            msg = f"another run works on the same reads, in {directory}"
            raise AlreadyRunning(msg) from error
        yield
    finally:
        os.close(handle)
