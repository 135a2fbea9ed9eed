"""Asking by message: RabbitMQ, our bridge, our worker; an ISPyB on MariaDB has the jobs.

Twice: with a flow of three no-ops under the name of reprocess-job, and with reprocess-job itself on
jobs that it refuses in its third step, because their sweep names images that were not measured.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from sqlalchemy import create_engine, text

from blocks.broker import Link, open_link
from blocks.mx.store import open_store
from tests.benchmarks.asked_flow import no_op_job
from tests.benchmarks.asked_found import Found, Size
from tests.benchmarks.asked_prefect import AT_ONCE
from tests.benchmarks.night_servers import program, running
from tests.benchmarks.warm_worker import POOL, WARM_UP, Bench, our_worker
from tests.fakes.builders import a_collection, a_request
from tests.fakes.programs import fake_xia2
from tests.fakes.served import REPOSITORY, wait_for
from tests.mariadb.server import IspybUrls

QUEUE, DEPLOYMENT = "limsflow.reprocess", "reprocess-job/default"
MODULES = "tests.benchmarks.warm_worker tests.benchmarks.asked_flow"
N_IMAGES, LAST_IMAGE = 20, 900
GIVE_UP_S = 600.0


@dataclass(frozen=True)
class Facility:
    """A Prefect server, a broker's address, an ISPyB, and our blocks and deployments."""

    bench: Bench
    broker: str
    urls: IspybUrls

    def deploy(self) -> None:
        """Do what a facility does once."""
        folder = self.bench.home.folder
        argv = ["deploy", "--ispyb", self.urls.reader, "--ispyb-processing", self.urls.processing]
        argv += ["--broker", self.broker, "--queue", QUEUE, "--recipe", "xia2-dials"]
        argv += ["--toolchain-directory", str(fake_xia2(folder / "bin", "good"))]
        argv += ["--visit-depth", str(len(folder.parts) + 1), "--limit", str(AT_ONCE)]
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *argv],
            env=dict(self.bench.variables),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"limsflow deploy failed:\n{done.stderr[-3000:]}")

    def jobs(self, number: int) -> list[int]:
        """Make jobs that nobody asked for yet, with a sweep beyond the last image."""
        images = self.bench.home.folder / "cm00001-1" / "crystal"
        images.mkdir(parents=True, exist_ok=True)
        collection = a_collection(
            id=1, image_directory=f"{images}/", file_template="thau_1_####.cbf", n_images=N_IMAGES
        )
        store = open_store(self.urls.admin, ours=True)
        request = a_request(collection, ranges=((1, N_IMAGES),))
        made = [store.create_job(request) for _ in range(number)]
        engine = create_engine(self.urls.admin)
        with engine.begin() as connection:  # the rows are not new: nobody waits for more of them
            sql = f"UPDATE ProcessingJobImageSweep SET endImage = {LAST_IMAGE}"
            connection.execute(text(sql))
            sql = "UPDATE ProcessingJob SET recordTimestamp = NOW() - INTERVAL 1 MINUTE"
            connection.execute(text(sql))
        engine.dispose()
        return made

    def n_refused(self) -> int:
        """Return how many jobs failed for their sweep."""
        sql = (
            "SELECT COUNT(DISTINCT processingJobId) FROM AutoProcProgram"
            " WHERE processingStatus = 0 AND processingMessage LIKE '%sweep%'"
        )
        engine = create_engine(self.urls.admin)
        with engine.connect() as connection:
            found = int(connection.execute(text(sql)).scalar_one())
        engine.dispose()
        return found


def refused(facility: Facility, size: Size) -> Found:
    """Return what reprocess-job takes; its first line is when Prefect has it running."""

    def first_line(run: FlowRun) -> float:
        assert run.start_time is not None
        return run.start_time.timestamp()

    with _at_work(facility):
        found = asyncio.run(_measured(facility, size, first_line))
    wanted = size.waits + WARM_UP + size.burst
    if facility.n_refused() != wanted:
        raise RuntimeError(f"{facility.n_refused()} of {wanted} jobs were refused for their sweep")
    return found


def no_ops(facility: Facility, size: Size) -> Found:
    """Return what three no-ops take; their flow stamps its first line."""
    marks = facility.bench.marks
    asyncio.run(_deploy_no_ops(marks))

    def first_line(run: FlowRun) -> float:
        return float((marks / f"job-{run.parameters['job_id']}").read_text())

    with _at_work(facility):
        return asyncio.run(_measured(facility, size, first_line))


async def _deploy_no_ops(marks: Path) -> None:
    """Put the no-ops into the place of reprocess-job."""
    directory = {"directory": str(REPOSITORY)}
    async with get_client() as client:
        await client.delete_deployment((await client.read_deployment_by_name(DEPLOYMENT)).id)
        await client.create_deployment(
            flow_id=await client.create_flow(no_op_job),
            name=DEPLOYMENT.rpartition("/")[2],
            work_pool_name=POOL,
            entrypoint=f"{no_op_job.__module__}.no_op_job",
            pull_steps=[{"prefect.deployments.steps.set_working_directory": directory}],
            parameters={"marks": str(marks)},
            job_variables={"working_dir": str(REPOSITORY)},
        )


@contextmanager
def _at_work(facility: Facility) -> Iterator[None]:
    """Run bridge and worker while the block runs."""
    variables = {**facility.bench.variables, "LIMSFLOW_WARM_MODULES": MODULES}
    log = facility.bench.home.folder / "bridge.log"
    argv = [program("python"), "-m", "deployments.cli", "listen"]
    with (
        running(argv, log, variables),
        our_worker(replace(facility.bench, variables=variables), AT_ONCE),
    ):
        wait_for(lambda: "listening to" in log.read_text())
        yield


async def _measured(
    facility: Facility, size: Size, first_line: Callable[[FlowRun], float]
) -> Found:
    alone, together = facility.jobs(size.waits + WARM_UP), facility.jobs(size.burst)
    waits = list[float]()
    async with open_link(facility.broker) as link, get_client() as client:
        for job in alone:
            began = time.time()
            await _ask(link, job)
            (run,) = await _ended(client, [job])
            waits.append(first_line(run) - began)
            await asyncio.sleep(0.5)
        began = time.time()
        for job in together:
            await _ask(link, job)
        runs = await _ended(client, together)
    last = max(run.end_time.timestamp() for run in runs if run.end_time)
    return Found(waits[WARM_UP:], size.burst, last - began)


async def _ask(link: Link, job: int) -> None:
    """Send what SynchWeb sends."""
    await link.publish(QUEUE, b'{"parameters":{"ispyb_process":%d}}' % job, {})


async def _ended(client: PrefectClient, jobs: Sequence[int]) -> list[FlowRun]:
    """Wait until these jobs have a run that is over."""
    deployment = (await client.read_deployment_by_name(DEPLOYMENT)).id
    mine = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    give_up_at = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up_at:
        await asyncio.sleep(0.2)
        runs = await client.read_flow_runs(flow_run_filter=mine, limit=200)
        over = [run for run in runs if run.parameters.get("job_id") in jobs and run.end_time]
        if len(over) == len(jobs):
            return over
    raise RuntimeError("the runs do not end")
