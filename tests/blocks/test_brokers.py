"""What RabbitMQ over AMQP and a STOMP broker promise alike; a real node speaks both."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aio_pika
import pytest

from blocks.broker import (
    DEAD_FROM,
    DEAD_ID,
    REASON,
    Delivery,
    Link,
    NotTaken,
    kind_of,
)
from blocks.errors import InvalidRequest, ServiceUnavailable
from tests.fakes.links import linked
from tests.fakes.messages import SYNCHWEB
from tests.fakes.served import wait_for
from tests.rabbitmq.server import RabbitMq, private_rabbitmq

numbers = itertools.count(1)
services = pytest.mark.services


@pytest.fixture(params=["amqp", "stomp"])
def url(request: pytest.FixtureRequest, rabbitmq: RabbitMq) -> str:
    """The address of the same node, by protocol."""
    return str(getattr(rabbitmq, request.param))


@pytest.fixture
def queue() -> str:
    """A queue that nobody else uses."""
    return f"wishes-{os.getpid()}-{next(numbers)}"


def within(url: str, deed: Callable[[Link], Awaitable[Any]], *queues: str) -> Any:
    """Return what a deed does on a new connection."""
    return linked(url, deed, *queues, seconds=20)


async def next_of(link: Link) -> Delivery:
    return await anext(aiter(link.deliveries()))


def waiting(url: str, queue: str) -> list[Delivery]:
    """Return what waits in a queue, and leave it there."""
    return within(url, lambda link: link.take(queue, at_most=20))


def sent_bare(rabbitmq: RabbitMq, queue: str, body: bytes) -> None:
    """Send as php-amqplib does for SynchWeb: no properties, no confirmation."""

    async def send() -> None:
        connection = await aio_pika.connect(rabbitmq.amqp)
        async with connection, connection.channel() as channel:
            await channel.default_exchange.publish(aio_pika.Message(body), routing_key=queue)

    asyncio.run(send())


@services
def test_a_message_without_any_property_arrives_byte_for_byte(
    url: str, rabbitmq: RabbitMq, queue: str
) -> None:
    async def receive(link: Link) -> Delivery:
        await asyncio.to_thread(sent_bare, rabbitmq, queue, SYNCHWEB)
        return await next_of(link)

    delivery = within(url, receive, queue)

    assert (delivery.queue, delivery.body, delivery.repeated) == (queue, SYNCHWEB, False)


@services
def test_what_was_not_answered_comes_again_and_says_so(url: str, queue: str) -> None:
    async def receive(link: Link) -> Delivery:
        return await next_of(link)

    async def send(link: Link) -> None:
        await link.publish(queue, b"wish", {})
        await next_of(link)

    within(url, send, queue)
    delivery = within(url, receive, queue)

    assert (delivery.body, delivery.repeated) == (b"wish", True)


@services
def test_an_accepted_message_is_gone(url: str, queue: str) -> None:
    async def accept(link: Link) -> None:
        await link.publish(queue, b"wish", {})
        await link.accept(await next_of(link))

    within(url, accept, queue)

    assert waiting(url, queue) == []


@services
def test_every_answer_is_heard_though_more_messages_come_when_a_link_is_closed(
    url: str, queue: str
) -> None:
    async def send(link: Link) -> None:
        await link.take(queue, at_most=1)  # which makes the queue
        await asyncio.gather(*(link.publish(queue, b"wish", {}) for _ in range(1000)))

    async def accept(link: Link) -> None:
        await link.consume([queue], 100)
        some = [await next_of(link) for _ in range(100)]
        await asyncio.gather(*(link.accept(one) for one in some))

    within(url, send)
    for _ in range(8):  # each may lose some
        within(url, accept)

    def left() -> int:  # none before what was in hand at the end has come back
        number = len(within(url, lambda link: link.take(queue, at_most=1000)))
        return number if number >= 200 else 0

    assert wait_for(left, seconds=30) == 200


@services
@pytest.mark.parametrize("protocol", ["amqp", "stomp"])
def test_a_broker_that_is_killed_is_away_for_whatever_is_asked(
    protocol: str, queue: str, tmp_path: Path
) -> None:
    with private_rabbitmq(tmp_path) as node:
        url = str(getattr(node, protocol))
        within(url, lambda link: link.publish(queue, b"old", {}), queue)
        node.restart()

        async def ask(link: Link) -> None:
            await link.publish(queue, b"wish", {})
            await next_of(link)
            delivery = await next_of(link)
            await asyncio.to_thread(node.kill)
            for question in (
                lambda: next_of(link),
                lambda: link.accept(delivery),
                lambda: link.bury(delivery, "dead", "why"),
                lambda: link.put_back(delivery, "wish"),
                lambda: link.publish(queue, b"wish", {}),
                lambda: link.take(queue, at_most=1),
            ):
                with pytest.raises(ServiceUnavailable):
                    await question()

        async def leave(link: Link) -> None:
            node.kill()  # before the link can hear of it

        within(url, ask, queue)
        node.start()
        within(url, leave, queue)
        node.start()
        kept = wait_for(lambda: waiting(url, queue))  # it recovers its queues a little later

    assert {one.body for one in kept} == {b"old", b"wish"}


@services
def test_a_forwarded_message_keeps_its_body_and_headers(url: str, queue: str) -> None:
    other = f"{queue}-zocalo"
    within(url, lambda link: link.publish(other, b"first", {}), other)

    async def forward(link: Link) -> None:
        await link.publish(queue, b'{"recipes":["x"]}\xc3\xbc', {"zocalo.go.user": "me"})
        await link.forward(await next_of(link), other)

    within(url, forward, queue)

    (_, found) = waiting(url, other)
    assert (found.body, found.headers["zocalo.go.user"]) == (b'{"recipes":["x"]}\xc3\xbc', "me")
    assert waiting(url, queue) == []


@services
def test_a_dead_letter_says_why_and_where_it_came_from(url: str, queue: str) -> None:
    async def bury(link: Link) -> None:
        await link.publish(queue, b"\x00nonsense", {"sender": "php"})
        await link.bury(await next_of(link), f"dlq.{queue}", "the body is not JSON: line 1")

    within(url, bury, queue)

    (found,) = waiting(url, f"dlq.{queue}")
    assert (found.body, found.headers["sender"]) == (b"\x00nonsense", "php")
    assert found.headers[REASON] == "the body is not JSON: line 1"
    assert found.headers[DEAD_FROM] == queue
    assert len(found.headers[DEAD_ID]) == 32
    assert waiting(url, queue) == []


@services
def test_a_bare_message_can_be_buried_and_forwarded_too(
    url: str, rabbitmq: RabbitMq, queue: str
) -> None:
    async def answer(link: Link) -> None:
        for _ in range(2):
            await asyncio.to_thread(sent_bare, rabbitmq, queue, SYNCHWEB)
        await link.bury(await next_of(link), f"dlq.{queue}", "why not")
        await link.forward(await next_of(link), f"dlq.{queue}")

    within(url, lambda link: link.take(f"dlq.{queue}", at_most=1))
    within(url, answer, queue)

    assert [one.body for one in waiting(url, f"dlq.{queue}")] == [SYNCHWEB, SYNCHWEB]


@services
def test_a_message_that_is_put_back_is_behind_the_others_and_counts_as_new(
    url: str, queue: str
) -> None:
    async def put_back(link: Link) -> list[Delivery]:
        await link.publish(queue, b"first", {})
        await link.publish(queue, b"second", {})
        first = await next_of(link)
        await link.put_back(first, "wish-1")
        return [await next_of(link), await next_of(link)]

    found = within(url, put_back, queue)

    assert [(one.body, one.repeated) for one in found] == [(b"second", False), (b"first", False)]
    assert found[1].headers["limsflow-wish"] == "wish-1"


@services
def test_one_that_may_have_been_delivered_before_stays_so_when_put_back(
    url: str, queue: str
) -> None:
    async def leave(link: Link) -> None:
        await link.publish(queue, b"wish", {})
        await next_of(link)

    async def put_back(link: Link) -> Delivery:
        await link.put_back(await next_of(link), "wish-1")
        return await next_of(link)

    within(url, leave, queue)

    assert within(url, put_back, queue).repeated


@services
def test_a_queue_that_nobody_made_refuses_what_would_be_lost(
    rabbitmq: RabbitMq, queue: str
) -> None:
    async def forward(link: Link) -> None:
        await link.publish(queue, b"wish", {})
        await link.forward(await next_of(link), "no-such-queue")

    with pytest.raises(InvalidRequest, match="no-such-queue"):
        within(rabbitmq.amqp, forward, queue)
    with pytest.raises(InvalidRequest, match="no-such-queue"):
        within(rabbitmq.amqp, lambda link: link.require("no-such-queue"))

    assert [one.body for one in waiting(rabbitmq.amqp, queue)] == [b"wish"]


@services
def test_how_many_wait_is_known_where_the_protocol_says_it(rabbitmq: RabbitMq, queue: str) -> None:
    async def depths(link: Link) -> dict[str, int]:
        for _ in range(60):  # ten more than one consumer may have in hand
            await link.publish(queue, b"wish", {})
        return await link.depths()

    assert within(rabbitmq.amqp, depths, queue) == {queue: 10}
    assert within(rabbitmq.stomp, lambda link: link.depths(), f"{queue}-stomp") == {}


@services
def test_a_consumer_whose_queue_was_deleted_is_noticed(rabbitmq: RabbitMq, queue: str) -> None:
    async def delete(link: Link) -> None:
        connection = await aio_pika.connect(rabbitmq.amqp)
        async with connection, connection.channel() as channel:
            await channel.queue_delete(queue)
            await channel.declare_queue(queue, durable=True)
        await asyncio.sleep(0.5)
        await link.depths()
        await next_of(link)

    with pytest.raises(ServiceUnavailable, match="closed"):
        within(rabbitmq.amqp, delete, queue)


@services
def test_a_queue_of_dead_letters_that_was_deleted_is_made_again(
    rabbitmq: RabbitMq, queue: str
) -> None:
    async def bury(link: Link) -> None:
        for _ in range(2):
            await link.publish(queue, b"wish", {})
            await link.bury(await next_of(link), f"dlq.{queue}", "why")
            connection = await aio_pika.connect(rabbitmq.amqp)
            async with connection, connection.channel() as channel:
                await channel.queue_delete(f"dlq.{queue}")

    within(rabbitmq.amqp, bury, queue)

    assert waiting(rabbitmq.amqp, queue) == []


@services
def test_a_full_queue_is_no_reason_to_leave(rabbitmq: RabbitMq, queue: str) -> None:
    limits = {"x-max-length": 1, "x-overflow": "reject-publish"}

    async def forward(link: Link) -> None:
        connection = await aio_pika.connect(rabbitmq.amqp)
        async with connection, connection.channel() as channel:
            await channel.declare_queue(f"{queue}-full", durable=True, arguments=limits)
        await link.publish(f"{queue}-full", b"it is full", {})
        await link.publish(queue, b"wish", {})
        delivery = await next_of(link)
        with pytest.raises(NotTaken):
            await link.forward(delivery, f"{queue}-full")
        await link.accept(delivery)

    within(rabbitmq.amqp, forward, queue)

    assert waiting(rabbitmq.amqp, queue) == []


@services
def test_no_copy_goes_where_a_sender_s_header_says(rabbitmq: RabbitMq, queue: str) -> None:
    async def forward(link: Link) -> None:
        await link.publish(queue, b"wish", {"CC": [f"{queue}-copies"]})
        await link.forward(await next_of(link), f"{queue}-zocalo")

    for other in ("zocalo", "copies"):
        assert waiting(rabbitmq.amqp, f"{queue}-{other}") == []  # which makes it
    within(rabbitmq.amqp, forward, queue)

    assert len(waiting(rabbitmq.amqp, f"{queue}-zocalo")) == 1
    assert len(waiting(rabbitmq.amqp, f"{queue}-copies")) == 1  # the sender's own


@services
@pytest.mark.parametrize("kind", ["amqp", "stomp"])
def test_a_wrong_password_is_said_without_the_password(rabbitmq: RabbitMq, kind: str) -> None:
    url = str(getattr(rabbitmq, kind)).replace(rabbitmq.password, "secret-guess")

    with pytest.raises(ServiceUnavailable) as failure:
        within(url, lambda link: link.depths())

    assert "secret-guess" not in str(failure.value)


@pytest.mark.parametrize("scheme", ["amqp", "stomp"])
def test_a_broker_that_is_away_is_waited_for_by_whoever_asks(scheme: str) -> None:
    with pytest.raises(ServiceUnavailable):
        within(f"{scheme}://a:b@127.0.0.1:1", lambda link: link.depths())


@pytest.mark.parametrize("url", ["http://x", "redis://x", "", "amqp", "://", "amqp//x"])
def test_a_url_of_no_broker_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="begins with amqp://"):
        kind_of(url)
