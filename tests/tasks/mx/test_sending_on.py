"""Where zocalo's recipe goes after our step, and what the steps there are told."""

from typing import Any

import pytest

from blocks.mx.messages import RecipeStep, read_message
from tasks.mx.sending_on import COMPLETED, FAILURE, STARTING, SUCCESS, onward
from tests.fakes.messages import WRAPPED, a_recipe, wrapped


def a_step(output: Any, **recipe: Any) -> RecipeStep:
    message = a_recipe()
    message["recipe"]["1"]["output"] = output
    message["recipe"] |= recipe
    found = read_message(wrapped(message), WRAPPED)
    assert found is not None
    assert found.step is not None
    return found.step


def targets(output: Any, *outputs: str, **recipe: Any) -> list[tuple[str, Any]]:
    """Return queue and pointer of each message that goes on."""
    found = onward(a_step(output, **recipe), 77, outputs)
    return [(one.queue, one.body["recipe-pointer"]) for one in found]


@pytest.mark.parametrize(
    ("output", "ended", "expected"),
    [
        ({"success": 2, "failure": [3]}, SUCCESS, [("trigger", 2)]),
        ({"success": 2, "failure": [3]}, FAILURE, [("mail", 3)]),
        ({"success": [2, 3]}, SUCCESS, [("trigger", 2), ("mail", 3)]),
        ({"completed": 3}, FAILURE, [("mail", 3)]),
        ({"starting": 3}, SUCCESS, []),
        (2, SUCCESS, [("trigger", 2)]),
        ([2, 3], SUCCESS, [("trigger", 2), ("mail", 3)]),
        (2, FAILURE, []),
        (None, SUCCESS, []),
        ({"success": 9}, SUCCESS, []),
        ("nonsense", SUCCESS, []),
    ],
)
def test_the_end_of_a_run_goes_to_the_steps_that_are_connected_with_it(
    output: Any, ended: str, expected: list[tuple[str, int]]
) -> None:
    assert targets(output, ended, COMPLETED) == expected


def test_the_beginning_goes_to_who_waits_for_it() -> None:
    assert targets({"starting": 3, "success": 2}, STARTING) == [("mail", 3)]


def test_later_steps_know_the_attempt_and_the_whole_recipe() -> None:
    step = a_step({"success": 2})
    (sent,) = onward(step, 77, (SUCCESS, COMPLETED))

    assert sent.body["environment"] == {"ID": "ab-12", "ispyb_autoprocprogram_id": 77}
    assert sent.body["payload"] == {"success": True, "return_value": 77}
    assert (sent.body["recipe-path"], sent.body["recipe-pointer"]) == ([1], 2)
    assert sent.body["recipe"] == step.message["recipe"]


def test_a_failure_is_told_as_one() -> None:
    (sent,) = onward(a_step({"failure": 3}), 77, (FAILURE, COMPLETED))

    assert sent.body["payload"]["success"] is False
