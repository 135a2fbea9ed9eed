"""Which files of a finished run are shown in the LIMS, as what; and keeping them."""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from blocks.mx.records import Attachment, AttachmentType

LOG, RESULT, GRAPH = AttachmentType.LOG, AttachmentType.RESULT, AttachmentType.GRAPH
MAIN_PAGES = (
    "xia2.html",
    "dials.merge.html",
)  # the one file behind SynchWeb's "Processing Log" button
OTHER_LOGS = ("xia2.txt", "xia2-error.txt", "xia2.error")
NOT_COPIED = (".*", "*.sif")
INTERMEDIATE = ("*.refl", "*.expt", "*.mtz")  # of the DIALS steps; DataFiles has the final ones


def attachments(results: Path) -> list[Attachment]:
    """Return the files of a results directory that the LIMS shows, most important first.

    Exactly one log has rank 1: the main page, or without one the first log that there is.
    """
    found = [
        *(Attachment(path=results / name, type=LOG, rank=1) for name in MAIN_PAGES),
        *(Attachment(path=results / name, type=LOG, rank=2) for name in OTHER_LOGS),
        *map(_data_file, _files(results / "DataFiles")),
        *map(_log_file, _files(results / "LogFiles") or _step_files(results)),
    ]
    present = [one for one in found if one.path.is_file()]
    return sorted(_with_one_main_log(present), key=lambda one: one.rank)


def _with_one_main_log(found: list[Attachment]) -> list[Attachment]:
    logs = [one for one in found if one.type is LOG]
    main = next((one for one in logs if one.rank == 1), logs[0] if logs else None)
    return [
        one.model_copy(update={"rank": 1 if one is main else 2}) if one.type is LOG else one
        for one in found
    ]


def _data_file(path: Path) -> Attachment:
    is_log = path.suffix in (".log", ".txt")
    rank = 1 if path.name.endswith("_free.mtz") or path.name == "merged.mtz" else 2
    return Attachment(path=path, type=LOG if is_log else RESULT, rank=rank)


def _log_file(path: Path) -> Attachment:
    # As Graph, a PNG would hide SynchWeb's plots, which are made from JSON.
    return Attachment(path=path, type=GRAPH if path.suffix == ".json" else LOG, rank=2)


def _files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.is_file())


def _step_files(results: Path) -> list[Path]:
    """Return what the DIALS steps wrote themselves, of a run that ended before the last."""
    names = [*results.glob("dials.*.log"), *results.glob("dials.*.html")]
    return sorted(path for path in names if path.name not in MAIN_PAGES)


def keep_results(working: Path, results: Path, *, leave_out: Sequence[str] = ()) -> None:
    """Copy a run's files to the results directory; a second call completes the first.

    Args:
        working: Where the engine worked; it may be missing.
        results: Made if it is missing.
        leave_out: Patterns of files at the top of `working` that are not worth keeping.
    """
    if not working.is_dir():
        return
    for folder, names, file_names in os.walk(working):
        names[:] = [name for name in names if not _matches(name, NOT_COPIED)]
        patterns = (*NOT_COPIED, *(leave_out if Path(folder) == working else ()))
        target = results / Path(folder).relative_to(working)
        target.mkdir(parents=True, exist_ok=True)
        for name in file_names:
            if not _matches(name, patterns):
                _copy(Path(folder) / name, target / name)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, replacing what is there, and a link as a link."""
    if not (source.is_symlink() or source.is_file()):
        return  # a pipe or a socket is no result
    target.unlink(missing_ok=True)
    shutil.copy2(source, target, follow_symlinks=False)


def collect_dials_files(directory: Path, statistics: Mapping[str, object]) -> None:
    """Lay the files of the DIALS steps out as xia2 does: DataFiles, LogFiles, statistics as JSON.

    Args:
        directory: Where the steps ran.
        statistics: The merging statistics by resolution bin, which SynchWeb plots.
    """
    data, logs = directory / "DataFiles", directory / "LogFiles"
    data.mkdir(exist_ok=True)
    logs.mkdir(exist_ok=True)
    for name in ("merged.mtz", "scaled_unmerged.mtz", "scaled.expt", "scaled.refl"):
        if (directory / name).is_file():
            shutil.copy2(directory / name, data / name)
    for path in sorted(directory.glob("dials.*.log")) + sorted(directory.glob("dials.*.html")):
        if path.name not in MAIN_PAGES:
            shutil.copy2(path, logs / path.name)
    if statistics:
        (logs / "merging-statistics.json").write_text(json.dumps(statistics))


def link_results(results: Path, name: str) -> Path:
    """Point `<results>/../../<name>` at the results, unless a first run has the link already.

    The link is relative. Making a link is atomic and never replaces one, so of two first runs at
    the same moment one wins and the other leaves it alone.
    """
    link = results.parent.parent / name
    with contextlib.suppress(FileExistsError):
        link.symlink_to(results.relative_to(link.parent))
    return link
