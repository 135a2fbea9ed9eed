"""Genomes per second of the whole task in one process: claim, read, type, store, close."""

from collections.abc import Sequence
from pathlib import Path

from blocks.genomics.genome import read_genome
from blocks.genomics.records import Scheme
from tasks.genomics.alleles import TypingIndex, type_genome
from tasks.genomics.indexes import IndexCache
from tests.benchmarks.laboratory import Laboratory
from tests.benchmarks.stopwatch import Report, Spent, spent

STAGES = ("claim", "index", "read", "type", "store")
HEADER = ("one process", "genomes/s", "wall ms", "CPU ms", *STAGES)


def measure(
    report: Report,
    lab: Laboratory,
    scheme: Scheme,
    genomes: Sequence[Path],
    folder: Path,
    *,
    count: int,
) -> list[object]:
    """Do the whole task for so many assemblies: these genomes under other names.

    Returns:
        A row of the table: name, genomes per second, wall and CPU ms, and CPU ms of each stage.
    """
    task = _Task(lab, scheme, folder / f"indexes-{lab.kind}")
    task.index()
    links = [_link(genomes[n % len(genomes)], folder, f"{lab.kind}-{n}") for n in range(count)]
    taken = [task.run(path) for path in links]
    wall_s = sum(one.wall_s for stages in taken for one in stages.values())
    cpu_ms = {
        stage: 1000 * sum(stages[stage].cpu_s for stages in taken) / count for stage in STAGES
    }
    alleles = task.index().exact.n_alleles
    name = f"{lab.kind}, {scheme.description}, {alleles:,} alleles"
    report.add(f"whole task, {name}", genomes_per_s=count / wall_s, cpu_ms_per_genome=cpu_ms)
    return [name, count / wall_s, 1000 * wall_s / count, sum(cpu_ms.values()), *cpu_ms.values()]


class _Task:
    """What the steps of `type_assembly` do, without Prefect between them."""

    def __init__(self, lab: Laboratory, scheme: Scheme, indexes: Path) -> None:
        self.lab, self.scheme, self.indexes = lab, scheme, indexes
        self.cache = IndexCache()

    def index(self) -> TypingIndex:
        """Return the index as a worker holds it: it asks whether alleles are new."""
        return self.cache.index(
            self.lab.store.schemes, self.scheme, where=self.lab.url, folder=self.indexes
        )

    def run(self, path: Path) -> dict[str, Spent]:
        """Type one assembly; return what each stage took."""
        claim, claiming = spent(lambda: self.lab.claimed(self.scheme, path, path.name))
        index, asking = spent(self.index)
        genome, reading = spent(lambda: read_genome(path))
        calls, typing = spent(lambda: type_genome(genome, index))
        _, storing = spent(lambda: self.lab.stored(claim, calls))
        return dict(zip(STAGES, (claiming, asking, reading, typing, storing), strict=True))


def _link(genome: Path, folder: Path, name: str) -> Path:
    """Return the genome's file under another name: another assembly."""
    path = folder / f"{name}-{genome.name}"
    if not path.exists():
        path.symlink_to(genome.resolve())
    return path
