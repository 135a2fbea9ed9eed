"""`limsflow listen`: the bridge, a small service that turns a LIMS' messages into flow runs.

Run as many as you like, on as many hosts; a message is answered when its run is safe in Prefect.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator
from typing import TextIO

os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # ours says it

from blocks.broker import Link, open_link
from blocks.connections import IspybDatabase, MessageBroker, Toolchain
from blocks.errors import InvalidRequest, ServiceUnavailable
from deployments import metrics
from deployments.bridge import Bridge
from tasks.flow_runs import answering, prefect_runs

logger = logging.getLogger(__name__)

AGAIN_S = 2.0
COUNT_EVERY_S = 15.0
BESIDE = 50  # messages in hand: those that wait for a job must not hold up others


def listen(options: argparse.Namespace) -> int:
    """Listen until a signal comes; what is in hand then is answered, or delivered again later."""
    log_to(sys.stderr)
    metrics.serve_metrics(options.metrics_port, options.metrics_host)
    asyncio.run(_listen(options.broker, as_json=options.json))
    return 0


def log_to(stream: TextIO) -> None:
    """Write what happens to a stream, a line each, for a service manager's journal."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in ("deployments", "blocks", "tasks"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)


async def _listen(name: str, *, as_json: bool) -> None:
    """Go on until a signal comes, through every outage."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(_serve(name, as_json=as_json))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _serve(name: str, *, as_json: bool) -> None:
    """Listen, and connect again whenever a part is away.

    Raises:
        InvalidRequest: the block, or the queue to forward to, is missing at the very start; later
            they are waited for, as somebody may be restoring a database.
    """
    listened = False
    while True:
        try:
            async with _bridge(name) as (bridge, broker, link):
                _say(broker, as_json=as_json)
                listened = True
                await _work(bridge, link)
        except ServiceUnavailable as failure:
            logger.warning("%s; again in %.0f s", failure, AGAIN_S)
        except InvalidRequest as failure:
            if not listened:
                raise
            logger.warning("%s; looked at again in %.0f s", failure, AGAIN_S)
        await asyncio.sleep(AGAIN_S)


@contextlib.asynccontextmanager
async def _bridge(name: str) -> AsyncGenerator[tuple[Bridge, MessageBroker, Link], None]:
    """Connect to Prefect and the broker, as the blocks say now."""
    async with prefect_runs() as runs:
        with answering():
            broker = await MessageBroker.named(name)
            lims = await IspybDatabase.named(broker.ispyb)
            programs = await Toolchain.named(broker.toolchain)
        url = broker.url.get_secret_value()
        async with open_link(url) as link:
            if broker.forward_to:
                await link.require(broker.forward_to)
            # Only now: what is in hand when a bridge ends counts as a failed delivery.
            await link.consume(tuple(broker.queues), BESIDE)
            yield Bridge(name, broker, link, lims.store(), runs, programs), broker, link


async def _work(bridge: Bridge, link: Link) -> None:
    counting = asyncio.create_task(_count(link))
    try:
        await bridge.run()
    finally:
        counting.cancel()


async def _count(link: Link) -> None:
    """Keep the depth of the queues for whoever watches."""
    while True:
        with contextlib.suppress(ServiceUnavailable):
            for queue, number in (await link.depths()).items():
                metrics.queue_depth.labels(queue).set(number)
        await asyncio.sleep(COUNT_EVERY_S)


def _say(broker: MessageBroker, *, as_json: bool) -> None:
    facts = {"listening": broker.queues, "forward_to": broker.forward_to}
    rest = f"; what is not ours goes to {broker.forward_to}" if broker.forward_to else ""
    text = f"listening to {', '.join(broker.queues)}{rest}"
    print(json.dumps(facts) if as_json else text, flush=True)
