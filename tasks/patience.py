"""Waiting for a database or a service that is away: what `policies.step` is, for plain calls."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from blocks.errors import TransientError

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
TRIES = 10
FIRST_WAIT_S = 2.0
JITTER = 0.5  # of a wait, at most


async def patiently(
    call: Callable[[], Awaitable[ResultT]],
    *,
    tries: int = TRIES,
    first_wait_s: float = FIRST_WAIT_S,
    on_failure: Callable[[TransientError], None] | None = None,
) -> ResultT:
    """Return what a call returns; one that may succeed later is made again, with longer waits.

    With ten tries and 2 s before the second it goes on for 17 minutes.

    Args:
        call: It looks before it writes, as it may run twice.
        tries: At most so many.
        first_wait_s: Before the second; each wait is twice the one before, with jitter.
        on_failure: Told of each failure.

    Raises:
        TransientError: the last try's.
    """
    for number in range(1, tries + 1):
        try:
            return await call()
        except TransientError as failure:
            if on_failure:
                on_failure(failure)
            if number == tries:
                raise
            wait_s = first_wait_s * 2 ** (number - 1) * (1 + JITTER * random.random())  # noqa: S311 - jitter is no secret
            logger.warning("%s; tried again in %.0f s", failure, wait_s)
            await asyncio.sleep(wait_s)
    msg = f"{tries} tries: at least one must be made"
    raise ValueError(msg)


async def stored(call: Callable[..., ResultT], *arguments: object, **named: object) -> ResultT:
    """Return what a store's method returns, called in a thread; a database may be away for long."""
    return await patiently(lambda: asyncio.to_thread(call, *arguments, **named))
