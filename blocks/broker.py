"""What a message broker does for us, whichever protocol it speaks.

`amqp` is RabbitMQ, `stomp_broker` ActiveMQ and every other STOMP broker. Both promise the same, and
one suite of tests holds them to it: a message leaves its queue only after what was made of it is
safe elsewhere.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from blocks.errors import InvalidRequest, TransientError

REASON, DEAD_ID = "limsflow-reason", "limsflow-id"
DEAD_FROM, DEAD_AT = "limsflow-queue", "limsflow-time"
REPEATED, WISH = "limsflow-repeated", "limsflow-wish"


@dataclass(frozen=True)
class Delivery:
    """A message, until we say what became of it."""

    queue: str
    body: bytes = field(repr=False)
    headers: Mapping[str, Any] = field(repr=False)
    repeated: bool
    """Whether it may have been delivered before, here or to another bridge."""
    native: Any = field(repr=False)
    """The broker's own, to answer with."""


class NotTaken(TransientError):
    """A queue does not take a message now: it is full, or the broker short of memory."""


class Link(Protocol):
    """One connection to a broker.

    Raises:
        ServiceUnavailable: from every method, when the broker is away; what was not answered is
            delivered again.
        NotTaken: from every method that puts a message somewhere; it may be tried again.
    """

    async def consume(self, queues: Sequence[str], at_once: int) -> None:
        """Begin to receive; a queue that is missing is made, where the protocol can.

        Args:
            queues: Whose messages.
            at_once: How many may be unanswered.
        """
        ...

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Return messages as they come; ends with `ServiceUnavailable` when the broker goes."""
        ...

    async def accept(self, delivery: Delivery) -> None:
        """Take a message off its queue."""
        ...

    async def require(self, queue: str) -> None:
        """Refuse a queue that is not there, where the protocol can say so.

        Raises:
            InvalidRequest: there is none of this name.
        """
        ...

    async def forward(self, delivery: Delivery, queue: str) -> None:
        """Put a message into another queue as it is, then take it off its own.

        Raises:
            InvalidRequest: there is no such queue; the message stays where it is.
        """
        ...

    async def bury(self, delivery: Delivery, queue: str, reason: str) -> None:
        """Put a message into a queue of dead letters, with the reason, then take it off its own."""
        ...

    async def put_back(self, delivery: Delivery, wish: str) -> None:
        """Put a message at the end of its queue as a new one, which counts no deliveries.

        It keeps what we call the wish, and whether it may have been delivered before.
        """
        ...

    async def publish(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> None:
        """Put a message into a queue; returns when the broker has it.

        Raises:
            InvalidRequest: there is no such queue.
        """
        ...

    async def depths(self) -> dict[str, int]:
        """Return how many messages wait in each queue; empty where the protocol cannot say."""
        ...

    async def take(self, queue: str, *, at_most: int) -> list[Delivery]:
        """Return messages that wait in a queue now, to look at; unanswered they stay there."""
        ...


def epitaph(queue: str, reason: str) -> dict[str, str]:
    """Return the headers of a dead letter: why, which, from where, and when (UTC)."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {REASON: reason, DEAD_ID: uuid4().hex, DEAD_FROM: queue, DEAD_AT: now}


def kind_of(url: str) -> str:
    """Return `amqp` or `stomp`.

    Raises:
        InvalidRequest: the URL names another kind of broker.
    """
    kinds = {"amqp": "amqp", "amqps": "amqp", "stomp": "stomp", "stomps": "stomp"}
    try:
        kind = kinds.get(urlsplit(url).scheme)
    except ValueError:
        kind = None
    if kind is None:
        msg = "the broker's URL begins with amqp://, amqps://, stomp:// or stomps://"
        raise InvalidRequest(msg)
    return kind


def open_link(
    url: str, queues: tuple[str, ...] = (), *, at_once: int = 50
) -> AbstractAsyncContextManager[Link]:
    """Return a connection to a broker, for a `with`.

    Args:
        url: amqp://user:password@host:5672/vhost or stomp://user:password@host:61613.
        queues: To consume; made if they are missing.
        at_once: Messages that may be unanswered.

    Raises:
        ServiceUnavailable: it does not answer.
    """
    if kind_of(url) == "amqp":
        from blocks.amqp import amqp_link  # noqa: PLC0415 - only if it is spoken

        return amqp_link(url, queues, at_once=at_once)
    from blocks.stomp_broker import stomp_link  # noqa: PLC0415 - only if it is spoken

    return stomp_link(url, queues, at_once=at_once)
