"""A processing job in an ISPyB of its own and on a Prefect server, for an operator to look at."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from blocks.mx.records import AttemptState
from tests.fakes.ispyb import Ispyb, sqlite_ispyb

MESSAGE = '{"parameters":{"ispyb_process":4024}}'
JOB_TABLES = ("ProcessingJobParameter", "ProcessingJobImageSweep", "ProcessingJob")
# Prefect keeps the keys of all tests of a session, so no two tests may have one job.
ids = itertools.count(7_000_000 + 1000 * (os.getpid() % 1000))


@dataclass
class OperatedJob:
    """A job, and what an operator and a worker do with it."""

    ispyb: Ispyb
    url: str
    id: int

    def asked_for(self, **given: Any) -> UUID:
        """Ask for the job as a broker's message does; return its run."""
        from tasks.mx.hand_off import hand_off  # noqa: PLC0415 - loads Prefect

        usual = {
            "parameters": {"ispyb": self.url, "toolchain": "replayed"},
            "source": "limsflow.reprocess",
            "message": MESSAGE,
            "wish": uuid4().hex,
        }

        async def ask(runs: Any) -> UUID:
            done = await hand_off(self.ispyb.store, runs, self.id, **(usual | given))
            assert done.run_id
            return done.run_id

        return with_runs(ask)

    def begun(self, run_id: UUID | str, **given: Any) -> int:
        """Register an attempt, as a run does first of all; return it."""
        environment = f"guid={uuid4()}, flow_run={run_id}"
        job = self.ispyb.store.job(self.id)
        return self.ispyb.an_attempt(job, **({"environment": environment} | given))

    def under_way(self) -> tuple[UUID, int]:
        """Ask for the job and let a worker begin; return the run and its attempt."""
        run_id = self.asked_for()
        attempt = self.begun(run_id)
        self.ispyb.store.report_progress(attempt, "Integrating (40 %)")
        becomes(run_id, "Running")
        return run_id, attempt

    def failed(self, reason: str = "Spotfinding failed") -> tuple[UUID, int]:
        """Ask for the job and let it fail; return the run and its attempt."""
        run_id, attempt = self.under_way()
        self.ispyb.store.close(attempt, AttemptState.FAILED, reason)
        becomes(run_id, "Failed")
        return run_id, attempt

    def silent(self, attempt: int, minutes: float = 60) -> None:
        """Let the last sign of life be so long ago."""
        seen = (datetime.now(UTC) - timedelta(minutes=minutes)).replace(tzinfo=None)
        self.ispyb.change(
            "UPDATE AutoProcProgram SET processingStartTime = :seen, processingEndTime = :seen,"
            " recordTimeStamp = :seen WHERE autoProcProgramId = :id",
            seen=seen,
            id=attempt,
        )

    def runs(self) -> list[Any]:
        """Return the runs that Prefect has of it, oldest first."""
        attempts = self.ispyb.store.attempts(self.id)
        return with_runs(lambda runs: runs.of_job(self.id, ispyb=self.url, attempts=attempts))


def an_operated_job(folder: Path, **given: Any) -> OperatedJob:
    """Return a new job in a new ISPyB."""
    ispyb = sqlite_ispyb(folder)
    made, number = ispyb.a_job(**given).id, next(ids)
    for table in JOB_TABLES:
        sql = f"UPDATE {table} SET processingJobId = :new WHERE processingJobId = :old"
        ispyb.change(sql, new=number, old=made)
    return OperatedJob(ispyb, f"sqlite:///{folder / 'ispyb.db'}", number)


def with_runs(deed: Callable[[Any], Awaitable[Any]]) -> Any:
    """Return what a deed gives that asks Prefect."""
    from deployments.job_runs import job_runs  # noqa: PLC0415 - loads Prefect

    async def do() -> Any:
        async with job_runs() as runs:
            return await deed(runs)

    return asyncio.run(do())


def becomes(run_id: UUID, kind: str, message: str = "") -> None:
    """Bring a run into a state, as its worker does."""
    from prefect import get_client, states  # noqa: PLC0415 - loads Prefect

    async def change() -> None:
        async with get_client() as client:
            state = getattr(states, kind)(message=message)
            await client.set_flow_run_state(run_id, state, force=True)

    asyncio.run(change())
