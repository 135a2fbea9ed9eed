"""The facts of ISPyB's stored procedures and grants, checked on the raw procedures.

The store builds on these facts; if our procedures lost one, the store's tests would prove little.
Source: the documented interface and rules of the procedures (`tests/mariadb/procedures.sql`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, NullPool, Row, create_engine, inspect
from sqlalchemy.exc import DBAPIError

from blocks.mx.tables import Base
from tests.mariadb.server import IspybUrls, MariaDb

pytestmark = pytest.mark.services

ACCESS_DENIED = 1142
EXECUTE_DENIED = 1370
NOT_CONVERTIBLE = 1366
TOO_LONG = 1406
TRUNCATED = 1265

NOON = datetime(2026, 7, 1, 12, 0, 0)  # noqa: DTZ001 - ISPyB keeps naive local time
AN_HOUR = timedelta(hours=1)

PROGRAM_PARAMETERS = (
    *("command_line", "programs", "status", "message", "started_at", "updated_at"),
    *("environment", "job_id", "pipeline_id", "recorded_at"),
)

SHELLS = [("overall", range(1, 20)), ("innerShell", range(21, 40)), ("outerShell", range(41, 60))]
SHELL_COLUMNS = """
    resolutionLimitLow, resolutionLimitHigh, rMerge, rMeasWithinIPlusIMinus, rMeasAllIPlusIMinus,
    rPimWithinIPlusIMinus, rPimAllIPlusIMinus, fractionalPartialBias, nTotalObservations,
    nTotalUniqueObservations, meanIOverSigI, resIOverSigI2, completeness, multiplicity, anomalous,
    anomalousCompleteness, anomalousMultiplicity, ccHalf, ccAnomalous
"""


@pytest.fixture(scope="module")
def strict_ispyb(mariadb: MariaDb) -> IspybUrls:
    return mariadb.create_ispyb("rules_strict", job_uuid=True, sql_mode=None)


@pytest.fixture(scope="module")
def lax_ispyb(mariadb: MariaDb) -> IspybUrls:
    return mariadb.create_ispyb("rules_lax", job_uuid=False, sql_mode="")


@pytest.fixture
def processing(strict_ispyb: IspybUrls) -> Iterator[Connection]:
    yield from connected(strict_ispyb.processing)


@pytest.fixture
def reader(strict_ispyb: IspybUrls) -> Iterator[Connection]:
    yield from connected(strict_ispyb.reader)


@pytest.fixture
def lax_processing(lax_ispyb: IspybUrls) -> Iterator[Connection]:
    yield from connected(lax_ispyb.processing)


@pytest.fixture
def a_collection(strict_ispyb: IspybUrls) -> int:
    """The id of a data collection; only other programs than ours write these."""
    with create_engine(strict_ispyb.admin, poolclass=NullPool).begin() as admin:
        group = admin.exec_driver_sql("INSERT INTO DataCollectionGroup () VALUES ()").lastrowid
        return admin.exec_driver_sql(
            "INSERT INTO DataCollection (dataCollectionGroupId) VALUES (%s)", (group,)
        ).lastrowid


def connected(url: str) -> Iterator[Connection]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield connection


def called(connection: Connection, procedure: str, key: int | None, *arguments: object) -> int:
    """Call a procedure whose first parameter is an id, given or to be made; return the id."""
    marks = ", ".join(["@id", *["%s"] * len(arguments)])
    connection.exec_driver_sql("SET @id = %s", (key,))
    connection.exec_driver_sql(f"CALL {procedure}({marks})", arguments)
    return connection.exec_driver_sql("SELECT @id").scalar_one()


def program(connection: Connection, key: int | None = None, **given: object) -> int:
    arguments = [given.get(name) for name in PROGRAM_PARAMETERS]
    return called(connection, "upsert_processing_program_v2", key, *arguments)


def attachment(connection: Connection, program_id: int, file_type: str) -> int:
    procedure = "upsert_processing_program_attachment_v2"
    return called(connection, procedure, None, program_id, "xia2.html", "/here", file_type, 1)


def auto_proc(connection: Connection, program_id: int, *, cell_a: float = 78.1) -> int:
    cell = (cell_a, 78.1, 37.2, 90, 90, 90)
    return called(connection, "upsert_processing", None, program_id, "P 43 21 2", *cell)


def scaling(connection: Connection, auto_proc_id: int) -> int:
    """Store three shells in which every number is another one."""
    arguments = [argument for shell, numbers in SHELLS for argument in (shell, None, *numbers)]
    return called(connection, "insert_processing_scaling_v2", None, auto_proc_id, *arguments)


def integration(connection: Connection, key: int | None, *to_image: object) -> int:
    """`to_image` is scaling, collection, program, first and last image."""
    refined = (200, 160, 170, 1, 0, 0, 0, 0, 1, 78.1, 78.1, 37.2, 90, 90, 90, 0)
    return called(connection, "upsert_processing_integration", key, *to_image, *refined)


def program_row(connection: Connection, key: int) -> Row[tuple[object, ...]]:
    return connection.exec_driver_sql(
        "SELECT processingStatus AS status, processingMessage AS message,"
        " processingStartTime AS started_at, processingEndTime AS updated_at,"
        " recordTimeStamp AS recorded_at, processingPrograms AS programs"
        " FROM AutoProcProgram WHERE autoProcProgramId = %s",
        (key,),
    ).one()


def kind_of(connection: Connection, attachment_id: int) -> str | None:
    return connection.exec_driver_sql(
        "SELECT fileType FROM AutoProcProgramAttachment WHERE autoProcProgramAttachmentId = %s",
        (attachment_id,),
    ).scalar_one()


def n_rows(connection: Connection, table: str, column: str, value: int) -> int:
    return connection.exec_driver_sql(
        f"SELECT COUNT(*) FROM {table} WHERE {column} = %s", (value,)
    ).scalar_one()


@contextmanager
def refused(number: int) -> Iterator[None]:
    """Expect that the server answers with this error."""
    with pytest.raises(DBAPIError) as raised:
        yield
    assert raised.value.orig is not None
    assert raised.value.orig.args[0] == number


def test_a_new_program_has_neither_status_nor_times_but_the_moment_of_its_record(
    processing: Connection,
) -> None:
    row = program_row(processing, program(processing, programs="xia2 dials"))

    assert (row.status, row.started_at, row.updated_at) == (None, None, None)
    assert row.recorded_at is not None


@pytest.mark.parametrize(("first", "second"), [(1, 0), (0, 1), (1, None)])
def test_the_first_status_is_the_last(
    processing: Connection, first: int, second: int | None
) -> None:
    key = program(processing)
    program(processing, key, status=first, message="first", updated_at=NOON)
    before = program_row(processing, key)
    program(processing, key, status=second, message="second", updated_at=NOON + AN_HOUR)

    assert program_row(processing, key) == before
    assert before.status == first


def test_every_update_moves_the_end_time_but_not_the_start_time(processing: Connection) -> None:
    key = program(processing)
    times = [NOON, NOON + AN_HOUR, NOON + 2 * AN_HOUR]
    rows = []
    for at in times:
        program(processing, key, started_at=at, updated_at=at)
        rows.append(program_row(processing, key))

    assert [row.updated_at for row in rows] == times
    assert [row.started_at for row in rows] == [NOON] * 3


def test_an_update_without_times_starts_the_program_now(processing: Connection) -> None:
    key = program(processing)
    program(processing, key, message="running")
    row = program_row(processing, key)

    assert row.started_at == row.updated_at
    assert row.started_at >= row.recorded_at


@pytest.mark.parametrize(("status", "expected"), [(None, (None, "scaling")), (0, (0, "killed"))])
def test_an_update_that_is_older_than_the_last_one_counts_only_with_a_status(
    processing: Connection, status: int | None, expected: tuple[int | None, str]
) -> None:
    key = program(processing)
    program(processing, key, message="scaling", updated_at=NOON)
    program(processing, key, status=status, message="killed", updated_at=NOON - AN_HOUR)

    assert program_row(processing, key)[:2] == expected


def test_an_update_keeps_what_it_does_not_give(processing: Connection) -> None:
    key = program(processing, programs="xia2 dials", message="queued")
    program(processing, key, updated_at=NOON)
    row = program_row(processing, key)

    assert (row.programs, row.message) == ("xia2 dials", "queued")


@pytest.mark.parametrize(
    ("message", "number"), [("x" * 81, TOO_LONG), ("cell \u03b1", NOT_CONVERTIBLE)]
)
def test_a_message_beyond_80_characters_or_latin1_is_an_error_in_strict_mode(
    processing: Connection, message: str, number: int
) -> None:
    key = program(processing, message="3.1 Å at 20°".ljust(80, "x"))
    with refused(number):
        program(processing, key, message=message)


def test_a_message_is_cut_and_loses_greek_letters_without_strict_mode(
    lax_processing: Connection,
) -> None:
    key = program(lax_processing)
    program(lax_processing, key, message="cell \u03b1, 3.1 Å".ljust(80, "x") + "y")

    assert program_row(lax_processing, key).message == "cell ?, 3.1 Å".ljust(80, "x")


def test_an_input_file_is_no_kind_of_attachment_in_strict_mode(processing: Connection) -> None:
    key = program(processing)

    with refused(TRUNCATED):
        attachment(processing, key, "Input")


def test_an_input_file_has_an_empty_kind_without_strict_mode(lax_processing: Connection) -> None:
    key = attachment(lax_processing, program(lax_processing), "Input")

    assert kind_of(lax_processing, key) == ""


def test_the_same_attachment_twice_is_two_rows(processing: Connection) -> None:
    key = program(processing)
    twins = [attachment(processing, key, "Graph"), attachment(processing, key, "graph")]

    assert twins[0] != twins[1]
    assert [kind_of(processing, twin) for twin in twins] == ["Graph", "Graph"]


def test_a_number_reads_back_with_six_digits(processing: Connection, reader: Connection) -> None:
    # MariaDB prints FLOAT with six digits; the stored number has more.
    key = auto_proc(processing, program(processing), cell_a=78.12345)
    processing.commit()

    assert reader.exec_driver_sql(
        "SELECT refinedCell_a, CAST(refinedCell_a AS DOUBLE) FROM AutoProc WHERE autoProcId = %s",
        (key,),
    ).one() == (78.1235, pytest.approx(78.12345, abs=2e-6))


def test_a_scaling_has_three_shells_of_numbers(processing: Connection, reader: Connection) -> None:
    key = scaling(processing, auto_proc(processing, program(processing)))

    assert reader.exec_driver_sql(
        f"SELECT scalingStatisticsType, {SHELL_COLUMNS} FROM AutoProcScalingStatistics"
        " WHERE autoProcScalingId = %s ORDER BY autoProcScalingStatisticsId",
        (key,),
    ).all() == [(shell, *numbers) for shell, numbers in SHELLS]


# Production's procedures commit too, so results cannot be stored all or nothing through them.
def test_a_scaling_commits_the_transaction_of_its_caller(
    processing: Connection, reader: Connection
) -> None:
    result = auto_proc(processing, program(processing))
    scaling(processing, result)
    processing.rollback()

    assert n_rows(reader, "AutoProcScaling", "autoProcId", result) == 1


def test_an_update_of_a_program_commits_the_transaction_of_its_caller(
    processing: Connection, reader: Connection
) -> None:
    key = program(processing)
    auto_proc(processing, key)
    program(processing, key, message="storing")
    processing.rollback()

    assert n_rows(reader, "AutoProc", "autoProcProgramId", key) == 1
    assert program_row(reader, key).message == "storing"


def test_results_without_a_scaling_can_be_rolled_back(
    processing: Connection, reader: Connection, a_collection: int
) -> None:
    key = program(processing)
    processing.commit()
    auto_proc(processing, key)
    integration(processing, None, None, a_collection, key, 1, 100)
    processing.rollback()

    assert n_rows(reader, "AutoProc", "autoProcProgramId", key) == 0
    assert n_rows(reader, "AutoProcIntegration", "autoProcProgramId", key) == 0


def test_an_integration_belongs_to_its_last_scaling_only(
    processing: Connection, reader: Connection, a_collection: int
) -> None:
    program_id = program(processing)
    result = auto_proc(processing, program_id)
    key = integration(processing, None, None, a_collection, program_id, 1, 100)
    for scaling_id in (scaling(processing, result), last := scaling(processing, result)):
        integration(processing, key, scaling_id, None, None, None, None)
    processing.commit()

    assert reader.exec_driver_sql(
        "SELECT autoProcScalingId, dataCollectionId, autoProcProgramId, endImageNumber"
        " FROM AutoProcScaling_has_Int JOIN AutoProcIntegration USING (autoProcIntegrationId)"
        " WHERE autoProcIntegrationId = %s",
        (key,),
    ).all() == [(last, a_collection, program_id, 100)]


def test_a_message_row_and_a_job_with_its_rows_can_be_written(
    processing: Connection, reader: Connection, a_collection: int
) -> None:
    job = called(processing, "upsert_processing_job", None, a_collection, "", "", "xia2-dials", 0)
    called(processing, "upsert_processing_job_parameter", None, job, "resolution.d_min", "1.8")
    called(processing, "upsert_processing_job_image_sweep", None, job, a_collection, 1, 400)
    program_id = program(processing, job_id=job)
    message = (program_id, "ERROR", "Short", "Long")
    called(processing, "upsert_processing_program_message", None, *message)
    processing.commit()

    assert n_rows(reader, "ProcessingJobParameter", "processingJobId", job) == 1
    assert n_rows(reader, "ProcessingJobImageSweep", "processingJobId", job) == 1
    assert n_rows(reader, "AutoProcProgramMessage", "autoProcProgramId", program_id) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT dataCollectionId FROM DataCollection",
        "SELECT startImage FROM ProcessingJobImageSweep",
        "SELECT autoProcId FROM AutoProc",
        "INSERT INTO AutoProc (spaceGroup) VALUES ('P 1')",
        "INSERT INTO AutoProcIntegration (dataCollectionId) VALUES (1)",
        "INSERT INTO AutoProcProgramMessage (severity) VALUES ('INFO')",
        "INSERT INTO ProcessingJobImageSweep (startImage) VALUES (1)",
        "DELETE FROM AutoProcProgram",
        "CREATE TABLE ours (id INT)",
        "ALTER TABLE AutoProcProgram ADD ours INT",
        "DROP TABLE AutoProcProgram",
    ],
)
def test_the_processing_role_is_denied(processing: Connection, statement: str) -> None:
    with refused(ACCESS_DENIED):
        processing.exec_driver_sql(statement)


def test_the_processing_role_sees_four_tables(processing: Connection) -> None:
    assert set(inspect(processing).get_table_names()) == {
        *("AutoProcProgram", "AutoProcProgramAttachment"),
        *("ProcessingJob", "ProcessingJobParameter"),
    }


def test_the_reading_role_reads_every_table(reader: Connection) -> None:
    for table in Base.metadata.tables:
        assert reader.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar_one() >= 0


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("INSERT INTO ProcessingJob (recipe) VALUES ('xia2-dials')", ACCESS_DENIED),
        ("UPDATE AutoProcProgram SET processingStatus = 1", ACCESS_DENIED),
        ("DELETE FROM AutoProc", ACCESS_DENIED),
        ("CALL upsert_processing(@id, 1, '', 1, 1, 1, 1, 1, 1)", EXECUTE_DENIED),
    ],
)
def test_the_reading_role_changes_nothing(reader: Connection, statement: str, number: int) -> None:
    with refused(number):
        reader.exec_driver_sql(statement)


def test_a_schema_has_columns_that_we_do_not_know(
    processing: Connection, lax_processing: Connection
) -> None:
    new, old = (
        {column["name"] for column in inspect(ispyb).get_columns("AutoProcProgram")}
        for ispyb in (processing, lax_processing)
    )

    assert "parentAutoProcProgramId" in new & old
    assert new - old == {"jobUuid"}
