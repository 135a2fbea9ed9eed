"""A broker, an ISPyB, Prefect, and the bridge between them, in the tests' own process."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.broker import Delivery, Link, open_link
from tests.fakes.ispyb import Ispyb, sqlite_ispyb
from tests.fakes.links import linked

numbers = itertools.count(1)
IDS = 1_000_000  # Prefect keeps the keys of all tests of a session; these count from here
LONG_S = 30.0


@dataclass
class Site:
    """A broker, an ISPyB, Prefect, and the bridge between them."""

    url: str
    ispyb: Ispyb
    queue: str
    forward_to: str
    recipes: tuple[str, ...] = ("xia2-dials",)
    wait_for_job_s: float = 0.0
    ispyb_url: str = ""

    @property
    def dead(self) -> str:
        """Where dead letters go."""
        return f"dlq.{self.queue}"

    def a_job(self, **given: Any) -> int:
        """Make a job with an id that no other test uses."""
        old, new = self.ispyb.a_job(**given).id, IDS + 10 * next(numbers)
        for table in ("ProcessingJobParameter", "ProcessingJobImageSweep", "ProcessingJob"):
            sql = f"UPDATE {table} SET processingJobId = :new WHERE processingJobId = :old"
            self.ispyb.change(sql, new=new, old=old)
        return new

    def send(self, *bodies: bytes, **headers: Any) -> None:
        """Put messages into the queue."""

        async def do(link: Link) -> None:
            for body in bodies:
                await link.publish(self.queue, body, headers)

        self.linked(do, self.queue)

    def waiting(self, queue: str) -> list[Delivery]:
        """Return what waits in a queue."""
        return self.linked(lambda link: link.take(queue, at_most=1000))

    def linked(self, deed: Callable[[Link], Awaitable[Any]], *queues: str) -> Any:
        """Return what a deed does on a connection of its own."""
        return linked(self.url, deed, *queues, seconds=120)

    def deal(
        self, number: int, *, through: Callable[[Link], Link] = lambda link: link, **of_runs: Any
    ) -> list[str]:
        """Let a bridge deal with so many messages; return what became of them."""
        return asyncio.run(self._deal(number, through, **of_runs))

    async def _deal(
        self, number: int, through: Callable[[Link], Link], runs: Any = None
    ) -> list[str]:
        from pydantic import SecretStr  # noqa: PLC0415

        from blocks.connections import MessageBroker, Toolchain  # noqa: PLC0415 - loads Prefect
        from deployments.bridge import Bridge  # noqa: PLC0415
        from tasks.flow_runs import prefect_runs  # noqa: PLC0415

        broker = MessageBroker(
            url=SecretStr(self.url),
            queues=[self.queue],
            forward_to=self.forward_to,
            recipes=list(self.recipes),
            wait_for_job_s=self.wait_for_job_s,
        )
        async with prefect_runs() as real, open_link(self.url, (self.queue,)) as link:
            made = through(link)
            bridge = Bridge("b", broker, made, self.ispyb.store, runs or real, Toolchain())
            deliveries = aiter(made.deliveries())
            async with asyncio.timeout(LONG_S):
                some = [await anext(deliveries) for _ in range(number)]
                return list(await asyncio.gather(*(bridge.deal_with(one) for one in some)))


def a_site(url: str, folder: Path) -> Site:
    """Return a site whose queues nobody else uses."""
    queue = f"reprocess-{os.getpid()}-{next(numbers)}"
    site = Site(url, sqlite_ispyb(folder), queue, f"{queue}-zocalo")
    site.linked(lambda link: link.publish(site.forward_to, b"made", {}), site.forward_to)
    return site


def runs_of(job_id: int) -> list[dict[str, Any]]:
    """Return the runs of a job that Prefect has."""
    from prefect import get_client  # noqa: PLC0415 - loads Prefect

    async def found() -> Any:
        async with get_client() as client:
            body = {"sort": "START_TIME_DESC", "limit": 200}
            return (await client._client.post("/flow_runs/filter", json=body)).json()

    return [run for run in asyncio.run(found()) if run["parameters"].get("job_id") == job_id]


def bare(job_id: int) -> bytes:
    """Return what SynchWeb sends."""
    return b'{"parameters":{"ispyb_process":%d}}' % job_id
