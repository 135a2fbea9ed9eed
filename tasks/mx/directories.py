"""Where an attempt works and where its results go: the facility's conventions."""

import contextlib
import re
from pathlib import Path

from blocks.errors import InconsistentInput
from blocks.mx.records import DataCollection, Directories, ProcessingJob

OWNER = ".limsflow-attempt"  # in a directory that a recipe named: whose it is
LONGEST_SYMBOL = 45  # of AutoProc.spaceGroup; a longer text is no space group and no file name


def attempt_directories(
    collection: DataCollection,
    guid: str,
    *,
    visit_depth: int,
    working: str = "tmp/zocalo",
    results: str = "processed",
) -> Directories:
    """Return `<visit>/tmp/zocalo/<below>/<prefix>_<number>/<guid>` and the same in `processed`.

    Args:
        collection: The job's primary data collection; its images lie in a visit's directory.
        guid: The attempt's own id.
        visit_depth: How many parts of the path are the visit; /dls/i03/data/2018/cm19644-1 has 6,
            the root counts.
        working: The visit's folder for work in progress.
        results: The visit's folder for what is kept.

    Raises:
        InconsistentInput: the image directory is not absolute, or too short.
    """
    directory = Path(collection.image_directory)
    if not directory.is_absolute() or ".." in directory.parts:
        msg = f"data collection {collection.id}: {directory} is not an absolute directory"
        raise InconsistentInput(msg)
    if len(directory.parts) < visit_depth:
        msg = (
            f"data collection {collection.id}: {directory} is not inside a visit, "
            f"which has {visit_depth} path parts here"
        )
        raise InconsistentInput(msg)
    visit = Path(*directory.parts[:visit_depth])
    below = Path(*directory.parts[visit_depth:]) / measurement_name(collection) / guid
    return Directories(working=visit / working / below, results=visit / results / below)


def as_asked(
    usual: Directories, *, working: str | None, results: str | None, visit: Path
) -> Directories:
    """Return the directories that a recipe names, or the usual ones where it names none.

    Raises:
        InconsistentInput: one is not inside the visit.
    """
    for asked in filter(None, (working, results)):
        path = Path(asked)
        if not path.is_relative_to(visit) or ".." in path.parts or "\0" in asked:
            msg = f"the recipe's directory {asked!r} is not inside the visit {visit}"
            raise InconsistentInput(msg)
    return Directories(
        working=Path(working) if working else usual.working,
        results=Path(results) if results else usual.results,
    )


def taken_by(places: Directories, guid: str) -> Directories:
    """Return the places for this attempt alone: beside them, if an earlier attempt has them.

    Raises:
        InconsistentInput: the working directory cannot be made.
    """
    try:
        for folder in (places.working, places.results):
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError), (folder / OWNER).open("x") as file:
                file.write(guid)
        mine = held_by(places, guid)
    except (OSError, UnicodeError) as error:
        msg = f"cannot make the directories of the recipe: {error}"
        raise InconsistentInput(msg) from error
    return mine if mine is places else taken_by(mine, guid)


def held_by(places: Directories, guid: str) -> Directories:
    """Return where an attempt works and keeps its results: as the recipe says, or beside that.

    Raises:
        OSError: it took no places.
    """
    folders = (places.working, places.results)
    mine = all((one / OWNER).read_text() == guid for one in folders)
    return places if mine else _beside(places, guid)


def _beside(places: Directories, guid: str) -> Directories:
    return Directories(
        working=places.working.with_name(f"{places.working.name}-{guid}"),
        results=places.results.with_name(f"{places.results.name}-{guid}"),
    )


def measurement_name(collection: DataCollection) -> str:
    """Return `<prefix>_<number>`; the template's stem where ISPyB has no prefix."""
    prefix = collection.image_prefix or re.split(r"_?#|\.", collection.file_template)[0]
    return f"{prefix}_{collection.number}".replace("/", "_")


def link_name(job: ProcessingJob, engine_directory: str) -> str:
    """Return the name of the link that points at the results: with the user's space group."""
    space_group = job.parameter_values().get("spacegroup", "")
    if space_group and "/" not in space_group and len(space_group) <= LONGEST_SYMBOL:
        return f"{engine_directory}-{space_group.replace(' ', '')}"
    return engine_directory
