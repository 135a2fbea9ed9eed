"""A chain of three no-ops on Celery, and who sends it; runs in Celery's own environment.

    python -m tests.benchmarks.night_celery_app JOBS [--stores]

Settings are Celery's own, but for where its broker is: results are kept there too, as somebody
waits for them.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

from celery import Celery, chain  # pyright: ignore[reportMissingImports] - not in our environment
from celery.result import AsyncResult  # pyright: ignore[reportMissingImports]

from tests.benchmarks.night_outcomes import WARM_UP, store_outcome

BROKER, ANSWER = "LIMSFLOW_BENCH_BROKER", "LIMSFLOW_BENCH_ANSWER"
WARM_JOBS = 50
LIMIT_S = 600

app = Celery("night", broker=os.environ[BROKER], backend=os.environ[BROKER])


@app.task(name="no_op")
def no_op(item: int) -> int:
    return item


@app.task(name="store")
def store(item: int) -> None:
    store_outcome("Celery", item)


def _sent(item: int, *, stores: bool) -> AsyncResult:
    first, second = app.signature("no_op", args=(item,)), app.signature("no_op")
    return chain(first, second, app.signature("store" if stores else "no_op")).apply_async()


def main() -> int:
    """Send chains, wait for all, and leave what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=int)
    parser.add_argument("--stores", action="store_true", help="the last one stores an outcome")
    given = parser.parse_args()
    for sent in [_sent(WARM_UP - n, stores=given.stores) for n in range(WARM_JOBS)]:
        sent.get(timeout=LIMIT_S)
    began, before = time.perf_counter(), _cpu_s()
    for sent in [_sent(n, stores=given.stores) for n in range(given.jobs)]:
        sent.get(timeout=LIMIT_S)
    figures = {"wall_s": time.perf_counter() - began, "sender_s": _cpu_s() - before}
    Path(os.environ[ANSWER]).write_text(json.dumps(figures))
    return 0


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


if __name__ == "__main__":
    sys.exit(main())
