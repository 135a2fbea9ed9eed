# pyright: reportMissingTypeStubs=false
"""ActiveMQ, and any other broker that speaks STOMP 1.2; RabbitMQ does, with a plugin.

Names of queues are STOMP destinations: `/queue/processing_recipe`; a name without a slash gets
`/queue/` in front. On RabbitMQ a queue that AMQP made is `/amq/queue/processing_recipe`.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import stomp
from stomp.exception import StompException

from blocks.broker import REPEATED, WISH, Delivery, epitaph
from blocks.errors import InvalidRequest, ServiceUnavailable

logger = logging.getLogger(__name__)

ANSWER_S = 30.0
HEARTBEATS_MS = (20_000, 20_000)
LOOK_S = 1.0
PORT = 61613
# What the broker says of one delivery, not what the sender said of the message.
OF_THE_DELIVERY = {
    "ack", "content-length", "destination", "expires", "message-id", "priority", "redelivered",
    "persistent", "amqp-message-id", "subscription", "timestamp", "receipt", "receipt-id",
    "original-destination", "breadcrumbId",
}  # fmt: skip


@contextlib.asynccontextmanager
async def stomp_link(
    url: str, queues: Sequence[str] = (), *, at_once: int = 50
) -> AsyncGenerator["StompLink", None]:
    """Connect, and consume these queues while the block runs.

    Raises:
        ServiceUnavailable: the broker does not answer, or does not let us in.
        InvalidRequest: the URL is none.
    """
    connection, login = _connection(url)
    link = StompLink(connection, asyncio.get_running_loop())
    try:
        await link.connect(login)
        await link.consume(queues, at_once)
        yield link
    finally:
        await asyncio.to_thread(_leave, connection)


def _connection(url: str) -> tuple[Any, dict[str, Any]]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or PORT
    except ValueError as error:
        msg = "the broker's URL has no usable port"
        raise InvalidRequest(msg) from error
    vhost = unquote(parts.path.removeprefix("/")) or "/"  # RabbitMQ's first; ActiveMQ has none
    connection: Any = stomp.Connection12(
        [(host, port)],
        heartbeats=HEARTBEATS_MS,
        reconnect_attempts_max=1,
        timeout=ANSWER_S,
        auto_decode=False,
        vhost=vhost,
    )
    if parts.scheme == "stomps":
        connection.set_ssl([(host, port)])
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return connection, {"username": user or None, "passcode": password or None, "wait": True}


def _leave(connection: Any) -> None:
    with contextlib.suppress(StompException, OSError):
        connection.disconnect()


@contextlib.contextmanager
def _answering() -> Generator[None, None, None]:
    try:
        yield
    except (TimeoutError, StompException, OSError) as error:
        msg = f"the STOMP broker does not answer: {type(error).__name__} {error}"
        raise ServiceUnavailable(msg) from error


class StompLink(stomp.ConnectionListener):
    """A connection; see `blocks.broker.Link`. The library calls it in a thread of its own.

    The library has no types, so its connection and frames are `Any` here.
    """

    def __init__(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._come = asyncio.Queue[Delivery | None]()
        self._receipts = dict[str, asyncio.Future[None]]()
        self._queues = dict[str, str]()

    async def connect(self, login: Mapping[str, Any]) -> None:
        """Log in."""
        self._connection.set_listener("limsflow", self)
        with _answering():
            await asyncio.to_thread(self._connection.connect, **login)

    async def consume(self, queues: Sequence[str], at_once: int) -> None:
        """Begin to receive."""
        for queue in queues:
            await self.subscribe(queue, at_once)

    async def subscribe(self, queue: str, at_once: int) -> None:
        """Begin to receive from one queue."""
        number = uuid4().hex
        self._queues[number] = queue
        await self._asked(
            lambda receipt: self._connection.subscribe(
                destination(queue),
                id=number,
                ack="client-individual",
                headers={
                    "prefetch-count": str(at_once),  # RabbitMQ
                    "activemq.prefetchSize": str(at_once),
                    "receipt": receipt,
                },
            )
        )

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Return messages as they come."""
        while True:
            delivery = await self._come.get()
            if delivery is None:
                msg = "the STOMP broker closed the connection"
                raise ServiceUnavailable(msg)
            yield delivery

    async def accept(self, delivery: Delivery) -> None:
        """Take a message off its queue."""
        await self._asked(lambda receipt: self._connection.ack(delivery.native, receipt=receipt))

    async def forward(self, delivery: Delivery, queue: str) -> None:
        """Put a message into another queue as it is, then take it off its own."""
        await self.publish(queue, delivery.body, delivery.headers)
        await self.accept(delivery)

    async def bury(self, delivery: Delivery, queue: str, reason: str) -> None:
        """Put a message into a queue of dead letters, with the reason, then take it off its own."""
        said = epitaph(delivery.queue, reason)
        await self.publish(queue, delivery.body, {**delivery.headers, **said})
        await self.accept(delivery)

    async def put_back(self, delivery: Delivery, wish: str) -> None:
        """Put a message at the end of its queue as a new one, which counts no deliveries."""
        said = {WISH: wish} | ({REPEATED: "true"} if delivery.repeated else {})
        await self.publish(delivery.queue, delivery.body, {**delivery.headers, **said})
        await self.accept(delivery)

    async def require(self, queue: str) -> None:
        """Refuse nothing: a STOMP broker makes the queues that are named."""

    async def publish(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Put a message into a queue; returns when the broker has it."""
        said = {"persistent": "true", **{name: str(value) for name, value in headers.items()}}
        await self._asked(
            lambda receipt: self._connection.send(
                destination(queue), body, headers=said, receipt=receipt
            )
        )

    async def depths(self) -> dict[str, int]:
        """Return nothing: STOMP cannot ask."""
        return {}

    async def take(self, queue: str, *, at_most: int) -> list[Delivery]:
        """Return messages that wait in a queue now; unanswered they stay there."""
        await self.subscribe(queue, at_most)
        taken = list[Delivery]()
        with contextlib.suppress(asyncio.TimeoutError):
            while len(taken) < at_most:
                delivery = await asyncio.wait_for(self._come.get(), LOOK_S)
                if delivery is None:
                    break
                taken.append(delivery)
        return taken

    async def _asked(self, call: Callable[[str], object]) -> None:
        """Send a frame and wait until the broker says that it has done it."""
        receipt = uuid4().hex
        self._receipts[receipt] = self._loop.create_future()
        try:
            with _answering():
                call(receipt)
                await asyncio.wait_for(self._receipts[receipt], ANSWER_S)
        finally:
            del self._receipts[receipt]

    # Called by the library, in its thread

    def on_message(self, frame: Any) -> None:
        """Take a message over."""
        delivery = _delivery(frame, self._queues)
        self._in_loop(self._come.put_nowait, delivery)

    def on_receipt(self, frame: Any) -> None:
        """Take a receipt over."""
        self._in_loop(self._settle, _headers(frame).get("receipt-id", ""), None)

    def on_error(self, frame: Any) -> None:
        """Say what the broker refused; it closes the connection after that."""
        reason = _headers(frame).get("message", "an error")
        logger.warning("the STOMP broker says: %s", reason)
        self._in_loop(self._fail, reason)

    def on_disconnected(self) -> None:
        """Say that the connection is gone."""
        self._in_loop(self._fail, "the connection is closed")

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        """Call something in the loop's thread; when we left, the loop may have ended with us."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _settle(self, receipt: str, failure: Exception | None) -> None:
        waiting = self._receipts.get(receipt)
        if waiting and not waiting.done():
            waiting.set_exception(failure) if failure else waiting.set_result(None)

    def _fail(self, reason: str) -> None:
        for receipt in list(self._receipts):
            self._settle(receipt, ConnectionError(reason))
        self._come.put_nowait(None)


def destination(queue: str) -> str:
    """Return a queue's STOMP destination."""
    return queue if "/" in queue else f"/queue/{queue}"


def _headers(frame: Any) -> dict[str, str]:
    given: dict[Any, Any] = frame.headers or {}
    return {str(name): str(value) for name, value in given.items()}


def _delivery(frame: Any, queues: Mapping[str, str]) -> Delivery:
    headers = _headers(frame)
    own = {name: value for name, value in headers.items() if name not in OF_THE_DELIVERY}
    body = frame.body
    return Delivery(
        queue=queues.get(headers.get("subscription", ""), headers.get("destination", "")),
        body=body if isinstance(body, bytes) else str(body or "").encode(),
        headers=own,
        repeated=headers.get("redelivered", "").lower() == "true" or REPEATED in own,
        native=headers.get("ack") or headers.get("message-id", ""),
    )
