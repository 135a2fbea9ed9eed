"""`limsflow dead`: messages that nobody could use, and what an operator does with them.

The bridge buries a message with its reason and an id; a broker's own policy buries what failed too
often, without an id. Such a letter is named by a digest of itself. Looking leaves all as it is.
"""

import argparse
import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from pydantic import Field

from blocks.broker import (
    DEAD_AT,
    DEAD_FROM,
    DEAD_ID,
    REASON,
    REPEATED,
    WISH,
    Delivery,
    Link,
    open_link,
)
from blocks.connections import MessageBroker
from blocks.errors import InvalidRequest, NoSuchRecord
from blocks.mx.messages import job_of
from blocks.record import Record
from deployments.job_log import plain
from tasks.flow_runs import answering

MOST = 1_000  # letters of one queue that are looked at
SHOWN = 200  # letters of a body
REINJECTED = "dlq-reinjected"  # as zocalo.dlq_reinject says it
DEATH = "x-death"  # RabbitMQ: the queues that a message died in, the last one first
FIRST_QUEUE, FIRST_REASON = "x-first-death-queue", "x-first-death-reason"
COUNTS = ("x-delivery-count", "x-acquired-count")  # RabbitMQ's, of every look
# Of a death or of the delivery, not of the message. With the former, RabbitMQ would count on where
# it stopped; STOMP's word for a message that need not be kept is one that it does not take back.
OF_DEATH = {
    REASON,
    DEAD_ID,
    DEAD_FROM,
    DEAD_AT,
    REPEATED,
    WISH,
    DEATH,
    *COUNTS,
    "persistent",
    "amqp-message-id",
}
OF_DEATHS = ("x-first-death-", "x-last-death-")

DoneT = TypeVar("DoneT")


class DeadLetter(Record):
    """A message that nobody could use."""

    id: str
    queue: str = Field(description="that it came from, and goes to again; empty: nobody knows")
    lies_in: str = Field(description="queue of dead letters")
    reason: str
    died_at: datetime | None = Field(description="None: the broker does not say")
    job_id: int | None = Field(description="that it names; None: none that can be read")
    body: str
    headers: dict[str, str]


@dataclass(frozen=True)
class _Found:
    """A letter, and the delivery to answer."""

    letter: DeadLetter
    delivery: Delivery


class Graves:
    """The queues of dead letters of one broker, over a connection that the first look holds.

    What was looked at and not answered is back when the connection ends.

    Args:
        link: The connection.
        broker: Which queues are ours.
        queue: One of them, or a queue of dead letters by its own name; empty: all.

    Raises:
        InvalidRequest: this broker has no such queue.
    """

    def __init__(self, link: Link, broker: MessageBroker, queue: str = "") -> None:
        self._link = link
        self._graves = _graves_of(broker, queue)

    async def letters(self) -> list[DeadLetter]:
        """Return what lies there, at most `MOST` of each queue."""
        return [one.letter for one in await self._look()]

    async def letter(self, letter_id: str) -> DeadLetter:
        """Return one letter.

        Raises:
            NoSuchRecord: there is none of this id.
        """
        return _one(await self._look(), letter_id).letter

    async def reinject(self, letter_id: str | None) -> list[DeadLetter]:
        """Send a letter, or all, to the queue that it came from; return them.

        The broker has the message before the letter is taken away. A crash in between leaves
        both; whoever reinjects that letter again asks for a job a second time, and the hand-off
        makes one run of it as long as the first goes on.

        Args:
            letter_id: None: all.

        Raises:
            NoSuchRecord: there is none of this id.
            InvalidRequest: the letter does not say where it came from, or it is no queue of ours;
                of all, none is sent.
        """
        found = await self._look()
        chosen = found if letter_id is None else [_one(found, letter_id)]
        for one in chosen:
            self._require_home(one.letter)
        for one in chosen:
            headers = {**_own_headers(one.delivery), REINJECTED: True}
            await self._link.publish(one.letter.queue, one.delivery.body, headers)
            await self._link.accept(one.delivery)
        return [one.letter for one in chosen]

    async def drop(self, letter_id: str) -> DeadLetter:
        """Take a letter away for ever; return it.

        Raises:
            NoSuchRecord: there is none of this id.
        """
        one = _one(await self._look(), letter_id)
        await self._link.accept(one.delivery)
        return one.letter

    async def _look(self) -> list[_Found]:
        found = list[_Found]()
        for grave, home in self._graves.items():
            for delivery in await self._link.take(grave, at_most=MOST):
                found.append(_Found(_letter(delivery, grave, home), delivery))
        return found

    def _require_home(self, letter: DeadLetter) -> None:
        """Refuse a letter whose headers lead out of our queues: whoever sent it chose them."""
        if letter.queue not in self._graves.values():
            msg = (
                f"dead letter {letter.id} says that it came from {letter.queue!r}, which is no "
                "queue of this broker block: drop it, or move it with the broker's own program"
            )
            raise InvalidRequest(msg)


def _graves_of(broker: MessageBroker, queue: str) -> dict[str, str]:
    """Return queues of dead letters, and the queue that each belongs to."""
    ours = {broker.dead_letters_of(one): one for one in broker.queues}
    if not queue:
        return ours
    if queue in ours or queue in broker.queues:
        return {grave: home for grave, home in ours.items() if queue in (grave, home)}
    folder, slash, name = queue.rpartition("/")
    if not name.startswith("dlq."):
        msg = f"{queue!r} is neither a queue of this broker block nor one of dead letters (dlq...)"
        raise InvalidRequest(msg)
    return {queue: f"{folder}{slash}{name.removeprefix('dlq.')}"}


def _one(found: Sequence[_Found], letter_id: str) -> _Found:
    for one in found:
        if one.letter.id == letter_id:
            return one
    msg = f"there is no dead letter {letter_id!r}: see 'limsflow dead list'"
    raise NoSuchRecord(msg)


def _letter(delivery: Delivery, grave: str, home: str) -> DeadLetter:
    said = delivery.headers
    return DeadLetter(
        id=str(said.get(DEAD_ID) or _digest(delivery)),
        queue=str(said.get(DEAD_FROM) or said.get(FIRST_QUEUE) or home),
        lies_in=grave,
        reason=str(said.get(REASON) or said.get(FIRST_REASON) or "unknown"),
        died_at=_died_at(said),
        job_id=job_of(delivery.body),
        body=delivery.body.decode(errors="replace"),
        headers={name: str(value) for name, value in _own_headers(delivery).items()},
    )


def _digest(delivery: Delivery) -> str:
    """Return the same for a letter at every look; letters that are all alike have the same."""
    said = sorted((name, str(value)) for name, value in delivery.headers.items())
    lasting = [one for one in said if one[0] not in COUNTS]
    return hashlib.sha256(delivery.body + repr(lasting).encode()).hexdigest()[:32]


def _died_at(headers: Mapping[str, Any]) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(str(headers.get(DEAD_AT, "")))
    deaths = headers.get(DEATH)
    if not (isinstance(deaths, list) and deaths and isinstance(deaths[0], dict)):
        return None
    when = cast("dict[str, Any]", deaths[0]).get("time")
    if not isinstance(when, datetime):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _own_headers(delivery: Delivery) -> dict[str, Any]:
    return {
        name: value
        for name, value in delivery.headers.items()
        if name not in OF_DEATH and not name.startswith(OF_DEATHS)
    }


@asynccontextmanager
async def graves(broker: str, queue: str = "") -> AsyncGenerator[Graves, None]:
    """Connect with the broker of a saved block.

    Raises:
        InvalidRequest: there is no such block, or it has no such queue.
        ServiceUnavailable: the broker or Prefect does not answer.
    """
    with answering():
        block = await MessageBroker.named(broker)
    async with open_link(block.url.get_secret_value()) as link:
        yield Graves(link, block, queue)


# Commands


def list_letters(options: argparse.Namespace) -> int:
    """Print the dead letters, one line each."""
    letters = _ask(options, lambda found: found.letters())
    if options.json:
        print(json.dumps([one.model_dump(mode="json") for one in letters]))
        return 0
    for one in letters:
        print("\n".join(_lines(one)))
    if not letters:
        print("no dead letters")
    return 0


def show(options: argparse.Namespace) -> int:
    """Print one dead letter with its whole body and its headers."""
    one = _ask(options, lambda found: found.letter(options.id))
    if options.json:
        print(one.model_dump_json())
        return 0
    headers = [f"  {name}: {value}" for name, value in one.headers.items()]
    body = [f"  {line}" for line in one.body.splitlines()]
    print("\n".join(plain(line) for line in [*_lines(one)[:-1], *headers, "", *body]))
    return 0


def reinject(options: argparse.Namespace) -> int:
    """Send one dead letter, or all, to the queue that it came from.

    Raises:
        InvalidRequest: neither an id nor --all is given, or both are.
        NoSuchRecord: there is none of this id.
    """
    if bool(options.id) == options.all:
        msg = "name one dead letter, or say --all"
        raise InvalidRequest(msg)
    return _say(options, "reinjected", _ask(options, lambda found: found.reinject(options.id)))


def drop(options: argparse.Namespace) -> int:
    """Take one dead letter away for ever."""
    return _say(options, "dropped", [_ask(options, lambda found: found.drop(options.id))])


def _ask(options: argparse.Namespace, deed: Callable[[Graves], Awaitable[DoneT]]) -> DoneT:
    async def ask() -> DoneT:
        async with graves(options.broker, options.queue or "") as found:
            return await deed(found)

    return asyncio.run(ask())


def _say(options: argparse.Namespace, verb: str, letters: Sequence[DeadLetter]) -> int:
    if options.json:
        print(json.dumps({verb: [one.id for one in letters]}))
        return 0
    for one in letters:
        into = f" into {one.queue}" if verb == "reinjected" else ""
        print(plain(f"{verb} {one.id}{into}"))
    if not letters:
        print("no dead letters")
    return 0


def _lines(letter: DeadLetter) -> list[str]:
    when = f"{letter.died_at:%Y-%m-%d %H:%M:%S}" if letter.died_at else "-"
    about = f"job {letter.job_id}" if letter.job_id else "no job"
    shown = " ".join(letter.body[:SHOWN].splitlines())
    lines = [
        f"{letter.id}  {when}  {about}  from {letter.queue}",
        f"  {letter.reason}",
        f"  {shown}",
    ]
    return [plain(line) for line in lines]
