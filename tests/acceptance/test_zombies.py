"""A run that is lost with its machine does not stay `Running` for ever."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.errors import InvalidRequest
from deployments.zombies import NAME, register_zombies
from tests.fakes.served import wait_for
from tests.fakes.warm_worker import FLOWS, WarmStack, warm_stack
from tests.postgres.server import PostgresServer

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
BEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
SILENT_AFTER_S = 40


@pytest.fixture(scope="module")
def stack(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WarmStack]:
    database = postgres.create_database("zombies")
    with warm_stack(tmp_path_factory.mktemp("zombies"), database) as stack:
        yield stack


def register(stack: WarmStack, silent_after_s: float | None) -> None:
    with temporary_settings({PREFECT_API_URL: stack.home.api_url}):
        asyncio.run(register_zombies(silent_after_s))


def test_a_run_that_vanishes_with_its_machine_is_crashed_and_no_other(stack: WarmStack) -> None:
    register(stack, 90)
    register(stack, SILENT_AFTER_S)
    worker = stack.start_warm(**BEAT)
    deployment = stack.deploy("usual")
    own_state = stack.deploy("own", entrypoint=f"{FLOWS}.end_in_a_state_of_its_own")
    completed = stack.run(deployment, "done")
    named = stack.run(own_state, "named")
    lost = stack.run(deployment, "lost", seconds=300)
    pid = int(stack.mark("begun-lost")["pid"])
    living = stack.run(deployment, "living", seconds=75)
    stack.mark("begun-living")
    stack.until(named, "COMPLETED")
    stack.until(completed, "COMPLETED")
    worker.send_signal(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)

    stack.until(lost, "CRASHED", seconds=100)
    found = stack.ask("GET", f"flow_runs/{lost}")["state"]
    assert found["message"].startswith("Its heart has not beaten for 40 s")
    stack.until(living, "COMPLETED", seconds=100)
    assert stack.state(completed) == stack.state(named) == "COMPLETED"
    automations = stack.ask("POST", "automations/filter", {})
    assert [one["name"] for one in automations] == [NAME]


def test_an_automation_that_somebody_turned_off_stays_off(stack: WarmStack) -> None:
    register(stack, SILENT_AFTER_S)
    (known,) = stack.ask("POST", "automations/filter", {})
    stack.ask("PATCH", f"automations/{known['id']}", {"enabled": False})
    register(stack, None)

    (now,) = wait_for(lambda: stack.ask("POST", "automations/filter", {}))
    assert now["enabled"] is False
    assert now["trigger"]["within"] == 540  # three heart-beats of Prefect's default


def test_a_run_cannot_be_lost_between_two_heart_beats(stack: WarmStack) -> None:
    with pytest.raises(InvalidRequest, match="a run's heart beats every 30 s at most"):
        register(stack, 30)
