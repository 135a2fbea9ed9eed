"""Our share of a job's wall time beside the programs' own, for one job and for four at once.

    make bench            (real DIALS, about 7 minutes on two cores)

The stack is the one of `limsflow serve`; jobs are started as the page starts them. For each run,
the time from Prefect's start to its end is set beside the sum of the wall times of its programs,
which each program's guard measures. The same commands are then run bare, one after the other, as
the peer. Nothing here asserts a time.
"""

import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import httpx

from blocks.mx import dials, dials_results
from blocks.mx.recipe import load_recipe
from deployments.demo import job_request
from tasks.mx.requests import create_job
from tasks.mx.resumption import finished_step
from tests.fakes.served import Served, served, wait_for

LIMIT_S = 1800


def main() -> int:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory(prefix="limsflow-bench-") as name:
        folder = Path(name)
        with served(folder) as stack:
            print(f"{'runs':28} {'flow s':>8} {'programs s':>11} {'ours %':>7} {'wait s':>7}")
            measured = measure(stack, 1, "one job")
            measure(stack, 4, "four at once, each")
        bare_s = bare(stack, measured)
        print(f"{'the same commands, bare':28} {'':8} {bare_s:11.1f}")
    return 0


def measure(stack: Served, n_jobs: int, title: str) -> int:
    """Run jobs at once and print a line for each; return the id of the last."""
    directory = next(stack.folder.glob("dls/i03/data/2026/*/demo"))
    jobs = [create_job(stack.ispyb, job_request(directory)) for _ in range(n_jobs)]
    asked = time.time()
    runs = [stack.start("reprocess-job/default", job_id=job, resume=False) for job in jobs]
    for run in runs:
        wait_for(lambda run=run: stack.state(run) in ("COMPLETED", "FAILED"), seconds=LIMIT_S)
    shares = []
    for job, run in zip(jobs, runs, strict=True):
        flow_s, started = flow_time(stack, run)
        programs_s = program_time(working_directory(stack, job))
        shares.append((flow_s - programs_s) / flow_s)
        line = f"{flow_s:8.1f} {programs_s:11.1f} {100 * shares[-1]:7.2f} {started - asked:7.1f}"
        print(f"{title:28} {line}", flush=True)
    return jobs[-1]


def flow_time(stack: Served, run_id: str) -> tuple[float, float]:
    """Return a flow run's wall time in s, and when it started (epoch)."""
    run = httpx.get(f"{stack.api}/flow_runs/{run_id}", timeout=30).json()
    if run["state"]["type"] != "COMPLETED":
        sys.exit(f"run {run_id} ended as {run['state']}")
    start, end = (datetime.fromisoformat(run[key]) for key in ("start_time", "end_time"))
    return (end - start).total_seconds(), start.timestamp()


def working_directory(stack: Served, job_id: int) -> Path:
    """Return where the newest attempt of a job worked."""
    guid = stack.ispyb.attempts(job_id)[-1].guid
    return next(stack.folder.glob(f"dls/**/tmp/zocalo/**/{guid}/dials"))


def program_time(working: Path) -> float:
    """Return the wall time of all programs of a finished run, in s."""
    finished = [finished_step(working, step.name) for step in dials.STEPS]
    return sum(step.wall_s for step in finished if step is not None)


def bare(stack: Served, job_id: int) -> float:
    """Return the wall time of the same commands without us, in s."""
    job = stack.ispyb.job(job_id)
    call = dials.dials_job(job, load_recipe("dials"), n_processes=2)
    spent = 0.0
    with tempfile.TemporaryDirectory(prefix="limsflow-bare-") as name:
        for step in dials.STEPS:
            limit = dials_results.resolution_limit(Path(name))
            for command in dials.commands(step.name, call, d_min=limit):
                started = time.monotonic()
                subprocess.run(
                    [command.program, *command.arguments],
                    cwd=name,
                    check=False,  # 3.12's resolution estimator ends with 1 after success
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                spent += time.monotonic() - started
    return spent


if __name__ == "__main__":
    sys.exit(main())
