"""A job that zocalo's dispatcher asked for: its places, names, time, and what comes after."""

import asyncio
import itertools
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from blocks.broker import Delivery, open_link
from blocks.errors import InconsistentInput, ProgramError, ProgramTimedOut
from blocks.mx.messages import RecipeStep, read_message
from blocks.mx.records import AttemptState
from tests.fakes.messages import WRAPPED, a_recipe, wrapped
from tests.flows.beamtimes import Beamtime
from tests.rabbitmq.server import RabbitMq

ABeamtime = Callable[..., Beamtime]
numbers = itertools.count(1)


def a_step(beamtime: Beamtime, **parameters: Any) -> RecipeStep:
    """Return our step of a recipe that is for this visit and ends with it."""
    message = a_recipe(str(beamtime.visit), **parameters)
    del message["recipe"]["1"]["output"]
    found = read_message(wrapped(message), WRAPPED)
    assert found is not None
    assert found.step is not None
    return found.step


def test_the_recipe_says_where_to_work_and_what_the_user_reads(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("good")
    job_id = beamtime.job()
    outcome = beamtime.run(job_id, step=a_step(beamtime, program="xia2 3dii"))

    attempt = beamtime.attempt(job_id)
    assert outcome.results == beamtime.visit / "processed/thau/thau_1/ab-12/xia2-dials"
    assert (outcome.results / "xia2.html").is_file()
    assert (beamtime.visit / "scratch/thau_1/ab-12/xia2-dials/xia2.txt").is_file()
    assert (attempt.program, attempt.state) == ("xia2 3dii", AttemptState.SUCCEEDED)
    assert "d_min=1.8, spacegroup=P43212" in attempt.environment


@pytest.mark.parametrize("given", [{}, {"working_directory": None}, {"results_directory": None}])
def test_a_second_attempt_in_the_same_places_leaves_the_first_one_s_files(
    a_beamtime: ABeamtime, given: dict[str, None]
) -> None:
    beamtime = a_beamtime("good")
    job_id, step = beamtime.job(), a_step(beamtime, **given)
    first, second = beamtime.run(job_id, step=step), beamtime.run(job_id, step=step)

    assert first.results != second.results
    assert (first.results / "xia2.html").is_file()
    assert (second.results / "xia2.html").is_file()


def test_the_recipe_s_time_limit_holds(a_beamtime: ABeamtime) -> None:
    beamtime = a_beamtime("hang")
    job_id = beamtime.job()

    with pytest.raises(ProgramTimedOut):
        beamtime.run(job_id, step=a_step(beamtime, timeout=2))

    assert "timed out" in beamtime.attempt(job_id).message


@pytest.mark.parametrize("place", ["/etc", "relative", "{visit}/../other"])
def test_a_place_outside_the_visit_is_refused(a_beamtime: ABeamtime, place: str) -> None:
    beamtime = a_beamtime("good")
    job_id = beamtime.job()
    step = a_step(beamtime, results_directory=place.format(visit=beamtime.visit))

    with pytest.raises(InconsistentInput, match="not inside the visit"):
        beamtime.run(job_id, step=step)

    assert beamtime.attempt(job_id).state is AttemptState.FAILED


@pytest.mark.services
@pytest.mark.parametrize(("deed", "next_queue"), [("good", "trigger"), ("failed", "mail")])
def test_the_recipe_goes_on_to_the_steps_after_ours(
    a_beamtime: ABeamtime, rabbitmq: RabbitMq, deed: str, next_queue: str
) -> None:
    from pydantic import SecretStr  # noqa: PLC0415

    from blocks.connections import MessageBroker  # noqa: PLC0415 - loads Prefect

    beamtime = a_beamtime(deed if deed == "good" else "out of memory")
    queue, job_id = f"{next_queue}-{os.getpid()}-{next(numbers)}", beamtime.job()
    message = a_recipe(str(beamtime.visit))
    message["recipe"]["2" if deed == "good" else "3"]["queue"] = queue
    message["recipe"]["1"]["output"] = {"success": 2} if deed == "good" else {"failure": 3}
    found = read_message(wrapped(message), WRAPPED)
    assert found is not None
    assert found.step is not None
    step = found.step.model_copy(update={"broker": beamtime.names["ispyb"]})
    block = MessageBroker(url=SecretStr(rabbitmq.amqp))
    asyncio.run(block.asave(beamtime.names["ispyb"], overwrite=True))
    assert taken(rabbitmq, queue) == []

    with suppress(ProgramError):
        beamtime.run(job_id, step=step)

    (sent,) = taken(rabbitmq, queue)
    assert str(sent.headers["workflows-recipe"]) == "True"
    attempt = beamtime.attempt(job_id)
    assert f'"ispyb_autoprocprogram_id": {attempt.id}'.encode() in sent.body


def taken(rabbitmq: RabbitMq, queue: str) -> list[Delivery]:
    async def take() -> list[Delivery]:
        async with open_link(rabbitmq.amqp) as link:
            return await link.take(queue, at_most=10)

    return asyncio.run(take())
