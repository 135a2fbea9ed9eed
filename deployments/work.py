"""`limsflow worker`: a worker for a process pool that is warm before a run comes."""

import argparse
import asyncio
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

from deployments.embedded import ROOT, RUN_SETTINGS

# Before Prefect is loaded; an operator's own settings win.
os.environ.update({**RUN_SETTINGS, **os.environ})

import certifi
import prefect
import yaml
from prefect import get_client
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from blocks.errors import InvalidRequest
from deployments.metrics import serve_metrics
from tasks.flow_runs import answering

# The release whose private modules were read: see SEAM in tests/deployments/test_warm_worker.py.
PREFECT = "3.8.8"
KIND = "process"
AUTHORITIES = "PREFECT_API_SSL_CERT_FILE"


def work(options: argparse.Namespace) -> int:
    """Run a worker until a signal comes; a second signal waits for no run any more.

    SIGTERM and Ctrl-C: no new runs; those that go on have `options.drain_s` to end, then they are
    ended as crashed and their hooks close what is open. A worker that is killed leaves its runs,
    which go on to their end. Service managers must signal the worker alone, not its whole group
    (systemd: `KillMode=mixed`).

    Raises:
        InvalidRequest: another Prefect is installed, or the pool is none of processes.
        ServiceUnavailable: Prefect does not answer.
    """
    require_known_prefect(prefect.__version__)
    serve_metrics(options.metrics_port, options.metrics_host)
    asyncio.run(_work(options))
    return 0


def require_known_prefect(version: str) -> None:
    """Refuse another Prefect than the one whose private parts are used.

    Raises:
        InvalidRequest: it is another.
    """
    if version != PREFECT:
        msg = (
            f"this worker knows Prefect {PREFECT} from within, and {version} is installed: "
            "use 'prefect worker start --pool limsflow --type process' instead, which is slower"
        )
        raise InvalidRequest(msg)


def modules_of_flows() -> list[str]:
    """Return the modules of all flows that prefect.yaml deploys, and of a site's own.

    The latter are named in `$LIMSFLOW_WARM_MODULES`, with spaces between. What is in neither runs
    too, but is imported by each run.
    """
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    ours = {one["entrypoint"].rpartition(".")[0] for one in deployments}
    return sorted(ours | set(os.environ.get("LIMSFLOW_WARM_MODULES", "").split()))


def few_authorities() -> dict[str, str]:
    """Return a setting that saves each run 0.1 s where Prefect's API is plain HTTP.

    Each of Prefect's clients, of which a run has four, would read the certificates of all
    authorities of the world for nothing: 30 ms. Over HTTPS they are needed.
    """
    settings = get_current_settings()
    if not str(settings.api.url).startswith("http://") or AUTHORITIES in os.environ:
        return {}
    end = "-----END CERTIFICATE-----"
    first = Path(certifi.where()).read_text(encoding="utf-8").partition(end)[0]
    path = settings.home / "one-authority.pem"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(f"{first}{end}\n", encoding="utf-8")
    new.replace(path)
    return {AUTHORITIES: str(path)}


async def process_pool(name: str) -> WorkPool:
    """Return a pool of processes.

    Raises:
        InvalidRequest: there is none of this name, or it is of another type.
        ServiceUnavailable: Prefect does not answer.
    """
    with answering():
        async with get_client() as client:
            try:
                pool = await client.read_work_pool(name)
            except ObjectNotFound as error:
                msg = f"there is no work pool {name}: see 'limsflow deploy'"
                raise InvalidRequest(msg) from error
    if pool.type != KIND:
        msg = (
            f"work pool {name} is of type {pool.type}, and this worker starts processes only: "
            f"use 'prefect worker start --pool {name}'"
        )
        raise InvalidRequest(msg)
    return pool


async def _work(options: argparse.Namespace) -> None:
    from deployments.warm_starter import Forks  # noqa: PLC0415 - not for another Prefect
    from deployments.warm_worker import WarmWorker  # noqa: PLC0415 - nor this

    await process_pool(options.pool)
    stop, hurry = _signals()
    os.environ.update(few_authorities())
    forks = Forks(modules_of_flows())
    await forks.warm_up()
    worker = WarmWorker(
        forks,
        work_pool_name=options.pool,
        work_queues=options.queues,
        name=options.name or f"{socket.gethostname()} {os.getpid()}",
        limit=options.limit,
    )
    said: dict[str, Any] = {"worker": worker.name, "pool": options.pool, "limit": options.limit}
    text = f"{worker.name} takes runs of {options.pool}. Ctrl-C lets them end."
    print(json.dumps(said) if options.json else text, flush=True)
    await worker.work(stop, hurry, drain_s=options.drain_s)


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return what a first signal sets, and what a second one sets."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told)
    return stop, hurry
