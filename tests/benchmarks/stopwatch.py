"""What a measurement is, how peers take turns, and the table that comes of it."""

import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

Found = TypeVar("Found")

BUSY = 1.0  # load average at the start from which times are not to be believed


@dataclass(frozen=True)
class Spent:
    """What something took: processor time of this process and of the programs that it ran."""

    cpu_s: float
    wall_s: float


def spent(do: Callable[[], Found]) -> tuple[Found, Spent]:
    """Do something; return what it returned, and what it took."""
    before, began = _cpu_s(), time.perf_counter()
    found = do()
    wall_s = time.perf_counter() - began
    return found, Spent(_cpu_s() - before, wall_s)


def _cpu_s() -> float:
    """Return the processor time of this process and of those that it waited for; not in ticks."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def seconds(do: Callable[[], object], *, times: int) -> float:
    """Return the median wall time in s of something short, after one time that does not count."""
    do()
    return median(spent(do)[1].wall_s for _ in range(times))


@dataclass
class Turns:
    """Callers that take turns on the same genomes: A B C A B C ..., so that all meet one load."""

    callers: Mapping[str, Callable[[Any], Any]]
    answers: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    times: dict[tuple[str, str], list[Spent]] = field(
        default_factory=dict[tuple[str, str], list[Spent]]
    )

    def take(self, genomes: Mapping[str, Any], *, rounds: int) -> None:
        """Let each caller call each genome in each round."""
        for _ in range(rounds):
            for genome, given in genomes.items():
                for caller, call in self.callers.items():
                    answer, took = spent(lambda call=call, given=given: call(given))
                    self.answers[caller, genome] = answer
                    self.times.setdefault((caller, genome), []).append(took)

    def median_of(self, caller: str, genome: str) -> Spent:
        """Return the medians of a caller's times on one genome."""
        return _median(self.times[caller, genome])

    def overall(self, caller: str) -> Spent:
        """Return the medians, over the genomes, of a caller's medians."""
        return _median([_median(took) for (name, _), took in self.times.items() if name == caller])


def _median(took: Iterable[Spent]) -> Spent:
    every = list(took)
    return Spent(median(one.cpu_s for one in every), median(one.wall_s for one in every))


class Report:
    """Prints lines as they come, or one JSON document at the end."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.figures: dict[str, Any] = {}

    def title(self, text: str) -> None:
        """Begin a part."""
        self.say("")
        self.say(text)

    def say(self, text: str) -> None:
        """Print a line."""
        if not self.as_json:
            print(text, flush=True)

    def table(self, rows: Sequence[Sequence[object]]) -> None:
        """Print rows under their header; columns are as wide as they must be."""
        texts = [[_cell(value) for value in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        for row in texts:
            first, *others = zip(row, widths, strict=True)
            cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            self.say("  " + "  ".join(cells).rstrip())

    def add(self, part: str, **figures: Any) -> None:
        """Keep figures for the JSON document."""
        self.figures.setdefault(part, {}).update(figures)

    def end(self) -> None:
        """Print the JSON document, if that is what is wanted."""
        if self.as_json:
            print(json.dumps(self.figures, indent=1))


def _cell(value: object) -> str:
    """Return a number with three figures that count, and a text as it is."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def machine(report: Report) -> None:
    """Say on what is measured, and whether it is busy with other things."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    facts = f"Python {platform.python_version()} on {platform.platform(terse=True)}"
    report.say(f"{cores} cores, load average {load:.2f} at the start, {facts}")
    if load > BUSY:
        report.say(f"WARNING: the load is above {BUSY:.0f}; compare ratios, do not quote times")
    report.add("machine", cores=cores, load_average=load, busy=load > BUSY, python=facts)
