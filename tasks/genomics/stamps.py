"""Finished work that is not done twice: a step leaves a stamp beside its files.

A stamp holds a key of everything that went into a step, its result, and the files that it left.
It counts when the key is the same and every file has the size that it had.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from blocks.errors import AlreadyRunning, FileNotYetVisible
from blocks.genomics.download import disk_of
from blocks.program import GUARD
from blocks.record import Record

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT", bound=Record)
LOCK = ".lock"
LOOK_AGAIN_S = 0.5
MAX_CLEARED = 100  # times that it is cleared by others while we take it
GUARD_NEEDS_S = 45.0  # to end the programs of a run that was killed; see blocks.guard


class Stamp(Record):
    """What a finished step says of itself."""

    key: str
    sizes: dict[str, int]  # by path below the directory
    result: str  # JSON


def key_of(*parts: object, files: Sequence[Path] = ()) -> str:
    """Return the key of a step: parameters, versions, and its input files' state.

    Raises:
        FileNotYetVisible: an input file is not there.
    """
    text = [repr(part) for part in parts]
    for path in files:
        try:
            state = path.stat()
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}"
            raise FileNotYetVisible(msg) from error
        text.append(f"{path} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


async def once(
    directory: Path,
    step: str,
    key: str,
    files: Sequence[Path],
    kind: type[ResultT],
    run: Callable[[], Awaitable[ResultT]],
) -> ResultT:
    """Run a step, unless an earlier run finished it with the same input and programs.

    Args:
        directory: Where the step works.
        step: Its name.
        key: Of what goes into it.
        files: What it leaves below the directory.
        kind: What it returns.
        run: Does it.
    """
    known = await asyncio.to_thread(finished, directory, step, key, kind)
    if known is not None:
        logger.info("%s: taken over, it was finished before", step)
        return known
    result = await run()
    await asyncio.to_thread(write_stamp, directory, step, key, result, files)
    return result


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
    """Say that a step is finished; the stamp appears whole or not at all.

    Args:
        directory: Where the step worked.
        step: Its name.
        key: Of what went into it.
        result: What it returned.
        files: What it left below the directory.

    Raises:
        TransientError: the disk is full, or cannot be written.
    """
    sizes = {str(path.relative_to(directory)): path.stat().st_size for path in files}
    stamp = Stamp(key=key, sizes=sizes, result=result.model_dump_json())
    part = _path(directory, f"{step}.part")
    with disk_of(part):
        part.write_text(json.dumps(stamp.model_dump()))
        part.replace(_path(directory, step))


def _path(directory: Path, step: str) -> Path:
    return directory / f"{step}.done.json"


# Who may work in a directory


@contextlib.asynccontextmanager
async def alone_in(directory: Path) -> AsyncGenerator[None, None]:
    """Hold a directory, made if missing; the lock goes with the process, however it ends.

    Raises:
        AlreadyRunning: another run works there.
        TransientError: the directory cannot be made.
    """
    handle = _locked(directory)
    if handle is None:
        msg = f"another run works on the same reads, in {directory}"
        raise AlreadyRunning(msg)
    try:
        await _until_programs_ended(directory)
        yield
    finally:
        os.close(handle)


def clear(directory: Path) -> None:
    """Remove a directory that is held; another run may at once begin there anew."""
    away = directory.with_name(f"{directory.name}.over")
    shutil.rmtree(away, ignore_errors=True)  # of a run that was killed just here
    with contextlib.suppress(OSError):
        directory.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def _locked(directory: Path) -> int | None:
    """Return the lock's handle, None if another run has it."""
    lock = directory / LOCK
    with disk_of(lock):
        for _ in range(MAX_CLEARED):
            directory.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
            except FileNotFoundError:  # cleared at this moment
                continue
            if not _taken(handle):
                os.close(handle)
                return None
            if _is_at(handle, lock):
                return handle
            os.close(handle)  # what was locked has been cleared
    return None


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


async def _until_programs_ended(directory: Path) -> None:
    """Wait for the guards of a run that was killed: its lock is free before its programs end.

    Raises:
        AlreadyRunning: they cannot end them.
    """
    deadline = time.monotonic() + GUARD_NEEDS_S
    while _has_guard(directory):
        if time.monotonic() >= deadline:
            msg = f"the programs of a run that was killed are still at work in {directory}"
            raise AlreadyRunning(msg)
        await asyncio.sleep(LOOK_AGAIN_S)


def _has_guard(directory: Path) -> bool:
    where, guard = os.path.realpath(directory), os.fsencode(GUARD)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is another user's
            if (
                str((entry / "cwd").readlink()) == where
                and guard in (entry / "cmdline").read_bytes()
            ):
                return True
    return False
