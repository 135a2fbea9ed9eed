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


def _add_metrics(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    parser.add_argument("--metrics-port", type=count, help="serve Prometheus metrics there")
    parser.add_argument("--metrics-host", default="127.0.0.1", help="address for --metrics-port")
