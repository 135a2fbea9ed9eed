"""The last lines of the log that an attempt's engine wrote, wherever it lies now.

Paths come from the LIMS, and folders of a visit are its users'. So only a regular file with the
name of an engine's own log is read, never what a link leads to.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from blocks.errors import InconsistentInput
from blocks.mx.records import Attachment, Attempt, AttemptState, DataCollection
from blocks.record import Record
from tasks.mx.directories import attempt_directories

LINES, LONGEST_LINE, READ = 30, 400, 65_536
LOG_NAME = re.compile(r"xia2\.txt|xia2-error\.txt|xia2\.stdout|dials\.[\w.]+\.(log|stdout)")
FIRST = ("xia2.txt", "xia2.stdout", "xia2-error.txt")  # tells the whole story, if it is there
GUID = re.compile(r"[0-9A-Za-z-]{8,64}")


class LogTail(Record):
    """The end of a log."""

    path: Path
    lines: tuple[str, ...] = Field(description="the last ones, without what a terminal would obey")


def log_of(
    attempt: Attempt, collection: DataCollection | None, files: Iterable[Attachment]
) -> LogTail | None:
    """Return the end of an attempt's log; None if none can be seen from this machine.

    What is attached is looked at first, unless the attempt goes on.

    Args:
        attempt: Whose.
        collection: The job's primary data collection: its visit is where the attempt works.
        files: What is attached to the attempt.
    """
    attached = [one.path for one in files if LOG_NAME.fullmatch(one.path.name)]
    worked = _of_folders(attempt, collection)
    places = [worked, attached] if attempt.state is AttemptState.RUNNING else [attached, worked]
    for paths in places:
        for path in sorted(paths, key=_rank):
            lines = tail_of(path)
            if lines:
                return LogTail(path=path, lines=lines)
    return None


def _rank(path: Path) -> tuple[int, float]:
    """Order logs: the one of the whole run first, then the newest."""
    if path.name in FIRST:
        return FIRST.index(path.name), 0.0
    return len(FIRST), -_changed(path)


def _of_folders(attempt: Attempt, collection: DataCollection | None) -> list[Path]:
    """Return the logs in the folder where an attempt worked last."""
    if collection is None or not GUID.fullmatch(attempt.guid):
        return []
    tries = [one for folder in _folders(collection, attempt.guid) for one in _listed(folder)]
    newest = sorted(filter(_is_folder, tries), key=_changed, reverse=True)[:1]
    return [one for folder in newest for one in _listed(folder) if LOG_NAME.fullmatch(one.name)]


def _folders(collection: DataCollection, guid: str) -> Iterator[Path]:
    """Yield where an attempt may work or keep its results; its id makes the place unique.

    How many parts of the path are the visit, only the database's block knows.
    """
    for depth in range(2, len(Path(collection.image_directory).parts) + 1):
        with suppress(InconsistentInput):
            places = attempt_directories(collection, guid, visit_depth=depth)
            yield places.working
            yield places.results


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (OSError, ValueError):  # not here, not ours; a NUL in its name
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not path.is_symlink()
    except OSError:
        return False


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except (OSError, ValueError):
        return 0.0


def tail_of(path: Path) -> tuple[str, ...]:
    """Return the last lines of a regular file; none of anything else."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ()
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            return ()
        text = os.pread(file, READ, max(0, found.st_size - READ)).decode(errors="replace")
    except OSError:  # of a network's disk
        return ()
    finally:
        os.close(file)
    return tuple(plain(line)[:LONGEST_LINE] for line in text.rstrip().splitlines()[-LINES:])


def plain(text: str) -> str:
    """Return a line without what a terminal would obey; tabs stay."""
    return "".join(one if one.isprintable() or one == "\t" else "\ufffd" for one in text)
