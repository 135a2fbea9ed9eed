"""What an operator does with a job: tries again, or ends it; and what the rows then say."""

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from blocks.errors import AlreadyRunning, InvalidRequest, NoSuchRecord
from blocks.mx.records import AttemptState
from tests.fakes.operators import OperatedJob, an_operated_job, becomes, with_runs


@pytest.fixture
def job(deployed: None, tmp_path: Path) -> OperatedJob:
    """A job that nobody has asked for yet."""
    return an_operated_job(tmp_path)


def retried(job: OperatedJob, **given: Any) -> Any:
    from deployments.job_control import retry_job  # noqa: PLC0415

    asked = {"by": "operator", "ispyb": job.url} | given
    return with_runs(lambda runs: retry_job(job.ispyb.store, runs, job.id, **asked))


def cancelled(job: OperatedJob, **given: Any) -> tuple[str, ...]:
    from deployments.job_control import cancel_job  # noqa: PLC0415

    asked = {"by": "operator", "ispyb": job.url} | given
    return with_runs(lambda runs: cancel_job(job.ispyb.store, runs, job.id, **asked)).done


def last(job: OperatedJob) -> Any:
    return job.ispyb.store.attempts(job.id)[-1]


def states(job: OperatedJob) -> list[str]:
    return [run.state for run in job.runs()]


# Again


def test_a_failed_job_is_tried_again_as_it_was_started_and_says_who_asked(job: OperatedJob) -> None:
    job.failed()
    done = retried(job)

    run = job.runs()[-1]
    assert (run.id, run.state, run.asked_by) == (done.run_id, "SCHEDULED", "operator")
    assert run.parameters == {"job_id": job.id, "ispyb": job.url, "toolchain": "replayed"}
    assert done.page.endswith(f"/runs/flow-run/{done.run_id}")


def test_what_a_recipe_says_of_its_step_is_said_to_the_new_run_too(job: OperatedJob) -> None:
    step = {"program": "xia2 dials", "message": {"recipe": {"1": {}}, "recipe-pointer": 1}}
    given = {"ispyb": job.url, "toolchain": "mx", "step": step, "resume": False}
    run_id = job.asked_for(parameters=given)
    attempt = job.begun(run_id)
    job.ispyb.store.close(attempt, AttemptState.FAILED, "no spots")
    becomes(run_id, "Failed")
    retried(job)

    assert job.runs()[-1].parameters == given | {"job_id": job.id}


def test_an_operator_may_choose_other_programs(job: OperatedJob) -> None:
    job.failed()
    retried(job, toolchain="dials-nightly")

    assert job.runs()[-1].parameters["toolchain"] == "dials-nightly"


def test_a_job_that_nobody_asked_for_is_started_with_the_usual_programs(job: OperatedJob) -> None:
    retried(job)

    [run] = job.runs()
    assert (run.state, run.parameters["toolchain"]) == ("SCHEDULED", "mx")


def test_a_job_that_succeeded_may_be_done_again(job: OperatedJob) -> None:
    run_id, attempt = job.under_way()
    job.ispyb.store.close(attempt, AttemptState.SUCCEEDED, "done")
    becomes(run_id, "Completed")

    assert retried(job).run_id != run_id


@pytest.mark.parametrize("state", ["Scheduled", "Pending", "Running", "Cancelling"])
def test_a_job_that_is_open_is_not_started_twice(job: OperatedJob, state: str) -> None:
    run_id = job.asked_for()
    becomes(run_id, "Running")  # of one that never ran, the end is at once
    becomes(run_id, state)

    with pytest.raises(AlreadyRunning, match=rf"flow run {run_id} of job {job.id} is {state}"):
        retried(job)
    assert len(job.runs()) == 1


@pytest.mark.parametrize("environment", [f"guid={uuid4()}, flow_run={uuid4()}", "jobid=12"])
def test_a_living_attempt_of_somebody_else_is_not_started_twice(
    job: OperatedJob, environment: str
) -> None:
    attempt = job.begun("none", environment=environment)
    job.ispyb.store.report_progress(attempt, "Integrating")

    with pytest.raises(AlreadyRunning, match=f"AutoProcProgram {attempt}, wh"):
        retried(job)
    assert job.runs() == []


def test_an_attempt_that_fell_silent_long_ago_does_not_forbid_another(job: OperatedJob) -> None:
    job.silent(job.begun(uuid4()))

    assert retried(job).run_id


def test_each_retry_after_a_run_that_made_no_attempt_is_a_new_run(job: OperatedJob) -> None:
    first = retried(job).run_id
    becomes(first, "Crashed")

    assert retried(job).run_id != first


def test_two_operators_at_once_start_one_run(job: OperatedJob) -> None:
    from deployments.job_control import retry_job  # noqa: PLC0415

    job.failed()

    async def both(runs: Any) -> list[Any]:
        asked = {"by": "operator", "ispyb": job.url}
        wishes = [retry_job(job.ispyb.store, runs, job.id, **asked) for _ in range(2)]
        return await asyncio.gather(*wishes, return_exceptions=True)

    answers = with_runs(both)
    assert sorted(type(one).__name__ for one in answers) == ["AlreadyRunning", "Retried"]
    assert states(job) == ["FAILED", "SCHEDULED"]


@pytest.mark.parametrize("deed", [retried, cancelled])
def test_a_job_that_is_not_there_is_said_to_be_missing(
    job: OperatedJob, deed: Callable[[OperatedJob], Any]
) -> None:
    missing = OperatedJob(job.ispyb, job.url, job.id + 500)

    with pytest.raises(NoSuchRecord, match="there is no processing job"):
        deed(missing)


# The end


def test_a_run_that_waits_is_cancelled_at_once(job: OperatedJob) -> None:
    run_id = job.asked_for()

    assert cancelled(job, by="operator anna") == (
        f"flow run {run_id} is cancelled before it began",
    )
    [run] = job.runs()
    assert (run.state, run.cancelled_by) == ("CANCELLED", "operator anna")


def test_a_run_that_goes_on_is_asked_to_end_and_closes_its_attempt_itself(
    job: OperatedJob,
) -> None:
    run_id, attempt = job.under_way()

    said = f"flow run {run_id} is asked to end; its worker closes the attempt"
    assert cancelled(job) == (said,)
    assert (states(job), last(job).state) == (["CANCELLING"], AttemptState.RUNNING)
    assert cancelled(job) == (f"flow run {run_id} is ending already",)
    assert last(job).id == attempt


@pytest.mark.parametrize("state", ["Crashed", "Failed", "Completed", "Cancelled"])
def test_an_attempt_that_its_run_left_open_is_closed_as_cancelled(
    job: OperatedJob, state: str
) -> None:
    run_id, attempt = job.under_way()
    becomes(run_id, state)

    said = f"AutoProcProgram {attempt}, on which nobody works, is closed as failed"
    assert cancelled(job) == (said,)
    assert (last(job).state, last(job).message) == (AttemptState.FAILED, "cancelled by an operator")
    shown = [one.message for one in job.ispyb.store.messages(attempt)]
    assert (shown, states(job)) == (["cancelled by an operator"], [state.upper()])


def test_a_run_whose_worker_is_lost_holds_no_slot_afterwards(job: OperatedJob) -> None:
    _, attempt = job.under_way()
    job.silent(attempt)

    assert len(cancelled(job)) == 2
    assert (last(job).state, states(job)) == (AttemptState.FAILED, ["CRASHED"])


def test_an_attempt_whose_run_prefect_forgot_is_closed_once_it_is_silent(job: OperatedJob) -> None:
    attempt = job.begun(uuid4())
    job.ispyb.store.report_progress(attempt, "Integrating")
    with pytest.raises(AlreadyRunning, match="end it where it runs"):
        cancelled(job)
    assert last(job).state is AttemptState.RUNNING
    job.silent(attempt)

    assert len(cancelled(job)) == 1
    assert last(job).state is AttemptState.FAILED


def test_an_attempt_of_another_program_is_left_alone(job: OperatedJob) -> None:
    attempt = job.begun("none", environment="jobid=12")
    job.silent(attempt)

    assert cancelled(job) == (f"AutoProcProgram {attempt} is not limsflow's and is left as it is",)
    assert last(job).state is AttemptState.RUNNING


def test_a_job_whose_rows_are_broken_can_still_be_ended(job: OperatedJob) -> None:
    job.asked_for()
    job.ispyb.change(
        "INSERT INTO ProcessingJobParameter (processingJobId, parameterKey, parameterValue)"
        " VALUES (:id, :key, 'x')",
        id=job.id,
        key="k" * 81,
    )

    assert len(cancelled(job)) == 1
    assert states(job) == ["CANCELLED"]


def test_a_job_that_is_over_stays_as_it_is(job: OperatedJob) -> None:
    job.failed("Spotfinding failed")

    assert cancelled(job) == ()
    assert (last(job).message, states(job)) == ("Spotfinding failed", ["FAILED"])


def test_the_job_of_the_same_number_in_another_ispyb_goes_on(job: OperatedJob) -> None:
    parameters = {"ispyb": "the other beamline"}
    run_id = job.asked_for(parameters=parameters)

    assert cancelled(job) == ()
    assert with_runs(lambda runs: runs.find(run_id)).state == "SCHEDULED"


# The commands


def options(job: OperatedJob, **given: Any) -> argparse.Namespace:
    usual = {"id": job.id, "ispyb": job.url, "toolchain": None, "json": False}
    return argparse.Namespace(**(usual | given))


def test_the_commands_print_the_run_and_its_page_and_what_was_done(
    job: OperatedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    from deployments.job_control import cancel, retry  # noqa: PLC0415

    assert retry(options(job)) == 0
    [run] = job.runs()
    assert capsys.readouterr().out == f"flow run {run.id}\n{run.page}\n"
    assert cancel(options(job)) == 0
    assert capsys.readouterr().out == f"flow run {run.id} is cancelled before it began\n"
    assert cancel(options(job)) == 0
    assert capsys.readouterr().out == f"nothing of job {job.id} is open\n"


def test_the_commands_say_the_same_as_json(
    job: OperatedJob, capsys: pytest.CaptureFixture[str]
) -> None:
    from deployments.job_control import cancel, retry  # noqa: PLC0415

    retry(options(job, json=True))
    said = json.loads(capsys.readouterr().out)
    cancel(options(job, json=True))

    assert (said["job_id"], said["run_id"]) == (job.id, str(job.runs()[0].id))
    assert len(json.loads(capsys.readouterr().out)["done"]) == 1


def test_a_url_that_may_hold_a_password_is_never_shown_to_prefect(job: OperatedJob) -> None:
    from deployments.job_control import retry  # noqa: PLC0415

    with pytest.raises(InvalidRequest, match="may hold a password"):
        retry(options(job, ispyb="mysql+pymysql://me:hunter2@ispyb/ispyb"))


def test_without_a_prefect_server_the_commands_say_what_to_set(job: OperatedJob) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    from deployments.job_control import cancel, retry  # noqa: PLC0415

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        for deed in (retry, cancel):
            with pytest.raises(InvalidRequest, match="PREFECT_API_URL"):
                deed(options(job))
