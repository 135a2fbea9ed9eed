"""Where an attempt works and where its results go: the facility's conventions."""

import re
from pathlib import Path

from blocks.errors import InconsistentInput
from blocks.mx.records import DataCollection, Directories, ProcessingJob

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
