"""A running attempt's signs of life: progress for Prefect's page, the end time for ISPyB."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

from blocks.errors import LimsflowError

logger = logging.getLogger(__name__)

TELL_PREFECT_EVERY_S = 1.0
TELL_ISPYB_EVERY_S = 30.0


class Life:
    """Where an attempt is: a fraction (0-1) and what is being done."""

    def __init__(self) -> None:
        self.fraction = 0.0
        self.doing = "starting"

    def tell(self, fraction: float, doing: str) -> None:
        """Say where the attempt is; the fraction never goes back."""
        self.fraction = max(self.fraction, min(1.0, fraction))
        if doing != self.doing:
            self.doing = doing
            logger.info("%3.0f %%  %s", 100 * self.fraction, doing)

    def __str__(self) -> str:
        """Return what ISPyB shows while the attempt runs."""
        return f"{self.doing} ({100 * self.fraction:.0f} %)"


@contextlib.asynccontextmanager
async def signs_of_life(
    *,
    to_lims: Callable[[str], Awaitable[None]],
    to_prefect: Callable[[float, str], Awaitable[None]],
    lims_every_s: float = TELL_ISPYB_EVERY_S,
) -> AsyncGenerator[Life, None]:
    """Pass on the state of an attempt while the block runs.

    A database or a server that is away for a while does not end the attempt: the next sign may
    arrive.
    """
    life = Life()
    teller = asyncio.create_task(_tell(life, to_lims, to_prefect, lims_every_s))
    try:
        yield life
    finally:
        teller.cancel()
        await asyncio.wait([teller])
        if not teller.cancelled() and teller.exception():
            # A bug of the signs must not fail the work that they were about.
            logger.error("no more signs of life: %r", teller.exception())


async def _tell(
    life: Life,
    to_lims: Callable[[str], Awaitable[None]],
    to_prefect: Callable[[float, str], Awaitable[None]],
    lims_every_s: float,
) -> None:
    last_told, lims_told_at = "", -lims_every_s
    while True:
        if str(life) != last_told:
            last_told = str(life)
            with _tolerant("Prefect"):
                await to_prefect(life.fraction, life.doing)
        if time.monotonic() - lims_told_at >= lims_every_s:
            lims_told_at = time.monotonic()
            with _tolerant("the LIMS"):
                await to_lims(str(life))
        await asyncio.sleep(TELL_PREFECT_EVERY_S)


@contextlib.contextmanager
def _tolerant(whom: str) -> Generator[None, None, None]:
    try:
        yield
    except (LimsflowError, OSError) as error:
        logger.warning("no sign of life to %s: %s", whom, error)
