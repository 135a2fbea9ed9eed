"""What the store promises of jobs and attempts, on SQLite and on MariaDB.

A promise holds for each kind of ISPyB: one of our own on SQLite, and a facility's under the roles
that production has, in strict mode with `jobUuid`, and with the empty sql_mode of SynchWeb's
database and an older schema. Rows are counted past the store, by the administrator. What it
promises of results is in `test_store_results.py`.
"""

import contextlib
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest

from blocks.errors import InconsistentInput, InvalidRequest, NoSuchRecord
from blocks.mx.records import AttemptState
from tests.fakes.builders import A_GUID, a_collection, a_registration, a_request
from tests.fakes.ispyb import Ispyb, ids, only_facilities, only_ours, sqlite_ispyb

SUCCEEDED, FAILED, RUNNING = AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.RUNNING
PLACEHOLDERS_OF = (
    "SELECT dataCollectionId AS collection, startImageNumber AS first, cell_a"
    " FROM AutoProcIntegration WHERE autoProcProgramId = :program"
)


# Jobs


def test_a_job_comes_back_as_it_was_created(ispyb: Ispyb) -> None:
    collection = ispyb.a_measured_collection()
    parameters = (("d_min", "1.8"), ("spacegroup", "P 21 21 2"), ("d_min", "2 Å; $(ls)"), ("a", ""))
    request = a_request(collection, ranges=((801, 1200), (1, 400)), parameters=parameters)
    job = ispyb.store.job(ispyb.store.create_job(request))

    assert [(s.start_image, s.end_image) for s in job.sweeps] == [(801, 1200), (1, 400)]
    assert job.parameters == request.parameters
    assert (job.collection, *(sweep.collection for sweep in job.sweeps)) == (collection,) * 3
    assert (job.recipe, job.display_name, job.automatic) == ("xia2-dials", "thaumatin again", False)


def test_a_job_may_use_several_collections_and_its_first_is_the_primary_one(ispyb: Ispyb) -> None:
    later, earlier = ispyb.a_measured_collection(), ispyb.a_measured_collection()
    job = ispyb.store.job(ispyb.store.create_job(a_request(earlier, later, ranges=((1, 9),))))

    assert job.collection == earlier
    assert [sweep.collection for sweep in job.sweeps] == [earlier, later]


def test_the_proposal_of_a_collection_is_that_of_its_session(ispyb: Ispyb) -> None:
    one, same, other = (
        ispyb.a_measured_collection(image_directory=f"/dls/i03/data/2018/{visit}/x/")
        for visit in ("cm19644-1", "cm19644-2", "mx23694-1")
    )
    found = ispyb.store.data_collections([one.id, same.id, other.id])

    assert [collection.proposal for collection in found] == ["cm19644", "cm19644", "mx23694"]


def test_a_job_on_a_missing_collection_is_refused_and_nothing_is_written(ispyb: Ispyb) -> None:
    known, missing = ispyb.a_measured_collection(), next(ids)
    jobs_before = ispyb.count("ProcessingJob")
    request = a_request(known, a_collection(id=missing), data_collections=())

    with pytest.raises(InvalidRequest, match=f"data collection {missing} is not in this ISPyB"):
        ispyb.store.create_job(request)
    assert ispyb.count("ProcessingJob") == jobs_before


@only_ours
def test_a_collection_that_is_described_is_made_where_the_database_is_ours(ispyb: Ispyb) -> None:
    described = a_collection(id=next(ids))
    ispyb.store.create_job(a_request(described))

    assert ispyb.store.data_collections([described.id]) == [described]


@only_facilities
def test_a_facility_has_its_collections_and_gets_none_from_us(ispyb: Ispyb) -> None:
    described = a_collection(id=next(ids))

    with pytest.raises(InvalidRequest, match=f"data collection {described.id} is not in this"):
        ispyb.store.create_job(a_request(described))
    assert ispyb.count("DataCollection", dataCollectionId=described.id) == 0


@pytest.mark.parametrize(
    "otherwise",
    [
        {"image_directory": "/dls/elsewhere/"},
        {"file_template": "other_####.cbf"},
        {"start_image": 2},
        {"n_images": 1199},
    ],
)
def test_a_collection_that_is_described_otherwise_is_refused(
    ispyb: Ispyb, otherwise: dict[str, object]
) -> None:
    there = ispyb.a_measured_collection()
    before = ispyb.count("ProcessingJob")

    with pytest.raises(InvalidRequest, match=f"collection {there.id} is in ISPyB with other image"):
        ispyb.store.create_job(a_request(there.model_copy(update=otherwise)))
    assert ispyb.count("ProcessingJob") == before


def test_a_description_may_leave_out_the_last_slash_and_the_names(ispyb: Ispyb) -> None:
    there = ispyb.a_measured_collection(image_directory="/dls/i03/a/")
    told = {"image_directory": "/dls/i03/a", "image_prefix": "", "proposal": ""}
    job_id = ispyb.store.create_job(a_request(there.model_copy(update=told)))

    assert ispyb.store.job(job_id).collection == ispyb.store.data_collections([there.id])[0]


def test_a_parameter_that_a_column_cannot_hold_is_refused_or_kept_but_never_changed(
    ispyb: Ispyb,
) -> None:
    request = a_request(ispyb.a_measured_collection(), parameters=(("crystal", "α-lactalbumin"),))
    kept = request.parameters
    with contextlib.suppress(InvalidRequest):
        kept = ispyb.store.job(ispyb.store.create_job(request)).parameters

    assert kept == request.parameters


@pytest.mark.parametrize("column", ["imageDirectory", "fileTemplate", "numberOfImages"])
def test_a_collection_without_what_processing_needs_is_named(ispyb: Ispyb, column: str) -> None:
    job = ispyb.a_job()
    collection = job.collection.id
    ispyb.change(
        f"UPDATE DataCollection SET {column} = NULL WHERE dataCollectionId = :id", id=collection
    )

    with pytest.raises(InconsistentInput, match=rf"^data collection {collection}: \w+ is None"):
        ispyb.store.job(job.id)
    assert ispyb.store.job_header(job.id).collection_id == collection


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("startImage", ": start_image is None"),
        ("endImage", ": end_image is None"),
        ("dataCollectionId", " names data collection None, which does not exist"),
    ],
)
def test_a_sweep_without_what_processing_needs_is_named(
    ispyb: Ispyb, column: str, reason: str
) -> None:
    job = ispyb.a_job()
    sweep = job.sweeps[1].id
    table = "ProcessingJobImageSweep"
    ispyb.change(f"UPDATE {table} SET {column} = NULL WHERE {table}Id = :id", id=sweep)

    with pytest.raises(InconsistentInput, match=f"^sweep {sweep}{reason}"):
        ispyb.store.job(job.id)


def test_a_job_without_sweeps_or_collection_is_told_apart_from_no_job(ispyb: Ispyb) -> None:
    ispyb.change("INSERT INTO ProcessingJob (recipe) VALUES ('dials')")
    empty = ispyb.store.job_ids()[0]

    assert ispyb.store.job_header(empty).recipe == "dials"
    with pytest.raises(InconsistentInput, match=f"processing job {empty} names no data collection"):
        ispyb.store.job(empty)
    for read in (ispyb.store.job, ispyb.store.job_header):
        with pytest.raises(NoSuchRecord, match="there is no processing job 999999"):
            read(999_999)


def test_columns_that_we_do_not_know_do_no_harm(ispyb: Ispyb) -> None:
    assert "someNewColumn" in ispyb.columns("ProcessingJob") & ispyb.columns("DataCollection")
    assert "parentAutoProcProgramId" in ispyb.columns("AutoProcProgram")
    assert ispyb.store.attempts(ispyb.a_job().id) == []


# Attempts


def test_a_registered_attempt_is_what_synchweb_shows_as_waiting(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    row = ispyb.program(ispyb.an_attempt(job, environment="guid=a-b-c, flow_run=boar"))

    assert (row.programs, row.pipeline, row.job) == ("xia2 dials", 6, job.id)
    assert (row.status, row.started, row.ended, row.message) == (None, None, None, None)
    assert (row.environment, row.command_line) == (
        "guid=a-b-c, flow_run=boar",
        "xia2 pipeline=dials min_images=3",
    )
    assert row.recorded is not None


def test_a_placeholder_integration_makes_a_failure_visible(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    attempt = ispyb.an_attempt(job)
    placeholders = ispyb.rows(PLACEHOLDERS_OF, program=attempt)

    assert [(row.collection, row.first, row.cell_a) for row in placeholders] == [
        (job.collection.id, None, None)
    ]
    assert ispyb.store.integrations(attempt) == [(job.collection.id, None)]


def test_an_attempt_that_is_registered_twice_is_one_row_with_one_placeholder(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    once = a_registration(job.id, job.collection.id)
    again = once.model_copy(update={"environment": f"guid={A_GUID}, flow_run=another"})

    assert ispyb.store.register(once) == ispyb.store.register(again)
    assert [attempt.guid for attempt in ispyb.store.attempts(job.id)] == [A_GUID]
    assert len(ispyb.rows(PLACEHOLDERS_OF, program=ispyb.store.attempts(job.id)[0].id)) == 1


def test_a_second_attempt_at_a_job_is_a_row_of_its_own(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    attempts = [ispyb.an_attempt(job), ispyb.an_attempt(job)]

    assert [attempt.id for attempt in ispyb.store.attempts(job.id)] == attempts
    assert attempts[0] < attempts[1]


def test_a_placeholder_that_was_lost_is_made_by_the_next_registration(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    registration = a_registration(job.id, job.collection.id)
    attempt = ispyb.store.register(registration)
    ispyb.change("DELETE FROM AutoProcIntegration WHERE autoProcProgramId = :id", id=attempt)
    ispyb.store.register(registration)

    assert ispyb.count("AutoProcIntegration", autoProcProgramId=attempt) == 1


def test_a_long_command_line_is_cut_to_its_column(ispyb: Ispyb) -> None:
    long = "xia2 pipeline=dials " + " ".join(f"image=/dls/{n}_0001.cbf:1:9" for n in range(20))
    attempt = ispyb.an_attempt(command_line=long, environment=f"guid=long-{next(ids)}, {'k' * 300}")
    kept = ispyb.program(attempt)

    assert kept.command_line.startswith("xia2 pipeline=dials image=/dls/0_0001.cbf:1:9")
    assert len(kept.command_line) in range(200, 256)
    assert len(kept.environment) in range(200, 256)


@only_facilities
def test_the_job_uuid_is_written_where_the_schema_has_it(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    attempt = ispyb.store.register(a_registration(job.id, None))
    columns = {"jobUuid"} & ispyb.columns("AutoProcProgram")
    select = ", ".join(["processingJobId", *columns])
    where = "FROM AutoProcProgram WHERE autoProcProgramId = :id"

    assert ispyb.rows(f"SELECT {select} {where}", id=attempt) == [
        (job.id, *(UUID(A_GUID).bytes for _ in columns))
    ]


def test_the_job_uuid_is_written_on_sqlite_too(tmp_path: Path) -> None:
    ispyb = sqlite_ispyb(tmp_path, job_uuid=True)
    ispyb.store.register(a_registration(ispyb.a_job().id, None))

    assert ispyb.rows("SELECT jobUuid FROM AutoProcProgram") == [(UUID(A_GUID).bytes,)]


def backdate(ispyb: Ispyb, attempt: int, ended: str = "2020-01-01 12:00:00") -> None:
    """Let an attempt have started at the beginning of 2020, and been heard of at `ended`."""
    ispyb.change(
        "UPDATE AutoProcProgram SET processingStartTime = '2020-01-01 10:00:00',"
        " processingEndTime = :ended WHERE autoProcProgramId = :id",
        ended=ended,
        id=attempt,
    )


def times(ispyb: Ispyb, attempt: int) -> list[str]:
    """Return start and end as the year and hour that the database has, as text."""
    row = ispyb.program(attempt)
    return [str(moment)[:13] for moment in (row.started, row.ended)]


def test_the_first_progress_sets_the_start_time(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    ispyb.store.report_progress(attempt, "Spotfinding SWEEP1 (1 %)")
    shown = ispyb.store.attempt(attempt)

    assert (shown.state, shown.message) == (RUNNING, "Spotfinding SWEEP1 (1 %)")
    assert shown.started_at is not None
    assert shown.updated_at is not None
    assert (shown.started_at.tzname(), shown.updated_at.tzname()) == ("UTC", "UTC")


def test_every_progress_moves_the_end_time_but_not_the_start_time(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    backdate(ispyb, attempt)
    ispyb.store.report_progress(attempt, "Scaling DEFAULT")
    started, ended = times(ispyb, attempt)

    assert started == "2020-01-01 10"
    assert ended > "2020-01-01 12"


def test_progress_without_a_message_keeps_the_last_one(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    ispyb.store.report_progress(attempt, "Scaling DEFAULT", command_line="xia2 nproc=2")
    ispyb.store.report_progress(attempt, None)
    shown = ispyb.store.attempt(attempt)

    assert (shown.message, shown.command_line) == ("Scaling DEFAULT", "xia2 nproc=2")
    assert (shown.program, shown.environment_value("flow_run")) == ("xia2 dials", "scarlet-boar")


def test_progress_that_is_older_than_the_last_one_is_ignored(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    backdate(ispyb, attempt, ended="2037-01-01 12:00:00")
    ispyb.store.report_progress(attempt, "from the past")

    assert times(ispyb, attempt) == ["2020-01-01 10", "2037-01-01 12"]
    assert ispyb.store.attempt(attempt).message == ""


def test_an_end_is_never_too_old_to_count(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    backdate(ispyb, attempt, ended="2037-01-01 12:00:00")

    assert ispyb.store.close(attempt, FAILED, "killed") is FAILED
    assert times(ispyb, attempt)[1] < "2037"


@pytest.mark.parametrize(("state", "status"), [(SUCCEEDED, 1), (FAILED, 0)])
def test_a_closed_attempt_has_its_status_times_and_reason(
    ispyb: Ispyb, state: AttemptState, status: int
) -> None:
    attempt = ispyb.an_attempt()
    closed = ispyb.store.close(attempt, state, "this is why")
    row = ispyb.program(attempt)

    assert (closed, row.status, row.message) == (state, status, "this is why")
    assert datetime.fromisoformat(str(row.started)) <= datetime.fromisoformat(str(row.ended))


@pytest.mark.parametrize(("first", "second"), [(SUCCEEDED, FAILED), (FAILED, SUCCEEDED)])
def test_the_first_final_status_stands(
    ispyb: Ispyb, first: AttemptState, second: AttemptState
) -> None:
    attempt = ispyb.an_attempt()
    ispyb.store.close(attempt, first, "first")
    backdate(ispyb, attempt)
    before = ispyb.program(attempt)

    assert ispyb.store.close(attempt, second, "second") is first
    assert ispyb.program(attempt) == before


def test_a_closed_attempt_does_not_run_again(ispyb: Ispyb) -> None:
    attempt = ispyb.an_attempt()
    ispyb.store.close(attempt, SUCCEEDED, "done")
    backdate(ispyb, attempt)
    before = ispyb.program(attempt)
    ispyb.store.report_progress(attempt, "starting", command_line="xia2 again")

    assert ispyb.program(attempt) == before


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("timed out after 6 h", "timed out after 6 h"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 77 + "..."),
        ("two\nlines \t and  more\n", "two lines and more"),
        ("so " * 30, "so " * 24 + "so..."),
        ("90° at 1.8 Å", "90° at 1.8 Å"),
        ("α = 90°, β 🔬", "? = 90°, ? ?"),
    ],
)
def test_a_message_is_one_line_of_80_characters_in_latin1(
    ispyb: Ispyb, message: str, kept: str
) -> None:
    running, closed = ispyb.an_attempt(), ispyb.an_attempt()
    ispyb.store.report_progress(running, message)
    ispyb.store.close(closed, FAILED, message)

    assert [ispyb.store.attempt(one).message for one in (running, closed)] == [kept, kept]


def test_open_attempts_are_ours_and_not_closed(ispyb: Ispyb) -> None:
    job = ispyb.a_job()
    waiting, running, closed = (ispyb.an_attempt(job) for _ in range(3))
    ispyb.an_attempt(job, environment="d_min=1.8, guid=of zocalo")
    ispyb.store.report_progress(running, "running")
    ispyb.store.close(closed, FAILED, "failed")
    of_job = [attempt.id for attempt in ispyb.store.open_attempts() if attempt.job_id == job.id]

    assert of_job == [waiting, running]
    assert len(ispyb.store.attempts(job.id)) == 4


def test_an_attempt_that_does_not_exist_is_told(ispyb: Ispyb) -> None:
    for ask in (ispyb.store.attempt, lambda one: ispyb.store.close(one, FAILED, "gone")):
        with pytest.raises(NoSuchRecord, match="there is no AutoProcProgram 999999"):
            ask(999_999)
