"""Start the embedded stack's processes and end them with us, however we end."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from http import HTTPStatus

import httpx

from blocks.errors import ProgramFailed, ProgramNotFound
from blocks.program import Run, run_program, tail
from deployments.embedded import SERVER_START_S, Home

logger = logging.getLogger(__name__)

FOR_EVER_S = 10 * 365 * 86_400.0


@contextlib.asynccontextmanager
async def prefect_server(home: Home) -> AsyncGenerator[None, None]:
    """Run a Prefect server while the block runs.

    Raises:
        ProgramFailed: it ended, or did not answer in time; its log is in `logs/`.
    """
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(home.port)]
    async with service(home, "prefect", arguments, "server") as server:
        await _until_healthy(home, server)
        yield


@contextlib.asynccontextmanager
async def worker(home: Home) -> AsyncGenerator[None, None]:
    """Run a warm worker of the pool `limsflow` while the block runs."""
    arguments = ["-m", "deployments.cli", "worker", "--limit", "4", "--drain-s", "0"]
    async with service(home, "python", arguments, "worker"):
        yield


@contextlib.asynccontextmanager
async def service(
    home: Home, program: str, arguments: Sequence[str], log_name: str
) -> AsyncGenerator[asyncio.Task[Run], None]:
    """Run a program that is not meant to end, under its guard, while the block runs."""
    running = asyncio.create_task(
        run_program(
            home.command(program),
            arguments,
            directory=home.folder / "logs",
            timeout_s=FOR_EVER_S,
            log_name=log_name,
        )
    )
    try:
        yield running
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, ProgramNotFound):
            await running


async def _until_healthy(home: Home, server: asyncio.Task[Run]) -> None:
    deadline = asyncio.get_running_loop().time() + SERVER_START_S
    async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
        while not server.done() and asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{home.api_url}/health")).status_code == HTTPStatus.OK:
                    return
            await asyncio.sleep(0.2)
    log = home.folder / "logs" / "server.stderr"
    msg = f"the Prefect server did not start; its log is {log}"
    raise ProgramFailed(msg, program="prefect", directory=log.parent, log_tail=tail(log, 20))


async def run_ours(home: Home, arguments: Sequence[str], *, log_name: str) -> str:
    """Run a `limsflow` command in a process of its own, with this stack's settings.

    Raises:
        ProgramFailed: it ended with an error.
    """
    run = await run_program(
        home.command("python"),
        ["-m", "deployments.cli", *arguments],
        directory=home.folder / "logs",
        timeout_s=FOR_EVER_S,
        log_name=log_name,
    )
    return run.require_success().stdout.read_text(errors="replace")
