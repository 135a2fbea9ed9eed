from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import FileNotYetVisible, InconsistentInput
from blocks.mx.images import missing_images
from blocks.mx.records import ProcessingJob, Sweep
from tasks.mx.sweeps import check_images, check_sweeps, left_out
from tests.fakes.builders import a_collection, a_job, a_solution, a_sweep, an_integration

OTHERS = a_collection(id=7, file_template="insulin_####.cbf", proposal="mx99")


def of_images(*numbers: int) -> Callable[[Sweep], list[str]]:
    return lambda _: [f"/dls/thau/thau_{number:04d}.cbf" for number in numbers]


@pytest.mark.parametrize(("first", "last"), [(1, 1200), (1, 1), (1200, 1200), (401, 800)])
def test_a_sweep_inside_its_data_collection_can_be_processed(first: int, last: int) -> None:
    check_sweeps(a_job(a_sweep(first, last)))


@pytest.mark.parametrize(
    ("first", "last", "problem"),
    [
        (400, 1, "the range is reversed"),
        (0, 400, "the data collection has images 1-1200"),
        (801, 1201, "the data collection has images 1-1200"),
        (1201, 1300, "the data collection has images 1-1200"),
    ],
)
def test_an_impossible_range_is_refused_by_row_template_and_range(
    first: int, last: int, problem: str
) -> None:
    job = a_job(a_sweep(1, 400), a_sweep(first, last, id=17))

    with pytest.raises(InconsistentInput) as refusal:
        check_sweeps(job)

    assert str(refusal.value) == f"sweep 17 (thau_1_2_####.cbf {first}-{last}): {problem}"


def test_a_range_is_judged_by_the_numbers_of_its_own_data_collection() -> None:
    later = a_collection(start_image=801, n_images=400)

    check_sweeps(a_job(a_sweep(801, 1200, collection=later)))
    with pytest.raises(InconsistentInput, match="has images 801-1200"):
        check_sweeps(a_job(a_sweep(1, 400, collection=later)))


def test_the_first_sweep_that_is_wrong_is_named() -> None:
    job = a_job(a_sweep(1, 400, id=1), a_sweep(9, 2, id=2), a_sweep(8, 2, id=3))

    with pytest.raises(InconsistentInput, match=r"^sweep 2 "):
        check_sweeps(job)


def test_a_job_without_sweeps_is_refused_and_other_data_never_used() -> None:
    job = a_job().model_copy(update={"sweeps": ()})

    with pytest.raises(InconsistentInput, match="job 4024 has no image sweeps; nothing else"):
        check_sweeps(job)


def test_data_of_another_proposal_are_refused() -> None:
    job = a_job(a_sweep(), a_sweep(1, 9, id=2, collection=OTHERS))

    with pytest.raises(InconsistentInput) as refusal:
        check_sweeps(job)

    assert str(refusal.value) == (
        "sweep 2 (insulin_####.cbf 1-9): data of proposal mx99, but the job is of proposal cm19644"
    )


def test_two_proposals_are_refused_also_when_that_of_the_job_is_unknown() -> None:
    unknown = a_collection(proposal="")
    sweeps = (a_sweep(id=1), a_sweep(1, 9, id=2, collection=OTHERS))

    with pytest.raises(InconsistentInput, match="proposal mx99"):
        check_sweeps(a_job(*sweeps, collection=unknown))


@pytest.mark.parametrize(
    "job",
    [
        a_job(a_sweep(collection=a_collection(proposal=""))),
        a_job(a_sweep(collection=a_collection(proposal="")), collection=a_collection()),
        a_job(a_sweep(), a_sweep(1, 9, id=2, collection=a_collection(id=8))),
    ],
)
def test_one_proposal_or_an_unknown_one_is_accepted(job: ProcessingJob) -> None:
    check_sweeps(job)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ((3,), "1 images missing in /dls/thau: thau_0003.cbf"),
        ((1, 2, 3), "3 images missing in /dls/thau: thau_0001.cbf, thau_0002.cbf, thau_0003.cbf"),
        (range(1, 9), "8 images missing in /dls/thau: thau_0001.cbf, thau_0002.cbf, thau_0003.cbf"
         " and 5 more"),
    ],
)  # fmt: skip
def test_missing_images_are_named_with_their_sweep(missing: tuple[int, ...], said: str) -> None:
    with pytest.raises(FileNotYetVisible) as refusal:
        check_images(a_job(a_sweep(1, 8)), of_images(*missing))

    assert str(refusal.value) == f"sweep 1 (thau_1_2_####.cbf 1-8): {said}"


def test_every_sweep_is_looked_at(tmp_path: Path) -> None:
    here = a_collection(image_directory=str(tmp_path), file_template="a_##.cbf")
    (tmp_path / "a_01.cbf").touch()
    job = a_job(a_sweep(1, 1, collection=here), a_sweep(2, 2, id=2, collection=here))

    with pytest.raises(FileNotYetVisible, match=r"^sweep 2 .* missing in .*: a_02.cbf$"):
        check_images(job, missing_images)


def test_a_sweep_with_all_images_is_accepted(tmp_path: Path) -> None:
    here = a_collection(image_directory=str(tmp_path), file_template="a_##.cbf")
    (tmp_path / "a_07.cbf").touch()

    check_images(a_job(a_sweep(7, 7, collection=here)), missing_images)


@pytest.mark.parametrize("key", ["image", "input.image", "xia2.settings.input.image"])
def test_images_as_a_parameter_would_escape_every_check_and_are_refused(key: str) -> None:
    job = a_job(parameters=((key, "/dls/i03/data/2018/nt1-1/secret_0001.cbf:1:10"),))

    with pytest.raises(InconsistentInput, match="give them as a sweep"):
        check_sweeps(job)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("d_min", "1.8; xia2.settings.input.image=/dls/other/x_0001.cbf:1:5"),
        ("d_min", "1.8;input { image = /dls/other/x_0001.cbf }"),
        ("image=/dls/other/x_0001.cbf", ""),
        ("mage ", "/dls/other/x_0001.cbf"),
        ("input.imag", "/dls/other/x_0001.cbf"),
        ("xinfo", "/dls/other/automatic.xinfo"),
    ],
)
def test_no_spelling_of_a_parameter_names_images_past_the_checks(key: str, value: str) -> None:
    with pytest.raises(InconsistentInput, match=r"names images|hides another assignment"):
        check_sweeps(a_job(parameters=((key, value),)))


@pytest.mark.parametrize("value", ["P 43 21 2", "a;b", "$(reboot)", "C 1 2/c 1", "`ls`"])
def test_a_value_that_only_looks_odd_is_left_to_the_program(value: str) -> None:
    check_sweeps(a_job(parameters=(("crystal", value),)))


def test_a_sweep_that_the_program_dropped_is_said() -> None:
    job = a_job(a_sweep(1, 400), a_sweep(801, 1200, id=2))
    said = left_out(job, a_solution(an_integration(1, 400)))

    assert [m.message for m in said] == [f"{job.sweeps[1]} was left out by the program"]
