"""The process of one flow run, forked from a server that has loaded everything already.

The fork server imports this module and every flow, once: a second of work that no run waits for.
So a change of any code needs a restart of the worker. Importing leaves no thread, opens no
connection and asks nobody: what a fork would copy, it could break.
"""

import asyncio
import contextlib
import gc
import importlib
import multiprocessing
import os
import sys
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from prefect._internal.control_listener import configure_from_env
from prefect._internal.metrics import (
    RunMetrics,  # pyright: ignore[reportUnknownVariableType] - Prefect's type says less
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import SettingsContext, get_settings_context
from prefect.engine import (
    _drive_run_flow_result,  # pyright: ignore[reportPrivateUsage]
    handle_engine_signals,
)
from prefect.flow_engine import load_flow, run_flow
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger
from prefect.runner._hook_runner import HookRunner
from prefect.settings import Settings, get_current_settings
from prefect.utilities.templating import apply_values
from pydantic import Field

from blocks.record import Record

# What Prefect imports only when a run needs it: each would be paid again by every run.
LATER = (
    "anyio._backends._asyncio",
    "anyio.streams.tls",
    "encodings.idna",
    "graphviz",
    "prefect.concurrency._sync",
    "prefect.task_engine",
    "prefect.utilities.visualization",
    "rich._emoji_codes",
)
KINDS = ("cancellation", "crashed")


class Order(Record):
    """What a child is told: everything that it would else have to ask Prefect for."""

    flow_run: str = Field(description="the run as JSON, in the state that Prefect accepted")
    environment: Mapping[str, str] = Field(description="all of it")
    directory: Path = Field(description="where it begins")
    code: str = Field(default="", description="directory of the code; may have {{ $VARIABLES }}")
    entrypoint: str = Field(default="", description="of a flow that is loaded; empty: load it")

    def with_variables(self, more: Mapping[str, str]) -> Self:
        """Return it with some environment variables more."""
        return self.model_copy(update={"environment": {**self.environment, **more}})


def load(modules: Iterable[str]) -> None:
    """Do a child's first steps without a run: so that the first run finds everything warm."""
    for module in modules:
        importlib.import_module(module)


def run(order: Order) -> None:
    """Run a flow run to its end, as `python -m prefect.engine` does; exits."""
    with _at_work(order):
        configure_from_env()
        flow_run = FlowRun.model_validate_json(order.flow_run)
        with handle_engine_signals(flow_run.id):
            logger = flow_run_logger(flow_run)
            try:
                flow = _flow(order, flow_run)
            except Exception:
                logger.exception("Unexpected exception encountered when trying to load flow")
                raise
            with RunMetrics(flow_run, flow):
                result = run_flow(flow, flow_run=flow_run, error_logger=logger)  # pyright: ignore[reportArgumentType] - as Prefect calls it
                _drive_run_flow_result(flow, result)


def run_hooks(order: Order, kind: str, state: str) -> None:
    """Run the hooks of a flow run that was cancelled or has crashed.

    Args:
        order: The run's.
        kind: One of `KINDS`.
        state: The state as JSON that the hooks are told.
    """
    with _at_work(order):
        flow_run = FlowRun.model_validate_json(order.flow_run)
        flow = _flow(order, flow_run)

        async def known(_: FlowRun) -> Flow[..., Any]:
            return flow

        runner = HookRunner(resolve_flow=known)
        hooks = getattr(runner, f"run_{kind}_hooks")
        asyncio.run(hooks(flow_run, State[Any].model_validate_json(state)))


def _flow(order: Order, flow_run: FlowRun) -> Flow[..., Any]:
    if order.code:
        os.chdir(str(apply_values(order.code, dict(os.environ))))
    module, _, name = order.entrypoint.rpartition(".")
    found: Any = getattr(sys.modules.get(module), name, None) if module else None
    return found if isinstance(found, Flow) else load_flow(flow_run)  # pyright: ignore[reportUnknownVariableType] - any flow


@contextlib.contextmanager
def _at_work(order: Order) -> Generator[None, None, None]:
    gc.freeze()  # what all children share is never looked at again, so it is never copied
    multiprocessing.set_start_method(None, force=True)  # a flow's own processes are as anywhere
    os.setsid()  # Ctrl-C in the worker's terminal is the worker's
    same = settings_among(order.environment) == SETTINGS
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.directory)
    if same:
        yield
        return
    profile = get_settings_context().profile
    with SettingsContext(profile=profile, settings=Settings()):
        yield


def settings_among(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that Prefect's settings are made from."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("PREFECT_") and not name.startswith("PREFECT__")
    }


# As this process has them; a fork server's children need not make theirs if they are the same.
SETTINGS: Mapping[str, str] = MappingProxyType(
    settings_among(
        {**os.environ, **get_current_settings().to_environment_variables(exclude_unset=True)}
    )
)
load(LATER)
