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


def measure(
    report: Report,
    lab: Laboratory,
    scheme: Scheme,
    genomes: Sequence[Path],
    folder: Path,
    *,
    count: int,
) -> None:
    """Do the whole task for so many assemblies: these genomes under names of their own."""
    task = _Task(lab, scheme, folder / "indexes")
    task.index()
    links = [_link(genomes[n % len(genomes)], folder, f"{lab.kind}-{n}") for n in range(count)]
    taken = [task.run(path) for path in links]
    wall = sum(one.wall_s for stages in taken for one in stages.values())
    per_stage = {
        stage: 1000 * sum(stages[stage].wall_s for stages in taken) / count for stage in STAGES
    }
    said = ", ".join(f"{stage} {ms:.0f}" for stage, ms in per_stage.items())
    report.say(
        f"  {lab.kind}, {scheme.description} ({task.index().exact.n_alleles:,} alleles):"
        f" {count / wall:.1f} genomes per second; ms each: {said}"
    )
    report.add(
        f"whole task, {lab.kind}, {scheme.description}", genomes_per_s=count / wall,
        ms_per_genome=per_stage,
    )  # fmt: skip


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
