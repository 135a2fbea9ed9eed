"""One ISPyB job through xia2: what SynchWeb shows afterwards, whatever happened."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import (
    DataError,
    InconsistentInput,
    InvalidRequest,
    ProgramFailed,
    ProgramTimedOut,
)
from blocks.mx.records import AttachmentType, AttemptState, Severity
from tests.fakes.programs import starts
from tests.flows.beamtimes import Beamtime

ABeamtime = Callable[..., Beamtime]


def test_a_finished_job_shows_its_statistics_and_one_integration_for_each_sweep(
    a_beamtime: ABeamtime,
) -> None:
    beamtime = a_beamtime("good")
    job_id = beamtime.job()
    outcome = beamtime.run(job_id)

    attempt = beamtime.attempt(job_id)
    assert (attempt.state, attempt.program) == (AttemptState.SUCCEEDED, "xia2 dials")
    found = beamtime.store.solution(attempt.id)
    assert found is not None
    assert (found.space_group, found.overall.n_unique) == ("P 41 21 2", 5503)
    assert found.overall.d_min_i_over_sigma_2 == pytest.approx(1.52)
    integrations = beamtime.store.integrations(outcome.program_id)
    ranges = [one and (one.start_image, one.end_image) for _, one in integrations]
    assert ranges == [(11, 20), (1, 10)]


def test_every_file_that_is_shown_exists_and_one_log_has_rank_1(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    beamtime.run(beamtime.job())

    shown = beamtime.store.attachments(1)
    assert all(one.path.is_file() for one in shown)
    main = [one.path.name for one in shown if one.type is AttachmentType.LOG and one.rank == 1]
    assert main == ["xia2.html"]


def test_the_results_are_linked_beside_their_directory(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    outcome = beamtime.run(beamtime.job())

    link = outcome.results.parent.parent / "xia2-dials"
    assert link.is_symlink()
    assert not Path(link.readlink()).is_absolute()
    assert link.resolve() == outcome.results.resolve()


def test_the_command_is_one_argument_for_each_sweep_in_row_order(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    beamtime.run(beamtime.job(parameters=(("spacegroup", "P 43 21 2"),)))

    (_, *argv) = starts(beamtime.programs)[0]
    images = [one.rpartition("/")[2] for one in argv if one.startswith("image=")]
    assert images == ["thau_1_0011.cbf:11:20", "thau_1_0001.cbf:1:10"]
    assert argv[-1] == "xia2.settings.space_group=P 43 21 2"


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("fail_bad_sg", "cctbx Error: Space group symbol not recognized: Pbanana"),
        ("fail_blank20", "Spotfinding failed: 2_SWEEP1_strong.refl does not exist."),
        ("fail_no_freerflag", "executable freerflag does not exist in PATH"),
    ],
)
def test_a_failed_job_shows_xia2s_own_reason_and_no_results(
    a_beamtime: ABeamtime, case: str, reason: str
) -> None:
    beamtime = a_beamtime(case)
    job_id = beamtime.job()
    with pytest.raises(ProgramFailed, match=reason):
        beamtime.run(job_id)

    attempt = beamtime.attempt(job_id)
    assert (attempt.state, attempt.message) == (AttemptState.FAILED, reason)
    assert beamtime.store.solution(attempt.id) is None
    assert "xia2.txt" in [one.path.name for one in beamtime.store.attachments(attempt.id)]
    (message,) = beamtime.store.messages(attempt.id)
    assert message.severity is Severity.ERROR
    assert str(beamtime.root) in message.description


def test_a_deterministic_error_is_not_tried_again(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("fail_bad_sg", "good")
    with pytest.raises(ProgramFailed):
        beamtime.run(beamtime.job())

    assert len(starts(beamtime.programs)) == 1


def test_a_run_out_of_memory_is_mended_with_fewer_processes_and_on_record(
    a_beamtime: ABeamtime,
) -> None:
    beamtime = a_beamtime("out of memory", "good")
    job_id = beamtime.job()
    beamtime.run(job_id)

    first, second = starts(beamtime.programs)
    assert (second[-1], first[0] != second[0]) == ("nproc=2", True)
    assert beamtime.attempt(job_id).state is AttemptState.SUCCEEDED
    said = [m.message for m in beamtime.store.messages(1) if m.severity is Severity.WARNING]
    assert any("out of memory" in message for message in said)


def test_memory_that_is_never_enough_fails_after_two_remedies(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("out of memory")
    job_id = beamtime.job()
    with pytest.raises(ProgramFailed, match="bad_alloc"):
        beamtime.run(job_id)

    assert len(starts(beamtime.programs)) == 3
    assert len(beamtime.store.attempts(job_id)) == 1


def test_the_time_limit_is_the_reason_that_the_user_sees(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("hang", time_limit_s=2.0)
    job_id = beamtime.job()
    with pytest.raises(ProgramTimedOut):
        beamtime.run(job_id)

    assert beamtime.attempt(job_id).message == "xia2 timed out after 2 s"


def test_the_users_second_run_of_a_failed_job_is_a_second_attempt(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("fail_bad_sg", "good")
    job_id = beamtime.job()
    with pytest.raises(ProgramFailed):
        beamtime.run(job_id)
    beamtime.run(job_id)

    states = [attempt.state for attempt in beamtime.store.attempts(job_id)]
    assert states == [AttemptState.FAILED, AttemptState.SUCCEEDED]


@pytest.mark.parametrize(
    ("to", "own"), [("primary data collection", False), ("own data collection", True)]
)
def test_integrations_are_on_the_primary_collection_unless_asked_otherwise(
    a_beamtime: ABeamtime, to: str, own: bool
) -> None:
    beamtime = a_beamtime("good")
    one, two = beamtime.collection(), beamtime.collection()
    beamtime.run(beamtime.job(one, two, ranges=((1, 10),)), integrations_on=to)

    on = [collection_id for collection_id, _ in beamtime.store.integrations(1)]
    assert on == [one.id, two.id if own else one.id]


def test_an_unknown_recipe_is_shown_as_failed_not_as_waiting(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    job_id = beamtime.job(recipe="autoPROC")
    with pytest.raises(InvalidRequest):
        beamtime.run(job_id)

    attempt = beamtime.attempt(job_id)
    assert attempt.state is AttemptState.FAILED
    assert attempt.message.startswith("unknown recipe 'autoPROC'")


def test_missing_images_fail_before_anything_is_computed(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    collection = beamtime.collection()
    (Path(collection.image_directory) / "thau_1_0015.cbf").unlink()
    job_id = beamtime.job(collection)
    with pytest.raises(InconsistentInput, match=r"sweep 1 .* thau_1_0015.cbf"):
        beamtime.run(job_id)

    assert starts(beamtime.programs) == []
    assert "thau_1_####.cbf 11-20" in beamtime.attempt(job_id).message


def test_data_of_another_proposal_are_refused(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    mine = beamtime.collection()
    theirs = beamtime.root / "nt00002-1" / "thau"
    theirs.mkdir(parents=True)
    for image in range(1, 21):
        (theirs / f"thau_1_{image:04d}.cbf").touch()
    other = beamtime.collection(image_directory=f"{theirs}/")
    with pytest.raises(DataError, match="proposal nt00002"):
        beamtime.run(beamtime.job(mine, other))

    assert starts(beamtime.programs) == []
