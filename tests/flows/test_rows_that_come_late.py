"""SynchWeb may send its message before the sweeps are written; nothing else is ever processed."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from blocks.errors import InconsistentInput
from blocks.mx.records import AttemptState
from tests.fakes.programs import starts
from tests.flows.beamtimes import Beamtime

ABeamtime = Callable[..., Beamtime]


def change(beamtime: Beamtime, sql: str, **values: object) -> None:
    with create_engine(beamtime.url).begin() as connection:
        connection.execute(text(sql), values)


def without_sweeps(beamtime: Beamtime) -> int:
    job_id = beamtime.job()
    change(beamtime, "DELETE FROM ProcessingJobImageSweep WHERE processingJobId = :j", j=job_id)
    return job_id


def test_a_job_without_sweeps_fails_visibly_after_the_wait(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    beamtime.job()
    job_id = without_sweeps(beamtime)
    with pytest.raises(InconsistentInput, match="no image sweeps after 1 s"):
        beamtime.run(job_id, wait_for_rows_s=1.0)

    assert beamtime.attempt(job_id).state is AttemptState.FAILED
    assert starts(beamtime.programs) == []


def test_sweeps_that_arrive_during_the_wait_are_exactly_what_is_processed(
    a_beamtime: ABeamtime,
) -> None:
    beamtime = a_beamtime("good")
    job_id = without_sweeps(beamtime)
    insert = (
        "INSERT INTO ProcessingJobImageSweep (processingJobId, dataCollectionId, startImage,"
        " endImage) SELECT processingJobId, dataCollectionId, 3, 9 FROM ProcessingJob"
        " WHERE processingJobId = :j"
    )
    threading.Timer(1.5, change, (beamtime, insert), {"j": job_id}).start()
    beamtime.run(job_id, wait_for_rows_s=30.0)

    (_, *argv) = starts(beamtime.programs)[0]
    images = [Path(one).name for one in argv if one.startswith("image=")]
    assert images == ["thau_1_0003.cbf:3:9"]


def test_images_that_appear_during_the_wait_are_enough(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    collection = beamtime.collection()
    late = Path(collection.image_directory) / "thau_1_0020.cbf"
    late.unlink()
    job_id = beamtime.job(collection)
    threading.Timer(2.5, late.touch).start()
    beamtime.run(job_id, wait_for_rows_s=30.0)

    assert beamtime.attempt(job_id).state is AttemptState.SUCCEEDED


@pytest.mark.parametrize("column", ["imageDirectory", "fileTemplate", "numberOfImages"])
def test_a_row_that_lacks_what_is_needed_is_a_failure_with_its_name(
    a_beamtime: ABeamtime, column: str
) -> None:
    beamtime = a_beamtime("good")
    job_id = beamtime.job()
    change(beamtime, f"UPDATE DataCollection SET {column} = NULL")
    with pytest.raises(InconsistentInput):
        beamtime.run(job_id)

    attempt = beamtime.attempt(job_id)
    assert attempt.state is AttemptState.FAILED
    assert attempt.message.startswith("data collection ")
