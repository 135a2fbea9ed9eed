"""Running xia2, or the DIALS programs one by one, as Prefect tasks."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from blocks.connections import IspybDatabase, Toolchain
from blocks.errors import InconsistentInput, ProgramError, ProgramTimedOut, TransientError
from blocks.faults import Repair, run_with_remedies
from blocks.mx import dials, dials_results, xia2, xia2_results
from blocks.mx.images import image_paths
from blocks.mx.records import AttemptState, Finished, Message, Picture, Severity
from blocks.program import Run, capture, in_words, run_program
from tasks.life import Life
from tasks.mx import files, looks
from tasks.mx.keeping import directories_of
from tasks.mx.report import step_report
from tasks.mx.resumption import chain_key, images_key, record_step, take_over
from tasks.mx.steps import Plan
from tasks.policies import program_step
from tasks.prefect_runs import show

logger = logging.getLogger(__name__)

MAX_TRIES = 4
SHORT_PROGRAM_S = 15 * 60.0  # a converter that takes longer hangs


@program_step(name="run xia2")
async def run_xia2(lims: IspybDatabase, programs: Toolchain, plan: Plan, life: Life) -> Finished:
    """Run xia2, mending known faults, each try in a directory of its own.

    Raises:
        ProgramError: it failed; the message is xia2's own reason.
    """
    job = xia2.command(plan.job, plan.recipe, n_processes=plan.n_processes)
    repairs = list[str]()
    started = time.monotonic()

    async def one_try(call: xia2.Xia2Job, number: int) -> Run:
        left_s = plan.time_limit_s - (time.monotonic() - started)
        directory = fresh_directory(plan.working, number)
        progress = xia2.Progress(len(plan.job.sweeps), life.tell)
        return await xia2.run(
            programs.program("xia2"),
            call,
            directory=directory,
            timeout_s=max(1.0, left_s) if number > 1 else plan.time_limit_s,
            progress=progress,
        )

    run = await run_with_remedies(
        one_try,
        job,
        xia2.FAULTS,
        max_tries=MAX_TRIES,
        on_repair=_on_record(lims, plan, repairs),
    )
    life.tell(0.97, "reading xia2's results")
    extra_s, warnings = await _after_xia2(programs, run.directory)
    solution = xia2_results.read_solution(run.directory)
    limit = dials_results.resolution_at_misigma(run.directory)
    overall = solution.overall.model_copy(update={"d_min_i_over_sigma_2": limit})
    return Finished(
        solution=solution.model_copy(
            update={
                "shells": (overall, *solution.shells[1:]),
                "messages": (*solution.messages, *warnings),
            }
        ),
        directory=run.directory,
        pictures=await asyncio.to_thread(looks.xia2_pictures, run.directory),
        repairs=tuple(repairs),
        program_wall_s=run.wall_s + extra_s,
    )


async def _after_xia2(programs: Toolchain, directory: Path) -> tuple[float, list[Message]]:
    """Ask for ispyb.json and for the resolution at I/sigma 2; without them a run is still good."""
    data = directory / "DataFiles"
    scaled = sorted([*data.glob("*_scaled.expt"), *data.glob("*_scaled.refl")])
    asked: list[tuple[str, list[str]]] = [("xia2.ispyb_json", [])]
    if len(scaled) == 2:  # noqa: PLR2004 - experiments and reflections
        asked.append(("dials.estimate_resolution", [*map(str, scaled), "misigma=2"]))
    spent_s, warnings = 0.0, list[Message]()
    for name, arguments in asked:
        try:
            run = await run_program(
                programs.program(name), arguments, directory=directory, timeout_s=SHORT_PROGRAM_S
            )
            dials.check(run)
            spent_s += run.wall_s
        except ProgramError as error:
            text = f"{name} gave nothing: {error}"
            warnings.append(
                Message(severity=Severity.WARNING, message=text, description=error.evidence)
            )
    return spent_s, warnings


class DialsRun:
    """What the steps of one DIALS run pass on: the directory and the chain of keys."""

    def __init__(self, plan: Plan, earlier: tuple[Path, ...], version: str) -> None:
        self.plan = plan
        self.earlier = earlier
        self.version = version
        self.directory = fresh_directory(plan.working, 1)
        self.key = images_key(_images(plan))
        self.job = dials.dials_job(plan.job, plan.recipe, n_processes=plan.n_processes)
        self.spent_s = 0.0
        self.pictures = list[Picture]()
        self.repairs = list[str]()
        self._showing: asyncio.Task[None] | None = None

    def begin_showing(self, show: Coroutine[Any, Any, None]) -> None:
        """Draw and publish a step's picture beside the next step's program."""
        self._showing = asyncio.create_task(show)

    async def finish_showing(self) -> None:
        """Wait until the last picture is published."""
        showing, self._showing = self._showing, None
        if showing is not None:
            await showing

    def next_key(self, step: str) -> str:
        """Advance the chain of keys by a step; the number of processes does not count."""
        one = self.job.model_copy(update={"n_processes": 1})
        asked = dials.commands(step, one, d_min=self.d_min())
        self.key = chain_key(self.key, [(c.program, *c.arguments) for c in asked])
        return self.key

    def d_min(self) -> float | None:
        """Return the resolution limit in Å that DIALS suggests, once it has."""
        return dials_results.resolution_limit(self.directory)


def _images(plan: Plan) -> list[str]:
    return list(dict.fromkeys(path for sweep in plan.job.sweeps for path in image_paths(sweep)))


@program_step(name="prepare DIALS")
async def prepare_dials(
    lims: IspybDatabase, programs: Toolchain, plan: Plan, *, resume: bool
) -> DialsRun:
    """Find earlier attempts whose steps can be taken over; their version must be today's."""
    earlier = await asyncio.to_thread(_earlier_directories, lims, plan) if resume else ()
    version = await _dials_version(programs, plan) if earlier else ""
    return await asyncio.to_thread(DialsRun, plan, earlier if version else (), version)


async def _dials_version(programs: Toolchain, plan: Plan) -> str:
    """Return today's version, or an empty text: then nothing is taken over."""
    program, directory = programs.program("dials.version"), plan.directories.working
    try:
        said = await capture(program, (), directory=directory, timeout_s=SHORT_PROGRAM_S)
    except ProgramError as error:
        logger.warning("no step is taken over: %s", error)
        return ""
    return said.partition("\n")[0].strip()


def _earlier_directories(lims: IspybDatabase, plan: Plan) -> tuple[Path, ...]:
    """Return where failed attempts of this job worked, newest first."""
    found = list[Path]()
    for attempt in reversed(lims.store().attempts(plan.job.id)):
        if attempt.state is AttemptState.FAILED and attempt.guid:
            place = directories_of(lims, plan.job, attempt)
            found.append(place.working / plan.recipe.directory)
    return tuple(path for path in found if path.is_dir())


@program_step(name="DIALS step")
async def run_dials_step(
    lims: IspybDatabase, programs: Toolchain, run: DialsRun, step: dials.DialsStep, life: Life
) -> None:
    """Run one step, or take it over; its picture is drawn while the next one runs.

    Raises:
        ProgramError: a program of the step failed; finished steps stay for the next attempt.
    """
    life.tell(dials.progress_before(step.name), step.title)
    key = run.next_key(step.name)
    try:
        source = await asyncio.to_thread(
            take_over,
            step.name,
            key=key,
            version=run.version,
            earlier=run.earlier,
            directory=run.directory,
        )
        if source is None:
            await _run_step(lims, programs, run, step, key, life)
    finally:
        await run.finish_showing()
    run.begin_showing(_show(run, step, source))


async def _show(run: DialsRun, step: dials.DialsStep, source: Path | None) -> None:
    """Publish what a person looks at after a step."""
    text, picture = await asyncio.to_thread(looks.look_at, step.name, run.directory)
    if source is not None:
        text = f"{text} Taken over from {source.parent.name}, where it finished."
    if picture:
        run.pictures.append(picture)
    logger.info("%s: %s", step.title, text)
    await show(
        step_report(step.title, text, picture),
        key=f"job-{run.plan.job.id}-{step.name.replace('_', '-')}",
        description=f"{step.title}, job {run.plan.job.id}: {text}",
    )


async def _run_step(
    lims: IspybDatabase,
    programs: Toolchain,
    run: DialsRun,
    step: dials.DialsStep,
    key: str,
    life: Life,
) -> None:
    before = set(run.directory.iterdir())
    spent_s = 0.0

    async def one_try(job: dials.DialsJob, _number: int) -> dials.DialsJob:
        nonlocal spent_s
        for command in dials.commands(step.name, job, d_min=run.d_min()):
            spent_s += await _run_command(programs, run, step, command, life, run.spent_s + spent_s)
        dials.check_outputs(step, run.directory, job.sweeps)
        return job

    run.job = await run_with_remedies(
        one_try,
        run.job,
        dials.FAULTS,
        max_tries=MAX_TRIES,
        on_repair=_on_record(lims, run.plan, run.repairs),
    )
    run.spent_s += spent_s
    made = [path for path in run.directory.iterdir() if path not in before and path.is_file()]
    version = dials_results.version(run.directory)
    record_step(run.directory, step.name, key=key, version=version, files=made, wall_s=spent_s)


async def _run_command(
    programs: Toolchain,
    run: DialsRun,
    step: dials.DialsStep,
    command: dials.Command,
    life: Life,
    spent_s: float,
) -> float:
    """Run one program within what is left of the time limit; return its wall time in seconds."""
    left_s = run.plan.time_limit_s - spent_s
    if left_s <= 0:
        msg = f"DIALS timed out after {in_words(run.plan.time_limit_s)}, before {step.title}"
        raise ProgramTimedOut(msg, program=command.program, directory=run.directory)
    n_images = sum(sweep.end_image - sweep.start_image + 1 for sweep in run.plan.job.sweeps)
    spots = dials.SpotProgress(
        n_images,
        lambda fraction, text: life.tell(dials.progress_within(step.name, fraction), text),
    )
    result = await run_program(
        programs.program(command.program),
        command.arguments,
        directory=run.directory,
        timeout_s=left_s,
        log_name=command.log_name,
        on_output=spots.read if command.program == "dials.find_spots" else None,
    )
    dials.check(result)
    return result.wall_s


@program_step(name="read DIALS results")
async def read_dials(run: DialsRun) -> Finished:
    """Return what the steps found, and lay their files out for the LIMS.

    Raises:
        OutputInvalid: the files do not describe a solution.
    """
    await run.finish_showing()
    solution = await asyncio.to_thread(dials_results.read_solution, run.directory)
    statistics = dials_results.merging_statistics(run.directory)["merging_stats"]
    await asyncio.to_thread(files.collect_dials_files, run.directory, statistics)
    return Finished(
        solution=solution,
        directory=run.directory,
        pictures=tuple(reversed(run.pictures)),
        repairs=tuple(run.repairs),
        program_wall_s=run.spent_s,
    )


def _on_record(
    lims: IspybDatabase, plan: Plan, repairs: list[str]
) -> Callable[[Repair], Awaitable[None]]:
    """Return what puts a repair on record: in the log, the report and ISPyB."""

    async def record(repair: Repair) -> None:
        logger.warning("%s", repair)
        repairs.append(str(repair))
        message = Message(severity=Severity.WARNING, message=str(repair))
        with contextlib.suppress(TransientError):
            await asyncio.to_thread(lims.store().add_messages, plan.attempt.id, [message])

    return record


def fresh_directory(directory: Path, number: int) -> Path:
    """Return an empty directory for one try: the given one, or `<name>-try2` and so on."""
    place = directory if number == 1 else directory.with_name(f"{directory.name}-try{number}")
    if place.exists() and any(place.iterdir()):
        msg = f"{place} is not empty: it is of another attempt"
        raise InconsistentInput(msg)
    place.mkdir(parents=True, exist_ok=True)
    return place
