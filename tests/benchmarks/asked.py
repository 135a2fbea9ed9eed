"""From a message to the first line, and jobs in a second: ours beside its peers, in one run.

    python -m tests.benchmarks.asked [--quick] [--json]

A job is three steps that do nothing. First one job at a time: seconds from the publish, or the REST
request, to the first line of the step's own code. Then a burst: jobs per second from the first
publish to the end of the last. One after another, each alone: our bridge and worker, our worker
asked over REST, Prefect's process worker with and without a command, `flow.serve`, Celery on Redis,
and zocalo's `workflows` on RabbitMQ; at the end ours again, as machines drift.

The peers differ in what they promise: Prefect's runs and ours are processes of their own, with
states, logs and a page; Celery and `workflows` call a function in a process that lives on. All of
Prefect's ask the server every second (their defaults: 10 s); ours hears of runs instead.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.benchmarks import asked_bridge, asked_prefect
from tests.benchmarks.asked_found import Found, Size
from tests.benchmarks.asked_peers import PROCESSES, peers
from tests.benchmarks.asked_prefect import AT_ONCE, ENGINE
from tests.benchmarks.night_celery import NotHere
from tests.benchmarks.stopwatch import Report, machine
from tests.benchmarks.warm_worker import Bench, bench
from tests.mariadb.server import private_mariadb
from tests.rabbitmq.server import RabbitMq, private_rabbitmq

HEADER = (
    *("", "first line s", "least", "most", "jobs", "jobs/s"),
    *("bridge/it s", "worker/it s", "bridge/it rate", "worker/it rate"),
)
USUAL, QUICK = Size(10, 30, 300), Size(3, 8, 100)
BRIDGE, WORKER = "our bridge and worker", "our worker, over REST"


class Table:
    """Rows as they are measured; every one is set beside our bridge and our worker."""

    def __init__(self, report: Report) -> None:
        self.report, self._rows = report, dict[str, Found]()

    def add(self, name: str, measure: Callable[[], Found]) -> None:
        """Measure a row; one whose programs are not here is left out, and that is said."""
        load = os.getloadavg()[0]  # of the row before, too
        try:
            found = measure()
        except NotHere as reason:
            self.report.say(f"  {name}: {reason}")
            return
        self._rows[name] = found
        text = f"{found.median_s:.3f} s, {found.rate:.2f} jobs/s; load before: {load:.1f}"
        self.report.say(f"  {name}: {text}")
        self.report.add(
            name,
            load_before=load,
            waits=list(found.waits),
            median_s=found.median_s,
            jobs=found.jobs,
            wall_s=found.wall_s,
            rate=found.rate,
        )

    def show(self) -> None:
        """Print all rows."""
        self.report.title("Seconds to the first line, jobs per second, and ours / theirs")
        ours = [self._rows[BRIDGE], self._rows[WORKER]]
        rows = list[list[object]]()
        for name, found in self._rows.items():
            waits = [found.median_s, min(found.waits), max(found.waits)]
            sooner = [one.median_s / found.median_s for one in ours]
            faster = [one.rate / found.rate for one in ours]
            rows.append([name, *waits, found.jobs, found.rate, *sooner, *faster])
            self.report.add(name, ours_to_its_wait=sooner, ours_to_its_rate=faster)
        self.report.table([HEADER, *rows])
        self.report.say("  first line: below 1 is good for us; rate: above 1 is.")


def main() -> int:
    """Measure row after row, and print the table."""
    given = _arguments()
    report, size = Report(as_json=given.json), QUICK if given.quick else USUAL
    machine(report)
    table = Table(report)
    with tempfile.TemporaryDirectory(prefix="limsflow-asked-") as name:
        folder = Path(name)
        (folder / "rabbitmq").mkdir()
        with private_rabbitmq(folder / "rabbitmq") as rabbitmq:
            _on_prefect(table, folder, rabbitmq, size)
            _others(table, folder, rabbitmq, size)
    table.show()
    report.end()
    return 0


def _on_prefect(table: Table, folder: Path, rabbitmq: RabbitMq, size: Size) -> None:
    with (
        bench(folder / "prefect") as own,
        temporary_settings({PREFECT_API_URL: own.home.api_url}),
    ):
        _by_message(table, folder, own, rabbitmq, size)
        table.add(WORKER, lambda: asked_prefect.ours(own, size))
        stock = f"Prefect's process worker x {AT_ONCE}"
        table.add(stock, lambda: asked_prefect.stock(own, size))
        table.add(f"{stock}, {ENGINE}", lambda: asked_prefect.stock(own, size, ENGINE))
        table.add(f"flow.serve x {AT_ONCE}", lambda: asked_prefect.served(own, size))
        table.add(f"{WORKER}, once more", lambda: asked_prefect.ours(own, size))


def _by_message(table: Table, folder: Path, own: Bench, rabbitmq: RabbitMq, size: Size) -> None:
    (folder / "mariadb").mkdir()
    with private_mariadb(folder / "mariadb") as mariadb:
        urls = mariadb.create_ispyb("asked", sql_mode="")
        facility = asked_bridge.Facility(own, rabbitmq.amqp, urls)
        facility.deploy()
        refused = "bridge, worker: reprocess-job, refused at its third step"
        table.add(refused, lambda: asked_bridge.refused(facility, size))
        table.add(BRIDGE, lambda: asked_bridge.no_ops(facility, size))


def _others(table: Table, folder: Path, rabbitmq: RabbitMq, size: Size) -> None:
    try:
        others = peers(folder)
    except NotHere as reason:
        table.report.say(f"  {reason}")
        return
    table.add(f"Celery x {PROCESSES}, Redis", lambda: others.celery(size))
    for dispatcher, how in ((False, ""), (True, ", asked of zocalo's dispatcher")):
        table.add(
            f"workflows x {PROCESSES}, RabbitMQ{how}",
            lambda dispatcher=dispatcher: others.workflows(rabbitmq, size, dispatcher=dispatcher),
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a look: few jobs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
