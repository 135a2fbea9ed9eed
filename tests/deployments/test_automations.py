"""A night that fails tells a web hook, and schedules start runs: on a real Prefect server."""

import http.server
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.night_stack import NightStack, night_stack
from tests.fakes.served import wait_for
from tests.postgres.server import PostgresServer

numbers = itertools.count(1)
pytestmark = [pytest.mark.services, pytest.mark.timeout(400)]


@contextmanager
def a_web_hook() -> Iterator[tuple[str, list[Any]]]:
    """Listen as an operators' chat does; give the address, and what came in."""
    told = list[Any]()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/operators", told
        server.shutdown()


@pytest.fixture
def stack(postgres: PostgresServer, tmp_path: Path) -> Iterator[NightStack]:
    with night_stack(tmp_path, postgres, f"told_{next(numbers)}") as stack:
        yield stack


def deployed(stack: NightStack, hook: str, *options: str) -> None:
    ispyb = stack.home.folder / "ispyb.db"
    if not ispyb.exists():
        stack.limsflow("init", str(ispyb))
    stack.limsflow(
        *("deploy", "--ispyb", f"sqlite:///{ispyb}", "--entero", stack.url, "--limit", "3"),
        *("--database", "nights", "--prefix", "SAL", "--notify", hook, *options),
    )


def test_operators_hear_of_a_night_that_failed_with_its_reason_and_address(
    stack: NightStack,
) -> None:
    with a_web_hook() as (hook, told):
        deployed(stack, hook)
        deployed(stack, hook)
        automations = stack.ask("POST", "automations/filter", {})
        night = stack.start_night("update-scheme", 'no "such" scheme', "--toolchain", "genomics")

        assert night.wait(120) == 1
        message = wait_for(lambda: told and told[0], seconds=60)

    assert sorted(one["name"] for one in automations) == [
        "limsflow: a night failed",
        "limsflow: a night is late",
        "limsflow: a night is too long",
        "limsflow: a run crashed",
        "limsflow: a run is lost",
    ]
    assert list(message) == ["text"]
    assert message["text"].startswith("limsflow: a night failed: update-no")
    assert 'no "such" scheme' in message["text"]
    assert "/runs/flow-run/" in message["text"]
    assert len({one["text"] for one in told}) == 1  # Prefect may say it twice, but not two things


def test_operators_hear_of_a_run_whose_machine_failed_it(stack: NightStack) -> None:
    with a_web_hook() as (hook, told):
        deployed(stack, hook)
        run_id = stack.submit("reprocess-job/default", job_id=7)
        state = {"type": "CRASHED", "message": "the machine is gone"}
        stack.ask("POST", f"flow_runs/{run_id}/set_state", {"state": state, "force": True})
        message = wait_for(lambda: told and told[0], seconds=60)

    assert message["text"].startswith("limsflow: a run crashed")
    assert "the machine is gone" in message["text"]


def queues_of(stack: NightStack) -> dict[str, Any]:
    return {one["name"]: one for one in stack.ask("POST", "work_pools/limsflow/queues/filter", {})}


def test_the_night_and_the_reconciler_are_scheduled_and_people_go_first(stack: NightStack) -> None:
    deployed(stack, "http://127.0.0.1:9/")

    def scheduled() -> set[str]:
        found = stack.ask("POST", "flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
        return {run["deployment_id"] for run in found if run["state"]["type"] == "SCHEDULED"}

    wait_for(lambda: len(scheduled()) == 2, seconds=120)
    names = {stack.deployment(one)["name"] for one in scheduled()}
    queues = queues_of(stack)
    stack.let_queue_have("night", 7)
    deployed(stack, "http://127.0.0.1:9/")

    urgency = sorted(queues, key=lambda name: queues[name]["priority"])
    assert urgency == ["default", "nights", "night"]
    assert queues["night"]["concurrency_limit"] == 2
    assert names == {"every-night", "every-5-minutes"}
    assert queues_of(stack)["night"]["concurrency_limit"] == 7
