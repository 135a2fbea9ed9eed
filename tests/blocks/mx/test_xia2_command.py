import json
from pathlib import Path

import pytest

from blocks.errors import InvalidRequest
from blocks.mx import xia2
from blocks.mx.images import image_argument
from blocks.mx.recipe import Recipe, crystal_name, load_recipe, project_name, recipe_names
from blocks.mx.records import ProcessingJob
from tests.fakes.builders import A_DIRECTORY, a_collection, a_job, a_sweep

# Where xia2's Handlers/Phil.py has the eleven keys that SynchWeb offers.
FULL_PATHS = {
    "d_min": "xia2.settings.resolution.d_min",
    "d_max": "xia2.settings.resolution.d_max",
    "cc_half": "xia2.settings.resolution.cc_half",
    "isigma": "xia2.settings.resolution.isigma",
    "misigma": "xia2.settings.resolution.misigma",
    "spacegroup": "xia2.settings.space_group",
    "unit_cell": "xia2.settings.unit_cell",
    "small_molecule": "xia2.settings.small_molecule",
    "sigma_strong": "dials.find_spots.sigma_strong",
    "method": "dials.index.method",
    "absorption_level": "dials.scale.physical_model.absorption_level",
}
A_RECIPE = {
    "engine": "xia2",
    "program": "xia2 dials",
    "pipeline_id": 6,
    "directory": "xia2-dials",
    "fixed": ["pipeline=dials"],
}


def arguments(
    job: ProcessingJob, recipe: str = "xia2-dials-2018", *, n_processes: int = 4
) -> tuple[str, ...]:
    return xia2.command(job, load_recipe(recipe), n_processes=n_processes).argv


def user_arguments(*parameters: tuple[str, str]) -> list[str]:
    """Return what comes after the image of a job of one sweep."""
    argv = arguments(a_job(parameters=parameters))
    (image,) = (place for place, token in enumerate(argv) if token.startswith("image="))
    return list(argv[image + 1 :])


def write_recipe(directory: Path, name: str, **changes: object) -> None:
    (directory / f"{name}.json").write_text(json.dumps(A_RECIPE | changes))


def test_the_job_of_the_slides_gives_the_command_of_the_slides() -> None:
    job = a_job(a_sweep(801, 1200), a_sweep(1, 400), a_sweep(401, 800))

    assert arguments(job) == (
        *("xia2", "pipeline=dials", "min_images=3", "failover=True"),
        *("project=AUTOMATIC", "crystal=DEFAULT", "read_all_image_headers=False", "atom=S"),
        f"image={A_DIRECTORY}thau_1_2_0801.cbf:801:1200",
        f"image={A_DIRECTORY}thau_1_2_0001.cbf:1:400",
        f"image={A_DIRECTORY}thau_1_2_0401.cbf:401:800",
    )


def test_today_the_command_names_processes_project_and_crystal() -> None:
    assert arguments(a_job(), "xia2-dials", n_processes=20)[1:-1] == (
        *("pipeline=dials", "min_images=3", "nproc=20", "dynamic_shadowing=False"),
        *("read_all_image_headers=False", "anomalous=True"),
        *("project=cm19644v1", "crystal=xthau12", "trust_beam_centre=True"),
    )


@pytest.mark.parametrize(
    ("template", "images", "expected"),
    [
        ("thau_1_2_####.cbf", (801, 1200), "thau_1_2_0801.cbf:801:1200"),
        ("thau_1_#####.cbf", (7, 10), "thau_1_00007.cbf:7:10"),
        ("x_#.img", (3, 4), "x_3.img:3:4"),
        ("thau_1_####.cbf", (12345, 12350), "thau_1_12345.cbf:12345:12350"),
        ("thau_1_####.cbf", (0, 9), "thau_1_0000.cbf:0:9"),
        ("####_thau.cbf.gz", (2, 3), "0002_thau.cbf.gz:2:3"),
        ("thau_###_####.cbf", (2, 3), "thau_002_####.cbf:2:3"),
        ("protk11_1_master.h5", (1, 3600), "protk11_1_master.h5:1:3600"),
        ("protk11_1.nxs", (101, 200), "protk11_1.nxs:101:200"),
        ("lyso_1.cbf", (1, 2), "lyso_1.cbf:1:2"),
        ("50%_%s_%04d_####.cbf", (1, 2), "50%_%s_%04d_0001.cbf:1:2"),
        ("{0}_####.cbf", (1, 2), "{0}_0001.cbf:1:2"),
    ],
)
def test_the_name_of_a_sweep_has_the_number_of_its_own_first_image(
    template: str, images: tuple[int, int], expected: str
) -> None:
    collection = a_collection(file_template=template, n_images=20000)

    assert image_argument(a_sweep(*images, collection=collection)) == f"{A_DIRECTORY}{expected}"


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("/dls/i03/#1/box ##/", "/dls/i03/#1/box ##/thau_0001.cbf"),
        ("/dls/i03/50%d", "/dls/i03/50%d/thau_0001.cbf"),
    ],
)
def test_the_directory_of_a_sweep_stays_as_it_is(directory: str, expected: str) -> None:
    collection = a_collection(image_directory=directory, file_template="thau_####.cbf")

    assert image_argument(a_sweep(1, 2, collection=collection)) == f"{expected}:1:2"


def test_a_job_may_use_several_collections_in_the_order_of_its_rows() -> None:
    other = a_collection(id=2, image_directory="/dls/i04/", file_template="b_master.h5")
    job = a_job(a_sweep(5, 9, collection=other), a_sweep(1, 4), a_sweep(1, 2, collection=other))

    assert arguments(job)[-3:] == (
        "image=/dls/i04/b_master.h5:5:9",
        f"image={A_DIRECTORY}thau_1_2_0001.cbf:1:4",
        "image=/dls/i04/b_master.h5:1:2",
    )


@pytest.mark.parametrize(("key", "path"), FULL_PATHS.items())
def test_a_key_of_synchweb_is_given_with_its_full_path(key: str, path: str) -> None:
    assert user_arguments((key, "1.8")) == [f"{path}=1.8"]


def test_of_a_parameter_given_twice_the_last_value_counts_at_the_first_place() -> None:
    given = [("d_min", "1.8"), ("isigma", "1"), ("d_min", "2.0")]

    assert user_arguments(*given) == [
        "xia2.settings.resolution.d_min=2.0",
        "xia2.settings.resolution.isigma=1",
    ]


@pytest.mark.parametrize(
    "key", ["wibble", "resolution.cc_half_significance_level", "vortex factor"]
)
def test_a_key_that_we_do_not_know_is_passed_as_it_is(key: str) -> None:
    assert user_arguments((key, "0.1")) == [f"{key}=0.1"]


@pytest.mark.parametrize("value", ["P 21 21 2", "1;rm -rf $(pwd) `id` | tee > x & #", "'\"\\", ""])
def test_a_value_is_one_argument_whatever_a_shell_would_make_of_it(value: str) -> None:
    assert user_arguments(("spacegroup", value)) == [f"xia2.settings.space_group={value}"]


def test_parameters_of_the_user_come_last_and_so_win() -> None:
    argv = arguments(a_job(parameters=(("pipeline", "3dii"), ("d_min", "1.8"))), "xia2-dials")

    assert argv[-2:] == ("pipeline=3dii", "xia2.settings.resolution.d_min=1.8")
    assert argv[1] == "pipeline=dials"


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        (A_DIRECTORY, "cm19644v1"),
        ("/dls/i04/data/2022/cm14451-4/tmp", "cm14451v4"),
        ("/home/me/thaumatin-2/", "AUTOMATIC"),
        ("/dls/i04/xcm14451-4x/", "AUTOMATIC"),
    ],
)
def test_the_project_is_the_visit(directory: str, expected: str) -> None:
    assert project_name(a_collection(image_directory=directory)) == expected


@pytest.mark.parametrize(
    ("prefix", "number", "expected"),
    [("TRPM1_S6", 4, "xTRPM1S64"), ("1-ab.c d", 12, "x1abcd12"), ("é_a", 1, "xa1"),
     ("", 3, "DEFAULT")],
)  # fmt: skip
def test_the_crystal_is_named_by_prefix_and_number_in_letters_that_xia2_accepts(
    prefix: str, number: int, expected: str
) -> None:
    assert crystal_name(a_collection(image_prefix=prefix, number=number)) == expected


@pytest.mark.parametrize(
    ("name", "engine", "program", "pipeline_id"),
    [
        ("xia2-dials", "xia2", "xia2 dials", 6),
        ("xia2-dials-2018", "xia2", "xia2 dials", 6),
        ("xia2-3dii", "xia2", "xia2 3dii", 7),
        ("dials", "dials", "dials", None),
    ],
)
def test_our_recipes_have_the_program_text_and_pipeline_that_synchweb_knows(
    name: str, engine: str, program: str, pipeline_id: int | None
) -> None:
    recipe = load_recipe(name)

    assert (recipe.name, recipe.engine) == (name, engine)
    assert (recipe.program, recipe.pipeline_id) == (program, pipeline_id)


def test_an_unknown_recipe_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    write_recipe(tmp_path, "our-own")

    with pytest.raises(InvalidRequest, match=r"'autoPROC'.*dials, our-own, xia2-3dii, xia2-dials"):
        load_recipe("autoPROC", tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../outside", "site/../../outside", "..", ".hidden", "", "a/b", "outside\n", "a\0b", "x y"],
)
def test_a_recipe_name_cannot_leave_its_directory(tmp_path: Path, name: str) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for place in (tmp_path / "outside", site / ".hidden"):
        write_recipe(place.parent, place.name)

    with pytest.raises(InvalidRequest, match="is not a recipe name"):
        load_recipe(name, site)


def test_an_absolute_path_is_no_recipe_name(tmp_path: Path) -> None:
    write_recipe(tmp_path, "elsewhere")

    with pytest.raises(InvalidRequest, match="is not a recipe name"):
        load_recipe(str(tmp_path / "elsewhere"))


def test_the_recipe_of_the_facility_wins_over_ours(tmp_path: Path) -> None:
    write_recipe(tmp_path, "xia2-dials", fixed=["pipeline=dials", "d_min=1"])
    recipe = load_recipe("xia2-dials", tmp_path)

    assert recipe.fixed == ("pipeline=dials", "d_min=1")
    assert load_recipe("dials", tmp_path) == load_recipe("dials")


def test_recipes_are_listed_once_each_by_name(tmp_path: Path) -> None:
    for name in ("xia2-dials", "a-first"):
        write_recipe(tmp_path, name)

    assert recipe_names(tmp_path) == ["a-first", *recipe_names()]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"engine": "xia2"}',
        json.dumps(A_RECIPE | {"engine": "autoPROC"}).encode(),
        json.dumps(A_RECIPE | {"timeout": 3}).encode(),
        json.dumps(A_RECIPE | {"name": "another"}).encode(),
        json.dumps(A_RECIPE | {"fixed": "pipeline=dials"}).encode(),
        json.dumps(A_RECIPE | {"about": "Å"}, ensure_ascii=False).encode("latin1"),
    ],
)
def test_a_recipe_file_that_is_not_valid_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.json").write_bytes(content)

    with pytest.raises(InvalidRequest, match=r"the recipe file .*broken\.json is not valid"):
        load_recipe("broken", tmp_path)


def test_a_recipe_without_placeholders_is_passed_as_it_is() -> None:
    recipe = Recipe.model_validate(A_RECIPE | {"name": "r", "fixed": ["a={b}", "c={}", "d=50%"]})

    assert xia2.command(a_job(), recipe, n_processes=1).argv[1:4] == ("a={b}", "c={}", "d=50%")
