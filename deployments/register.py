"""Make what a Prefect server must hold: blocks, the work pool, every deployment. Idempotent."""

import asyncio
import contextlib
from pathlib import Path

from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from pydantic import SecretStr

from blocks.connections import EnteroBase, IspybDatabase, MessageBroker, Toolchain
from blocks.program import Program, run_program
from deployments.automations import register_automations
from deployments.embedded import ROOT
from deployments.zombies import register_zombies

POOL = "limsflow"
DEPLOY_S = 300.0
NIGHTS, NIGHT = "nights", "night"  # queues of nights, and of their batches
PRIORITY = {NIGHTS: 10, NIGHT: 11}


async def register_blocks(
    *,
    ispyb_url: str,
    processing_url: str | None,
    visit_depth: int,
    toolchain_directory: str | None,
    toolchain_note: str,
    entero: EnteroBase | None,
    broker: MessageBroker | None,
) -> None:
    """Save the blocks `ispyb`, `mx`, `entero`, `genomics`, `broker`, and their types' forms."""
    database = IspybDatabase(
        url=SecretStr(ispyb_url),
        processing_url=SecretStr(processing_url) if processing_url else None,
        visit_depth=visit_depth,
    )
    await database.asave("ispyb", overwrite=True)
    await Toolchain(directory=toolchain_directory, note=toolchain_note).asave("mx", overwrite=True)
    await Toolchain().asave("genomics", overwrite=True)
    if entero:
        await entero.asave("entero", overwrite=True)
    else:
        await EnteroBase.aregister_type_and_schema()
    if broker:
        await broker.asave("broker", overwrite=True)
    else:
        await MessageBroker.aregister_type_and_schema()


async def register_pool(limit: int) -> None:
    """Make the work pool of processes; at most `limit` runs at once, however many are asked for."""
    async with get_client() as client:
        try:
            await client.create_work_pool(
                WorkPoolCreate(name=POOL, type="process", concurrency_limit=limit)
            )
        except ObjectAlreadyExists:
            await client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=limit))


async def register_night_queues(limit: int) -> None:
    """Make the work queues of what nobody waits for: the least urgent; batches leave room.

    One that is there stays as an operator left it.
    """
    limits = {NIGHTS: None, NIGHT: max(1, limit - 1)}
    async with get_client() as client:
        for name, smaller in limits.items():
            with contextlib.suppress(ObjectAlreadyExists):
                await client.create_work_queue(
                    name,
                    priority=PRIORITY[name],
                    concurrency_limit=smaller,
                    work_pool_name=POOL,
                )


async def pause_nights() -> None:
    """Stop the nightly schedule: there is no database to go over."""
    async with get_client() as client:
        night = await client.read_deployment_by_name("nightly-update/every-night")
        for schedule in night.schedules:
            await client.update_deployment_schedule(night.id, schedule.id, active=False)


async def register_deployments(prefect: Program, logs: Path) -> None:
    """Register every deployment of prefect.yaml.

    Raises:
        ProgramFailed: Prefect refused; its reason is in the error.
    """
    arguments = ["--no-prompt", "deploy", "--all", "--prefect-file", str(ROOT / "prefect.yaml")]
    run = await run_program(
        prefect, arguments, directory=logs, timeout_s=DEPLOY_S, log_name="deploy"
    )
    run.require_success()


async def register_all(
    prefect: Program,
    logs: Path,
    *,
    ispyb_url: str,
    processing_url: str | None = None,
    visit_depth: int = 6,
    toolchain_directory: str | None = None,
    toolchain_note: str = "",
    entero: EnteroBase | None = None,
    broker: MessageBroker | None = None,
    limit: int = 4,
    notify_url: SecretStr | None = None,
    night_hours: float = 8.0,
) -> None:
    """Register blocks, pool and queue, then the deployments that name them, and who is told."""
    await asyncio.gather(
        register_blocks(
            ispyb_url=ispyb_url,
            processing_url=processing_url,
            visit_depth=visit_depth,
            toolchain_directory=toolchain_directory,
            toolchain_note=toolchain_note,
            entero=entero,
            broker=broker,
        ),
        register_pool(limit),
    )
    await register_night_queues(limit)
    await register_deployments(prefect, logs)
    if entero is None:
        await pause_nights()
    await register_zombies()
    if notify_url:
        await register_automations(notify_url, night_hours=night_hours)
