"""RabbitMQ: AMQP 0-9-1 with publisher confirms and quorum queues."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    DeliveryError,
    PublishError,
)

from blocks.broker import REPEATED, WISH, Delivery, NotTaken, epitaph
from blocks.errors import InvalidRequest, ServiceUnavailable

ANSWER_S = 30.0
CONNECT_S = 10.0
LEAVE_S = 5.0
QUORUM: dict[str, Any] = {"x-queue-type": "quorum"}
# A channel that has closed, and a connection, say so with RuntimeError.
AWAY = (AMQPError, OSError, asyncio.TimeoutError, asyncio.InvalidStateError, RuntimeError)


@contextlib.asynccontextmanager
async def amqp_link(
    url: str, queues: Sequence[str] = (), *, at_once: int = 50
) -> AsyncGenerator["AmqpLink", None]:
    """Connect, and consume these queues while the block runs.

    Raises:
        ServiceUnavailable: RabbitMQ does not answer, or does not let us in.
    """
    with answering():
        connection = await aio_pika.connect(url, timeout=CONNECT_S)
    try:
        with answering():
            link = AmqpLink(connection, await connection.channel(on_return_raises=True))
        try:
            await link.consume(queues, at_once)
            yield link
        finally:
            await link.leave()
    finally:
        with contextlib.suppress(*AWAY):
            await connection.close()


@contextlib.contextmanager
def answering() -> Generator[None, None, None]:
    """Say that RabbitMQ does not answer, if it does not.

    Raises:
        ServiceUnavailable: its cause says why.
    """
    try:
        yield
    except AWAY as error:
        msg = f"RabbitMQ does not answer: {type(error).__name__} {error}"
        raise ServiceUnavailable(msg) from error


@contextlib.contextmanager
def _taking() -> Generator[None, None, None]:
    """Say that a message was not taken, where the connection itself may be well.

    Raises:
        NotTaken: a queue is full or may not be made, or the broker holds back whoever publishes.
    """
    try:
        yield
    except (DeliveryError, ChannelAccessRefused, TimeoutError) as error:
        msg = f"RabbitMQ does not take a message: {type(error).__name__} {error}"
        raise NotTaken(msg) from error


@contextlib.contextmanager
def _routed(queue: str) -> Generator[None, None, None]:
    """Say that a queue is missing, when RabbitMQ gives a message back."""
    try:
        yield
    except PublishError as error:
        raise _no_queue(queue) from error


def _no_queue(queue: str) -> InvalidRequest:
    return InvalidRequest(f"there is no queue {queue!r} on this broker")


class AmqpLink:
    """A connection with one channel; see `blocks.broker.Link`."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        self._connection = connection
        self._channel = channel
        self._queues: Sequence[str] = ()
        self._tags = list[str]()
        self._making = asyncio.Lock()
        self._come = asyncio.Queue[Delivery | None]()
        for closing in (connection.close_callbacks, channel.close_callbacks):
            closing.add(self._closed)

    def _closed(self, *_why: object) -> None:
        self._come.put_nowait(None)

    async def consume(self, queues: Sequence[str], at_once: int) -> None:
        """Begin to receive; a queue that is missing is made, as a quorum queue."""
        self._queues = queues
        with answering():
            await self._channel.set_qos(prefetch_count=at_once)
            for name in queues:
                await self.make_sure_of(name)
            for name in queues:
                queue = await self._channel.get_queue(name, ensure=False)
                tag = await queue.consume(self._receiver(name), timeout=ANSWER_S)
                self._tags.append(str(tag))

    async def leave(self) -> None:
        """Consume no more, and wait until RabbitMQ has read every answer that was given here.

        It confirms none, and what it has not read when a connection closes comes again.
        """
        with contextlib.suppress(*AWAY):
            async with asyncio.timeout(LEAVE_S):
                channel: Any = await self._channel.get_underlay_channel()
                for tag in self._tags:
                    await channel.basic_cancel(tag)
                await channel.basic_qos()  # read in turn, after the answers

    async def make_sure_of(self, name: str) -> None:
        """Make a durable quorum queue, if there is none of this name."""
        async with self._making:  # the library mixes up channels that come and go at once
            if await self._is_there(name):
                return
            async with self._connection.channel() as making:
                await making.declare_queue(name, durable=True, arguments=QUORUM, timeout=ANSWER_S)

    async def _is_there(self, name: str) -> bool:
        async with self._connection.channel() as looking:  # a refusal closes its channel
            try:
                await looking.declare_queue(name, passive=True, timeout=ANSWER_S)
            except ChannelNotFoundEntity:
                return False
        return True

    def _receiver(self, queue: str) -> Any:
        async def receive(message: AbstractIncomingMessage) -> None:
            self._come.put_nowait(_delivery(queue, message))

        return receive

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Return messages as they come."""
        while True:
            delivery = await self._come.get()
            if delivery is None:
                msg = "RabbitMQ closed the connection"
                raise ServiceUnavailable(msg)
            yield delivery

    async def accept(self, delivery: Delivery) -> None:
        """Take a message off its queue."""
        with answering():
            await delivery.native.ack()

    async def forward(self, delivery: Delivery, queue: str) -> None:
        """Put a message into another queue as it is, then take it off its own."""
        await self._publish(queue, _copy(delivery.native, {}))
        await self.accept(delivery)

    async def bury(self, delivery: Delivery, queue: str, reason: str) -> None:
        """Put a message into a queue of dead letters, with the reason, then take it off its own."""
        said = epitaph(delivery.queue, reason)
        with answering(), _taking():
            await self.make_sure_of(queue)
        await self._publish(queue, _copy(delivery.native, said))
        await self.accept(delivery)

    async def put_back(self, delivery: Delivery, wish: str) -> None:
        """Put a message at the end of its queue as a new one, which counts no deliveries."""
        said = {WISH: wish} | ({REPEATED: "true"} if delivery.repeated else {})
        await self._publish(delivery.queue, _copy(delivery.native, said))
        await self.accept(delivery)

    async def publish(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Put a message into a queue; returns when RabbitMQ has it."""
        persistent = aio_pika.DeliveryMode.PERSISTENT
        await self._publish(
            queue, aio_pika.Message(body, headers=dict(headers), delivery_mode=persistent)
        )

    async def require(self, queue: str) -> None:
        """Refuse a queue that is not there.

        Raises:
            InvalidRequest: there is none of this name.
        """
        with answering():
            async with self._making:
                is_there = await self._is_there(queue)
        if not is_there:
            raise _no_queue(queue)

    async def _publish(self, queue: str, message: aio_pika.Message) -> None:
        with answering(), _taking(), _routed(queue):
            await self._channel.default_exchange.publish(
                message, routing_key=queue, mandatory=True, timeout=ANSWER_S
            )

    async def depths(self) -> dict[str, int]:
        """Return how many messages wait in each queue.

        RabbitMQ cancels a consumer whose queue is deleted, and the library does not say so: this
        is where it is noticed, and the link ends.
        """
        found = dict[str, int]()
        with answering():
            # Only the channel below aio-pika's knows.
            consumers: Any = getattr(await self._channel.get_underlay_channel(), "consumers", ())
            if any(tag not in consumers for tag in self._tags):
                self._closed()
            for name in self._queues:
                queue = await self._channel.declare_queue(name, passive=True, timeout=ANSWER_S)
                found[name] = queue.declaration_result.message_count or 0
        return found

    async def take(self, queue: str, *, at_most: int) -> list[Delivery]:
        """Return messages that wait in a queue now; unanswered they stay there."""
        taken = list[Delivery]()
        with answering():
            await self.make_sure_of(queue)
            source = await self._channel.get_queue(queue, ensure=False)
            while len(taken) < at_most:
                message = await source.get(fail=False, timeout=ANSWER_S)
                if message is None:
                    break
                taken.append(_delivery(queue, message))
        return taken


def _delivery(queue: str, message: AbstractIncomingMessage) -> Delivery:
    headers = dict(message.headers)
    return Delivery(
        queue=queue,
        body=message.body,
        headers=headers,
        repeated=bool(message.redelivered) or REPEATED in headers,
        native=message,
    )


def _copy(message: AbstractIncomingMessage, headers: Mapping[str, Any]) -> aio_pika.Message:
    """Return the same message to send; the broker would refuse another sender's user id."""
    # The broker's own counts; and what it would send copies by.
    counted = ("x-delivery-count", "x-acquired-count", "CC", "BCC")
    kept = {name: value for name, value in message.headers.items() if name not in counted}
    return aio_pika.Message(
        message.body,
        headers={**kept, **headers},
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=message.delivery_mode,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        expiration=message.expiration,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )
