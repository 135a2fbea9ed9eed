"""A chain of three no-ops on Celery, and who sends it; runs in the peers' own environment.

    python -P asked_celery_app.py work --processes N
    python -P asked_celery_app.py measure WAITS JOBS

Settings are Celery's own, but for where its broker is, which keeps the results, too.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from celery import Celery, chain  # pyright: ignore[reportMissingImports] - not in our environment
from celery.result import AsyncResult  # pyright: ignore[reportMissingImports]

BROKER, ANSWER = "LIMSFLOW_BENCH_BROKER", "LIMSFLOW_BENCH_ANSWER"
WARM_UP, LIMIT_S = 50, 120
BETWEEN_S = 0.1

app = Celery("asked", broker=os.environ[BROKER], backend=os.environ[BROKER])


@app.task(name="first")
def first() -> float:
    return time.time()


@app.task(name="second")
def second(begun: float) -> float:
    return begun


@app.task(name="third")
def third(begun: float) -> list[float]:
    return [begun, time.time()]


def _sent() -> AsyncResult:
    return chain(*(app.signature(name) for name in ("first", "second", "third"))).apply_async()


def measure(waits_wanted: int, jobs: int) -> None:
    """Send chains one by one, then many; leave how long each waited, and what the many took."""
    for sent in [_sent() for _ in range(WARM_UP)]:
        sent.get(timeout=LIMIT_S)
    waits = list[float]()
    for _ in range(waits_wanted):
        time.sleep(BETWEEN_S)
        began = time.time()
        waits.append(_sent().get(timeout=LIMIT_S)[0] - began)
    began = time.time()
    ended = [sent.get(timeout=LIMIT_S)[1] for sent in [_sent() for _ in range(jobs)]]
    figures = {"waits": waits, "jobs": jobs, "wall_s": max(ended) - began}
    Path(os.environ[ANSWER]).write_text(json.dumps(figures))


def main() -> int:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("work", "measure"))
    parser.add_argument("waits", type=int, nargs="?", default=1)
    parser.add_argument("jobs", type=int, nargs="?", default=1)
    parser.add_argument("--processes", default="2")
    given = parser.parse_args()
    if given.what == "work":
        usual = ["worker", "--pool", "prefork", "--loglevel", "WARNING"]
        app.worker_main([*usual, "--concurrency", given.processes])
    else:
        measure(given.waits, given.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
