"""The main job on a facility's MariaDB, under the two roles that production grants."""

import asyncio
from collections.abc import Callable

import pytest

from blocks.errors import ProgramFailed
from blocks.mx.records import AttemptState
from blocks.mx.store import open_store
from tests.fakes.builders import a_request
from tests.flows.beamtimes import Beamtime
from tests.mariadb.server import MariaDb

pytestmark = pytest.mark.services
ABeamtime = Callable[..., Beamtime]


@pytest.fixture
def facility(a_beamtime: ABeamtime, mariadb: MariaDb) -> Callable[..., Beamtime]:
    """Make a beamtime whose ISPyB is the facility's: read with one role, write with the other."""

    def make(name: str, deed: str, *, job_uuid: bool) -> Beamtime:
        from pydantic import SecretStr  # noqa: PLC0415

        from blocks.connections import IspybDatabase  # noqa: PLC0415 - loads Prefect

        beamtime = a_beamtime(deed)
        urls = mariadb.create_ispyb(name, job_uuid=job_uuid, sql_mode=None if job_uuid else "")
        block = IspybDatabase(
            url=SecretStr(urls.reader),
            processing_url=SecretStr(urls.processing),
            visit_depth=len(beamtime.visit.parts),
        )
        asyncio.run(block.asave(beamtime.names["ispyb"], overwrite=True))
        beamtime.store = open_store(urls.admin, ours=True)
        return beamtime

    return make


@pytest.mark.parametrize("job_uuid", [True, False])
def test_a_job_is_done_with_no_more_rights_than_production_grants(
    facility: Callable[..., Beamtime], *, job_uuid: bool
) -> None:
    beamtime = facility(f"facility_{job_uuid}", "good", job_uuid=job_uuid)
    job_id = beamtime.store.create_job(a_request(beamtime.collection(), ranges=((1, 10), (11, 20))))
    outcome = beamtime.run(job_id)

    attempt = beamtime.attempt(job_id)
    assert (attempt.state, attempt.message) == (AttemptState.SUCCEEDED, "processing successful")
    found = beamtime.store.solution(outcome.program_id)
    assert found is not None
    assert found.overall.r_merge == pytest.approx(0.038816, rel=1e-4)
    assert len(beamtime.store.integrations(outcome.program_id)) == 2


def test_a_failure_is_shown_with_xia2s_reason_there_too(facility: Callable[..., Beamtime]) -> None:
    beamtime = facility("facility_failure", "fail_bad_sg", job_uuid=True)
    job_id = beamtime.store.create_job(a_request(beamtime.collection(), ranges=((1, 10),)))
    with pytest.raises(ProgramFailed):
        beamtime.run(job_id)

    reason = "cctbx Error: Space group symbol not recognized: Pbanana"
    assert beamtime.attempt(job_id).message == reason
    assert len(beamtime.store.attachments(1)) >= 1
