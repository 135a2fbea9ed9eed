"""Does memory stay flat? One process of its own types a thousand genomes.

`measure` starts it as `python -m tests.benchmarks.typing_memory`, which prints a line of JSON:
resident memory in MB after the first genomes, and after each tenth of them. It is flat if the
second half of the genomes adds nothing.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from blocks.genomics.genome import Genome, read_genome
from blocks.genomics.store import open_store
from tasks.genomics.alleles import type_genome
from tasks.genomics.indexes import IndexCache
from tests.benchmarks.laboratory import PREFIX, Laboratory
from tests.benchmarks.stopwatch import Report
from tests.benchmarks.typing_material import variants

WARM = 20  # genomes after which memory has what it needs
CHANGED = 50  # bases of a variant; most are in a locus, which then is new
MB = 1e6
GROWTH_MB = 3.0  # in the second half of the genomes: more is told as growth


def measure(
    report: Report,
    lab: Laboratory,
    scheme: str,
    genomes: Sequence[Path],
    indexes: Path,
    *,
    count: int,
    varied: bool,
) -> None:
    """Type so many genomes in a process of its own; print its memory."""
    argv = [sys.executable, "-m", __name__, lab.url, scheme, str(indexes), str(count)]
    argv += ["--varied"] * varied + [str(path) for path in genomes]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    found = json.loads(said)
    samples = found["rss_mb"]
    growth, late = samples[-1] - samples[0], samples[-1] - samples[len(samples) // 2]
    verdict = "flat" if late < GROWTH_MB else "IT GROWS"
    kind = "variants made in memory" if varied else "files"
    report.say(
        f"  {scheme}, {count:,} genomes ({kind}): {samples[0]:.0f} MB after {WARM},"
        f" {samples[-1]:.0f} MB at the end ({growth:+.1f}; in the second half {late:+.1f}),"
        f" peak {found['peak_mb']:.0f} MB: {verdict}; {found['wall_s']:.0f} s"
    )
    report.say("    each tenth: " + " ".join(f"{sample:.0f}" for sample in samples[1:]))
    report.add(f"memory, {scheme}", genomes=count, growth_mb=growth, late_mb=late, **found)


# The process


def main() -> int:
    """Type the genomes and print what memory was held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("scheme")
    parser.add_argument("indexes", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--varied", action="store_true")
    parser.add_argument("genomes", type=Path, nargs="+")
    asked = parser.parse_args()
    store = open_store(asked.url, database="benchmark", prefix=PREFIX).schemes
    index = IndexCache().index(
        store, store.scheme(asked.scheme), where="benchmark", folder=asked.indexes
    )
    samples, began = list[float](), time.monotonic()
    for number, genome in enumerate(_genomes(asked.genomes, asked.count, asked.varied), start=1):
        type_genome(genome, index)
        if number == WARM or number % max(asked.count // 10, 1) == 0:
            gc.collect()
            samples.append(_memory_mb("VmRSS"))
    wall_s = time.monotonic() - began
    print(json.dumps({"rss_mb": samples, "peak_mb": _memory_mb("VmHWM"), "wall_s": wall_s}))
    return 0


def _genomes(paths: Sequence[Path], count: int, varied: bool) -> Iterator[Genome]:
    if varied:
        return variants(read_genome(paths[0]), count, changed=CHANGED)
    return (read_genome(path) for path in islice(cycle(paths), count))


def _memory_mb(what: str) -> float:
    """Return a line of the kernel's account; getrusage would tell the parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith(what))
    return int(found.split()[1]) * 1024 / MB


if __name__ == "__main__":
    sys.exit(main())
