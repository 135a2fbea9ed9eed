"""Everything that is known of a processing job: ISPyB's rows, Prefect's runs, the engine's log.

The command, its JSON and the page show the same facts. Without Prefect, the rows and the log are
what there is; nothing here loads it.
"""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from pydantic import Field

from blocks.errors import DataError, InconsistentInput, ServiceUnavailable
from blocks.mx import dials, xia2
from blocks.mx.recipe import Recipe, load_recipe
from blocks.mx.records import (
    Attachment,
    Attempt,
    AttemptState,
    DataCollection,
    JobHeader,
    Message,
    Parameter,
    ProcessingJob,
)
from blocks.mx.store import IspybStore
from blocks.record import Record
from deployments.job_log import LogTail, log_of
from tasks.mx.report import shells_table

PREFECT_TIMEOUT_S = 20.0
LOGGED = 10  # the newest runs, whose logs are asked for


class RunFacts(Record):
    """A flow run, and who asked for it."""

    id: UUID
    name: str
    page: str = Field(description="where a browser finds it; empty if Prefect does not say")
    state: str = Field(description="SCHEDULED, PENDING, RUNNING, COMPLETED, FAILED, CRASHED ...")
    state_name: str = Field(default="", description="the same in Prefect's finer words, e.g. Late")
    state_message: str = ""
    asked_by: str = Field(
        default="", description="a queue, a client of the gateway, an operator; empty: in Prefect"
    )
    message: str = Field(default="", description="of the broker, that asked for it")
    cancelled_by: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    log: tuple[str, ...] = Field(default=(), description="Prefect's lines, if they were asked for")


class RunsOfJobs(Protocol):
    """What Prefect knows of jobs.

    Raises:
        ServiceUnavailable: from every method, when Prefect does not answer.
    """

    async def of_job(
        self, job_id: int, *, ispyb: str, attempts: Sequence[Attempt]
    ) -> list[RunFacts]:
        """Return the runs of a job, oldest first."""
        ...

    async def log(self, run_id: UUID) -> tuple[str, ...]:
        """Return the last lines that a run logged."""
        ...


class AttemptFacts(Record):
    """One attempt, what it found, and its run."""

    id: int
    job_id: int | None
    state: AttemptState
    program: str
    command_line: str
    message: str
    environment: str
    recorded_at: datetime | None
    started_at: datetime | None
    updated_at: datetime | None
    flow_run_id: str
    space_group: str | None
    unit_cell: str | None
    statistics: list[list[str]]
    integrations: list[dict[str, Any]]
    messages: list[Message]
    files: list[Attachment]
    log: LogTail | None
    run: RunFacts | None = Field(default=None, description="None: Prefect does not know it")


class JobFacts(Record):
    """A processing job and all that was made of it."""

    job: int
    recipe: str
    display_name: str = ""
    problem: str = Field(default="", description="why its rows cannot be processed")
    sweeps: list[str]
    parameters: list[Parameter]
    argv: list[list[str]] = Field(description="the commands of a run, if its recipe is known here")
    attempts: list[AttemptFacts] = Field(description="oldest first")
    runs: list[RunFacts] = Field(
        default_factory=list[RunFacts], description="those that made no attempt, oldest first"
    )
    prefect: str = Field(default="", description="why nothing is known of runs; empty: it is")


async def facts_of_job(
    store: IspybStore,
    job_id: int,
    *,
    runs: RunsOfJobs,
    ispyb: str,
    with_logs: bool = False,
) -> JobFacts:
    """Return all that is known of a job; of runs nothing, if Prefect does not answer.

    Args:
        store: The ISPyB that has the job.
        job_id: The processing job.
        runs: Prefect's.
        ispyb: What flows call that ISPyB: another one has a job of this number, too.
        with_logs: Ask for what the newest runs logged.

    Raises:
        NoSuchRecord: there is no such job.
        DatabaseUnavailable: the database does not answer.
    """
    facts, attempts = await asyncio.to_thread(_read, store, job_id)
    try:
        async with asyncio.timeout(PREFECT_TIMEOUT_S):
            found = await runs.of_job(job_id, ispyb=ispyb, attempts=attempts)
            if with_logs:
                found = [*found[:-LOGGED], *[await _logged(runs, one) for one in found[-LOGGED:]]]
    except ServiceUnavailable as failure:
        return facts.model_copy(update={"prefect": str(failure)})
    except TimeoutError:
        said = f"Prefect did not answer in {PREFECT_TIMEOUT_S:g} s"
        return facts.model_copy(update={"prefect": said})
    return _with_runs(facts, found)


async def _logged(runs: RunsOfJobs, run: RunFacts) -> RunFacts:
    return run.model_copy(update={"log": await runs.log(run.id)})


def rows_of_job(store: IspybStore, job_id: int) -> JobFacts:
    """Return what ISPyB and the disk have of a job.

    Raises:
        NoSuchRecord: there is no such job.
        DatabaseUnavailable: the database does not answer.
    """
    return _read(store, job_id)[0].model_copy(update={"prefect": "not asked"})


def _with_runs(facts: JobFacts, found: Sequence[RunFacts]) -> JobFacts:
    known = {str(run.id): run for run in found}
    attempts = [
        one.model_copy(update={"run": known.pop(one.flow_run_id, None)}) for one in facts.attempts
    ]
    return facts.model_copy(update={"attempts": attempts, "runs": list(known.values())})


def _read(store: IspybStore, job_id: int) -> tuple[JobFacts, list[Attempt]]:
    header, job, problem = None, None, ""
    try:
        header = store.job_header(job_id)
        job = store.job(job_id)
    except InconsistentInput as error:  # an operator looks at just these
        problem = str(error)
    attempts = store.attempts(job_id)
    collection = job.collection if job else None
    facts = JobFacts(
        job=job_id,
        recipe=header.recipe if header else "",
        display_name=job.display_name if job else "",
        problem=problem,
        sweeps=[str(sweep) for sweep in job.sweeps] if job else [],
        parameters=list(job.parameters) if job else _parameters(header),
        argv=_commands_here(job) if job else [],
        attempts=[_attempt(store, one, collection) for one in attempts],
    )
    return facts, attempts


def _parameters(header: JobHeader | None) -> list[Parameter]:
    split = (pair.partition("=") for pair in (header.parameters if header else ()))
    return [Parameter.model_construct(key=key, value=value) for key, _, value in split]


def _commands_here(job: ProcessingJob) -> list[list[str]]:
    """Return the commands of a new run here; none if its recipe is not."""
    try:
        return commands_of(job, load_recipe(job.recipe), n_processes=os.cpu_count() or 1)
    except DataError:
        return []


def commands_of(job: ProcessingJob, recipe: Recipe, *, n_processes: int) -> list[list[str]]:
    """Return the commands that a run would start, a list of tokens each.

    Raises:
        DataError: the job has what cannot be passed on to its programs.
    """
    if recipe.engine == "xia2":
        return [list(xia2.command(job, recipe, n_processes=n_processes).argv)]
    call = dials.dials_job(job, recipe, n_processes=n_processes)
    asked = (command for step in dials.STEPS for command in dials.commands(step.name, call))
    return [[command.program, *command.arguments] for command in asked]


def _attempt(
    store: IspybStore, attempt: Attempt, collection: DataCollection | None
) -> AttemptFacts:
    solution, files = store.solution(attempt.id), store.attachments(attempt.id)
    return AttemptFacts(
        **attempt.model_dump(),
        flow_run_id=attempt.flow_run_id,
        space_group=solution.space_group if solution else None,
        unit_cell=str(solution.cell) if solution else None,
        statistics=shells_table(solution.shells) if solution else [],
        integrations=[
            {"data_collection": collection_id, **(found.model_dump() if found else {})}
            for collection_id, found in store.integrations(attempt.id)
        ],
        messages=store.messages(attempt.id),
        files=files,
        log=log_of(attempt, collection, files),
    )
