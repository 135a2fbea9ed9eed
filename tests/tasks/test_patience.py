"""Waiting for a database or a service that is away."""

import asyncio
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import DatabaseUnavailable, InconsistentInput, TransientError
from tasks import patience
from tasks.patience import JITTER, patiently, stored


class Database:
    """Away for so many calls; counts them."""

    def __init__(self, away: int, failure: type[Exception] = DatabaseUnavailable) -> None:
        self.away = away
        self.failure = failure
        self.asked = 0
        self.threads = set[str]()

    def rows(self, *wanted: int, named: int = 0) -> tuple[int, ...]:
        self.asked += 1
        self.threads.add(threading.current_thread().name)
        if self.asked <= self.away:
            msg = f"away at {self.asked}"
            raise self.failure(msg)
        return (*wanted, named)

    async def answer(self) -> tuple[int, ...]:
        return self.rows(7)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between tries; nothing waits really."""
    waited, turn = list[float](), asyncio.sleep

    async def no_time(seconds: float) -> None:
        waited.append(seconds)
        await turn(0)

    monkeypatch.setattr(patience.asyncio, "sleep", no_time)
    return waited


def test_what_answers_is_asked_once(waits: list[float]) -> None:
    database = Database(0)

    assert asyncio.run(patiently(database.answer)) == (7, 0)
    assert (database.asked, waits) == (1, [])


def test_what_is_away_is_asked_again_and_each_failure_is_told(waits: list[float]) -> None:
    database, failures = Database(2), list[TransientError]()

    assert asyncio.run(patiently(database.answer, on_failure=failures.append)) == (7, 0)
    assert database.asked == 3
    assert [str(one) for one in failures] == ["away at 1", "away at 2"]


def test_what_stays_away_fails_with_the_last_failure(waits: list[float]) -> None:
    database, failures = Database(99), list[TransientError]()
    with pytest.raises(DatabaseUnavailable, match="away at 4"):
        asyncio.run(patiently(database.answer, tries=4, on_failure=failures.append))

    assert (database.asked, len(failures), len(waits)) == (4, 4, 3)


@pytest.mark.parametrize("failure", [InconsistentInput, KeyError, RuntimeError])
def test_what_would_fail_again_is_asked_once(waits: list[float], failure: type[Exception]) -> None:
    database, failures = Database(1, failure), list[TransientError]()
    with pytest.raises(failure):
        asyncio.run(patiently(database.answer, on_failure=failures.append))

    assert (database.asked, failures, waits) == (1, [], [])


def test_ten_tries_wait_longer_each_time_and_for_a_quarter_of_an_hour(waits: list[float]) -> None:
    with pytest.raises(DatabaseUnavailable):
        asyncio.run(patiently(Database(99).answer))

    assert len(waits) == 9
    assert all(2 * 2**n <= wait <= 2 * 2**n * (1 + JITTER) for n, wait in enumerate(waits))
    assert all(before < after for before, after in pairwise(waits))
    assert 17 * 60 <= sum(waits) <= 26 * 60


@pytest.mark.parametrize("tries", [0, -1])
def test_no_try_at_all_is_a_bug(tries: int) -> None:
    with pytest.raises(ValueError, match="at least one must be made"):
        asyncio.run(patiently(Database(0).answer, tries=tries))


@settings(deadline=None, max_examples=50)
@given(away=st.integers(0, 8), tries=st.integers(1, 8))
def test_it_is_asked_until_it_answers_or_there_is_no_try_left(away: int, tries: int) -> None:
    database, failures = Database(away), list[TransientError]()
    asked = patiently(database.answer, tries=tries, first_wait_s=0, on_failure=failures.append)
    if away < tries:
        assert asyncio.run(asked) == (7, 0)
    else:
        with pytest.raises(DatabaseUnavailable):
            asyncio.run(asked)

    assert (database.asked, len(failures)) == (min(away + 1, tries), min(away, tries))


def test_a_store_is_asked_in_a_thread_of_its_own_until_it_answers(waits: list[float]) -> None:
    database = Database(2)

    assert asyncio.run(stored(database.rows, 1, 2, named=3)) == (1, 2, 3)
    assert database.asked == 3
    assert threading.current_thread().name not in database.threads
