"""A zocalo service of three no-op steps, and who asks it; runs in the peers' own environment.

    python -P asked_workflows_app.py prepare --recipes FOLDER
    python -P asked_workflows_app.py serve
    python -P asked_workflows_app.py measure WAITS JOBS [--dispatcher]

A recipe of three steps, each with a queue of its own. The service takes a message, acknowledges it
and sends the next in one transaction, as dlstbx's services do. With `--dispatcher` zocalo's own
dispatcher is asked, which reads the recipe from a file; else a started recipe is sent.
"""

import argparse
import json
import logging
import os
import queue
import sys
import time
from pathlib import Path
from typing import Any

import pika  # pyright: ignore[reportMissingModuleSource] - only its stubs are in ours
import workflows.recipe  # pyright: ignore[reportMissingImports] - not in our environment
from workflows.frontend import Frontend  # pyright: ignore[reportMissingImports]
from workflows.services.common_service import CommonService  # pyright: ignore[reportMissingImports]
from workflows.transport.pika_transport import PikaTransport  # pyright: ignore[reportMissingImports]

BROKER, ANSWER = "LIMSFLOW_BENCH_BROKER", "LIMSFLOW_BENCH_ANSWER"
STEPS = ("asked.1", "asked.2", "asked.3")
DONE, DISPATCHER, STATUS = "asked.done", "processing_recipe", "transient.status"
RECIPE = "asked"
WARM_UP, LIMIT_S = 20, 30
BETWEEN_S = 0.1


def recipe(number: object) -> dict[str, Any]:
    """Return the recipe for a job of this number."""
    steps: dict[str, Any] = {
        str(place): {"queue": queue, "output": place + 1}
        for place, queue in enumerate(STEPS[:-1], start=1)
    }
    return steps | {"3": {"queue": STEPS[-1]}, "start": [[1, {"number": number}]]}


class NoOp(CommonService):
    """Takes the messages of all three steps, one at a time."""

    _service_name = "no-op"

    def initializing(self) -> None:
        """Subscribe."""
        for name in STEPS:
            workflows.recipe.wrap_subscribe(self.transport, name, self.work, acknowledgement=True)

    def work(self, wrapper: Any, header: Any, message: dict[str, Any]) -> None:
        """Do nothing, and send the next message or that it is done."""
        said = {"begun": time.time(), **message}
        at = header["subscription"]
        transaction = self.transport.transaction_begin(subscription_id=at)
        self.transport.ack(header, transaction=transaction)
        if wrapper.recipe_pointer == len(STEPS):
            ended = {**said, "ended": time.time()}
            self.transport.send(DONE, ended, transaction=transaction)
        else:
            wrapper.send(said, transaction=transaction)
        self.transport.transaction_commit(transaction)


class Sender:
    """Asks for jobs, and hears of those that are done."""

    def __init__(self, *, dispatcher: bool) -> None:
        self._dispatcher = dispatcher
        self._transport, self._done = PikaTransport(), queue.Queue[dict[str, Any]]()
        self._transport.connect()
        self._transport.subscribe(DONE, lambda _header, message: self._done.put(message))

    def ask(self, number: int) -> None:
        """Ask for a job."""
        if self._dispatcher:
            wish = {"recipes": [RECIPE], "parameters": {"number": number}}
            self._transport.send(DISPATCHER, wish)
            return
        what = workflows.recipe.Recipe(recipe(number))
        workflows.recipe.RecipeWrapper(recipe=what, transport=self._transport).start()

    def done(self, number: int) -> list[dict[str, Any]]:
        """Wait for so many jobs."""
        return [self._done.get(timeout=LIMIT_S) for _ in range(number)]

    def close(self) -> None:
        """Disconnect."""
        self._transport.disconnect()


def prepare(recipes: Path) -> None:
    """Make the queues and exchanges that zocalo's configuration would have made, and the recipe."""
    (recipes / f"{RECIPE}.json").write_text(json.dumps(recipe("{number}")))
    host, port, user, password = json.loads(os.environ[BROKER])
    at = pika.ConnectionParameters(host, port, "/", pika.PlainCredentials(user, password))
    connection = pika.BlockingConnection(at)
    channel = connection.channel()
    for name in (*STEPS, DONE, DISPATCHER):
        channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum"})
    for name in (STATUS, "command"):
        channel.exchange_declare(name, "fanout", durable=True)
    connection.close()


def measure(waits_wanted: int, jobs: int, *, dispatcher: bool) -> None:
    """Ask one by one, then for many; leave how long each waited, and what the many took."""
    sender = Sender(dispatcher=dispatcher)
    for number in range(WARM_UP):
        sender.ask(number)
    sender.done(WARM_UP)
    waits = list[float]()
    for number in range(waits_wanted):
        time.sleep(BETWEEN_S)
        began = time.time()
        sender.ask(number)
        waits += [one["begun"] - began for one in sender.done(1)]
    began = time.time()
    for number in range(jobs):
        sender.ask(number)
    wall_s = max(one["ended"] for one in sender.done(jobs)) - began
    Path(os.environ[ANSWER]).write_text(
        json.dumps({"waits": waits, "jobs": jobs, "wall_s": wall_s})
    )
    sender.close()


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("prepare", "serve", "measure"))
    parser.add_argument("waits", type=int, nargs="?", default=1)
    parser.add_argument("jobs", type=int, nargs="?", default=1)
    parser.add_argument("--dispatcher", action="store_true")
    parser.add_argument("--recipes", type=Path, default=Path())
    given = parser.parse_args()
    names = ("--rabbit-host", "--rabbit-port", "--rabbit-user", "--rabbit-pass")
    PikaTransport.config.update(zip(names, json.loads(os.environ[BROKER]), strict=True))
    if given.what == "prepare":
        prepare(given.recipes)
    elif given.what == "serve":
        logging.basicConfig(level=logging.WARNING)
        Frontend(transport="PikaTransport", service=NoOp, environment={}).run()
    else:
        measure(given.waits, given.jobs, dispatcher=given.dispatcher)
    return 0


if __name__ == "__main__":
    sys.exit(main())
