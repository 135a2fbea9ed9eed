"""What an operator sees of a job: its rows, its runs, its log, and what is not there."""

import argparse
import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from blocks.mx.records import Attachment, AttachmentType, AttemptState
from deployments.job_log import tail_of
from tests.fakes.operators import (
    MESSAGE,
    OperatedJob,
    an_operated_job,
    becomes,
    with_runs,
)
from tests.flows.beamtimes import Beamtime

ABeamtime = Callable[..., Beamtime]


@pytest.fixture
def job(deployed: None, tmp_path: Path) -> OperatedJob:
    """A job that nobody has asked for yet."""
    return an_operated_job(tmp_path)


def known(job: OperatedJob, **given: Any) -> Any:
    from deployments.job_facts import facts_of_job  # noqa: PLC0415

    asked = {"ispyb": job.url} | given
    return with_runs(lambda runs: facts_of_job(job.ispyb.store, job.id, runs=runs, **asked))


def shown(
    job: OperatedJob,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    **given: Any,
) -> str:
    """Return what `limsflow job show` prints where a Prefect server is named."""
    from prefect.settings import get_current_settings  # noqa: PLC0415

    from deployments.job import show  # noqa: PLC0415

    monkeypatch.setenv("PREFECT_API_URL", str(get_current_settings().api.url))
    options = {"id": job.id, "ispyb": job.url, "json": False, "log": False} | given
    assert show(argparse.Namespace(**options)) == 0
    return capsys.readouterr().out


def test_an_attempt_says_which_message_asked_for_it_and_through_which_queue(
    job: OperatedJob,
) -> None:
    run_id, attempt = job.failed()

    facts = known(job)
    [one] = facts.attempts
    assert (one.id, one.flow_run_id, one.run.id) == (attempt, str(run_id), run_id)
    assert (one.run.asked_by, one.run.message) == ("limsflow.reprocess", MESSAGE)
    assert (one.run.state, one.run.page.endswith(str(run_id))) == ("FAILED", True)
    assert (facts.runs, facts.prefect) == ([], "")


@pytest.mark.parametrize("state", ["Scheduled", "Pending", "Crashed", "Cancelled"])
def test_a_run_that_made_no_attempt_is_shown_whatever_became_of_it(
    job: OperatedJob, state: str
) -> None:
    run_id = job.asked_for()
    becomes(run_id, state, "no machine took it")

    facts = known(job)
    assert [(run.id, run.state) for run in facts.runs] == [(run_id, state.upper())]
    assert (facts.attempts, facts.runs[0].state_message) == ([], "no machine took it")


def test_runs_after_runs_that_made_no_attempt_are_all_found(job: OperatedJob) -> None:
    run_ids = list[UUID]()
    for _ in range(3):
        run_ids.append(job.asked_for())
        becomes(run_ids[-1], "Crashed")

    assert [run.id for run in known(job).runs] == run_ids
    assert len(set(run_ids)) == 3


def test_a_run_that_somebody_started_in_prefect_is_found_too(job: OperatedJob) -> None:
    parameters = {"job_id": job.id, "ispyb": job.url}
    made = with_runs(lambda runs: runs.start("reprocess-job/default", parameters))

    [run] = known(job).runs
    assert (run.id, run.asked_by, run.message) == (made.id, "", "")


def test_the_same_number_in_another_ispyb_is_another_job(job: OperatedJob) -> None:
    job.asked_for(parameters={"ispyb": "the other beamline"})

    assert known(job).runs == []


def test_what_a_run_logged_is_there_if_asked_for(a_beamtime: ABeamtime, deployed: None) -> None:
    from blocks.errors import ProgramError  # noqa: PLC0415

    beamtime = a_beamtime("fail_bad_sg")
    job_id = beamtime.job()
    with pytest.raises(ProgramError):
        beamtime.run(job_id)
    job = OperatedJob(ispyb=beamtime, url=beamtime.names["ispyb"], id=job_id)

    def logged() -> str:
        return "\n".join(known(job, with_logs=True).attempts[0].run.log)

    wait_until(lambda: "Space group symbol not recognized: Pbanana" in logged())
    assert known(job).attempts[0].run.log == ()


def wait_until(is_true: Callable[[], bool]) -> None:
    from tests.fakes.served import wait_for  # noqa: PLC0415

    wait_for(is_true, seconds=20)


def test_a_job_whose_rows_contradict_each_other_is_shown_with_the_reason(job: OperatedJob) -> None:
    _, attempt = job.failed()
    job.ispyb.change("DELETE FROM ProcessingJobImageSweep WHERE processingJobId = :id", id=job.id)
    job.ispyb.change("UPDATE ProcessingJob SET dataCollectionId = NULL")

    facts = known(job)
    assert "names no data collection and has no sweeps" in facts.problem
    assert [one.id for one in facts.attempts] == [attempt]


def test_a_job_with_a_parameter_that_cannot_be_is_shown_with_the_reason(job: OperatedJob) -> None:
    _, attempt = job.failed()
    job.ispyb.change(
        "INSERT INTO ProcessingJobParameter (processingJobId, parameterKey, parameterValue)"
        " VALUES (:id, :key, 'x')",
        id=job.id,
        key="k" * 81,
    )

    facts = known(job)
    assert "at most 80 characters" in facts.problem
    assert [one.id for one in facts.attempts] == [attempt]


def test_without_prefect_the_rows_are_shown_and_why_the_runs_are_not(job: OperatedJob) -> None:
    from blocks.errors import ServiceUnavailable  # noqa: PLC0415
    from deployments.job_facts import facts_of_job  # noqa: PLC0415

    class Away:
        """A Prefect that does not answer."""

        async def of_job(self, *_: Any, **__: Any) -> Any:
            raise ServiceUnavailable("Prefect does not answer: refused")

    job.failed()
    asked = facts_of_job(job.ispyb.store, job.id, runs=Away(), ispyb=job.url)
    facts = asyncio.run(asked)

    assert (len(facts.attempts), facts.prefect) == (1, "Prefect does not answer: refused")


# The command


def test_one_command_gives_message_attempts_rows_argv_log_and_link(
    job: OperatedJob, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, attempt = job.failed("Spotfinding failed")

    text = shown(job, capsys, monkeypatch)
    assert f"attempt {attempt}  failure  Spotfinding failed" in text
    assert f"/runs/flow-run/{run_id}" in text
    assert "    asked by     limsflow.reprocess\n" in text
    assert f"    message      {MESSAGE}\n" in text
    facts = json.loads(shown(job, capsys, monkeypatch, json=True))
    assert facts["argv"][0][0] == "xia2"
    assert facts["attempts"][0]["run"]["message"] == MESSAGE


def test_a_prefect_that_is_away_costs_the_runs_only(
    job: OperatedJob, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    from deployments.job import show  # noqa: PLC0415

    job.failed()
    nobody = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", nobody)
    options = argparse.Namespace(id=job.id, ispyb=job.url, json=False, log=False)
    with temporary_settings({PREFECT_API_URL: nobody}):
        assert show(options) == 0

    text = capsys.readouterr().out
    assert "failure  Spotfinding failed" in text
    assert "nothing is known of flow runs: Prefect does not answer" in text


def test_nothing_that_a_terminal_would_obey_is_printed(
    job: OperatedJob, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job.asked_for(message='{"x": "\x1b[2J\x07"}\nattempt 99  success')

    text = shown(job, capsys, monkeypatch)
    assert "\x1b" not in text
    assert "\nattempt 99" not in text


# The log


def logs_of(job: OperatedJob) -> Any:
    from deployments.job_facts import rows_of_job  # noqa: PLC0415

    return [one.log for one in rows_of_job(job.ispyb.store, job.id).attempts]


def in_visit(job: OperatedJob, tmp_path: Path) -> Path:
    """Let the job's images lie in a visit on this disk; return the visit."""
    visit = tmp_path / "cm1-1"
    job.ispyb.change("UPDATE DataCollection SET imageDirectory = :at", at=f"{visit}/thau/")
    return visit


def working(job: OperatedJob, visit: Path, attempt: int) -> Path:
    """Return the directory that an attempt works in."""
    from tasks.mx.directories import attempt_directories  # noqa: PLC0415

    one, collection = job.ispyb.store.attempt(attempt), job.ispyb.store.job(job.id).collection
    places = attempt_directories(collection, one.guid, visit_depth=len(visit.parts))
    (places.working / "xia2-try2").mkdir(parents=True)
    return places.working / "xia2-try2"


def test_a_running_attempt_shows_the_log_of_its_working_directory(
    job: OperatedJob, tmp_path: Path
) -> None:
    visit, (_, attempt) = in_visit(job, tmp_path), job.under_way()
    folder = working(job, visit, attempt)
    (folder / "xia2.txt").write_text("\n".join(f"line {n}" for n in range(1, 101)))
    (folder / "dials.index.log").write_text("indexed")

    [log] = logs_of(job)
    assert (log.path, len(log.lines)) == (folder / "xia2.txt", 30)
    assert (log.lines[0], log.lines[-1]) == ("line 71", "line 100")


def test_of_a_dials_run_it_is_the_log_of_the_newest_step(job: OperatedJob, tmp_path: Path) -> None:
    visit, (_, attempt) = in_visit(job, tmp_path), job.under_way()
    folder = working(job, visit, attempt)
    for number, step in enumerate(("scale", "import_1", "index")):
        (folder / f"dials.{step}.log").write_text(f"this is {step}")
        os.utime(folder / f"dials.{step}.log", (number, number))

    [log] = logs_of(job)
    assert log.lines == ("this is index",)


def test_a_finished_attempt_shows_the_log_that_is_attached(
    job: OperatedJob, tmp_path: Path
) -> None:
    _, attempt = job.failed()
    (tmp_path / "xia2.txt").write_text("Error: no spots\n\x1b[2J")
    file = Attachment(path=tmp_path / "xia2.txt", type=AttachmentType.LOG, rank=1)
    job.ispyb.store.add_attachments(attempt, [file])

    [log] = logs_of(job)
    assert (log.path, log.lines) == (tmp_path / "xia2.txt", ("Error: no spots", "\ufffd[2J"))


@pytest.mark.parametrize("name", ["clients.json", "shadow", "id_rsa", "xia2.html", "xia2.txt.key"])
def test_a_row_cannot_make_us_show_another_file_than_a_log(
    job: OperatedJob, tmp_path: Path, name: str
) -> None:
    _, attempt = job.failed()
    (tmp_path / name).write_text("secret")
    file = Attachment(path=tmp_path / name, type=AttachmentType.LOG, rank=1)
    job.ispyb.store.add_attachments(attempt, [file])

    assert logs_of(job) == [None]


def test_a_guid_cannot_lead_out_of_the_visit(job: OperatedJob, tmp_path: Path) -> None:
    in_visit(job, tmp_path)
    (tmp_path / "home" / "x").mkdir(parents=True)
    (tmp_path / "home" / "x" / "xia2.txt").write_text("secret")
    job.begun("none", environment=f"guid={tmp_path / 'home'}")

    assert logs_of(job) == [None]


def test_a_link_a_pipe_and_a_folder_are_no_logs(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "xia2.txt").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "dials.index.log")
    (tmp_path / "xia2.stdout").mkdir()

    names = ("xia2.txt", "dials.index.log", "xia2.stdout", "missing", "nul\0")
    assert [tail_of(tmp_path / name) for name in names] == [()] * 5


def test_an_attempt_of_another_program_has_no_run_and_no_log(job: OperatedJob) -> None:
    attempt = job.begun("none", environment=f"jobid={uuid4()}")

    [one] = known(job).attempts
    assert (one.id, one.state, one.run, one.log) == (attempt, AttemptState.RUNNING, None, None)
