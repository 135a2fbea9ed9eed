"""Whether a requested job is possible, and creating it; needs no Prefect."""

from pathlib import Path
from uuid import uuid4

from blocks.errors import InvalidRequest
from blocks.mx.dials import dials_job
from blocks.mx.recipe import Recipe, load_recipe
from blocks.mx.records import (
    AttemptState,
    DataCollection,
    JobRequest,
    Message,
    ProcessingJob,
    Severity,
    Sweep,
)
from blocks.mx.store import IspybStore
from blocks.mx.writer import Registration, status_message
from tasks.mx.sweeps import check_sweeps


def create_job(
    store: IspybStore, request: JobRequest, *, recipes_directory: Path | None = None
) -> int:
    """Check a request as its run would, then write it; return the job's id.

    Raises:
        InvalidRequest: recipe, parameter or data collection is unknown, or one is described twice.
        InconsistentInput: a range is not in its data collection, or data of two proposals.
    """
    recipe = load_recipe(request.recipe, recipes_directory)
    ids = list(dict.fromkeys(sweep.data_collection_id for sweep in request.sweeps))
    known = {found.id: found for found in store.data_collections(ids)}
    check_request(request, recipe, known)
    return store.create_job(request)


def check_request(request: JobRequest, recipe: Recipe, known: dict[int, DataCollection]) -> None:
    """Check sweeps and parameters as far as they can be checked without a database."""
    given = [collection.id for collection in request.data_collections]
    twice = next((one for one in given if given.count(one) > 1), None)
    if twice is not None:
        msg = f"data collection {twice} is described twice"
        raise InvalidRequest(msg)
    collections = {c.id: c for c in request.data_collections} | known
    for sweep in request.sweeps:
        if sweep.data_collection_id not in collections:
            msg = f"data collection {sweep.data_collection_id} is not in this ISPyB"
            raise InvalidRequest(msg)
    job = as_job(request, collections)
    check_sweeps(job)
    if recipe.engine == "dials":
        dials_job(job, recipe, n_processes=1)


def as_job(request: JobRequest, collections: dict[int, DataCollection]) -> ProcessingJob:
    """Return the job that a request would become; ids count from 1."""
    sweeps = tuple(
        Sweep(
            id=number,
            collection=collections[sweep.data_collection_id],
            start_image=sweep.start_image,
            end_image=sweep.end_image,
        )
        for number, sweep in enumerate(request.sweeps, 1)
    )
    return ProcessingJob(
        id=1,
        recipe=request.recipe,
        collection=sweeps[0].collection,
        sweeps=sweeps,
        parameters=request.parameters,
        display_name=request.display_name,
    )


def record_refusal(store: IspybStore, job_id: int, reason: str) -> None:
    """Show the user that a job was asked for in a way that cannot be done: a failed attempt.

    A job that somebody works on is left alone, and the same refusal is written once.

    Raises:
        NoSuchRecord: there is no such job.
    """
    header, attempts = store.job_header(job_id), store.attempts(job_id)
    if any(attempt.state is AttemptState.RUNNING for attempt in attempts):
        return
    if attempts and attempts[-1].message == status_message(reason):
        return
    guid = uuid4()
    program_id = store.register(
        Registration(
            job_id=job_id,
            program="limsflow",
            pipeline_id=None,
            command_line=f"limsflow job run {job_id}",
            environment=f"guid={guid}",
            uuid=guid,
            collection_id=header.collection_id,
        )
    )
    said = Message(severity=Severity.ERROR, message=reason, description=reason)
    store.add_messages(program_id, [said])
    store.close(program_id, AttemptState.FAILED, reason)
