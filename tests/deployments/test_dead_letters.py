"""Dead letters on a real RabbitMQ, over AMQP and STOMP alike: seen, sent again, or dropped."""

import argparse
import asyncio
import itertools
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aio_pika
import pytest

from blocks.broker import Delivery, Link
from blocks.errors import InvalidRequest, NoSuchRecord
from tests.fakes.links import linked
from tests.rabbitmq.server import RabbitMq

pytestmark = pytest.mark.services
numbers = itertools.count(1)
OF_THE_QUEUE = ("persistent", "x-delivery-count")  # it adds them to what lies in it
WISH = b'{"parameters":{"ispyb_process":4024}}'


@dataclass
class Morgue:
    """A broker with one queue of ours, and its queue of dead letters."""

    url: str
    amqp: str
    queue: str

    @property
    def block(self) -> Any:
        """The broker's block."""
        from pydantic import SecretStr  # noqa: PLC0415

        from blocks.connections import MessageBroker  # noqa: PLC0415 - loads Prefect

        return MessageBroker(url=SecretStr(self.url), queues=[self.queue])

    def within(self, deed: Callable[[Link], Awaitable[Any]], *queues: str) -> Any:
        """Return what a deed does on a new connection."""
        return linked(self.url, deed, *queues)

    def buried(self, *bodies: bytes, reason: str = "no such job", **headers: Any) -> None:
        """Bury messages as the bridge does."""

        async def bury(link: Link) -> None:
            come = aiter(link.deliveries())
            for body in bodies:
                await link.publish(self.queue, body, headers)
                await link.bury(await anext(come), f"dlq.{self.queue}", reason)

        self.within(bury, self.queue)

    def waiting(self, queue: str) -> list[Delivery]:
        """Return what waits in a queue, and leave it there."""
        return self.within(lambda link: link.take(queue, at_most=20))

    def dead(self, deed: Callable[[Any], Awaitable[Any]], queue: str = "") -> Any:
        """Return what a deed does with the dead letters."""
        from deployments.dead_letters import Graves  # noqa: PLC0415 - loads Prefect

        return self.within(lambda link: deed(Graves(link, self.block, queue)))

    def letters(self, queue: str = "") -> list[Any]:
        """Return the dead letters."""
        return self.dead(lambda graves: graves.letters(), queue)


@pytest.fixture(params=["amqp", "stomp"])
def morgue(request: pytest.FixtureRequest, rabbitmq: RabbitMq) -> Morgue:
    """A queue that nobody else uses, over one of the protocols."""
    url = str(getattr(rabbitmq, request.param))
    queue = f"dying-{os.getpid()}-{next(numbers)}"
    made = Morgue(url, rabbitmq.amqp, queue)
    made.within(nothing, queue)
    return made


async def nothing(_link: Link) -> None:
    """Connect, so that the queues are there."""


def rejected(morgue: Morgue, *bodies: bytes, **headers: Any) -> None:
    """Let RabbitMQ's own policy bury messages: they are refused in a queue that has one."""

    async def reject() -> None:
        connection = await aio_pika.connect(morgue.amqp)
        policy = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"dlq.{morgue.queue}",
        }
        async with connection, connection.channel() as channel:
            await channel.declare_queue(f"dlq.{morgue.queue}", durable=True)
            await channel.queue_delete(morgue.queue)
            queue = await channel.declare_queue(morgue.queue, durable=True, arguments=policy)
            for body in bodies:
                message = aio_pika.Message(body, headers=dict(headers))
                await channel.default_exchange.publish(message, routing_key=morgue.queue)
                come = await queue.get(timeout=10)
                assert come
                await come.reject(requeue=False)
            await channel.queue_delete(morgue.queue)  # by STOMP, nobody can send to such a queue

    asyncio.run(reject())
    morgue.within(nothing, morgue.queue)


def test_a_letter_says_its_reason_its_queue_and_its_job(morgue: Morgue) -> None:
    morgue.buried(WISH, b"not JSON", reason="there is no processing job 4024")

    one, other = morgue.letters()
    assert (one.reason, one.queue) == ("there is no processing job 4024", morgue.queue)
    assert (one.job_id, one.body, one.lies_in) == (4024, WISH.decode(), f"dlq.{morgue.queue}")
    assert (other.job_id, other.body) == (None, "not JSON")
    assert one.id != other.id


def test_to_look_changes_nothing(morgue: Morgue) -> None:
    morgue.buried(WISH, b"other")

    assert morgue.letters() == morgue.letters()
    assert len(morgue.letters()) == 2


def test_a_letter_that_is_reinjected_is_as_it_was_and_the_others_stay(morgue: Morgue) -> None:
    morgue.buried(b"one", WISH, b"three", **{"zocalo.go.user": "anna"})
    chosen = morgue.letters()[1]
    [done] = morgue.dead(lambda graves: graves.reinject(chosen.id))

    [back] = morgue.waiting(morgue.queue)
    assert (done.id, back.body) == (chosen.id, WISH)
    said = {name: str(value) for name, value in back.headers.items() if name not in OF_THE_QUEUE}
    assert said == {"zocalo.go.user": "anna", "dlq-reinjected": "True"}
    assert [one.body for one in morgue.letters()] == ["one", "three"]


def test_a_message_that_dies_again_has_its_new_reason(morgue: Morgue) -> None:
    morgue.buried(WISH, reason="the first")
    first = morgue.letters()[0]
    morgue.dead(lambda graves: graves.reinject(first.id))

    async def bury(link: Link) -> None:
        await link.bury(await anext(aiter(link.deliveries())), f"dlq.{morgue.queue}", "the second")

    morgue.within(bury, morgue.queue)
    [second] = morgue.letters()
    assert (second.reason, second.id != first.id) == ("the second", True)
    assert second.headers["dlq-reinjected"] == "True"


def test_all_letters_are_reinjected_in_the_order_of_their_deaths(morgue: Morgue) -> None:
    bodies = [f"wish {number}".encode() for number in range(5)]
    morgue.buried(*bodies)
    morgue.dead(lambda graves: graves.reinject(None))

    assert [one.body for one in morgue.waiting(morgue.queue)] == bodies
    assert morgue.letters() == []


def test_a_letter_that_is_dropped_is_gone_and_the_others_stay(morgue: Morgue) -> None:
    morgue.buried(b"one", b"two")
    first = morgue.letters()[0]
    morgue.dead(lambda graves: graves.drop(first.id))

    assert [one.body for one in morgue.letters()] == ["two"]
    assert morgue.waiting(morgue.queue) == []


@pytest.mark.parametrize("verb", ["letter", "reinject", "drop"])
def test_an_unknown_letter_is_said_to_be_missing_and_nothing_happens(
    morgue: Morgue, verb: str
) -> None:
    morgue.buried(WISH)

    with pytest.raises(NoSuchRecord, match="there is no dead letter 'feed'"):
        morgue.dead(lambda graves: getattr(graves, verb)("feed"))
    assert len(morgue.letters()) == 1
    assert morgue.waiting(morgue.queue) == []


def test_what_rabbitmq_itself_buried_has_a_lasting_name_and_goes_back(morgue: Morgue) -> None:
    rejected(morgue, WISH, b"other", **{"zocalo.go.user": "anna"})
    first, second = morgue.letters()
    assert [one.id for one in morgue.letters()] == [first.id, second.id]
    assert (first.reason, first.queue, first.id != second.id) == ("rejected", morgue.queue, True)
    assert (first.died_at is not None) == morgue.url.startswith("amqp")
    morgue.dead(lambda graves: graves.reinject(first.id))

    [back] = morgue.waiting(morgue.queue)
    assert back.body == WISH
    assert back.headers["zocalo.go.user"] == "anna"
    assert [name for name in back.headers if "death" in name] == []
    assert [one.id for one in morgue.letters()] == [second.id]


def test_a_letter_cannot_send_itself_into_a_queue_that_is_not_ours(morgue: Morgue) -> None:
    forged = {"limsflow-queue": "processing_recipe", "limsflow-id": "harmless"}
    morgue.within(lambda link: link.take(f"dlq.{morgue.queue}", at_most=1))
    morgue.within(lambda link: link.publish(f"dlq.{morgue.queue}", WISH, forged))
    morgue.buried(b"good")

    for chosen in ("harmless", None):
        with pytest.raises(InvalidRequest, match="'processing_recipe', which is no queue"):
            morgue.dead(lambda graves, chosen=chosen: graves.reinject(chosen))
    assert len(morgue.letters()) == 2
    assert morgue.waiting(morgue.queue) == []


def test_one_queue_may_be_asked_for_by_either_name(morgue: Morgue) -> None:
    morgue.buried(WISH)

    assert len(morgue.letters(morgue.queue)) == len(morgue.letters(f"dlq.{morgue.queue}")) == 1
    assert morgue.letters(f"dlq.{morgue.queue}-of-old") == []


def test_a_queue_of_the_living_is_never_taken_for_one_of_the_dead(morgue: Morgue) -> None:
    with pytest.raises(InvalidRequest, match="'processing_recipe' is neither"):
        morgue.letters("processing_recipe")


# The commands, on a block that is saved


@pytest.fixture
def options(morgue: Morgue, prefect: None) -> Callable[..., argparse.Namespace]:
    """Options of a command about these dead letters."""
    name = f"morgue-{next(numbers)}"
    asyncio.run(morgue.block.asave(name))

    def make(**given: Any) -> argparse.Namespace:
        usual = {"broker": name, "queue": "", "json": False, "all": False, "id": None}
        return argparse.Namespace(**(usual | given))

    return make


def test_an_operator_lists_looks_and_reinjects_by_id(
    morgue: Morgue,
    options: Callable[..., argparse.Namespace],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from deployments import dead_letters  # noqa: PLC0415 - loads Prefect

    long = json.dumps({"parameters": {"ispyb_process": 7}, "x": "y" * 300}).encode()
    morgue.buried(long, reason="there is no processing job 7")
    assert dead_letters.list_letters(options()) == 0
    listed = capsys.readouterr().out.splitlines()
    letter = listed[0].split()[0]
    assert listed[0].endswith(f"job 7  from {morgue.queue}")
    assert listed[1:] == ["  there is no processing job 7", f"  {long.decode()[:200]}"]
    assert dead_letters.show(options(id=letter)) == 0
    assert f"  {long.decode()}\n" in capsys.readouterr().out
    assert dead_letters.reinject(options(id=letter)) == 0
    assert capsys.readouterr().out == f"reinjected {letter} into {morgue.queue}\n"
    assert dead_letters.list_letters(options()) == 0
    assert capsys.readouterr().out == "no dead letters\n"


def test_an_operator_drops_one_and_reinjects_the_rest(
    morgue: Morgue,
    options: Callable[..., argparse.Namespace],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from deployments import dead_letters  # noqa: PLC0415

    morgue.buried(b"one", b"two", b"three")
    dead_letters.list_letters(options(json=True))
    first, *rest = [one["id"] for one in json.loads(capsys.readouterr().out)]
    dead_letters.drop(options(id=first))
    dead_letters.reinject(options(all=True, json=True))

    dropped, reinjected = capsys.readouterr().out.splitlines()
    assert dropped == f"dropped {first}"
    assert json.loads(reinjected) == {"reinjected": rest}


@pytest.mark.parametrize("given", [{}, {"id": "feed", "all": True}])
def test_one_or_all_must_be_said(
    options: Callable[..., argparse.Namespace], given: dict[str, Any]
) -> None:
    from deployments.dead_letters import reinject  # noqa: PLC0415

    with pytest.raises(InvalidRequest, match="name one dead letter, or say --all"):
        reinject(options(**given))


def test_what_a_terminal_would_obey_is_not_printed(
    morgue: Morgue,
    options: Callable[..., argparse.Namespace],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from deployments import dead_letters  # noqa: PLC0415

    morgue.buried(b"\x1b[2Jgone\nfeed  -  job 1  from nowhere", reason="why\x1b[0m")
    dead_letters.list_letters(options())
    [letter] = morgue.letters()
    dead_letters.show(options(id=letter.id))

    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "\nfeed" not in text
