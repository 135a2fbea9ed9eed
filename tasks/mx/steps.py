"""The steps of a job as Prefect tasks; each looks before it writes, so it may run twice."""

import asyncio
import shlex
import time
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from prefect.logging import get_run_logger

from blocks.connections import IspybDatabase, Toolchain
from blocks.errors import (
    AlreadyRunning,
    DataError,
    InconsistentInput,
    LimsflowError,
    ProgramError,
    TransientError,
)
from blocks.mx import dials, xia2
from blocks.mx.images import image_argument, missing_images
from blocks.mx.messages import RecipeStep
from blocks.mx.recipe import Recipe, load_recipe
from blocks.mx.records import (
    Attempt,
    AttemptState,
    Directories,
    Finished,
    Message,
    ProcessingJob,
    Severity,
)
from blocks.mx.writer import Registration
from blocks.record import Record
from tasks.mx import sweeps
from tasks.mx.closing import close_failed, require_dead
from tasks.mx.directories import taken_by
from tasks.mx.keeping import directories_of, keep_files
from tasks.policies import step

POLL_S = 1.0
SETTLED = timedelta(seconds=5)  # SynchWeb writes a job's rows within a second or two


class Plan(Record):
    """Everything that is decided before an engine runs."""

    job: ProcessingJob
    attempt: Attempt
    recipe: Recipe
    directories: Directories
    n_processes: int
    time_limit_s: float
    note: str = ""

    @property
    def working(self) -> Path:
        """Where the engine works."""
        return self.directories.working / self.recipe.directory

    @property
    def results(self) -> Path:
        """Where the engine's files are kept."""
        return self.directories.results / self.recipe.directory

    def notes(self) -> list[Message]:
        """Return what the toolchain wants said with every result."""
        return [Message(severity=Severity.WARNING, message=self.note)] if self.note else []

    def argv(self) -> str:
        """Return the command as a person would type it."""
        if self.recipe.engine == "xia2":
            call = xia2.command(self.job, self.recipe, n_processes=self.n_processes)
            return shlex.join(call.argv)
        images = (image_argument(sweep) for sweep in self.job.sweeps)
        given = (f"{key}={value}" for key, value in self.job.parameter_values().items())
        return shlex.join(["dials", *images, *given])


@step(name="register attempt")
async def register_attempt(
    lims: IspybDatabase,
    programs: Toolchain,
    job_id: int,
    run_id: str,
    asked: RecipeStep | None = None,
) -> Attempt:
    """Insert the attempt that the user sees, before anything can go wrong with its input.

    Raises:
        AlreadyRunning: another run is alive and works on this job.
        NoSuchRecord: there is no such job.
    """
    store = lims.store()
    header = await asyncio.to_thread(store.job_header, job_id)
    for attempt in await asyncio.to_thread(store.attempts, job_id):
        if attempt.state is AttemptState.RUNNING and attempt.flow_run_id == run_id:
            await asyncio.to_thread(store.place, attempt.id, header.collection_id)
            return attempt
        if attempt.state is AttemptState.RUNNING and attempt.guid:
            await require_dead(lims, attempt)
    try:
        recipe = load_recipe(header.recipe, programs.recipes)
    except DataError:
        recipe = None  # said again, with the attempt to show it, when the job is read
    guid, asked = uuid4(), asked or RecipeStep()
    shown = [f"{name}={value}" for name, value in asked.environment.items()] or header.parameters
    program = asked.program or (recipe.program if recipe else "limsflow")
    registration = Registration(
        job_id=job_id,
        program=program,
        pipeline_id=recipe.pipeline_id if recipe and program == recipe.program else None,
        command_line=asked.command_line or f"limsflow job run {job_id}",
        environment=", ".join([f"guid={guid}", f"flow_run={run_id}", *shown]),
        uuid=guid,
        collection_id=header.collection_id,
    )
    program_id = await asyncio.to_thread(store.register, registration)
    await _yield_to_older(lims, job_id, program_id)
    return await asyncio.to_thread(store.attempt, program_id)


async def _yield_to_older(lims: IspybDatabase, job_id: int, program_id: int) -> None:
    """Of two runs that registered at the same moment, let the one with the older row go on.

    Raises:
        AlreadyRunning: this run is the other one; its own attempt is closed.
    """
    for attempt in await asyncio.to_thread(lims.store().attempts, job_id):
        if attempt.id < program_id and attempt.state is AttemptState.RUNNING and attempt.guid:
            msg = f"AutoProcProgram {attempt.id} of this job was registered at the same moment"
            await close_failed(lims, program_id, msg, description=msg)
            raise AlreadyRunning(msg)


@step(name="read job")
async def read_job(lims: IspybDatabase, job_id: int, wait_s: float) -> ProcessingJob:
    """Return the job; SynchWeb may send its message before the sweeps are written.

    Waits until sweeps are there, and either the job is `SETTLED` or two looks in a row show the
    same rows; at most `wait_s`.

    Raises:
        InconsistentInput: there are no sweeps after the wait, or a row cannot be used.
    """
    store = lims.store()
    deadline = time.monotonic() + wait_s
    before = None
    while True:
        header = await asyncio.to_thread(store.job_header, job_id)
        early = header.collection_id is None and time.monotonic() < deadline
        if early:  # neither sweeps nor a primary collection yet
            await asyncio.sleep(POLL_S)
            continue
        job = await asyncio.to_thread(store.job, job_id)
        settled = job == before or (header.age is not None and header.age >= SETTLED)
        if (job.sweeps and settled) or wait_s == 0:
            return job
        if time.monotonic() >= deadline:
            if job.sweeps:
                return job
            msg = f"no image sweeps after {wait_s:.0f} s of waiting; nothing else is processed"
            raise InconsistentInput(msg)
        before = job
        await asyncio.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))


@step(name="check input")
async def plan_run(
    lims: IspybDatabase,
    programs: Toolchain,
    attempt: Attempt,
    job: ProcessingJob,
    wait_s: float,
    asked: RecipeStep | None = None,
) -> Plan:
    """Check sweeps, images and recipe, make the working directory, record the command.

    Raises:
        DataError: what is wrong, with the sweep's name.
    """
    recipe = load_recipe(job.recipe, programs.recipes)
    await asyncio.to_thread(lims.store().place, attempt.id, job.collection.id)
    sweeps.check_sweeps(job)
    await _wait_for_images(job, wait_s)
    directories = directories_of(lims, job, attempt, asked)
    if asked:  # its places may be those of an earlier attempt
        directories = await asyncio.to_thread(taken_by, directories, attempt.guid)
    plan = Plan(
        job=job,
        attempt=attempt,
        recipe=recipe,
        directories=directories,
        n_processes=programs.n_processes,
        time_limit_s=(asked and asked.timeout_s) or programs.time_limit_s,
        note=programs.note,
    )
    if recipe.engine == "dials":
        dials.dials_job(job, recipe, n_processes=1)  # refuses a parameter that it cannot pass on
    await asyncio.to_thread(_make_directory, plan.working)
    line = plan.argv()
    report = lims.store().report_progress
    await asyncio.to_thread(report, attempt.id, "input checked", command_line=line)
    get_run_logger().info("%s", line)
    return plan


async def _wait_for_images(job: ProcessingJob, wait_s: float) -> None:
    """Give a network file system time to show the images."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            await asyncio.to_thread(sweeps.check_images, job, missing_images)
        except TransientError as error:
            if time.monotonic() >= deadline:
                raise InconsistentInput(str(error)) from error
        else:
            return
        await asyncio.sleep(POLL_S)


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot make the working directory {directory}: {error.strerror}"
        raise InconsistentInput(msg) from error


@step(name="store results")
async def store_results(
    lims: IspybDatabase, plan: Plan, finished: Finished, *, to_own_collection: bool
) -> AttemptState:
    """Keep the files, then write attachments, solution and, last of all, the status.

    Raises:
        InconsistentInput: somebody closed the attempt as failed meanwhile.
    """
    store, program_id = lims.store(), plan.attempt.id
    if (await asyncio.to_thread(store.attempt, program_id)).state is AttemptState.FAILED:
        raise InconsistentInput(_closed_meanwhile(program_id))
    await keep_files(
        lims,
        plan.job,
        plan.attempt,
        plan.recipe.directory,
        plan.directories,
        finished.directory,
    )
    said = [*plan.notes(), *sweeps.left_out(plan.job, finished.solution)]
    await asyncio.to_thread(store.add_messages, program_id, said)
    await asyncio.to_thread(
        store.add_solution,
        program_id,
        plan.job,
        finished.solution,
        to_own_collection=to_own_collection,
    )
    state = await asyncio.to_thread(
        store.close, program_id, AttemptState.SUCCEEDED, "processing successful"
    )
    if state is not AttemptState.SUCCEEDED:
        raise InconsistentInput(_closed_meanwhile(program_id))
    return state


def _closed_meanwhile(program_id: int) -> str:
    return f"AutoProcProgram {program_id} was closed as failed while its run went on"


@step(name="store failure")
async def store_failure(
    lims: IspybDatabase, attempt: Attempt, plan: Plan | None, failure: LimsflowError
) -> None:
    """Keep what the engine left, and close the attempt as failed with the reason."""
    if plan is not None:
        tried = failure.directory if isinstance(failure, ProgramError) else None
        working = tried if tried and tried.is_relative_to(plan.directories.working) else None
        try:
            await keep_files(
                lims, plan.job, attempt, plan.recipe.directory, plan.directories, working
            )
        except (OSError, DataError) as error:  # the reason matters more than the files
            get_run_logger().warning("the files of this attempt are not kept: %s", error)
    description = failure.evidence if isinstance(failure, ProgramError) else str(failure)
    await close_failed(lims, attempt.id, str(failure), description=description)
