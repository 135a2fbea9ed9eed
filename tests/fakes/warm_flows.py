"""Flows for tests of workers: they leave files that say where they ran and what became of them."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed

MODULE = __name__


def leave(folder: str, name: str, **facts: Any) -> None:
    """Leave a file at once with its content."""
    new = Path(folder) / f".{name}"
    new.write_text(json.dumps({"pid": os.getpid(), **facts}))
    new.rename(Path(folder) / name)


def leave_state(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Hook that leaves which state the run came to."""
    leave(flow_run.parameters["folder"], f"{state.type.value.lower()}-{flow_run.name}")


@task(cache_policy=NO_CACHE)
async def no_op(number: int) -> int:
    return number


@flow(on_crashed=[leave_state], on_cancellation=[leave_state], on_failure=[leave_state])
async def leave_marks(folder: str, seconds: float = 0, fails: bool = False) -> None:
    """Leave a file at the beginning and one at the end."""
    from prefect.runtime import flow_run  # noqa: PLC0415

    name = str(flow_run.get_name())
    leave(
        folder,
        f"begun-{name}",
        directory=str(Path.cwd()),
        session=os.getsid(0),
        variables=dict(os.environ),
    )
    get_run_logger().info("a line of the flow")
    for number in range(3):
        await no_op(number)
    await asyncio.sleep(seconds)
    if fails:
        raise ValueError("it was told to fail")
    leave(folder, f"ended-{name}", modules=sorted(sys.modules))


@flow
async def end_in_a_state_of_its_own(folder: str) -> State[Any]:
    """Come to a state that only this flow knows."""
    await asyncio.sleep(1)
    return Completed(name="NoSolution", message=f"nothing in {folder}")
