"""One job as DIALS steps, on stand-ins that replay a recorded run of the real programs."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import InvalidRequest, ProgramFailed
from blocks.mx.records import AttemptState
from deployments import replay
from deployments.demo import job_request
from tests.fakes.programs import script
from tests.flows.beamtimes import Beamtime

ABeamtime = Callable[..., Beamtime]


@pytest.fixture
def dials(a_beamtime: ABeamtime) -> Beamtime:
    """A beamtime with the demo's images (empty: the stand-ins look at their names only)."""
    beamtime = a_beamtime()
    replay.install(beamtime.programs)
    images = beamtime.visit / "demo"
    images.mkdir(parents=True)
    for number in (*range(1, 41), *range(81, 121)):
        (images / f"xtal_1_{number:04d}.cbf").touch()
    return beamtime


def the_job(beamtime: Beamtime, **changes: object) -> int:
    request = job_request(beamtime.visit / "demo")
    return beamtime.store.create_job(request.model_copy(update=changes))


def break_once(beamtime: Beamtime, program: str) -> None:
    """Make a stand-in fail at its first start as DIALS does, and then do its work."""
    real = beamtime.programs / program
    real.rename(real.with_name(f"{program}-real"))
    script(
        real,
        f"#!/bin/sh\nif [ ! -e {real}-broke ]; then touch {real}-broke;"
        f" echo 'Sorry: no luck today'; exit 1; fi\nexec {real}-real \"$@\"\n",
    )


def test_the_steps_find_what_was_simulated_and_store_the_same_rows(dials: Beamtime) -> None:
    job_id = the_job(dials)
    outcome = dials.run(job_id)

    assert outcome.cell.a == pytest.approx(42, rel=0.005)
    found = dials.store.solution(outcome.program_id)
    assert found is not None
    assert found.space_group in ("P 41 21 2", "P 43 21 2")
    ranges = [
        one and (one.start_image, one.end_image) for _, one in dials.store.integrations(job_id)
    ]
    assert ranges == [(1, 40), (81, 120)]


def test_the_stored_shells_are_the_programs_own_numbers(dials: Beamtime) -> None:
    outcome = dials.run(the_job(dials))

    path = outcome.results / "LogFiles" / "merging-statistics.json"
    table = json.loads(path.read_text())
    found = dials.store.solution(outcome.program_id)
    assert found is not None
    for name, theirs in {
        "n_unique": "n_uniq",
        "cc_half": "cc_one_half",
        "r_pim_all": "r_pim",
    }.items():
        ours = [getattr(shell, name) for shell in found.shells]
        assert ours == [table["overall"][theirs], table[theirs][0], table[theirs][-1]]


def test_a_failed_step_is_resumed_where_it_failed(dials: Beamtime) -> None:
    break_once(dials, "dials.scale")
    job_id = the_job(dials)
    with pytest.raises(ProgramFailed, match=r"dials.scale: no luck today"):
        dials.run(job_id)
    dials.run(job_id)

    states = [attempt.state for attempt in dials.store.attempts(job_id)]
    assert states == [AttemptState.FAILED, AttemptState.SUCCEEDED]
    assert starts_of(dials, "dials.find_spots") == 1
    assert starts_of(dials, "dials.scale") == 2


def test_a_failed_step_shows_the_logs_that_there_are(dials: Beamtime) -> None:
    break_once(dials, "dials.scale")
    with pytest.raises(ProgramFailed):
        dials.run(the_job(dials))

    shown = [one.path.name for one in dials.store.attachments(1)]
    assert {"dials.index.log", "dials.integrate.log"} <= set(shown)
    assert all(one.path.is_file() for one in dials.store.attachments(1))


def starts_of(beamtime: Beamtime, program: str) -> int:
    """Return how often a program wrote its output file, over all attempts; copies do not count."""
    places = {path.parent: path for path in beamtime.visit.glob("tmp/zocalo/**/*.stdout")
              if path.name == f"{program}.stdout"}  # fmt: skip
    times = {path.stat().st_mtime_ns for path in places.values()}
    return len(times)


def test_a_run_that_must_not_resume_does_every_step_again(dials: Beamtime) -> None:
    break_once(dials, "dials.scale")
    job_id = the_job(dials)
    with pytest.raises(ProgramFailed):
        dials.run(job_id)
    dials.run(job_id, resume=False)

    assert starts_of(dials, "dials.find_spots") == 2


def test_changed_images_are_not_taken_for_the_old_ones(dials: Beamtime) -> None:
    break_once(dials, "dials.scale")
    job_id = the_job(dials)
    with pytest.raises(ProgramFailed):
        dials.run(job_id)
    (dials.visit / "demo" / "xtal_1_0007.cbf").write_text("measured again")
    dials.run(job_id)

    assert starts_of(dials, "dials.find_spots") == 2


def test_a_parameter_that_dials_does_not_know_is_refused_before_anything_runs(
    dials: Beamtime,
) -> None:
    job_id = dials.store.create_job(
        job_request(dials.visit / "demo").model_copy(update={"parameters": _parameters()})
    )
    with pytest.raises(InvalidRequest, match="'vortex factor' is not known"):
        dials.run(job_id)

    assert list(dials.visit.glob("tmp/zocalo/**/*.stdout")) == []


def _parameters() -> tuple[object, ...]:
    from blocks.mx.records import Parameter  # noqa: PLC0415

    return (Parameter(key="vortex factor", value="3"),)


def test_the_report_has_the_shells_as_a_table_and_pictures_as_data(dials: Beamtime) -> None:
    job_id = the_job(dials)
    dials.run(job_id)
    text = asyncio.run(_report(f"job-{job_id}-report", str(dials.visit)))

    assert "| CC½ | 0.998 | 1.000 |" in text
    assert text.count("](data:image/png;base64,") >= 5
    assert "dials" in text


async def _report(key: str, visit: str) -> str:
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey  # noqa: PLC0415

    async with get_client() as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        found = await client.read_artifacts(artifact_filter=wanted)
    return next(str(one.data) for one in found if visit in str(one.data))


def test_what_is_left_of_a_stand_in_says_that_it_is_replayed(dials: Beamtime) -> None:
    outcome = dials.run(the_job(dials))

    assert "REPLAYED" in (outcome.results / "DataFiles" / "merged.mtz").read_text()


def test_a_stand_in_refuses_another_command_than_the_recorded_one(tmp_path: Path) -> None:
    from blocks.program import Program, run_program  # noqa: PLC0415

    replay.install(tmp_path)
    program = Program(name="dials.merge", directory=tmp_path)
    run = asyncio.run(
        run_program(program, ["scaled.expt", "d_min=0.1"], directory=tmp_path, timeout_s=60)
    )

    assert run.exit_status == 1
    assert "has no recording of: scaled.expt d_min=0.1" in run.stdout.read_text()
