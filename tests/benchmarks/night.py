"""A night beside its peers, in one run: planning, and items per second with every outcome stored.

    python -m tests.benchmarks.night [--assemblies N] [--items N] [--json]

On a private PostgreSQL: planning all pairs beside the row-by-row way of the old script; our
fan-out beside plain Prefect, one flow run for each job on the same server, and beside Celery with
a broker, chains of three no-ops. Items are rehearsals: all is done but the call itself. Every
outcome is looked for, the peers' too. Nothing here asserts a time, and ratios are worth more than
times. `--assemblies 20000 --items 2000` is a quick look.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.fan_out import Engine
from tests.benchmarks import night_items, night_outcomes, night_planning, night_prefect
from tests.benchmarks.night_celery import PROCESSES, NotHere, celery
from tests.benchmarks.night_database import fill
from tests.benchmarks.night_items import Fan
from tests.benchmarks.night_servers import Stack, pid_of, stack
from tests.benchmarks.stopwatch import Report, machine
from tests.postgres.server import PostgresServer, private_postgres

HEADER = (
    *("items", "number", "s", "items/s", "Python ms", "server ms", "its PostgreSQL ms"),
    *("PostgreSQL ms", "ours is times as fast"),
)
COLUMNS = (("client", "worker"), ("server", "broker"), ("prefect_pg",), ("lims_pg",))
CHAINS = {False: "three no-ops", True: "three no-ops, the last stores a row"}
AT_ONCE = 8  # runs of a resident process
PREFECT_AIM, CELERY_AIM = 100, 1
ROUND = 10


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    planning: night_planning.Size
    items: int
    items_elsewhere: int  # by processes, and by Dask
    resident: int
    stock: int
    chains: int


def main() -> int:
    """Measure part after part, and print a table of each."""
    given = _arguments()
    report, size = Report(as_json=given.json), _size(given)
    machine(report)
    with tempfile.TemporaryDirectory(prefix="limsflow-bench-") as name, private_postgres() as lims:
        url = lims.create_database("night")
        _fill(report, url, size.planning)
        report.title("Planning")
        report.table(night_planning.measure(report, url, pid_of(lims), size.planning, Path(name)))
        _items(report, lims, url, Path(name), size)
    report.end()
    return 0


def _fill(report: Report, url: str, size: night_planning.Size) -> None:
    began = time.monotonic()
    fill(url, assemblies=size.assemblies, schemes=size.schemes)
    night_outcomes.make_table(url)
    made_s = time.monotonic() - began
    report.say(f"{size.assemblies:,} assemblies x {size.schemes} made in {made_s:.0f} s")
    report.add("database", made_s=made_s)


def _items(report: Report, lims: PostgresServer, url: str, folder: Path, size: Size) -> None:
    report.title("Items, with every outcome in the database")
    table = _Table(report)
    with stack(folder, lims, url) as prefect:
        _ours(table, prefect, size)
        _plain_prefect(table, prefect, size)
        _celery(table, folder, url, pid_of(lims), size.chains)
        again = Fan(Engine.THREADS, size.items_elsewhere)
        table.add("ours by threads once more", again.items, night_items.measure(prefect, again))
    report.table([HEADER, *table.rows])
    report.say(
        "  ms: CPU for each item. Celery's Python sends and works; its server is the broker."
    )


class _Table:
    """Rows of items; ours by threads is the first, and what all others are set beside."""

    def __init__(self, report: Report) -> None:
        self.report, self.rows = report, list[list[object]]()
        self._rate = 0.0

    def add(self, name: str, items: int, found: dict[str, Any], aim: int = 0) -> None:
        """Add what so many items took."""
        self._rate = self._rate or found["rate"]
        times = self._rate / found["rate"]
        self.report.add(name, items=items, **found, times_as_fast=times)
        spent = [
            1000 * sum(found["cpu_s"].get(whose, 0.0) for whose in column) / items
            for column in COLUMNS
        ]
        ratio = f"{times:,.0f}" if times >= ROUND else f"{times:.2f}"
        aimed = f"{ratio} (aim {aim})" if aim else ratio
        self.rows.append([name, items, found["wall_s"], found["rate"], *spent, aimed])
        self.report.say(f"  {name}: {items:,} in {found['wall_s']:.1f} s")


def _ours(table: _Table, prefect: Stack, size: Size) -> None:
    fans = [Fan(Engine.THREADS, size.items)]
    fans += [Fan(one, size.items_elsewhere) for one in (Engine.PROCESSES, Engine.DASK)]
    for fan in fans:
        table.add(f"ours, {fan}", fan.items, night_items.measure(prefect, fan))


def _plain_prefect(table: _Table, prefect: Stack, size: Size) -> None:
    for how, at_once in (("one by one", 1), (f"{AT_ONCE} at once", AT_ONCE)):
        found = night_prefect.resident(prefect, size.resident, at_once)
        table.add(f"plain Prefect, resident, {how}", size.resident, found, PREFECT_AIM)
    found = night_prefect.stock(prefect, size.stock)
    name = f"plain Prefect, stock worker x {night_prefect.STOCK_AT_ONCE}"
    table.add(name, size.stock, found, PREFECT_AIM)


def _celery(table: _Table, folder: Path, url: str, postgres: int, chains: int) -> None:
    try:
        with celery(folder, url, postgres) as peer:
            for stores, what in CHAINS.items():
                found = peer.measure(chains, stores=stores)
                table.add(f"Celery x {PROCESSES}, {what}", chains, found, CELERY_AIM)
    except NotHere as reason:
        table.report.say(f"  {reason}")


def _size(given: argparse.Namespace) -> Size:
    planning = night_planning.Size(given.assemblies, given.schemes, sample=given.row_by_row)
    elsewhere = given.items_elsewhere or max(1, given.items // 10)
    return Size(planning, given.items, elsewhere, given.resident, given.stock, given.chains)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--assemblies", type=int, default=1_000_000)
    parser.add_argument("--schemes", type=int, default=10)
    parser.add_argument("--row-by-row", type=int, default=20_000, help="pairs the old way looks at")
    parser.add_argument("--items", type=int, default=100_000, help="that our threads call")
    parser.add_argument("--items-elsewhere", type=int, help="processes and Dask; a tenth of that")
    parser.add_argument("--resident", type=int, default=60, help="runs of plain Prefect, warm")
    parser.add_argument("--stock", type=int, default=6, help="runs of Prefect's stock worker")
    parser.add_argument("--chains", type=int, default=3_000, help="of three no-ops, by Celery")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
