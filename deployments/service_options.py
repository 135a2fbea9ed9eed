"""The commands of the services that stay up: `listen`, `worker`, `gateway`; and who may ask it."""

import argparse
from collections.abc import Callable
from typing import Any

Command = Callable[[Any, str, str, str], argparse.ArgumentParser]


def add_services(commands: Any, command: Command, count: Callable[[str], int]) -> None:
    """Add them to the parser of `limsflow`."""
    listen = command(
        commands, "listen", "deployments.broker:listen", "turn a LIMS' messages into flow runs"
    )
    listen.add_argument("--broker", default="broker", help="block of the message broker")
    _add_metrics(listen, count)
    worker = command(
        commands, "worker", "deployments.work:work", "run what is scheduled, in warm processes"
    )
    worker.add_argument("--pool", default="limsflow", help="work pool, of the type process")
    worker.add_argument("--limit", type=count, help="runs at once; the pool's own unless given")
    worker.add_argument(
        "--queue", dest="queues", action="append", default=[], help="only of these work queues"
    )
    worker.add_argument("--name", help="of the worker in Prefect's page")
    worker.add_argument(
        "--drain-s",
        type=float,
        default=30.0,
        help="how long runs may go on after SIGTERM, in seconds; then they end as crashed",
    )
    _add_metrics(worker, count)


def _add_metrics(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    parser.add_argument("--metrics-port", type=count, help="serve Prometheus metrics there")
    parser.add_argument("--metrics-host", default="127.0.0.1", help="address for --metrics-port")
