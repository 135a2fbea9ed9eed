"""When a run was last seen alive, and which runs have something open, on both databases."""

from datetime import UTC, datetime, timedelta

from blocks.genomics.records import Fate, JobStatus
from tests.fakes.entero import Entero, calls_of, every_kind, ids

pytestmark = every_kind


def a_run(entero: Entero, *, database: str = "senterica") -> tuple[int, str]:
    """Begin a job; return it and its flow run."""
    run = f"run-{next(ids)}"
    job = entero.store.jobs.start(accession="SRR1", pipeline="QAssembly", flow_run_id=run)
    entero.system.change(
        "UPDATE user_jobs SET database = :name WHERE job_id = :id", name=database, id=job.id
    )
    return job.id, run


def silent(entero: Entero, run: str, minutes: int) -> datetime:
    """Let a run be silent for so long; return when it was heard last."""
    heard = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=minutes)
    sql = "UPDATE job_runs SET started = :heard, seen = NULL WHERE flow_run_id = :run"
    entero.system.change(sql, heard=heard, run=run)
    return heard.replace(tzinfo=UTC)


def test_a_run_that_gave_no_sign_yet_was_seen_when_it_began(entero: Entero) -> None:
    _, run = a_run(entero)
    heard = silent(entero, run, 20)

    assert entero.store.jobs.last_seen(run) == heard


def test_a_sign_of_life_is_now_and_of_this_run_alone(entero: Entero) -> None:
    (_, run), (_, other) = a_run(entero), a_run(entero)
    before = silent(entero, run, 20), silent(entero, other, 20)
    entero.store.jobs.sign_of_life(run)
    seen = entero.store.jobs.last_seen(run)

    assert seen
    assert timedelta(minutes=-5) < datetime.now(UTC) - seen < timedelta(minutes=5)
    assert entero.store.jobs.last_seen(other) == before[1]


def test_a_run_that_works_on_no_job_yet_gives_its_sign_in_vain(entero: Entero) -> None:
    entero.store.jobs.sign_of_life("nobody")

    assert entero.store.jobs.last_seen("nobody") is None


def test_jobs_that_are_queued_or_running_have_an_open_run(entero: Entero) -> None:
    (_, queued), (job, running), *closed = (a_run(entero) for _ in range(4))
    entero.store.jobs.close(job, JobStatus.RUNNING)
    for status, (job, _) in zip((JobStatus.COMPLETE, JobStatus.FAILED), closed, strict=True):
        entero.store.jobs.close(job, status)
    found = entero.store.jobs.open_runs()

    assert {queued, running} <= set(found)
    assert not {run for _, run in closed} & set(found)


def test_of_several_runs_of_a_job_the_last_one_counts(entero: Entero) -> None:
    job, first = a_run(entero)
    silent(entero, first, 5)
    last = f"run-{next(ids)}"
    entero.store.jobs.add_run(job, last)
    found = entero.store.jobs.open_runs()

    assert (first in found, last in found) == (False, True)


def test_jobs_of_another_species_or_another_system_are_not_ours(entero: Entero) -> None:
    _, of_others = a_run(entero, database="ecoli")
    before = set(entero.store.jobs.open_runs())
    entero.system.change(
        "INSERT INTO user_jobs (job_id, status, database) VALUES (:id, 'QUEUED', 'senterica')",
        id=next(ids) * 1000,
    )

    assert of_others not in before
    assert set(entero.store.jobs.open_runs()) == before


def test_a_call_is_open_until_its_run_has_closed_it(entero: Entero) -> None:
    calls = entero.store.calls
    held, done, failed = entero.given(), entero.given(), entero.given()
    calls.store_typing(done, calls_of(1, 1, 1))
    calls.fail(failed, Fate.BUG, "x")
    found = set(calls.open_runs())

    assert held.flow_run_id in found
    assert not {done.flow_run_id, failed.flow_run_id} & found
    has = [calls.completed_jobs(claim.flow_run_id) for claim in (held, done, failed)]
    assert has == [set(), {done.job_id}, set()]
