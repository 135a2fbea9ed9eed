"""The options of `limsflow update-scheme` and its kin."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

Command = Callable[..., argparse.ArgumentParser]
COMMANDS = {
    "update-scheme": ("scheme", "one scheme on every assembly that lacks it"),
    "update-all-schemes": ("all_schemes", "every automatic scheme on what lacks it"),
    "update-assemblies": ("assemblies", "an assembly of every strain that lacks one"),
}


def add_night(commands: Any, command: Command, count: Callable[[str], int], entero: str) -> None:
    """Add the commands of a night.

    Args:
        commands: Of the parser.
        command: Adds one.
        count: Reads a number of at least 1.
        entero: Help of `--entero`.
    """
    for name, (function, about) in COMMANDS.items():
        night = command(commands, name, f"deployments.night:{function}", about)
        if name == "update-scheme":
            night.add_argument("scheme", metavar="SCHEME", help="its machine name")
        night.add_argument("--entero", default="entero", help=entero)
        night.add_argument("--toolchain", default="PATH", help="block of the programs")
        night.add_argument("--limit", type=count, help="at most so many; all unless given")
        night.add_argument("--since", type=_moment, help="only what is newer: 2026-11-01, in UTC")
        night.add_argument("--force", action="store_true", help="also what is settled")
        night.add_argument("--dry-run", action="store_true", help="list it, and write nothing")
        engines = ("threads", "processes", "dask", "work pool")
        night.add_argument("--engine", choices=engines, help="what runs it; threads unless given")
        night.add_argument("--concurrency", type=count, help="batches at once")
        night.add_argument("--batch-size", type=count, help="pairs in one run")
        night.add_argument("--dask-scheduler", help="of a Dask cluster, like tcp://host:8786")
    shown = command(commands, "night", "deployments.night:show", "what a night did")
    shown.add_argument("night", nargs="?", type=count, metavar="NUMBER", help="the newest")
    shown.add_argument("--entero", default="entero", help=entero)


def _moment(text: str) -> datetime:
    """Return a date or a moment; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
