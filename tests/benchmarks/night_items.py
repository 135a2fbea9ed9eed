"""Our night over rehearsals, in a process of its own: items per second, and whose time each costs.

Every outcome must be in the database, once: in `scheme_calls`, which decides, and in `user_jobs`
and `assembly_lookup`, which the site reads. A night that left one out has no rate.
"""

import argparse
import asyncio
import os
import resource
import time
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text

from blocks.connections import EnteroBase
from blocks.database import engine_for
from flows.update_all_schemes import update_all_schemes
from tasks.fan_out import Engine, FanOut
from tests.benchmarks.night_database import arrive
from tests.benchmarks.night_servers import LIMS, SETTLE_S, Stack, answer, servers_cpu_s, used

BLOCK, PROGRAMS = "night", "PATH"
WORKERS = 2

LACKING = """
SELECT s.n * (SELECT count(*) FROM assemblies) - (SELECT count(*) FROM scheme_calls), s.n
FROM (SELECT count(*) AS n FROM schemes) s"""
OUTCOMES = {
    "complete, sent once": "c.status = 'COMPLETE' AND c.sent = 1 AND c.completed = 1",
    "a job that is complete": "j.status = 'COMPLETE' AND j.version = c.tool",
    "a run": "r.flow_run_id IS NOT NULL",
    "shown as complete": "l.status = 'COMPLETE' AND l.other_data LIKE '%simulated%'",
}
OUTCOME = """
SELECT count(*) AS "rows", count(DISTINCT c.job_id) AS "jobs", {columns} FROM scheme_calls c
LEFT JOIN user_jobs j ON j.job_id = c.job_id
LEFT JOIN job_runs r ON r.job_id = c.job_id AND r.flow_run_id = c.flow_run_id
LEFT JOIN assembly_lookup l ON l.assembly_id = c.assembly_id AND l.scheme_id = c.scheme_id
WHERE c.night_id = :night"""


@dataclass(frozen=True)
class Fan:
    """How a night is sent."""

    engine: Engine
    items: int
    batch_size: int = 1_000
    concurrency: int = WORKERS

    def __str__(self) -> str:
        return f"{self.engine.value} x {self.concurrency}, batches of {self.batch_size:,}"


def measure(stack: Stack, fan: Fan) -> dict[str, Any]:
    """Call so many items; return seconds, and CPU by whom.

    Raises:
        RuntimeError: an item has no outcome, or has two.
    """
    _make_up(stack.lims, fan.items)
    given = ("--items", fan.items, "--batch-size", fan.batch_size)
    given = (fan.engine.value, *given, "--concurrency", fan.concurrency)
    found = stack.answer_of(__name__, *given)
    _require_outcomes(stack.lims, found["night"], fan.items)
    return found | {"rate": fan.items / found["wall_s"]}


def _make_up(url: str, items: int) -> None:
    """Let so many assemblies arrive that there are enough items."""
    with engine_for(url).connect() as connection:
        lacking, schemes = connection.execute(text(LACKING)).one()
    if items > lacking:
        arrive(url, -((lacking - items) // schemes))


def _require_outcomes(url: str, night: int, items: int) -> None:
    columns = ", ".join(
        f'count(*) FILTER (WHERE {is_so}) AS "{what}"' for what, is_so in OUTCOMES.items()
    )
    with engine_for(url).connect() as connection:
        query = text(OUTCOME.format(columns=columns))
        found = dict(connection.execute(query, {"night": night}).one()._mapping)
    wrong = {what: number for what, number in found.items() if number != items}
    if wrong:
        raise RuntimeError(f"of {items:,} items there are {wrong}")


# In a process of its own


def main() -> None:
    """Run a night; leave seconds, and CPU by whom."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=[one.value for one in Engine])
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--batch-size", type=int, default=1_000)
    parser.add_argument("--concurrency", type=int, default=WORKERS)
    given = parser.parse_args()
    how = FanOut(
        engine=Engine(given.engine), batch_size=given.batch_size, concurrency=given.concurrency
    )
    url = os.environ[LIMS]
    block = EnteroBase(url=SecretStr(url), database="night", prefix="SAL", share="nowhere")
    asyncio.run(block.asave(BLOCK, overwrite=True))
    servers, own, began = servers_cpu_s(), own_cpu_s(), time.perf_counter()
    report = asyncio.run(update_all_schemes(BLOCK, PROGRAMS, limit=given.items, fan_out=how))
    whole_s, client = time.perf_counter() - began, own_cpu_s() - own
    time.sleep(SETTLE_S)
    [part] = report.parts
    answer(
        night=part.night_id,
        wall_s=part.wall_s,
        planned_s=part.planned_s,
        whole_s=whole_s,
        cpu_s={"client": client, **used(servers, servers_cpu_s())},
    )


def own_cpu_s() -> float:
    """Return what this process and those that it waited for have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
