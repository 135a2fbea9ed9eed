import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.errors import DataError, InconsistentInput, InvalidRequest
from blocks.mx.records import JobRequest, Parameter, SweepRequest
from blocks.mx.store import IspybStore, create_tables, open_store
from tasks.mx.requests import as_job, create_job
from tests.fakes.builders import a_collection, a_request, a_sweep

SECOND = a_collection(id=7, file_template="thau_1_3_####.cbf", number=3)
SITE_RECIPE = {
    "engine": "xia2", "program": "xia2 dials", "pipeline_id": 6, "directory": "xia2", "fixed": [],
}  # fmt: skip


@pytest.fixture
def ispyb(tmp_path: Path) -> IspybStore:
    url = f"sqlite:///{tmp_path / 'ispyb.db'}"
    create_tables(url)
    return open_store(url)


def test_a_possible_job_is_written_as_it_was_asked_for(ispyb: IspybStore) -> None:
    request = a_request(parameters=(("d_min", "1.8"), ("d_min", "2.0")))

    job = ispyb.job(create_job(ispyb, request))

    assert (job.recipe, job.display_name) == ("xia2-dials", "thaumatin again")
    assert [(s.start_image, s.end_image) for s in job.sweeps] == [(801, 1200), (1, 400)]
    assert job.parameters == request.parameters


def test_a_data_collection_that_is_known_need_not_be_described(ispyb: IspybStore) -> None:
    create_job(ispyb, a_request())

    second = create_job(ispyb, a_request(data_collections=()))

    assert ispyb.job(second).collection.id == 2227029


def test_a_job_may_use_several_data_collections_of_one_proposal(ispyb: IspybStore) -> None:
    job = ispyb.job(create_job(ispyb, a_request(a_collection(), SECOND)))

    assert [sweep.collection.id for sweep in job.sweeps] == [2227029, 2227029, 7, 7]


@pytest.mark.parametrize(
    ("asked", "kind", "reason"),
    [
        ({"recipe": "fast_ep"}, InvalidRequest, "unknown recipe 'fast_ep'; known: dials, xia2-"),
        (
            {"data_collections": ()},
            InvalidRequest,
            "data collection 2227029 is not in this ISPyB",
        ),
        (
            {"data_collections": (a_collection(), a_collection(n_images=9000))},
            InvalidRequest,
            "data collection 2227029 is described twice",
        ),
        (
            {"ranges": ((1, 400), (801, 1201))},
            InconsistentInput,
            r"^sweep 2 \(thau_1_2_####.cbf 801-1201\): the data collection has images 1-1200$",
        ),
        (
            {"recipe": "dials", "parameters": (("vortex factor", "9"),)},
            InvalidRequest,
            "parameter 'vortex factor' is not known to the recipe dials; known: absorption_level",
        ),
        (
            {"recipe": "dials", "parameters": (("dials.phase.d_min", "9"),)},
            InvalidRequest,
            "parameter 'dials.phase.d_min' is not known",
        ),
    ],
)
def test_an_impossible_job_is_refused_and_nothing_is_written(
    ispyb: IspybStore, asked: dict[str, Any], kind: type[DataError], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        create_job(ispyb, a_request(**asked))

    assert (ispyb.job_ids(), ispyb.data_collections([2227029])) == ([], [])


def test_data_of_two_proposals_are_refused(ispyb: IspybStore) -> None:
    other = SECOND.model_copy(update={"proposal": "mx99"})

    with pytest.raises(InconsistentInput, match=r"^sweep 3 .*: data of proposal mx99, but the job"):
        create_job(ispyb, a_request(a_collection(), other))

    assert ispyb.job_ids() == []


@pytest.mark.parametrize("key", ["d_min", "method", "dials.index.indexing.nproc"])
def test_parameters_that_a_dials_step_knows_are_accepted(ispyb: IspybStore, key: str) -> None:
    job_id = create_job(ispyb, a_request(recipe="dials", parameters=((key, "1"),)))

    assert ispyb.job(job_id).parameters == (Parameter(key=key, value="1"),)


def test_xia2_is_given_parameters_that_we_do_not_know(ispyb: IspybStore) -> None:
    assert create_job(ispyb, a_request(parameters=(("xia2.settings.new", "1"),))) == 1


def test_what_ispyb_says_of_a_data_collection_counts_more_than_the_request(
    ispyb: IspybStore,
) -> None:
    create_job(ispyb, a_request())
    longer = a_collection(n_images=9000)

    with pytest.raises(DataError, match="data collection"):
        create_job(ispyb, a_request(longer, ranges=((1, 9000),)))


def test_a_site_may_have_recipes_of_its_own(ispyb: IspybStore, tmp_path: Path) -> None:
    (tmp_path / "ours.json").write_text(json.dumps(SITE_RECIPE))
    request = a_request(recipe="ours")

    job_id = create_job(ispyb, request, recipes_directory=tmp_path)

    assert ispyb.job(job_id).recipe == "ours"


@pytest.mark.parametrize(
    ("first", "last", "reason"),
    [
        (400, 1, "the range 400-1 is reversed"),
        (-1, 9, "greater than or equal to 0"),
        (1, 16_777_216, "less than or equal to 16777215"),
    ],
)
def test_a_range_that_no_data_collection_can_have_is_refused(
    first: int, last: int, reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        SweepRequest(data_collection_id=1, start_image=first, end_image=last)


@pytest.mark.parametrize("recipe", ["../secrets", "", "xia2 dials", ".hidden", "x" * 51])
def test_a_recipe_is_a_name_and_no_path(recipe: str) -> None:
    with pytest.raises(ValidationError, match="recipe"):
        a_request(recipe=recipe)


def test_a_job_without_sweeps_cannot_be_asked_for() -> None:
    with pytest.raises(ValidationError, match="sweeps"):
        JobRequest(sweeps=())


def test_a_request_becomes_the_job_that_it_asks_for() -> None:
    collection = a_collection()

    job = as_job(a_request(ranges=((1, 400), (401, 800))), {collection.id: collection})

    assert job.sweeps == (a_sweep(1, 400, id=1), a_sweep(401, 800, id=2))
    assert job.collection == collection
