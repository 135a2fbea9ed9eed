"""What the store promises of jobs and analyses, on SQLite and on PostgreSQL.

A promise holds for each kind of EnteroBase, also for one whose jobs are in a database of their
own. Rows are looked at past the store, by the administrator.
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from blocks.database import engine_for
from blocks.errors import DataError, InconsistentInput, NoSuchRecord
from blocks.genomics.records import JobStatus, UserJob
from tests.fakes.entero import Entero, at_once, every_kind, ids

pytestmark = every_kind

# Each row of the contract's table 1.3: what kind of job, its accession and its pipeline.
FORMS = {
    "public reads": ("SRR1,ERR0000022,DRR3", "QAssembly"),
    "user reads": ("traces-SAL_1#my reads_R1.fastq.gz#my reads_R2.fastq.gz", "QAssembly"),
    "typing scheme": ("SAL_AA0019AA_AS", "nomenclature:Salmonella_rMLST"),
    "generic scheme": ("SAL_AA0019AA_AS", "SeroPred"),
    "analysis": ("my tree:4711", "ms_tree"),
    "analysis by its id": ("4711", "snp_project"),
    "locus search": ("4711", "locus_search"),
    "with a comment": ("SAL_AA0019AA_AS", "nomenclature:Salmonella_rMLST; resent by mz;  run=1"),
    "with all that text has": (" a\tβ 'q\" %s \\n ;#,:\r\n ", "SeroPred;\u00e4 \U0001f9a0 "),
    "long": ("SRR0000001," * 3_000, "nomenclature:" + "x" * 3_000),
}


def a_job(entero: Entero, accession: str = "SRR1", pipeline: str = "QAssembly") -> UserJob:
    run = f"run-{next(ids)}"
    return entero.store.jobs.start(accession=accession, pipeline=pipeline, flow_run_id=run)


def an_old_job(entero: Entero, **columns: object) -> int:
    job_id = next(ids) * 1000
    facts = {"job_id": job_id} | columns
    names, values = ", ".join(facts), ", ".join(f":{name}" for name in facts)
    entero.system.change(f"INSERT INTO user_jobs ({names}) VALUES ({values})", **facts)
    return job_id


@contextmanager
def statements(url: str) -> Generator[list[str], None, None]:
    """Collect what the store sends to a database meanwhile, but for begin and commit."""
    engine, seen = engine_for(url), list[str]()

    def see(*event: object) -> None:
        seen.append(str(event[2]))

    event.listen(engine, "before_cursor_execute", see)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", see)


# What the site reads


@pytest.mark.parametrize(("accession", "pipeline"), FORMS.values(), ids=FORMS)
def test_a_job_is_written_and_read_letter_for_letter(
    entero: Entero, accession: str, pipeline: str
) -> None:
    job = a_job(entero, accession, pipeline)
    [row] = entero.system.rows("SELECT * FROM user_jobs WHERE job_id = :id", id=job.id)

    assert (row.accession, row.pipeline) == (accession, pipeline)
    assert (row.status, row.database, row.user_id) == ("QUEUED", "senterica", None)
    assert entero.store.jobs.job(job.id) == job
    assert (job.accession, job.pipeline) == (accession, pipeline)


def test_the_id_of_a_job_is_a_whole_number_that_counts_up(entero: Entero) -> None:
    first, second = a_job(entero), a_job(entero)
    kind = "pg_typeof(job_id)" if entero.is_postgres else "typeof(job_id)"
    sql = f"SELECT {kind} FROM user_jobs WHERE job_id = :id"

    assert second.id > first.id > 0
    assert str(entero.system.value(sql, id=first.id)) == "integer"


def test_a_job_says_when_it_was_sent_in_utc_and_who_asked(entero: Entero) -> None:
    run = f"run-{next(ids)}"
    job = entero.store.jobs.start(accession="1", pipeline="x", flow_run_id=run, user_id=55)
    assert job.sent

    assert abs(datetime.now(UTC).replace(tzinfo=None) - job.sent) < timedelta(minutes=5)
    assert entero.store.jobs.job(job.id).user_id == 55


@pytest.mark.parametrize("status", ["WAIT RESUME", "killed ½", "", "x" * 1_000])
def test_a_status_that_others_wrote_is_read_whatever_it_is(entero: Entero, status: str) -> None:
    job_id = an_old_job(entero, status=status)

    assert entero.store.jobs.job(job_id).status == status


def test_an_old_job_that_says_nothing_is_read(entero: Entero) -> None:
    job = entero.store.jobs.job(an_old_job(entero))

    assert (job.accession, job.pipeline, job.status, job.database) == ("", "", "", "")
    assert (job.sent, job.user_id, job.output_location, job.version) == (None,) * 4


def test_what_became_of_a_job_is_written_and_what_is_known_stays(entero: Entero) -> None:
    job = a_job(entero)
    version = "SPAdes 4.2.0; minimap2 2.28; samtools 1.21; " * 3
    entero.store.jobs.close(job.id, JobStatus.COMPLETE, output_location="/s/7", version=version)
    entero.store.jobs.close(job.id, JobStatus.FAILED)
    [row] = entero.system.rows("SELECT * FROM user_jobs WHERE job_id = :id", id=job.id)

    assert (row.status, row.output_location, row.version) == ("FAILED", "/s/7", version)


def test_what_is_not_there_is_named(entero: Entero) -> None:
    jobs = entero.store.jobs
    asked = (
        lambda: jobs.job(999_999_999),
        lambda: jobs.close(999_999_999, JobStatus.FAILED),
        lambda: jobs.add_run(999_999_999, "run"),
        lambda: jobs.analysis(999_999_999),
        lambda: jobs.update_analysis(999_999_999, {}),
    )
    for ask in asked:
        with pytest.raises(NoSuchRecord, match=r"there is no (job|analysis) 999999999 in user_"):
            ask()
    with pytest.raises(NoSuchRecord, match="no job was worked on by flow run nobody"):
        jobs.of_run("nobody")
    assert entero.system.count("job_runs", flow_run_id="run") == 0


@pytest.mark.parametrize("job_id", [0, -1, 2**31, 2**63, 10**30])
def test_a_number_that_no_job_can_have_is_an_answer_and_no_crash(
    entero: Entero, job_id: int
) -> None:
    with pytest.raises(DataError):
        entero.store.jobs.job(job_id)


# Flow runs


def test_a_run_that_is_started_twice_has_one_job(entero: Entero) -> None:
    run = f"run-{next(ids)}"
    first = entero.store.jobs.start(accession="SRR1", pipeline="QAssembly", flow_run_id=run)
    entero.store.jobs.close(first.id, JobStatus.RUNNING)
    again = entero.store.jobs.start(accession="SRR1", pipeline="QAssembly", flow_run_id=run)

    assert (again.id, again.status) == (first.id, "RUNNING")
    assert entero.system.count("job_runs", flow_run_id=run) == 1


def test_a_run_that_is_started_twice_at_once_has_one_job(entero: Entero) -> None:
    accession = f"SRR{next(ids)}"

    def start(run: str) -> int:
        jobs = entero.store.jobs
        return jobs.start(accession=accession, pipeline="x", flow_run_id=run).id

    runs = [f"run-{next(ids)}" for _ in range(5)]
    found = [at_once([lambda run=run: start(run)] * 5) for run in runs]

    assert [len(set(jobs)) for jobs in found] == [1] * 5
    assert entero.system.count("user_jobs", accession=accession) == 5


def test_each_run_has_a_job_of_its_own(entero: Entero) -> None:
    assert a_job(entero, "SRR1").id != a_job(entero, "SRR1").id


def test_the_job_of_a_run_and_the_runs_of_a_job_are_one_question_each(entero: Entero) -> None:
    job = a_job(entero)
    [first] = entero.store.jobs.runs(job.id)
    entero.store.jobs.add_run(job.id, "run-after-a-crash")
    with statements(entero.system.url) as asked:
        found = entero.store.jobs.of_run(first)
        of_run = len(asked)
        runs = entero.store.jobs.runs(job.id)

    assert (found, runs) == (job, [first, "run-after-a-crash"])
    assert (of_run, len(asked) - of_run) == (1, 1), asked
    entero.system.change("DELETE FROM job_runs WHERE flow_run_id = 'run-after-a-crash'")


def test_a_run_works_on_one_job(entero: Entero) -> None:
    mine, other = a_job(entero), a_job(entero)
    [run] = entero.store.jobs.runs(mine.id)
    entero.store.jobs.add_run(mine.id, run)

    with pytest.raises(InconsistentInput, match=f"works on job {mine.id}, not on {other.id}"):
        entero.store.jobs.add_run(other.id, run)
    assert entero.store.jobs.runs(mine.id) == [run]


# Analyses: user_preferences


def stored(entero: Entero, analysis_id: int) -> str:
    return entero.system.value("SELECT data FROM user_preferences WHERE id = :id", id=analysis_id)


def an_old_analysis(entero: Entero, data: str | None) -> int:
    analysis_id = next(ids) * 1000
    entero.system.change(
        "INSERT INTO user_preferences (id, data) VALUES (:id, :data)", id=analysis_id, data=data
    )
    return analysis_id


def test_an_analysis_is_a_row_that_the_site_lists(entero: Entero) -> None:
    data = {"complete": "true", "job_id": 77, "parameters": {"ß": None}}
    analysis_id = entero.store.jobs.add_analysis("locus_search", "my 'search' ½", data, user_id=5)
    sql = "SELECT type, name, database, user_id FROM user_preferences WHERE id = :id"

    assert entero.system.rows(sql, id=analysis_id) == [
        ("locus_search", "my 'search' ½", "senterica", 5)
    ]
    assert json.loads(stored(entero, analysis_id)) == data
    assert entero.store.jobs.analysis(analysis_id) == data


def test_the_texts_true_and_unknown_keys_of_an_old_analysis_stay(entero: Entero) -> None:
    old = {"complete": "true", "failed": "false", "ref_mapper_matrix": "queued", "x": [1, None]}
    analysis_id = an_old_analysis(entero, json.dumps(old | {"job_id": 7, "parent": None}))
    changes = {"failed": "true", "job_id": None, "ref_mapper_matrix_id": 9, "absent": None}
    entero.store.jobs.update_analysis(analysis_id, changes)

    expected = old | {"failed": "true", "ref_mapper_matrix_id": 9, "parent": None}
    assert json.loads(stored(entero, analysis_id)) == expected
    assert entero.store.jobs.analysis(analysis_id) == expected


def test_an_old_analysis_that_was_encoded_twice_is_encoded_once_when_it_changes(
    entero: Entero,
) -> None:
    analysis_id = an_old_analysis(entero, json.dumps(json.dumps({"ref_masker": "not_sent"})))
    read = entero.store.jobs.analysis(analysis_id)
    entero.store.jobs.update_analysis(analysis_id, {"ref_masker": "queued"})

    assert read == {"ref_masker": "not_sent"}
    assert json.loads(stored(entero, analysis_id)) == {"ref_masker": "queued"}


@pytest.mark.parametrize("data", [None, "", "null", "{}"])
def test_an_old_analysis_without_data_is_empty(entero: Entero, data: str | None) -> None:
    assert entero.store.jobs.analysis(an_old_analysis(entero, data)) == {}


def test_damaged_data_of_an_analysis_is_refused_and_stays(entero: Entero) -> None:
    analysis_id = an_old_analysis(entero, "{'complete': True}")

    with pytest.raises(InconsistentInput, match=f"user_preferences {analysis_id} holds no JSON"):
        entero.store.jobs.update_analysis(analysis_id, {"complete": "true"})
    assert stored(entero, analysis_id) == "{'complete': True}"


def test_two_that_change_an_analysis_at_once_both_change_it(entero: Entero) -> None:
    analysis_id = an_old_analysis(entero, "{}")
    keys = [f"step_{number}" for number in range(8)]

    def change(key: str) -> None:
        entero.store.jobs.update_analysis(analysis_id, {key: "complete"})

    at_once([lambda key=key: change(key) for key in keys])

    assert set(entero.store.jobs.analysis(analysis_id)) == set(keys)


# What a column cannot hold


@pytest.mark.parametrize("accession", ["half a pair \ud83d", "reads\0.fastq"])
def test_a_text_that_no_column_holds_is_refused_or_kept_but_never_changed(
    entero: Entero, accession: str
) -> None:
    before, kept, refusal = entero.system.count("user_jobs"), "", ""
    try:
        kept = entero.store.jobs.job(a_job(entero, accession).id).accession
    except InconsistentInput as error:
        refusal = str(error)
    added = entero.system.count("user_jobs") - before

    assert (kept == accession, added) == ((False, 0) if refusal else (True, 1))
    assert not refusal or "the database cannot hold a value" in refusal
