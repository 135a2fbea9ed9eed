"""Decides what one message of the broker becomes: a run, somebody else's, or a dead letter."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from blocks.broker import WISH, Delivery, Link, NotTaken
from blocks.connections import MessageBroker, Toolchain
from blocks.database import DatabaseRefuses, TablesMissing
from blocks.errors import (
    DataError,
    InvalidRequest,
    NoSuchRecord,
    ServiceUnavailable,
    TransientError,
)
from blocks.mx.messages import JobMessage, job_of, read_message
from blocks.mx.recipe import recipe_names
from blocks.mx.store import IspybStore
from deployments import metrics
from tasks.flow_runs import NoDeployment, Runs
from tasks.mx.hand_off import FORGOTTEN, HandedOff, hand_off
from tasks.mx.requests import record_refusal
from tasks.patience import patiently

logger = logging.getLogger(__name__)

AT_ONCE = 8  # hand-offs; more would only queue up in Prefect's server
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
# A broker takes a message back from a consumer that is silent for 30 min and counts that as a
# failed delivery. Before, we put it back ourselves, as a new one.
PUT_BACK_S = 15 * 60.0
FORGOTTEN_AFTER_S = 30.0  # the broker has long written down that it may forget a message


class Fate(StrEnum):
    """What a message became."""

    STARTED = "started"
    REPEATED = "repeated"
    FORWARDED = "forwarded"
    DEAD = "dead"
    PUT_BACK = "put_back"


@dataclass(frozen=True)
class Decision:
    """What a message becomes, before the broker hears of it."""

    fate: Fate
    run_id: UUID | None = None
    reason: str = ""
    late: bool = False


class NotYet(TransientError):
    """The rows that a message is about are not there yet."""


class Bridge:
    """Turns the messages of one connection into runs.

    Args:
        name: Of the broker's block, for the flows that answer through it.
        broker: Which messages are ours.
        link: The connection.
        store: The ISPyB that the jobs are in.
        runs: Prefect's.
        programs: Whose recipes are known.
    """

    def __init__(
        self,
        name: str,
        broker: MessageBroker,
        link: Link,
        store: IspybStore,
        runs: Runs,
        programs: Toolchain,
    ) -> None:
        self._name, self._broker, self._link = name, broker, link
        self._store, self._runs = store, runs
        self._recipes = set(broker.recipes or recipe_names(programs.recipes))
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reminders = set[asyncio.Task[None]]()

    async def run(self) -> None:
        """Deal with messages as they come.

        Raises:
            ServiceUnavailable: the broker is gone; what was not answered comes again.
        """
        try:
            async with asyncio.TaskGroup() as group:
                async for delivery in self._link.deliveries():
                    group.create_task(self.deal_with(delivery))
        except* ServiceUnavailable as failures:
            raise failures.exceptions[0] from None
        finally:
            self._forget()

    async def deal_with(self, delivery: Delivery) -> Fate:
        """Answer one message, however long Prefect or the database is away.

        Raises:
            ServiceUnavailable: the broker is gone, before it heard the answer.
        """
        began = time.monotonic()
        wish = str(delivery.headers.get(WISH) or uuid4().hex)
        decided = await self._patiently(lambda: self._decide(delivery, wish, began), began)
        # What was decided is safe; only now the message leaves its queue.
        await self._answer_patiently(delivery, decided, wish)
        metrics.messages.labels(decided.fate).inc()
        return decided.fate

    async def _patiently(self, decide: Callable[[], Awaitable[Decision]], began: float) -> Decision:
        wait_s = FIRST_WAIT_S
        while True:
            left_s = PUT_BACK_S - (time.monotonic() - began)
            try:
                async with asyncio.timeout(left_s):  # also of a Prefect that hangs
                    async with self._slots:
                        return await decide()
            except TimeoutError:
                return Decision(Fate.PUT_BACK)
            except TransientError as failure:
                logger.warning("%s; tried again in %.1f s", failure, wait_s)
            except Exception as bug:  # of one message: the others must not wait for it
                logger.exception("a message cannot be dealt with")
                return Decision(Fate.DEAD, reason=f"a bug: {type(bug).__name__}: {bug}"[:500])
            await asyncio.sleep(wait_s * (1 + random.random()))  # noqa: S311 - jitter is no secret
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _answer_patiently(self, delivery: Delivery, decided: Decision, wish: str) -> None:
        """Answer, as often as a queue does not take what it is sent."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._answer(delivery, decided, wish)
            except NotTaken as failure:
                logger.warning("%s; tried again in %.1f s", failure, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                return

    async def _answer(self, delivery: Delivery, decided: Decision, wish: str) -> None:
        if decided.fate is Fate.FORWARDED:
            await self._forward(delivery)
        elif decided.fate is Fate.DEAD:
            await self._bury(delivery, decided.reason)
        elif decided.fate is Fate.PUT_BACK:
            await self._link.put_back(delivery, wish)
        else:
            await self._link.accept(delivery)
            its = decided.fate is Fate.STARTED or delivery.repeated or decided.late
            if decided.run_id and its:
                self._remember(decided.run_id)

    async def _forward(self, delivery: Delivery) -> None:
        """Pass a message on; if its queue was deleted, it is kept where an operator looks."""
        try:
            await self._link.forward(delivery, self._broker.forward_to)
        except InvalidRequest as failure:
            logger.warning("a message of %s is buried: %s", delivery.queue, failure)
            await self._bury(delivery, str(failure))

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        grave = self._broker.dead_letters_of(delivery.queue)
        await self._link.bury(delivery, grave, reason)

    async def _decide(self, delivery: Delivery, wish: str, began: float) -> Decision:
        try:
            wanted = read_message(delivery.body, delivery.headers)
            if wanted is None or not await self._is_ours(wanted):
                return await self._pass_on(delivery)
            handed = await self._handed_off(wanted, delivery, wish)
        except NoSuchRecord as failure:
            if time.monotonic() - began < self._broker.wait_for_job_s:
                raise NotYet(str(failure)) from failure
            return await self._refused(delivery, str(failure))
        except (NoDeployment, DatabaseRefuses, TablesMissing) as failure:
            # Of the facility, not of the message: a server that is being restored.
            raise ServiceUnavailable(str(failure)) from failure
        except DataError as failure:
            return await self._refused(delivery, str(failure))
        metrics.hand_off_seconds.labels("broker").observe(time.monotonic() - began)
        logger.info("job %d %s %s %s", wanted.job_id, handed.outcome, handed.run_id, handed.why)
        return Decision(Fate(handed.outcome.value), run_id=handed.run_id, late=handed.late)

    async def _is_ours(self, wanted: JobMessage) -> bool:
        """Whether we run the job's recipe; a recipe's step in our queue always is for us."""
        if wanted.step:
            return True
        header = await asyncio.to_thread(self._store.job_header, wanted.job_id)
        return header.recipe in self._recipes

    async def _handed_off(self, wanted: JobMessage, delivery: Delivery, wish: str) -> HandedOff:
        parameters: dict[str, Any] = {
            "ispyb": self._broker.ispyb,
            "toolchain": self._broker.toolchain,
        }
        if wanted.step:
            step = wanted.step.model_copy(update={"broker": self._name})
            parameters["step"] = step.model_dump(mode="json")
        return await hand_off(
            self._store,
            self._runs,
            wanted.job_id,
            parameters=parameters,
            source=delivery.queue,
            wish=wish,
            message=delivery.body.decode(errors="replace"),
            repeated=delivery.repeated,
        )

    async def _pass_on(self, delivery: Delivery) -> Decision:
        if self._broker.forward_to:
            return Decision(Fate.FORWARDED)
        reason = "it is not for limsflow, and there is no queue to forward it to"
        return await self._refused(delivery, reason)

    async def _refused(self, delivery: Delivery, reason: str) -> Decision:
        """Let the user read why, if there is a job; the message is kept for an operator."""
        logger.error("a message of %s is buried: %s", delivery.queue, reason)
        job_id = job_of(delivery.body)
        if job_id is not None:
            with contextlib.suppress(DataError):  # there is no such job, or no way to say so
                await asyncio.to_thread(record_refusal, self._store, job_id, reason)
        return Decision(Fate.DEAD, reason=reason)

    def _remember(self, run_id: UUID) -> None:
        """Mark a run, when the broker surely forgot its message: no repetition is for it then."""

        async def mark() -> None:
            await asyncio.sleep(FORGOTTEN_AFTER_S)
            with contextlib.suppress(TransientError):
                await patiently(lambda: self._runs.add_labels(run_id, {FORGOTTEN: True}))

        reminder = asyncio.create_task(mark())
        self._reminders.add(reminder)
        reminder.add_done_callback(self._reminders.discard)

    def _forget(self) -> None:
        """Mark nothing more: the broker is gone, and may not have written down what we answered."""
        for reminder in self._reminders:
            reminder.cancel()
