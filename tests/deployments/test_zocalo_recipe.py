"""Our recipe for zocalo's dispatcher, and a message that a real dispatcher made of it."""

import json
import string
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import InconsistentInput, InvalidRequest
from blocks.mx.messages import RecipeStep, read_message
from blocks.mx.recipe import load_recipe
from blocks.mx.records import Directories
from tasks.mx.directories import as_asked
from tasks.mx.sending_on import COMPLETED, FAILURE, STARTING, SUCCESS, onward

REPOSITORY = Path(__file__).parents[2]
RECIPE = json.loads((REPOSITORY / "deployments/zocalo/ispyb-xia2-dials.json").read_text())
CAPTURED = json.loads((REPOSITORY / "tests/data/zocalo/dispatched.json").read_text())
GUID = "86449557-7045-44dd-8892-0ccff51815e4"
BELOW = f"2018_01_17/rot_calib/thau/thau_1/thau_1_2/{GUID}"
VISIT = "/dls/i03/data/2018/cm19644-1"

# What the dispatcher of the captured message knew.
PARAMETERS = {
    "guid": GUID,
    "ispyb_process": 4024,
    "ispyb_working_directory": f"{VISIT}/tmp/zocalo/{BELOW}",  # noqa: S108 - the visit's
    "ispyb_results_directory": f"{VISIT}/processed/{BELOW}",
    "ispyb_reprocessing_parameters": {"d_min": "1.8", "spacegroup": "P43212"},
}
REPLACE = "{$REPLACE:"


class Known(dict[str, Any]):
    """Parameters, of which an unknown one stays as it is written."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def filled(item: Any, known: dict[str, Any]) -> Any:
    """Fill placeholders as `workflows.recipe.Recipe.apply_parameters` does."""
    if isinstance(item, str) and item.startswith(REPLACE):
        return known.get(item.removeprefix(REPLACE).removesuffix("}"))
    if isinstance(item, str):
        return string.Formatter().vformat(item, (), Known(known))
    if isinstance(item, dict):
        return {name: filled(one, known) for name, one in item.items()}  # pyright: ignore
    if isinstance(item, list):
        return [filled(one, known) for one in item]  # pyright: ignore
    return item


def dispatched(**known: Any) -> bytes:
    """Return the body that the dispatcher makes of our recipe."""
    message = {
        "environment": {"ID": GUID},
        "payload": RECIPE["start"][0][1],
        "recipe": filled(RECIPE, known),
        "recipe-path": [],
        "recipe-pointer": RECIPE["start"][0][0],
    }
    return json.dumps(message).encode()


def read(body: bytes, headers: dict[str, Any] = CAPTURED["headers"]) -> RecipeStep:
    found = read_message(body, headers)
    assert found is not None
    assert found.job_id == 4024
    assert found.step is not None
    return found.step


def test_the_dispatchers_message_is_our_recipe_with_its_placeholders_filled() -> None:
    assert json.loads(CAPTURED["body"]) == json.loads(dispatched(**PARAMETERS))


@pytest.mark.parametrize("body", [CAPTURED["body"].encode(), dispatched(**PARAMETERS)])
def test_the_dispatchers_message_asks_for_the_job_in_its_own_directories(body: bytes) -> None:
    step = read(body)

    assert step.working_directory == PARAMETERS["ispyb_working_directory"]
    assert step.results_directory == PARAMETERS["ispyb_results_directory"]
    assert step.environment == PARAMETERS["ispyb_reprocessing_parameters"]
    assert (step.timeout_s, step.store_result) == (21_600, "ispyb_autoprocprogram_id")
    assert step.message == json.loads(body)


def test_a_job_that_comes_by_the_recipe_looks_in_synchweb_like_any_other() -> None:
    step = read(dispatched(**PARAMETERS))

    assert step.program == load_recipe("xia2-dials").program


def test_the_recipe_sends_to_a_queue_that_the_bridge_consumes_unless_told_otherwise() -> None:
    from blocks.connections import MessageBroker  # noqa: PLC0415 - loads Prefect

    usual: list[str] = MessageBroker.model_fields["queues"].default

    assert RECIPE["1"]["queue"] in usual
    assert CAPTURED["queue"] in usual


def test_the_recipe_ends_with_us() -> None:
    step = read(CAPTURED["body"].encode())

    assert onward(step, 77, (STARTING, SUCCESS, FAILURE, COMPLETED)) == []


def test_a_job_without_parameters_has_an_empty_environment() -> None:
    without = PARAMETERS | {"ispyb_reprocessing_parameters": {}}
    known = {name: value for name, value in PARAMETERS.items() if "parameters" not in name}

    assert read(dispatched(**without)).environment == {}
    assert read(dispatched(**known)).environment == {}


def test_a_dispatcher_that_knows_no_directories_is_told_which_is_not_filled_in() -> None:
    step = read(dispatched(ispyb_process=4024))
    usual = Directories(working=Path(VISIT) / "tmp", results=Path(VISIT) / "processed")

    with pytest.raises(InconsistentInput, match=r"\{ispyb_working_directory\}"):
        as_asked(
            usual,
            working=step.working_directory,
            results=step.results_directory,
            visit=Path(VISIT),
        )


def test_a_dispatcher_that_knows_no_job_is_told_which_is_not_filled_in() -> None:
    with pytest.raises(InvalidRequest, match=r"\{ispyb_process\}"):
        read_message(dispatched(), CAPTURED["headers"])
