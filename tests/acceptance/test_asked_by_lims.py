"""Hundreds of messages through a real RabbitMQ, MariaDB and Prefect, while each part is killed."""

import asyncio
import itertools
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from blocks.broker import Delivery, Link, open_link
from blocks.mx.store import IspybStore, open_store
from deployments.embedded import free_port, make_home
from tasks.patience import patiently
from tests.fakes.builders import a_collection, a_request
from tests.fakes.programs import fake_xia2
from tests.fakes.served import wait_for
from tests.fakes.stack import Stack
from tests.mariadb.server import IspybUrls, MariaDb
from tests.postgres.server import PostgresServer
from tests.rabbitmq.server import RabbitMq, private_rabbitmq

pytestmark = [pytest.mark.services, pytest.mark.timeout(1800)]
numbers = itertools.count(1)

# 500 show it; CI has less time, and SQLite takes half as many in twice the time.
MESSAGES = int(os.environ.get("LIMSFLOW_MESSAGES", "40"))
QUEUE, ZOCALO = "limsflow.reprocess", "processing_recipe"
N_IMAGES = 20


@dataclass(kw_only=True)
class Facility(Stack):
    """A synchrotron's LIMS and broker, Prefect, bridges, and a worker."""

    rabbitmq: RabbitMq
    urls: IspybUrls

    @property
    def burst(self) -> int:
        """How many messages its Prefect is sent."""
        return MESSAGES if self.settings else MESSAGES // 2

    @property
    def store(self) -> IspybStore:
        """The ISPyB, as its administrator sees it."""
        return open_store(self.urls.admin, ours=True)

    def deploy(self, programs: Path) -> None:
        """Do what a facility does once."""
        self.limsflow(
            *("deploy", "--ispyb", self.urls.reader, "--ispyb-processing", self.urls.processing),
            *("--broker", self.rabbitmq.amqp, "--queue", QUEUE, "--forward-to", ZOCALO),
            *("--recipe", "xia2-dials", "--toolchain-directory", str(programs)),
            *("--visit-depth", str(len(self.visit.parts)), "--limit", "8"),
        )

    @property
    def visit(self) -> Path:
        """The visit's directory."""
        return self.home.folder / "cm00001-1"

    def bridge(self) -> subprocess.Popen[bytes]:
        """Start a bridge."""
        return self.start("deployments.cli", "listen", log="bridge")

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a warm worker."""
        return self.start("deployments.cli", "worker", "--limit", "6", log="worker")

    def token(self) -> str:
        """Make a client of the gateway that may ask for a whole night's work; return its token."""
        right = ("--right", "reprocess", "--rate", "1000", "--burst", "1000")
        said = self.limsflow("client", "add", "synchweb", *right, *self._clients, "--json")
        return str(json.loads(said)["token"])

    def gateway(self, port: int) -> subprocess.Popen[bytes]:
        """Start a gateway."""
        at = ("--port", str(port), *self._clients)
        return self.start("deployments.cli", "gateway", *at, log="gateway")

    @property
    def _clients(self) -> tuple[str, str]:
        return "--clients", str(self.home.folder / "clients.json")

    def jobs(self, number: int) -> list[int]:
        """Make jobs: one in twenty can be processed, the others name images that are not there.

        So each ends as a program with a status, after a second and not after a minute.
        """
        images = self.visit / "crystal"
        images.mkdir(parents=True)
        for image in range(1, N_IMAGES + 1):
            (images / f"thau_1_{image:04d}.cbf").touch()
        collection = a_collection(
            id=1, image_directory=f"{images}/", file_template="thau_1_####.cbf", n_images=N_IMAGES
        )
        store = self.store
        made = [store.create_job(a_request(collection, ranges=((1, 20),))) for _ in range(number)]
        wrong = [job for place, job in enumerate(made) if place % 20]
        engine = create_engine(self.urls.admin)
        with engine.begin() as connection:
            sql = "UPDATE ProcessingJobImageSweep SET endImage = 900 WHERE processingJobId = :id"
            connection.execute(text(sql), [{"id": job} for job in wrong])
            early = "UPDATE ProcessingJob SET recordTimestamp = NOW() - INTERVAL 1 MINUTE"
            connection.execute(text(early))
        engine.dispose()
        return made

    def programs(self) -> list[tuple[int, int | None, str]]:
        """Return job, status and message of every program."""
        sql = "SELECT processingJobId, processingStatus, processingMessage FROM AutoProcProgram"
        engine = create_engine(self.urls.admin)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(text(sql))]
        engine.dispose()
        return found

    def n_ended(self) -> int:
        """Return how many jobs have a program with a status."""
        return len({job for job, status, _ in self.programs() if status is not None})

    def n_runs(self) -> int:
        """Return how many runs Prefect has; 0 if its SQLite is too busy to say."""
        body = {"flows": {"name": {"any_": ["reprocess-job"]}}}
        with suppress(httpx.TransportError):
            answer = httpx.post(f"{self.home.api_url}/flow_runs/count", json=body, timeout=30)
            return int(answer.text) if answer.is_success else 0
        return 0

    def make_queues(self) -> None:
        """Make all queues."""

        async def make(link: Link) -> None:
            for queue in (QUEUE, ZOCALO, f"dlq.{QUEUE}"):
                await link.take(queue, at_most=0)

        self._linked(make)

    def send(self, *bodies: bytes) -> None:
        """Send messages, each when the broker has the one before."""

        async def send(link: Link) -> None:
            for body in bodies:
                await link.publish(QUEUE, body, {})

        self._linked(send)

    def waiting(self, queue: str) -> list[Delivery]:
        """Return what waits in a queue."""
        return list(self._linked(lambda link: link.take(queue, at_most=1000)))

    def _linked(self, deed: Callable[[Link], Awaitable[Any]]) -> Any:
        async def do() -> Any:
            async with open_link(self.rabbitmq.amqp) as link:
                return await deed(link)

        return asyncio.run(patiently(do))  # a node that came back a moment ago may be slow


@pytest.fixture(params=["postgresql", "sqlite"])
def facility(
    request: pytest.FixtureRequest,
    mariadb: MariaDb,
    postgres: PostgresServer,
    tmp_path: Path,
) -> Iterator[Facility]:
    """A facility whose Prefect has this database."""
    number = next(numbers)
    settings = dict[str, str]()
    if request.param == "postgresql":
        url = postgres.create_database(f"prefect_asked_{number}")
        asynchronous = url.replace("postgresql+psycopg", "postgresql+asyncpg")
        settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = asynchronous
    (tmp_path / "rabbitmq").mkdir()
    urls = mariadb.create_ispyb(f"asked_{number}", sql_mode="")
    with private_rabbitmq(tmp_path / "rabbitmq") as rabbitmq:
        stack = Facility(home=make_home(tmp_path), settings=settings, rabbitmq=rabbitmq, urls=urls)
        stack.make_queues()
        rabbitmq.restart()  # so that they are older than the first power cut
        try:
            stack.start_server()
            stack.deploy(fake_xia2(tmp_path / "bin", "good"))
            yield stack
        finally:
            for process in list(stack.processes):
                stack.kill(process)


def bare(job_id: int) -> bytes:
    """Return what SynchWeb sends."""
    return b'{"parameters":{"ispyb_process":%d}}' % job_id


def test_every_message_ends_as_one_program_though_each_part_is_killed(facility: Facility) -> None:
    jobs = facility.jobs(facility.burst)
    bridge, worker = facility.bridge(), facility.worker()
    facility.bridge()
    others = (b'{"recipes":["trigger-dimple"],"parameters":{"ispyb_dcid":7}}', b"poison")
    facility.send(bare(jobs[0]), *map(bare, jobs), *others)  # two clicks for the first

    wait_for(lambda: facility.n_runs() > facility.burst // 6, seconds=300)
    facility.kill(bridge)
    facility.bridge()
    wait_for(lambda: facility.n_runs() > facility.burst // 3, seconds=300)
    facility.rabbitmq.kill()
    facility.rabbitmq.start()
    wait_for(lambda: facility.n_ended() > facility.burst // 3, seconds=900)
    facility.kill(worker, alone=True)  # what it runs goes on; what it took and never began is stuck
    facility.worker()
    wait_for(lambda: facility.n_runs() >= facility.burst, seconds=600)
    reconciled_until(lambda: facility.n_ended() == facility.burst, facility)

    assert_each_is_one_program(facility, jobs)
    assert [one.body for one in facility.waiting(ZOCALO)] == [others[0]]
    assert [one.body for one in facility.waiting(f"dlq.{QUEUE}")] == [others[1]]


# SQLite takes such a burst too slowly for a test, as everybody asks Prefect at once.
@pytest.mark.parametrize("facility", ["postgresql"], indirect=True)
def test_every_request_ends_as_one_program_though_gateway_and_worker_are_killed(
    facility: Facility,
) -> None:
    jobs, token, port = facility.jobs(MESSAGES), facility.token(), free_port()
    gateway, worker = facility.gateway(port), facility.worker()

    def ask(job_id: int) -> None:
        """Ask until it is answered, always with the same key, as it may have been heard."""
        body = {"job_id": job_id}
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"wish-{job_id}"}

        def accepted() -> bool:
            with suppress(httpx.TransportError):
                at = f"http://127.0.0.1:{port}/api/v1.0/reprocess"
                answer = httpx.post(at, json=body, headers=headers, timeout=60)
                assert answer.status_code in (202, 503), answer.text
                return answer.status_code == 202
            return False

        wait_for(accepted, seconds=300)

    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(ask, job_id) for job_id in (jobs[0], *jobs)]
        wait_for(lambda: facility.n_runs() > MESSAGES // 4, seconds=300)
        facility.kill(gateway)
        facility.gateway(port)
        wait_for(lambda: facility.n_ended() > MESSAGES // 3, seconds=900)
        facility.kill(worker, alone=True)
        facility.worker()
        for one in asked:
            one.result(600)
    reconciled_until(lambda: facility.n_ended() == MESSAGES, facility)

    assert_each_is_one_program(facility, jobs)


def assert_each_is_one_program(facility: Facility, jobs: list[int]) -> None:
    """Each job has one program with a status: one in twenty could be processed."""
    programs = facility.programs()
    assert Counter(job for job, _, _ in programs) == Counter(jobs)
    assert sorted(job for job, status, _ in programs if status == 1) == jobs[::20]
    assert all("sweep" in message for _, status, message in programs if status == 0)
    assert {status for _, status, _ in programs} == {0, 1}
    assert wait_for(facility.n_runs) == len(jobs)


def reconciled_until(done: Callable[[], bool], facility: Facility) -> None:
    """Let the reconciler look every now and then, as its schedule does, until all is done."""
    deadline = time.monotonic() + 900
    while not done():
        assert time.monotonic() < deadline, facility.limsflow(
            "reconcile", "--entero", "", "--dry-run"
        )
        facility.limsflow("reconcile", "--entero", "", "--stuck-after-s", "30")
        time.sleep(5)
