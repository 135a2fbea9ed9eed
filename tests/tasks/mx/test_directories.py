from pathlib import Path

import pytest

from blocks.errors import InconsistentInput
from tasks.mx.directories import attempt_directories, link_name, measurement_name
from tests.fakes.builders import a_collection, a_job

VISIT = "/dls/i03/data/2018/cm19644-1"


@pytest.mark.parametrize(
    ("images", "below"),
    [
        (f"{VISIT}/2018_01_17/thau/", "2018_01_17/thau/thau_1_2/ab-12"),
        (f"{VISIT}/thau", "thau/thau_1_2/ab-12"),
        (f"{VISIT}/", "thau_1_2/ab-12"),
    ],
)
def test_an_attempt_works_in_tmp_and_is_kept_in_processed_of_the_visit(
    images: str, below: str
) -> None:
    places = attempt_directories(a_collection(image_directory=images), "ab-12", visit_depth=6)

    assert places.working == Path(VISIT, "tmp", "zocalo", below)
    assert places.results == Path(VISIT, "processed", below)


def test_a_facility_may_have_other_folders_and_shorter_visits() -> None:
    images = a_collection(image_directory="/data/mx99-1/thau")

    places = attempt_directories(images, "ab-12", visit_depth=3, working="scratch", results="done")

    assert str(places.working) == "/data/mx99-1/scratch/thau/thau_1_2/ab-12"
    assert str(places.results) == "/data/mx99-1/done/thau/thau_1_2/ab-12"


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ("data/thau", "data/thau is not an absolute directory"),
        (f"{VISIT}/../cm1-1/thau", "is not an absolute directory"),
        ("/dls/i03/data/2018", "/dls/i03/data/2018 is not inside a visit, which has 6 path parts"),
    ],
)
def test_images_outside_a_visit_have_no_place_for_results(images: str, reason: str) -> None:
    with pytest.raises(InconsistentInput, match=f"^data collection 2227029: .*{reason}"):
        attempt_directories(a_collection(image_directory=images), "ab-12", visit_depth=6)


@pytest.mark.parametrize(
    ("prefix", "template", "name"),
    [
        ("thau_1", "thau_1_2_####.cbf", "thau_1_2"),
        ("", "thau_1_####.cbf", "thau_1_2"),
        ("", "thau####.cbf", "thau_2"),
        ("", "thau_1_master.h5", "thau_1_master_2"),
        ("a/../../b", "thau_####.cbf", "a_.._.._b_2"),
    ],
)
def test_a_measurement_is_named_by_prefix_and_number(prefix: str, template: str, name: str) -> None:
    collection = a_collection(image_prefix=prefix, file_template=template, number=2)

    assert measurement_name(collection) == name


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ((), "xia2-dials"),
        ((("d_min", "1.8"),), "xia2-dials"),
        ((("spacegroup", "P43212"),), "xia2-dials-P43212"),
        ((("spacegroup", "P 43 21 2"),), "xia2-dials-P43212"),
        ((("spacegroup", "P1"), ("spacegroup", "P222")), "xia2-dials-P222"),
        ((("spacegroup", ""),), "xia2-dials"),
        ((("spacegroup", "P4/m"),), "xia2-dials"),
        ((("spacegroup", "../../.."),), "xia2-dials"),
    ],
)
def test_the_link_is_named_by_the_space_group_that_the_user_asked_for(
    parameters: tuple[tuple[str, str], ...], name: str
) -> None:
    assert link_name(a_job(parameters=parameters), "xia2-dials") == name
