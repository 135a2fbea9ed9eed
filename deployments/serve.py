"""`limsflow serve`: the embedded stack left running, with its page and every deployment."""

import argparse
import asyncio
import json
import signal
from collections.abc import Mapping

from deployments.demo import prepare
from deployments.demo_isolate import READS
from deployments.embedded import Home, free_port, make_home
from deployments.stack import prefect_server, worker


def serve(options: argparse.Namespace) -> int:
    """Run server and worker until a signal comes."""
    home = make_home(options.home, options.port or free_port())
    asyncio.run(_serve(home, as_json=options.json))
    return 0


async def _serve(home: Home, *, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with prefect_server(home):
        job_id, isolate, replayed = await prepare(home)
        async with worker(home):
            facts = {
                "page": home.page_url,
                "api": home.api_url,
                "ispyb": home.ispyb_url,
                "entero": home.entero_url,
                "folder": str(home.folder),
                "example_job": job_id,
                "example_assembly": isolate.barcode,
                "example_reads": "#".join(("demo", *READS)),
                "replayed": replayed,
            }
            print(json.dumps(facts) if as_json else "\n".join(_text(facts)), flush=True)
            await stop.wait()


def _text(facts: Mapping[str, object]) -> list[str]:
    return [
        f"The page:   {facts['page']}",
        f"The API:    {facts['api']}",
        f"ISPyB:      {facts['ispyb']}",
        f"The folder: {facts['folder']}",
        f"Start 'reprocess-job/default' with processing job {facts['example_job']} from the page's",
        "Deployments, or create a job with 'create-job/default'.",
        f"EnteroBase: {facts['entero']}",
        f"Start 'type-assembly/default' with {facts['example_assembly']} and a scheme, or",
        f"'assemble-strain/default' with {facts['example_reads']}. Ctrl-C ends everything.",
        *(["", str(facts["replayed"])] if facts["replayed"] else []),
    ]
