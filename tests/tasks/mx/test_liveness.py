from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.mx.records import Attempt, AttemptState
from tasks.mx.liveness import reason_to_close
from tasks.runs import RunState

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
LIMIT = timedelta(minutes=15)
NOT_OVER = ("RUNNING", "PENDING", "SCHEDULED", "PAUSED", "CANCELLING", "UNKNOWN")

durations = st.timedeltas(min_value=timedelta(), max_value=timedelta(days=400))


def an_attempt(**given: Any) -> Attempt:
    usual = {
        "id": 68626954,
        "job_id": 4024,
        "state": AttemptState.RUNNING,
        "program": "xia2 dials",
        "command_line": "xia2",
        "message": "indexing (30 %)",
        "environment": "guid=ab-12, flow_run=scarlet-boar",
        "started_at": NOON - timedelta(days=1),
        "updated_at": NOON,
    }
    return Attempt(**(usual | given))


def seen(ago: timedelta) -> Attempt:
    return an_attempt(updated_at=NOON - ago)


def reason(attempt: Attempt, state: str, message: str = "") -> str:
    run = RunState(type=state, message=message)
    return reason_to_close(attempt, run, now=NOON, stale_after=LIMIT)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("COMPLETED", "the flow run completed without closing the attempt"),
        ("FAILED", "the flow run failed"),
        ("CRASHED", "the flow run crashed"),
        ("CANCELLED", "cancelled in Prefect"),
    ],
)
def test_an_attempt_whose_run_is_over_is_closed_however_fresh_its_sign(
    state: str, said: str
) -> None:
    assert reason(seen(timedelta()), state) == said
    assert reason(seen(timedelta()), state, "out of memory") == f"{said}: out of memory"


@pytest.mark.parametrize("state", NOT_OVER)
def test_an_attempt_that_fell_silent_is_closed(state: str) -> None:
    assert reason(seen(timedelta(minutes=20)), state) == "lost: silent for 20 min"


@pytest.mark.parametrize("state", NOT_OVER)
def test_a_fresh_sign_of_life_keeps_an_attempt_open(state: str) -> None:
    assert reason(seen(timedelta(seconds=30)), state) == ""


@pytest.mark.parametrize(("minutes", "is_open"), [(14.99, True), (15, False), (15.01, False)])
def test_an_attempt_may_be_silent_for_less_than_the_limit(minutes: float, *, is_open: bool) -> None:
    assert (reason(seen(timedelta(minutes=minutes)), "RUNNING") == "") is is_open


@pytest.mark.parametrize(("minutes", "is_open"), [(5, True), (20, False)])
def test_before_its_first_sign_the_start_of_an_attempt_counts(
    minutes: float, *, is_open: bool
) -> None:
    attempt = an_attempt(started_at=NOON - timedelta(minutes=minutes), updated_at=None)

    assert (reason(attempt, "RUNNING") == "") is is_open


def test_an_attempt_without_any_time_is_closed() -> None:
    attempt = an_attempt(started_at=None, updated_at=None)

    assert reason(attempt, "UNKNOWN") == "lost: never seen"


@pytest.mark.parametrize(("minutes", "is_open"), [(1, True), (16, False)])
def test_an_attempt_that_was_just_registered_is_alive(minutes: float, *, is_open: bool) -> None:
    registered = NOON - timedelta(minutes=minutes)
    attempt = an_attempt(recorded_at=registered, started_at=None, updated_at=None)

    assert (reason(attempt, "RUNNING") == "") is is_open


@pytest.mark.parametrize("ahead", [timedelta(seconds=2), timedelta(hours=1)])
def test_a_database_whose_clock_is_ahead_closes_nothing(ahead: timedelta) -> None:
    assert reason(seen(-ahead), "RUNNING") == ""


@settings(deadline=None)
@given(silence=durations, limit=durations)
def test_a_running_run_is_closed_only_for_its_silence(silence: timedelta, limit: timedelta) -> None:
    run = RunState(type="RUNNING")

    said = reason_to_close(seen(silence), run, now=NOON, stale_after=limit)

    assert bool(said) is (silence >= limit)


@settings(deadline=None)
@given(state=st.sampled_from(("COMPLETED", "FAILED", "CRASHED", "CANCELLED")), message=st.text())
def test_a_run_that_is_over_always_gives_a_reason(state: str, message: str) -> None:
    assert reason(seen(timedelta()), state, message) != ""
