"""What Prefect knows of a processing job: its runs, also those that made no attempt, and their log.

Prefect cannot be asked for the parameters of runs. It finds them by id, which ISPyB's attempts
say; by name, which a run of a job gets when it starts; by the key that a wish was handed on with;
and what has not started yet is few enough to be looked through.
"""

import contextlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterIdempotencyKey,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort, LogSort

from blocks.mx.records import Attempt
from deployments.job_facts import RunFacts
from deployments.job_log import LONGEST_LINE, plain
from tasks.flow_runs import Runs, answering, prefect_client, run_page
from tasks.mx.hand_off import BY_MESSAGE, DEPLOYMENT, SOURCE, key_of

FLOW = DEPLOYMENT.partition("/")[0]
PAGE, MOST = 200, 5_000  # runs: of one answer, and of those that wait
LOG_LINES = 200  # Prefect's own limit of one answer
CANCELLED_BY = "limsflow.cancelled_by"
OF_FLOW = FlowFilter(name=FlowFilterName(any_=[FLOW]))
WAITING = FlowRunFilter(
    state=FlowRunFilterState(
        type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING])
    )
)


class JobRuns(Runs):
    """Flow runs, and which of them are of a processing job."""

    async def of_job(
        self, job_id: int, *, ispyb: str, attempts: Sequence[Attempt]
    ) -> list[RunFacts]:
        """Return the runs of a job, oldest first.

        Args:
            job_id: The processing job.
            ispyb: What the runs call its ISPyB; that of the attempts' own runs does not matter.
            attempts: At the job, as ISPyB has them.

        Raises:
            ServiceUnavailable: Prefect does not answer.
        """
        with answering():
            theirs = await self._by_id(one.flow_run_id for one in attempts)
            others = [
                *await self._by_name(f"{FLOW}-{job_id}"),
                *await self._by_key(key_of(ispyb, job_id, n) for n in _last_ids(attempts)),
                *await self._waiting(),
            ]
        same = [run for run in others if _is_of(run, job_id, ispyb)]
        found = {run.id: run for run in (*theirs, *same)}
        return [_facts(run) for run in sorted(found.values(), key=_made_at)]

    async def log(self, run_id: UUID) -> tuple[str, ...]:
        """Return the last lines that a run logged, oldest first.

        Raises:
            ServiceUnavailable: Prefect does not answer.
        """
        with answering():
            logs = await self._client.read_logs(
                LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id])),
                limit=LOG_LINES,
                sort=LogSort.TIMESTAMP_DESC,
            )
        said = ((one.timestamp, one.message.splitlines()) for one in reversed(logs))
        return tuple(
            f"{when:%Y-%m-%d %H:%M:%S} {plain(line)[:LONGEST_LINE]}"
            for when, lines in said
            for line in lines
        )

    async def _by_id(self, run_ids: Iterable[str]) -> list[FlowRun]:
        wanted = list[UUID]()
        for one in run_ids:
            with contextlib.suppress(ValueError):  # of a run that somebody named by hand
                wanted.append(UUID(one))
        found = list[FlowRun]()
        for first in range(0, len(wanted), PAGE):
            some = FlowRunFilterId(any_=wanted[first : first + PAGE])
            found += await self._asked(FlowRunFilter(id=some))
        return found

    async def _by_name(self, name: str) -> list[FlowRun]:
        return await self._asked(FlowRunFilter(name=FlowRunFilterName(any_=[name])))

    async def _by_key(self, keys: Iterable[str]) -> list[FlowRun]:
        """Return the runs of these wishes, and of the wishes after those that made no attempt."""
        found, wanted = list[FlowRun](), list(keys)
        while wanted:
            some = FlowRunFilterIdempotencyKey(any_=wanted[-PAGE:])
            runs = await self._asked(FlowRunFilter(idempotency_key=some))
            found += runs
            first = [(run, (run.idempotency_key or "").partition("-again")[0]) for run in runs]
            wanted = [f"{key}-again-{run.id.hex}" for run, key in first]
        return found

    async def _waiting(self) -> list[FlowRun]:
        found = list[FlowRun]()
        while len(found) < MOST:
            some = await self._asked(WAITING, offset=len(found))
            found += some
            if len(some) < PAGE:
                break
        return found

    async def _asked(self, which: FlowRunFilter, *, offset: int = 0) -> list[FlowRun]:
        return await self._client.read_flow_runs(
            flow_filter=OF_FLOW,
            flow_run_filter=which,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=PAGE,
            offset=offset,
        )


@contextlib.asynccontextmanager
async def job_runs() -> AsyncGenerator[JobRuns, None]:
    """Return the runs of the Prefect server of this environment, while the block runs.

    Raises:
        ServiceUnavailable: it does not answer.
    """
    async with prefect_client() as client:
        yield JobRuns(client)


def _last_ids(attempts: Sequence[Attempt]) -> list[int]:
    return [0, *(one.id for one in attempts)]


def _is_of(run: FlowRun, job_id: int, ispyb: str) -> bool:
    named = run.parameters.get("ispyb", "ispyb")  # the flow's own default
    return run.parameters.get("job_id") == job_id and named == ispyb


def _made_at(run: FlowRun) -> datetime:
    return run.created or run.expected_start_time or datetime.max.replace(tzinfo=UTC)


def _facts(run: FlowRun) -> RunFacts:
    state = run.state
    return RunFacts(
        id=run.id,
        name=run.name,
        page=run_page(run.id),
        state=state.type.value if state else "PENDING",
        state_name=(state.name or "") if state else "",
        state_message=(state.message or "") if state else "",
        asked_by=str(run.labels.get(SOURCE, "")),
        message=str(run.labels.get(BY_MESSAGE, "")),
        cancelled_by=str(run.labels.get(CANCELLED_BY, "")),
        created_at=run.created,
        started_at=run.start_time,
        ended_at=run.end_time,
        parameters=dict(run.parameters),
    )
