"""The commands of what stays up (`listen`, `worker`, `gateway`), and of who keeps it up."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLIENTS_HELP = "file of the clients; clients.json in the home folder unless given"
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
    _add_gateway(commands, command, count)
    _add_client(commands, command, count)
    _add_dead(commands, command)


def _add_gateway(commands: Any, command: Command, count: Callable[[str], int]) -> None:
    gateway = command(commands, "gateway", "deployments.gateway:gateway", "take wishes over HTTP")
    gateway.add_argument("--host", default="127.0.0.1", help="address to listen at")
    gateway.add_argument("--port", type=int, default=4280, help="to listen at; 0 is any free port")
    gateway.add_argument("--url", default="", help="how clients reach it, behind a proxy")
    gateway.add_argument("--clients", type=Path, help=CLIENTS_HELP)
    gateway.add_argument("--ispyb", default="ispyb", help="block of the ISPyB that is told of")
    gateway.add_argument("--entero", default="entero", help="block of the EnteroBase")
    _add_metrics(gateway, count)


def _add_client(commands: Any, command: Command, count: Callable[[str], int]) -> None:
    verbs = commands.add_parser("client", help="who may ask the gateway").add_subparsers(
        required=True, metavar="VERB"
    )
    add = command(verbs, "add", "deployments.clients:add_client", "print a new client's token once")
    add.add_argument("name", metavar="NAME", help="of the client")
    add.add_argument(
        "--right", action="append", default=[], help="assemble, reprocess, read ...; * is all"
    )
    add.add_argument("--rate", type=float, help="requests a second; 10 unless given")
    add.add_argument("--burst", type=count, help="requests at once; 50 unless given")
    add.add_argument("--renew", action="store_true", help="a new token for a client that is there")
    listing = command(verbs, "list", "deployments.clients:list_clients", "who may do what")
    remove = command(verbs, "remove", "deployments.clients:remove_client", "take a token away")
    remove.add_argument("name", metavar="NAME", help="of the client")
    for verb in (add, listing, remove):
        verb.add_argument("--clients", type=Path, help=CLIENTS_HELP)


def _add_dead(commands: Any, command: Command) -> None:
    verbs = commands.add_parser("dead", help="messages that nobody could use").add_subparsers(
        required=True, metavar="VERB"
    )
    listing = command(verbs, "list", "deployments.dead_letters:list_letters", "why they are dead")
    show = command(verbs, "show", "deployments.dead_letters:show", "one of them, whole")
    reinject = command(
        verbs, "reinject", "deployments.dead_letters:reinject", "back into the queue it came from"
    )
    drop = command(verbs, "drop", "deployments.dead_letters:drop", "away with one, for ever")
    for verb in (show, drop):
        verb.add_argument("id", metavar="ID", help="of the dead letter")
    reinject.add_argument("id", metavar="ID", nargs="?", help="of the dead letter")
    reinject.add_argument("--all", action="store_true", help="every one")
    for verb in (listing, show, reinject, drop):
        verb.add_argument("--broker", default="broker", help="block of the message broker")
        verb.add_argument("--queue", help="only of this queue's dead letters")


def _add_metrics(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    parser.add_argument("--metrics-port", type=count, help="serve Prometheus metrics there")
    parser.add_argument("--metrics-host", default="127.0.0.1", help="address for --metrics-port")
