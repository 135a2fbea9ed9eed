"""Sending a recipe of zocalo on to the steps after ours, as its own wrappers do."""

import json
from collections.abc import Mapping
from typing import Any, cast

from prefect.logging import get_run_logger

from blocks.broker import open_link
from blocks.connections import MessageBroker
from blocks.errors import InvalidRequest
from blocks.mx.messages import RECIPE_HEADER, RecipeStep
from blocks.mx.records import Attempt
from blocks.record import Record
from tasks.policies import step

HEADERS: Mapping[str, Any] = {RECIPE_HEADER: "True"}
STARTING, SUCCESS, FAILURE, COMPLETED = "starting", "success", "failure", "completed"


class Onward(Record):
    """A message to the queue of a later step."""

    queue: str
    body: dict[str, Any]


def onward(said: RecipeStep, program_id: int, outputs: tuple[str, ...]) -> list[Onward]:
    """Return what goes to the steps that are connected with these outputs of ours.

    A recipe whose `output` names no outputs means success with it (`workflows`, wrapper.py). Only
    queues are sent to: not a step's `topic` or `exchange`, and without its `transport-delay`.

    Args:
        said: Our step, with the message that it came in.
        program_id: Our attempt, for the environment's `store_result` and the payload.
        outputs: Of `starting`, `success`, `failure` and `completed`.
    """
    message = said.message
    recipe = _object(message.get("recipe"))
    pointer = message.get("recipe-pointer")
    wired = _object(recipe.get(str(pointer))).get("output")
    named = cast("dict[str, Any]", wired) if isinstance(wired, dict) else {SUCCESS: wired}
    environment = _object(message.get("environment"))
    if said.store_result:
        environment = {**environment, said.store_result: program_id}
    payload = {"success": FAILURE not in outputs, "return_value": program_id}
    found = list[Onward]()
    for target in (one for name in outputs for one in _steps(named.get(name))):
        queue = _object(recipe.get(str(target))).get("queue")
        if isinstance(queue, str) and queue:
            body: dict[str, Any] = {
                **message,
                "environment": environment,
                "payload": payload,
                "recipe-path": [*_list(message.get("recipe-path")), pointer],
                "recipe-pointer": target,
            }
            found.append(Onward(queue=queue, body=body))
    return found


@step(name="send the recipe on")
async def send_on(said: RecipeStep, attempt: Attempt, *outputs: str) -> int:
    """Send the recipe to the steps that are connected with these outputs; return how many."""
    messages = onward(said, attempt.id, outputs)
    if messages:
        broker = await MessageBroker.named(said.broker)
        async with open_link(broker.url.get_secret_value()) as link:
            for one in messages:
                try:
                    await link.publish(one.queue, json.dumps(one.body).encode(), HEADERS)
                except InvalidRequest as failure:  # the results are stored: this must not fail them
                    get_run_logger().error("the recipe does not go on: %s", failure)
    return len(messages)


def _steps(wired: Any) -> list[Any]:
    """Return the steps of one output: a number, a list of numbers, or none."""
    if wired is None:
        return []
    return _list(wired) if isinstance(wired, list) else [wired]


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
