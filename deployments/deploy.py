"""`limsflow deploy`: everything that a Prefect server must hold, as often as you like."""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

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
                limit=options.limit,
            )
        )
    print("registered: blocks ispyb and mx, work pool limsflow, every deployment of prefect.yaml")
    return 0
