"""Keeping what an engine left, and showing it in the LIMS: after success and after failure."""

import asyncio
import contextlib
import re
from pathlib import Path

from blocks.connections import IspybDatabase
from blocks.errors import DataError
from blocks.mx.messages import RecipeStep
from blocks.mx.records import Attempt, Directories, ProcessingJob
from tasks.mx import files
from tasks.mx.directories import as_asked, attempt_directories, held_by, link_name


def directories_of(
    lims: IspybDatabase, job: ProcessingJob, attempt: Attempt, asked: RecipeStep | None = None
) -> Directories:
    """Return where an attempt works and keeps its results.

    By the database's conventions, unless zocalo's recipe says where.

    Raises:
        InconsistentInput: there is no such place, or the recipe's is outside the visit.
    """
    usual = attempt_directories(
        job.collection,
        attempt.guid,
        visit_depth=lims.visit_depth,
        working=lims.working_folder,
        results=lims.results_folder,
    )
    if asked is None:
        return usual
    return as_asked(
        usual,
        working=asked.working_directory,
        results=asked.results_directory,
        visit=visit_of(lims, job),
    )


def visit_of(lims: IspybDatabase, job: ProcessingJob) -> Path:
    """Return the directory of the visit that a job's primary data collection is from."""
    return Path(*Path(job.collection.image_directory).parts[: lims.visit_depth])


async def keep_files(
    lims: IspybDatabase,
    job: ProcessingJob,
    attempt: Attempt,
    engine_directory: str,
    places: Directories,
    working: Path | None = None,
) -> None:
    """Copy what an engine left to the results directory, attach it, and link it.

    Args:
        lims: Where to attach.
        job: Whose data collection says where the visit is.
        attempt: Which one.
        engine_directory: The name of the directory that the engine worked in.
        places: Where the attempt works and keeps its results.
        working: Where the last try worked, if not there.
    """
    working, results = working or places.working / engine_directory, places.results
    leave_out = files.INTERMEDIATE if engine_directory == "dials" else ()
    kept = results / engine_directory
    await asyncio.to_thread(files.keep_results, working, kept, leave_out=leave_out)
    attached = await asyncio.to_thread(files.attachments, kept)
    await asyncio.to_thread(lims.store().add_attachments, attempt.id, attached)
    if attached:
        name = link_name(job, engine_directory)
        await asyncio.to_thread(files.link_results, kept, name)


async def keep_what_is_left(
    lims: IspybDatabase, attempt: Attempt, asked: RecipeStep | None = None
) -> None:
    """Keep the files of an attempt that nobody works on; the newest try is what was going on.

    Of a recipe that said where to work, this must be known; else the files stay where they are.
    """
    if attempt.job_id is None or not attempt.guid:
        return
    with contextlib.suppress(DataError, OSError):  # then they stay where they are
        job = await asyncio.to_thread(lims.store().job, attempt.job_id)
        places = directories_of(lims, job, attempt, asked)
        if asked:
            places = held_by(places, attempt.guid)
        tries = [path for path in places.working.iterdir() if path.is_dir()]
        if tries:
            newest = max(tries, key=lambda path: path.stat().st_mtime)
            name = re.sub(r"-try\d+$", "", newest.name)
            await keep_files(lims, job, attempt, name, places, newest)
