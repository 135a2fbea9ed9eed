"""The jobs of a batch: one for each pair, all of one flow run, begun and closed together."""

from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import InconsistentInput
from blocks.genomics import jobs as jobs_module
from blocks.genomics.records import JobStatus
from tests.fakes.entero import Entero, at_once, every_kind, ids

pytestmark = every_kind
ABOUT = [(f"SAL_AA000{n}AA_AS", f"nomenclature:{n}") for n in range(3)]


def a_run() -> str:
    return f"run-{next(ids)}"


def a_batch(entero: Entero) -> tuple[str, list[int]]:
    run = a_run()
    return run, entero.store.jobs.start_many(ABOUT, run)


def heard(entero: Entero, run: str, minutes: int) -> datetime:
    """Let a run have begun, and been silent, for so long."""
    moment = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=minutes)
    sql = "UPDATE job_runs SET started = :moment, seen = NULL WHERE flow_run_id = :run"
    entero.system.change(sql, moment=moment, run=run)
    return moment.replace(tzinfo=UTC)


def open_jobs(entero: Entero, run: str) -> list[int]:
    return [job.id for job in entero.store.jobs.open_of_run(run)]


# Beginning


def test_each_pair_of_a_batch_has_a_job_in_the_order_given(entero: Entero) -> None:
    run, made = a_batch(entero)
    jobs = [entero.store.jobs.job(one) for one in made]

    assert made == sorted(set(made))
    assert [(job.accession, job.pipeline) for job in jobs] == ABOUT
    assert {(job.status, job.database, job.user_id) for job in jobs} == {
        ("QUEUED", "senterica", None)
    }
    assert all(job.sent for job in jobs)
    assert [entero.store.jobs.runs(one) for one in made] == [[run]] * 3


def test_a_batch_without_pairs_makes_no_job(entero: Entero) -> None:
    assert entero.store.jobs.start_many([], a_run()) == []


def test_of_a_batch_the_first_job_is_told(entero: Entero) -> None:
    run, made = a_batch(entero)

    assert entero.store.jobs.of_run(run).id == made[0]


def test_a_run_works_on_the_jobs_of_no_other_run(entero: Entero) -> None:
    (run, made), (other, others) = a_batch(entero), a_batch(entero)

    assert open_jobs(entero, run) == made
    assert open_jobs(entero, other) == others


def test_batches_that_begin_at_once_have_jobs_of_their_own(entero: Entero) -> None:
    begun = at_once([lambda: a_batch(entero)] * 6)
    numbers = [job for _, made in begun for job in made]

    assert len(set(numbers)) == 18
    for run, made in begun:
        assert open_jobs(entero, run) == made


# A second run


def test_a_second_run_of_a_batch_goes_on_with_its_jobs(entero: Entero) -> None:
    run, made = a_batch(entero)
    heard(entero, run, 5)
    second = a_run()
    for _ in range(2):
        entero.store.jobs.add_run_to([made[2], made[1], made[1]], second)

    assert open_jobs(entero, run) == made[:1]
    assert open_jobs(entero, second) == made[1:]
    assert [entero.store.jobs.runs(one) for one in made] == [[run], [run, second], [run, second]]
    assert {run, second} <= set(entero.store.jobs.open_runs())


def test_a_run_is_added_to_no_job_without_harm(entero: Entero) -> None:
    run = a_run()
    entero.store.jobs.add_run_to([], run)

    assert open_jobs(entero, run) == []


def test_a_run_is_not_added_to_a_job_that_is_not_there(entero: Entero) -> None:
    run, made = a_batch(entero)
    second = a_run()
    with pytest.raises(InconsistentInput, match="is not in the database"):
        entero.store.jobs.add_run_to([made[0], 999_999_999], second)

    assert open_jobs(entero, second) == []
    assert open_jobs(entero, run) == made


# Closing


def test_jobs_are_closed_together_with_their_version(entero: Entero) -> None:
    run, made = a_batch(entero)
    entero.store.jobs.close_many(made[:2], JobStatus.COMPLETE, version="limsflow 1")
    entero.store.jobs.close_many(made[2:], JobStatus.FAILED)
    jobs = [entero.store.jobs.job(one) for one in made]

    assert [(job.status, job.version) for job in jobs] == [
        *(("COMPLETE", "limsflow 1"), ("COMPLETE", "limsflow 1"), ("FAILED", None)),
    ]
    assert open_jobs(entero, run) == []
    assert run not in entero.store.jobs.open_runs()


def test_jobs_that_are_closed_without_a_version_keep_theirs(entero: Entero) -> None:
    _, made = a_batch(entero)
    for version in ("limsflow 1", ""):
        entero.store.jobs.close_many(made, JobStatus.FAILED, version=version)

    assert {entero.store.jobs.job(one).version for one in made} == {"limsflow 1"}


def test_jobs_that_are_not_there_do_not_keep_others_from_being_closed(entero: Entero) -> None:
    _, made = a_batch(entero)
    entero.store.jobs.close_many([made[0], 999_999_999], JobStatus.COMPLETE)
    entero.store.jobs.close_many([], JobStatus.FAILED)

    assert [entero.store.jobs.job(one).status for one in made] == ["COMPLETE", "QUEUED", "QUEUED"]


def test_more_jobs_than_one_statement_takes_are_all_closed(
    entero: Entero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "AT_ONCE", 2)
    _, made = a_batch(entero)
    entero.store.jobs.close_many(made, JobStatus.COMPLETE)

    assert {entero.store.jobs.job(one).status for one in made} == {"COMPLETE"}


def test_a_job_with_a_status_that_we_do_not_know_is_not_open(entero: Entero) -> None:
    run, made = a_batch(entero)
    sql = "UPDATE user_jobs SET status = :status WHERE job_id = :id"
    entero.system.change(sql, status="WAIT RESUME", id=made[0])
    entero.system.change(sql, status="RUNNING", id=made[1])

    assert open_jobs(entero, run) == made[1:]


# Signs of life


def test_one_sign_of_life_is_of_all_jobs_of_a_batch_and_is_one_row(entero: Entero) -> None:
    (run, _), (other, _) = a_batch(entero), a_batch(entero)
    before = heard(entero, run, 20), heard(entero, other, 20)
    silent = entero.store.jobs.last_seen(run)
    entero.store.jobs.sign_of_life(run)
    seen = entero.store.jobs.last_seen(run)
    sql = "SELECT COUNT(seen) FROM job_runs WHERE flow_run_id = :run"

    assert silent == before[0]
    assert seen
    assert datetime.now(UTC) - seen < timedelta(minutes=5)
    assert entero.store.jobs.last_seen(other) == before[1]
    assert entero.system.value(sql, run=run) == 1


def test_a_batch_is_alive_also_when_its_first_job_is_closed(entero: Entero) -> None:
    run, made = a_batch(entero)
    heard(entero, run, 20)
    entero.store.jobs.close_many(made[:1], JobStatus.COMPLETE)
    entero.store.jobs.sign_of_life(run)
    seen = entero.store.jobs.last_seen(run)

    assert run in entero.store.jobs.open_runs()
    assert seen
    assert datetime.now(UTC) - seen < timedelta(minutes=5)


def test_the_first_run_of_a_batch_is_silent_while_the_second_lives(entero: Entero) -> None:
    run, made = a_batch(entero)
    before, second = heard(entero, run, 20), a_run()
    entero.store.jobs.add_run_to(made, second)
    entero.store.jobs.sign_of_life(second)

    assert entero.store.jobs.last_seen(run) == before
    assert open_jobs(entero, run) == []
    assert run not in entero.store.jobs.open_runs()
