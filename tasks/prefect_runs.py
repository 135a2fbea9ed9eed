"""Prefect's own state of a flow run, and pages that it shows."""

import contextlib
import logging
import re
from uuid import UUID

import httpx
from prefect import get_client
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    aupdate_progress_artifact,
)
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Crashed

from blocks.errors import ServiceUnavailable
from tasks.runs import RunState

logger = logging.getLogger(__name__)


async def run_state(run_id: str) -> RunState:
    """Return what Prefect says of a flow run."""
    try:
        async with get_client() as client:
            run = await client.read_flow_run(UUID(run_id))
    except (ObjectNotFound, ValueError):
        return RunState(type="UNKNOWN")
    if run.state is None:
        return RunState(type="PENDING")
    return RunState(type=run.state.type.value, message=run.state.message or "")


async def crash(run_id: str, reason: str) -> None:
    """Tell Prefect that nobody works on this run, so that it holds no slot for ever."""
    async with get_client() as client:
        await client.set_flow_run_state(UUID(run_id), Crashed(message=reason), force=True)


async def show(markdown: str, *, key: str, description: str) -> None:
    """Publish Markdown on the run's page; a Prefect that is away costs the page, not the run."""
    try:
        await acreate_markdown_artifact(markdown, key=key, description=description)
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("Prefect does not take the artifact %s: %s", key, error)


class ProgressBar:
    """A progress artifact of this run, made when there is something to show."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._id: UUID | None = None

    async def show(self, fraction: float, doing: str) -> None:
        """Show how much is done (0-1), and what is being done.

        Raises:
            ServiceUnavailable: Prefect does not take it.
        """
        percent = 100 * fraction
        try:
            if self._id is None:
                self._id = await acreate_progress_artifact(
                    percent, key=self._key, description=doing
                )
            else:
                await aupdate_progress_artifact(self._id, progress=percent, description=doing)
        except (httpx.HTTPError, PrefectException) as error:
            msg = f"Prefect does not take the progress: {error}"
            raise ServiceUnavailable(msg) from error

    async def end(self, fraction: float) -> None:
        """Show that all is done, if it is."""
        if fraction == 1.0:
            with contextlib.suppress(ServiceUnavailable):
                await self.show(1.0, "done")


def artifact_key(*parts: str) -> str:
    """Return a key of lower-case letters, digits and dashes, which is all that Prefect allows."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-") or "report"
