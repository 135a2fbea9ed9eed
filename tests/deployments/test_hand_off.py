"""A wish for a job becomes one run, whatever is repeated, lost or restarted: on a real Prefect."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from blocks.errors import InvalidRequest, NoSuchRecord
from blocks.mx.records import AttemptState
from tests.fakes.ispyb import Ispyb, sqlite_ispyb

numbers = itertools.count(1)


@dataclass
class Lab:
    """An ISPyB with one job, and Prefect."""

    ispyb: Ispyb
    job_id: int

    def wish(self, **given: Any) -> Any:
        """Wish for the job once; return what became of it."""
        from tasks.mx.hand_off import hand_off  # noqa: PLC0415 - loads Prefect

        usual = {
            "parameters": {"ispyb": "ispyb", "toolchain": "mx"},
            "source": "limsflow.reprocess",
            "message": '{"parameters":{"ispyb_process":1}}',
            "wish": uuid4().hex,
        }

        async def asked(runs: Any) -> Any:
            return await hand_off(self.ispyb.store, runs, self.job_id, **(usual | given))

        return with_runs(asked)

    def attempt_of(self, run_id: UUID | None) -> int:
        """Register an attempt, as the run does first of all."""
        job = self.ispyb.store.job(self.job_id)
        environment = f"guid={uuid4()}, flow_run={run_id}"
        return self.ispyb.an_attempt(job, environment=environment)

    def ended(self, run_id: UUID | None, attempt: int, state: AttemptState) -> None:
        """Let a run and its attempt end."""
        self.ispyb.store.close(attempt, state, "over")
        over(run_id)


def with_runs(deed: Callable[[Any], Awaitable[Any]]) -> Any:
    from tasks.flow_runs import prefect_runs  # noqa: PLC0415 - loads Prefect

    async def do() -> Any:
        async with prefect_runs() as runs:
            return await deed(runs)

    return asyncio.run(do())


def over(run_id: UUID | None, kind: str = "Completed") -> None:
    """Let a run end without anything else."""
    from prefect import get_client, states  # noqa: PLC0415

    async def end() -> None:
        async with get_client() as client:
            assert run_id
            await client.set_flow_run_state(run_id, getattr(states, kind)(), force=True)

    asyncio.run(end())


def forgotten(run_id: UUID) -> None:
    """Mark a run as the bridge does when the broker surely forgot its message."""
    from tasks.mx.hand_off import FORGOTTEN  # noqa: PLC0415

    with_runs(lambda runs: runs.add_labels(run_id, {FORGOTTEN: True}))


@pytest.fixture
def lab(deployed: None, tmp_path: Path) -> Lab:
    ispyb = sqlite_ispyb(tmp_path)
    made = ispyb.a_job()
    # Keys of idempotency are for ever, and every test has an ISPyB of its own.
    ids = next(numbers) * 1000
    ispyb.change(
        f"UPDATE ProcessingJob SET processingJobId = {ids} WHERE processingJobId = :o", o=made.id
    )
    for table in ("ProcessingJobParameter", "ProcessingJobImageSweep"):
        ispyb.change(
            f"UPDATE {table} SET processingJobId = {ids} WHERE processingJobId = :o", o=made.id
        )
    return Lab(ispyb, ids)


def test_the_first_wish_starts_a_run_that_keeps_the_message(lab: Lab) -> None:
    handed = lab.wish()

    run = with_runs(lambda runs: runs.find(handed.run_id))
    assert (handed.outcome, run.state) == ("started", "SCHEDULED")
    assert run.parameters["job_id"] == lab.job_id
    assert run.labels["limsflow.message"] == '{"parameters":{"ispyb_process":1}}'
    assert run.labels["limsflow.source"] == "limsflow.reprocess"


def test_two_clicks_are_one_run(lab: Lab) -> None:
    first, second = lab.wish(), lab.wish()

    assert (second.outcome, second.run_id) == ("repeated", first.run_id)


def test_a_click_while_the_run_works_is_that_run(lab: Lab) -> None:
    first = lab.wish()
    lab.attempt_of(first.run_id)

    assert (lab.wish().outcome, lab.wish().run_id) == ("repeated", first.run_id)


def test_two_bridges_that_have_the_same_message_start_one_run(lab: Lab) -> None:
    from tasks.mx.hand_off import hand_off  # noqa: PLC0415 - loads Prefect

    async def both(runs: Any) -> Any:
        asked = [
            hand_off(
                lab.ispyb.store,
                runs,
                lab.job_id,
                parameters={},
                source="queue",
                message="same",
                wish=uuid4().hex,
                repeated=True,
            )
            for _ in range(8)
        ]
        return await asyncio.gather(*asked)

    handed = with_runs(both)

    assert len({one.run_id for one in handed}) == 1
    assert [one.outcome for one in handed].count("started") == 1


def test_a_second_wish_after_the_first_ended_is_a_new_run(lab: Lab) -> None:
    first = lab.wish()
    lab.ended(first.run_id, lab.attempt_of(first.run_id), AttemptState.SUCCEEDED)
    second = lab.wish()

    assert second.outcome == "started"
    assert second.run_id != first.run_id


def test_a_message_that_comes_again_after_its_run_ended_is_that_run(lab: Lab) -> None:
    first = lab.wish()
    lab.ended(first.run_id, lab.attempt_of(first.run_id), AttemptState.FAILED)
    again = lab.wish(repeated=True)

    assert (again.outcome, again.run_id) == ("repeated", first.run_id)


def test_a_second_wish_that_a_bridge_lost_before_handing_it_on_is_a_new_run(lab: Lab) -> None:
    first = lab.wish()
    lab.ended(first.run_id, lab.attempt_of(first.run_id), AttemptState.SUCCEEDED)
    forgotten(first.run_id)
    second = lab.wish(repeated=True)

    assert second.outcome == "started"
    assert second.run_id != first.run_id


def test_a_lost_answer_of_prefect_is_asked_for_again_and_is_the_same_run(lab: Lab) -> None:
    first = lab.wish(wish="w-1")
    lab.ended(first.run_id, lab.attempt_of(first.run_id), AttemptState.SUCCEEDED)
    again = lab.wish(wish="w-1")

    assert (again.outcome, again.run_id) == ("started", first.run_id)


@pytest.mark.parametrize("end", ["Failed", "Crashed", "Cancelled"])
def test_a_run_that_ended_before_its_attempt_does_not_stand_in_the_way(lab: Lab, end: str) -> None:
    first = lab.wish()
    over(first.run_id, end)
    second, third = lab.wish(), lab.wish()

    assert second.run_id != first.run_id
    assert (third.outcome, third.run_id) == ("repeated", second.run_id)


def test_a_message_that_comes_again_after_its_run_ended_without_an_attempt_is_that_run(
    lab: Lab,
) -> None:
    first = lab.wish()
    over(first.run_id, "Crashed")
    again = lab.wish(repeated=True)

    assert (again.outcome, again.run_id) == ("repeated", first.run_id)


def test_an_attempt_whose_run_is_gone_is_taken_over_by_the_next_wish(lab: Lab) -> None:
    first = lab.wish()
    lab.attempt_of(first.run_id)
    over(first.run_id, "Crashed")
    second = lab.wish()

    assert second.outcome == "started"
    assert second.run_id != first.run_id


def test_an_attempt_that_prefect_has_forgotten_is_believed_until_it_is_silent(lab: Lab) -> None:
    attempt = lab.attempt_of(uuid4())
    lab.ispyb.store.report_progress(attempt, "scaling")
    at_first = lab.wish()
    lab.ispyb.change(
        "UPDATE AutoProcProgram SET processingEndTime = '2020-01-01', processingStartTime ="
        " '2020-01-01', recordTimeStamp = '2020-01-01' WHERE autoProcProgramId = :id",
        id=attempt,
    )
    later = lab.wish()

    assert (at_first.outcome, at_first.run_id) == ("repeated", None)
    assert later.outcome == "started"


def test_a_repeated_message_is_not_run_again_when_prefect_has_forgotten_everything(
    lab: Lab,
) -> None:
    lab.ispyb.store.close(lab.attempt_of(uuid4()), AttemptState.SUCCEEDED, "done")

    assert lab.wish(repeated=True).outcome == "repeated"
    assert lab.wish().outcome == "started"


def test_the_reconciler_s_run_is_that_of_the_message_that_comes_after_it(lab: Lab) -> None:
    late = lab.wish(source="reconcile-jobs", message="no message came", repeated=True)
    lab.ended(late.run_id, lab.attempt_of(late.run_id), AttemptState.SUCCEEDED)
    by_hand = {"source": "gateway", "message": ""}
    message = lab.wish()
    forgotten(late.run_id)
    second = lab.wish()

    assert (message.outcome, message.run_id, message.late) == ("repeated", late.run_id, True)
    assert second.outcome == "started"
    lab.ended(second.run_id, lab.attempt_of(second.run_id), AttemptState.SUCCEEDED)
    assert lab.wish(**by_hand).outcome == "started"


def test_an_attempt_of_zocalo_does_not_keep_a_job_from_us(lab: Lab) -> None:
    job = lab.ispyb.store.job(lab.job_id)
    lab.ispyb.an_attempt(job, environment="d_min=1.8")

    assert lab.wish(repeated=True).outcome == "started"


def test_a_job_that_is_not_there_is_said(lab: Lab) -> None:
    lab.job_id += 1

    with pytest.raises(NoSuchRecord, match=str(lab.job_id)):
        lab.wish()


def test_parameters_that_the_flow_refuses_are_said(lab: Lab) -> None:
    with pytest.raises(InvalidRequest, match="wait_for_rows_s"):
        lab.wish(parameters={"wait_for_rows_s": -1})
