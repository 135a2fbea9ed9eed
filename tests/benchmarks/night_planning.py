"""Planning a night beside the row-by-row way of the old script, each in a process of its own.

The old script is not public; what it does is (contracts: for each scheme, for each passed best
assembly, read its row of `assembly_lookup`, and look at the status and at `fail_count`). It is
given what makes it faster: a session for each scheme, assemblies that lie side by side, one
question for all of their ids. It is measured on a sample, in turns with our plans, and scaled.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from blocks.connections import EnteroBase, Toolchain
from blocks.database import engine_for
from blocks.genomics.legacy_json import decoded
from blocks.genomics.pairs import Limits
from blocks.genomics.selection import GOOD
from blocks.genomics.tables import AssemblyLookupRow, AssemblyRow, SchemeRow, StrainRow
from tasks.genomics.night import plan_pairs, wanted_schemes
from tests.benchmarks.night_servers import LIMS, answer, answer_of, cpu_s
from tests.benchmarks.stopwatch import Report
from tests.fakes.served import environment

MANY_FAILURES = 3  # after which the old script leaves a pair alone
LIMITS = (1_000, 10_000, None)
AIM = 100
TURNS = len(LIMITS)
Row = list[object]
Found = dict[str, Any]
HEADER: Row = ["planning", "s", "MB more", "PostgreSQL CPU s", "times as fast"]


@dataclass(frozen=True)
class Size:
    """What is planned: assemblies and schemes, and how much of it the old way does."""

    assemblies: int
    schemes: int
    sample: int  # pairs

    @property
    def pairs(self) -> int:
        """All that there are."""
        return self.assemblies * self.schemes


def measure(report: Report, url: str, postgres: int, size: Size, folder: Path) -> list[Row]:
    """Plan as we do and as the old script does; return the table."""
    rows, plans, turns = [HEADER], list[float](), list[Found]()
    for turn, limit in enumerate(LIMITS):
        found = _in_process(url, postgres, folder, "plan", limit or 0)
        _same(found["eligible"], _lacking(url, size))
        turns.append(_in_process(url, postgres, folder, "row-by-row", size.sample // TURNS, turn))
        what = f"plan {size.pairs:,} pairs, " + (f"limit {limit:,}" if limit else "no limit")
        plans.append(found["wall_s"])
        rows.append([what, found["wall_s"], found["grown_mb"], found["pg_s"]])
        report.add(what, **found)
    old = {name: sum(turn[name] for turn in turns) for name in turns[0]}
    scale = size.pairs / old["pairs"]
    for row, plan_s in zip(rows[1:], plans, strict=True):
        row.append(f"{old['wall_s'] * scale / plan_s:,.0f} (aim {AIM})")
    report.add("row by row", **old, scaled_s=old["wall_s"] * scale)
    what = f"row by row, {old['pairs']:,} pairs in {old['wall_s']:.1f} s, scaled to all"
    most = max(turn["grown_mb"] for turn in turns)
    return [*rows, [what, old["wall_s"] * scale, most, old["pg_s"] * scale, "1"]]


def _in_process(
    url: str, postgres: int, folder: Path, way: str, number: int, turn: int = 0
) -> Found:
    variables, before = environment() | {LIMS: url}, cpu_s(postgres)
    log = folder / f"{way}-{number}-{turn}.log"
    found = answer_of([sys.executable, "-m", __name__], [way, number, turn], variables, log)
    return found | {"pg_s": cpu_s(postgres) - before}


def _same(found: int | float, lacking: int | float) -> None:
    """A plan that finds something else than there is would be no plan."""
    if found != lacking:
        raise RuntimeError(f"{found:,} pairs were found, {lacking:,} are not complete")


def _lacking(url: str, size: Size) -> int:
    with engine_for(url).connect() as connection:
        return size.pairs - (connection.scalar(text("SELECT count(*) FROM scheme_calls")) or 0)


# In a process of its own


def main() -> None:
    """Plan one way, and leave seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=("plan", "row-by-row"))
    parser.add_argument("number", type=int, help="limit, 0 for none; or pairs of the sample")
    parser.add_argument("turn", type=int, help="of the row-by-row way: each has other pairs")
    given = parser.parse_args()
    url = os.environ[LIMS]
    if given.way == "plan":
        _plan(url, given.number)
    else:
        _row_by_row(url, given.number, given.turn)


def _plan(url: str, limit: int) -> None:
    lims = EnteroBase(url=SecretStr(url), share="nowhere")
    wanted = asyncio.run(wanted_schemes(lims, Toolchain()))
    before, began = _reset_peak_mb(), time.perf_counter()
    plan = plan_pairs(lims, wanted, Limits(limit=limit or None))
    wall_s = time.perf_counter() - began
    answer(wall_s=wall_s, grown_mb=_memory_mb("VmHWM") - before, eligible=plan.eligible)


def _row_by_row(url: str, n_pairs: int, turn: int) -> None:
    engine_for(url).connect().close()
    before, began = _reset_peak_mb(), time.perf_counter()
    found = look_row_by_row(url, n_pairs, turn)
    answer(wall_s=time.perf_counter() - began, grown_mb=_memory_mb("VmHWM") - before, **found)


def look_row_by_row(url: str, n_pairs: int, turn: int = 0) -> dict[str, int]:
    """Look at some pairs as the old script does: as many of each scheme, at different places."""
    engine = engine_for(url)
    with Session(engine) as session:
        schemes = [row.id for row in session.scalars(select(SchemeRow)) if _is_automatic(row)]
        highest = session.scalar(select(func.max(AssemblyRow.id))) or 0
    n_each = max(1, n_pairs // len(schemes))
    room = max(1, highest - n_each + 1)  # assemblies that a sample can begin with
    starts = [1 + (room * n // len(schemes) + turn * n_each) % room for n in range(len(schemes))]
    looked = [
        _sent_of(engine, scheme, start, n_each)
        for scheme, start in zip(schemes, starts, strict=True)
    ]
    return {"pairs": sum(n for n, _ in looked), "to_send": sum(n for _, n in looked)}


def _is_automatic(scheme: SchemeRow) -> bool:
    return "pipeline" in json.loads(scheme.param or "{}")


def _sent_of(engine: Engine, scheme: int, start: int, number: int) -> tuple[int, int]:
    """Look at some assemblies of a scheme; return how many these are, and would be sent."""
    query = select(AssemblyRow.id).join(StrainRow, StrainRow.best_assembly == AssemblyRow.id)
    query = query.where(AssemblyRow.status.in_(GOOD), AssemblyRow.id >= start)
    with Session(engine) as session:
        ids = list(session.scalars(query.order_by(AssemblyRow.id).limit(number)))
        return len(ids), sum(_is_sent(session, assembly, scheme) for assembly in ids)


def _is_sent(session: Session, assembly: int, scheme: int) -> bool:
    query = select(AssemblyLookupRow).where(
        AssemblyLookupRow.assembly_id == assembly, AssemblyLookupRow.scheme_id == scheme
    )
    row = session.scalar(query.limit(1))
    if row is None:
        return True
    failed = decoded(row.other_data, "other_data").get("fail_count", 0)
    return row.status == "FAILED" and failed < MANY_FAILURES


def _reset_peak_mb() -> float:
    """Let the peak of this process' memory begin anew; return what it has now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mb("VmRSS")


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith(name)]
    return int(value) / 1000


if __name__ == "__main__":
    main()
