import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import DatabaseUnavailable, NoSuchRecord, TransientError
from tasks.life import Life, signs_of_life

fractions = st.floats(min_value=-1, max_value=2)


class Listener:
    """A LIMS, or Prefect: hears the signs of life; the first of them may fail."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.heard = list[str]()
        self.asked = 0

    async def to_lims(self, message: str) -> None:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        self.heard.append(message)

    async def to_prefect(self, fraction: float, doing: str) -> None:
        await self.to_lims(f"{fraction:g} {doing}")


async def comes_true(condition: Callable[[], object]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


def live(
    lims: Listener, prefect: Listener, until: Callable[[], object], *, tell: str = "indexing"
) -> None:
    """Live until something is true, with a sign for the LIMS at every look."""

    async def attempt() -> None:
        signs = signs_of_life(
            to_lims=lims.to_lims, to_prefect=prefect.to_prefect, lims_every_s=0.01
        )
        async with signs as life:
            life.tell(0.3, tell)
            assert await comes_true(until)

    asyncio.run(attempt())


@settings(deadline=None)
@given(st.lists(fractions, min_size=1))
def test_the_fraction_never_goes_back_and_stays_between_0_and_1(told: list[float]) -> None:
    life, seen = Life(), [0.0]
    for fraction in told:
        life.tell(fraction, "indexing")
        seen.append(life.fraction)

    assert all(before <= after for before, after in pairwise(seen))
    assert seen[-1] == max(0.0, min(1.0, max(told)))


def test_what_is_being_done_is_the_last_thing_told() -> None:
    life = Life()
    life.tell(0.456, "indexing")
    life.tell(0.2, "refining")

    assert (str(life), life.doing) == ("refining (46 %)", "refining")


def test_a_new_step_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    life = Life()
    with caplog.at_level(logging.INFO, "tasks.life"):
        for fraction in (0.1, 0.2, 0.3):
            life.tell(fraction, "indexing")

    assert caplog.messages == [" 10 %  indexing"]


def test_lims_and_prefect_hear_where_an_attempt_is() -> None:
    lims, prefect = Listener(), Listener()

    live(lims, prefect, lambda: lims.heard and prefect.heard)

    assert (lims.heard[0], prefect.heard) == ("indexing (30 %)", ["0.3 indexing"])


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), NoSuchRecord("no such program")])
def test_a_lims_that_is_away_does_not_end_the_signs_of_life(error: Exception) -> None:
    lims = Listener(error)

    live(lims, Listener(), lambda: lims.heard)

    assert lims.heard == ["indexing (30 %)"]


def test_a_prefect_that_is_away_does_not_silence_the_attempt_in_the_lims() -> None:
    lims, prefect = Listener(), Listener(TransientError("the server restarts"))

    live(lims, prefect, lambda: lims.heard and prefect.asked)

    assert lims.heard == ["indexing (30 %)"]


def test_nobody_hears_of_an_attempt_that_is_over() -> None:
    lims = Listener()

    async def attempt() -> int:
        async with signs_of_life(to_lims=lims.to_lims, to_prefect=Listener().to_prefect):
            await comes_true(lambda: lims.heard)
        return len(asyncio.all_tasks())

    assert asyncio.run(attempt()) == 1


def test_the_failure_of_an_attempt_passes_through() -> None:
    async def attempt() -> None:
        listener = Listener()
        async with signs_of_life(to_lims=listener.to_lims, to_prefect=listener.to_prefect):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(attempt())
