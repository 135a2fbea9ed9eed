"""The command lines of the DIALS steps: whose images, which parameters, what is refused."""

import pytest

from blocks.errors import InvalidRequest
from blocks.mx import dials
from blocks.mx.recipe import load_recipe
from tests.fakes.builders import a_collection, a_job, a_sweep


def argv(step: str, *parameters: tuple[str, str], d_min: float | None = None) -> list[list[str]]:
    job = a_job(a_sweep(801, 803), a_sweep(1, 2, id=2), parameters=parameters, recipe="dials")
    call = dials.dials_job(job, load_recipe("dials"), n_processes=4)
    asked = dials.commands(step, call, d_min=d_min)
    return [[command.program, *command.arguments] for command in asked]


def test_each_sweep_is_imported_by_the_names_of_its_own_images() -> None:
    names = [[one.rpartition("/")[2] for one in call if ".cbf" in one] for call in argv("import")]

    assert names == [
        ["thau_1_2_0801.cbf", "thau_1_2_0802.cbf", "thau_1_2_0803.cbf"],
        ["thau_1_2_0001.cbf", "thau_1_2_0002.cbf"],
    ]


def test_a_container_is_imported_once_with_its_range() -> None:
    collection = a_collection(file_template="thau_1_master.h5")
    job = a_job(a_sweep(11, 20, collection=collection))
    call = dials.dials_job(job, load_recipe("dials"), n_processes=1)
    (command,) = dials.commands("import", call)

    assert command.arguments[0].endswith("/thau_1_master.h5")
    assert command.arguments[1] == "image_range=11,20"


@pytest.mark.parametrize(
    ("key", "step", "argument"),
    [
        ("d_min", "scale", "d_min=7"),
        ("d_min", "merge", "d_min=7"),
        ("d_max", "merge", "d_max=7"),
        ("unit_cell", "index", "indexing.known_symmetry.unit_cell=7"),
        ("spacegroup", "index", "indexing.known_symmetry.space_group=7"),
        ("sigma_strong", "find_spots", "spotfinder.threshold.dispersion.sigma_strong=7"),
        ("method", "index", "indexing.method=7"),
        ("absorption_level", "scale", "physical.absorption_level=7"),
        ("cc_half", "resolution", "cc_half=7"),
        ("misigma", "resolution", "misigma=7"),
        ("dials.refine.parameterisation.scan_varying", "refine", "parameterisation.scan_varying=7"),
        ("dials.import.geometry.detector.distance", "import", "geometry.detector.distance=7"),
    ],
)
def test_a_parameter_reaches_its_program(key: str, step: str, argument: str) -> None:
    assert argument in argv(step, (key, "7"))[0]


def test_the_suggested_limit_cuts_the_data_unless_the_user_said() -> None:
    assert "d_min=1.79" in argv("merge", d_min=1.791)[0]
    assert "d_min=1.79" not in argv("merge", ("d_min", "2.5"), d_min=1.791)[0]


def test_ispybs_limit_is_asked_for_whatever_the_user_asks() -> None:
    users, ispybs = argv("resolution", ("misigma", "1"))

    assert ("misigma=1" in users, "misigma=2" in users) == (True, False)
    assert "misigma=2" in ispybs


def test_a_space_group_that_is_known_is_written_not_searched() -> None:
    (call,) = argv("symmetry", ("spacegroup", "P 43 21 2"))

    assert (call[0], call[-1]) == ("dials.reindex", "space_group=P 43 21 2")
    assert "assess_space_group=False" in argv("merge", ("spacegroup", "P 43 21 2"))[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dials.merge.output.mtz", "other.mtz"),
        ("dials.scale.input.experiments", "other.expt"),
        ("dials.merge.mtz", "/dls/other/visit/y.mtz"),
        ("dials.sclae.d_min", "2"),
        ("small_molecule", "true"),
        ("vortex factor", "3"),
    ],
)
def test_a_parameter_that_is_unknown_or_names_a_file_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"parameter '{key}'"):
        argv("merge", (key, value))


def test_the_progress_of_the_steps_is_one_bar() -> None:
    begins = [dials.progress_before(step.name) for step in dials.STEPS]

    assert begins == sorted(begins)
    assert dials.progress_within("merge", 1.0) == pytest.approx(1.0)
