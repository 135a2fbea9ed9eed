"""`limsflow deploy`: everything that a Prefect server must hold, as often as you like."""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from pydantic import SecretStr

from blocks.broker import kind_of
from blocks.connections import EnteroBase, MessageBroker
from blocks.errors import InvalidRequest
from deployments.embedded import ROOT, own_program
from deployments.register import register_all


def deploy(options: argparse.Namespace) -> int:
    """Register blocks, work pool and deployments with the Prefect server of this environment."""
    if not options.ispyb:
        msg = "say which ISPyB: --ispyb URL, or LIMSFLOW_ISPYB in the environment"
        raise InvalidRequest(msg)
    settings = {name: value for name, value in os.environ.items() if name.startswith("PREFECT")}
    ours = {"LIMSFLOW_ROOT": str(ROOT), "PYTHONPATH": str(ROOT)}
    prefect = own_program("prefect", settings | ours)
    with tempfile.TemporaryDirectory(prefix="limsflow-deploy-") as logs:
        asyncio.run(
            register_all(
                prefect,
                Path(logs),
                ispyb_url=options.ispyb,
                processing_url=options.ispyb_processing,
                visit_depth=options.visit_depth,
                toolchain_directory=options.toolchain_directory,
                toolchain_note=options.toolchain_note,
                entero=_entero(options),
                broker=_broker(options),
                limit=options.limit,
                notify_url=SecretStr(options.notify) if options.notify else None,
                night_hours=options.night_hours,
            )
        )
    more = (name for name in ("entero", "broker") if getattr(options, name))
    names = ", ".join(("ispyb, mx, genomics", *more))
    print(f"registered: blocks {names}; work pool limsflow; every deployment of prefect.yaml")
    if not options.notify:
        print("nobody is told of a night that fails or is late: --notify URL, a web hook")
    if options.limit == 1:
        print("with --limit 1 everybody waits for a night that runs; give it at least 2")
    return 0


def _broker(options: argparse.Namespace) -> MessageBroker | None:
    """Return the message broker that the options describe, None if they name none.

    Raises:
        InvalidRequest: its URL is of no broker that we know.
    """
    if not options.broker:
        return None
    kind_of(options.broker)
    given = {"queues": options.queue, "recipes": options.recipe}
    return MessageBroker(
        url=SecretStr(options.broker),
        forward_to=options.forward_to,
        **{name: value for name, value in given.items() if value is not None},
    )


def _entero(options: argparse.Namespace) -> EnteroBase | None:
    """Return the EnteroBase that the options describe, None if they name none."""
    if not options.entero:
        return None
    system = SecretStr(options.entero_system) if options.entero_system else None
    given = {
        "database": options.database,
        "prefix": options.prefix,
        "genus": options.genus,
        "limits_file": options.limits_file,
        "share": options.share,
        "uploads": options.uploads,
    }
    return EnteroBase(
        url=SecretStr(options.entero),
        system_url=system,
        **{name: value for name, value in given.items() if value is not None},
    )
