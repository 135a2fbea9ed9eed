"""Keeping what an engine left, and showing it in the LIMS: after success and after failure."""

import asyncio
from pathlib import Path

from blocks.connections import IspybDatabase
from blocks.mx.recipe import Recipe
from blocks.mx.records import Attempt, Directories, ProcessingJob
from tasks.mx import files
from tasks.mx.directories import attempt_directories, link_name


def directories_of(lims: IspybDatabase, job: ProcessingJob, attempt: Attempt) -> Directories:
    """Return where an attempt works and keeps its results, by the database's conventions."""
    return attempt_directories(
        job.collection,
        attempt.guid,
        visit_depth=lims.visit_depth,
        working=lims.working_folder,
        results=lims.results_folder,
    )


async def keep_files(
    lims: IspybDatabase,
    job: ProcessingJob,
    attempt: Attempt,
    recipe: Recipe,
    working: Path | None = None,
) -> None:
    """Copy what an engine left to the results directory, attach it, and link it.

    Args:
        lims: Where to attach.
        job: Whose data collection says where the visit is.
        attempt: Whose guid names the directories.
        recipe: Whose engine worked in its directory.
        working: Where the last try worked, if not in the recipe's directory.
    """
    places = directories_of(lims, job, attempt)
    working, results = working or places.working / recipe.directory, places.results
    leave_out = files.INTERMEDIATE if recipe.engine == "dials" else ()
    kept = results / recipe.directory
    await asyncio.to_thread(files.keep_results, working, kept, leave_out=leave_out)
    attached = await asyncio.to_thread(files.attachments, kept)
    await asyncio.to_thread(lims.store().add_attachments, attempt.id, attached)
    if attached:
        name = link_name(job, recipe.directory)
        await asyncio.to_thread(files.link_results, kept, name)
