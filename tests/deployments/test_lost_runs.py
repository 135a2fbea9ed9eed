"""A run that is cancelled, killed, or lost with its machine: nothing is left, ISPyB is truthful."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.mx.records import Attempt, AttemptState
from tests.fakes.builders import a_collection, a_request
from tests.fakes.programs import fake_xia2
from tests.fakes.served import Served, processes_of, served, wait_for

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A served stack whose xia2 hangs, with a child that has left its process group."""
    folder = tmp_path_factory.mktemp("stack")
    programs = fake_xia2(folder / "bin", "hang")
    with served(folder) as stack:
        where = ["--toolchain-directory", str(programs)]
        depth = str(len((stack.folder / "visits" / "cm1-1").parts))
        url = f"sqlite:///{stack.folder / 'ispyb.db'}"
        stack.limsflow("deploy", "--ispyb", url, "--visit-depth", depth, *where)
        yield stack


def a_hanging_run(stack: Served, collection_id: int) -> tuple[int, str]:
    """Start a run of a new job; return job and run once xia2 hangs and its child lives."""
    images = stack.folder / "visits" / "cm1-1" / f"crystal_{collection_id}"
    images.mkdir(parents=True)
    for number in range(1, 11):
        (images / f"thau_1_{number:04d}.cbf").touch()
    given = {"id": collection_id, "image_directory": f"{images}/", "image_prefix": "thau"}
    collection = a_collection(**given, file_template="thau_1_####.cbf", n_images=10)
    job_id = stack.ispyb.create_job(a_request(collection, ranges=((1, 10),)))
    run_id = stack.start("reprocess-job/default", job_id=job_id, wait_for_rows_s=0)
    wait_for(lambda: len(programs(stack)) >= 3)
    return job_id, run_id


def programs(stack: Served) -> dict[int, str]:
    """Return the processes that work in a working directory: guard, xia2, its child."""
    return processes_of(stack.folder / "visits")


def flow_process(stack: Served) -> int:
    """Return the process of the flow run: the parent of the program's guard."""
    guard = next(pid for pid, command in programs(stack).items() if "guard.py" in command)
    stat = Path(f"/proc/{guard}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def closed(stack: Served, job_id: int) -> Attempt | None:
    attempt = stack.ispyb.attempts(job_id)[-1]
    return attempt if attempt.state is not AttemptState.RUNNING else None


def test_a_run_that_is_cancelled_in_the_page_leaves_no_process_and_a_closed_attempt(
    stack: Served,
) -> None:
    job_id, run_id = a_hanging_run(stack, 101)
    stack.cancel(run_id)

    wait_for(lambda: not programs(stack))
    attempt = wait_for(lambda: closed(stack, job_id))
    assert attempt.state is AttemptState.FAILED
    assert attempt.message.startswith("cancelled in Prefect")
    wait_for(lambda: stack.state(run_id) == "CANCELLED")


def test_a_flow_process_that_is_killed_leaves_no_process_and_a_closed_attempt(
    stack: Served,
) -> None:
    job_id, _ = a_hanging_run(stack, 102)
    os.kill(flow_process(stack), signal.SIGKILL)

    wait_for(lambda: not programs(stack))
    attempt = wait_for(lambda: closed(stack, job_id))
    assert attempt.message.startswith("the flow run crashed")
    assert stack.ispyb.integrations(attempt.id)[0][0] == 102  # so the failure is on its page


def test_a_new_run_of_a_killed_job_is_possible(stack: Served) -> None:
    job_id, _ = a_hanging_run(stack, 103)
    os.kill(flow_process(stack), signal.SIGKILL)
    wait_for(lambda: closed(stack, job_id))
    again = stack.start("reprocess-job/default", job_id=job_id, wait_for_rows_s=0)
    wait_for(lambda: len(programs(stack)) >= 3)
    stack.cancel(again)

    wait_for(lambda: len(stack.ispyb.attempts(job_id)) == 2 and closed(stack, job_id))
    wait_for(lambda: not programs(stack))


def test_a_run_that_is_lost_with_its_worker_is_closed_by_the_reconciler(stack: Served) -> None:
    job_id, run_id = a_hanging_run(stack, 104)
    worker = next(p for p, c in processes_of(stack.folder / "logs").items() if "worker" in c)
    flow = flow_process(stack)
    os.kill(worker, signal.SIGKILL)
    os.kill(flow, signal.SIGKILL)
    wait_for(lambda: not programs(stack))
    assert closed(stack, job_id) is None
    said = stack.limsflow("reconcile", "--stale-after-s", "0")

    assert f"of job {job_id}: lost: silent" in said
    assert wait_for(lambda: closed(stack, job_id)).state is AttemptState.FAILED
    assert stack.state(run_id) == "CRASHED"


def test_a_stack_that_is_stopped_leaves_no_process(stack: Served) -> None:
    stack.process.send_signal(signal.SIGTERM)
    stack.process.wait(60)

    assert wait_for(lambda: not processes_of(stack.folder))
