"""Typing beside its peers: genomes per second, equal calls, memory, and locus look-up.

    python -m tests.benchmarks.typing [--genomes N] [--quick] [--json]

Callers take turns on the same genomes in one run, so a ratio is worth more than a time. Nothing
here asserts a time. Peers: BLAST as tseemann/mlst calls it, chewBBACA if it is installed
(`LIMSFLOW_CHEWBBACA` names its folder, or its program), and the linear scan of the GFF text.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import locus_lookup, seven_genes, throughput, typing_memory, whole_genes
from tests.benchmarks.laboratory import Laboratory, laboratories
from tests.benchmarks.stopwatch import Report, machine
from tests.benchmarks.typing_material import Material, load_material

GENOMES = 8


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    genomes: int = GENOMES
    rounds: int = 3
    mutants: int = 200  # alleles of each whole gene beside those of the genomes
    typed_for_memory: int = 1_000
    assemblies: int = 200
    look_ups: int = 40
    whole_tasks: int = 40


QUICK = Size(
    genomes=4, rounds=1, mutants=10, typed_for_memory=100, assemblies=20, look_ups=10, whole_tasks=8
)
LOOKED_UP_LOCI = 3_000
FEW_MUTANTS = 5  # where a large scheme would only be loaded once more


def main() -> int:
    """Measure part after part, and print each as it comes."""
    asked = _arguments()
    size = QUICK if asked.quick else Size()
    report = Report(as_json=asked.json)
    machine(report)
    with tempfile.TemporaryDirectory(prefix="limsflow-bench-") as name:
        folder = Path(name)
        material = load_material(folder, n_genomes=asked.genomes or size.genomes)
        with laboratories(report, folder) as labs:
            _measure(report, material, labs, folder, size)
    report.end()
    return 0


def _measure(
    report: Report, material: Material, labs: list[Laboratory], folder: Path, size: Size
) -> None:
    seven_genes.measure(report, material, folder / "blast", rounds=size.rounds)
    _whole_genes(report, material, labs[0], folder, size)
    _memory(report, material, labs[0], folder, size)
    for lab in labs:
        locus_lookup.measure(
            report, lab, n_assemblies=size.assemblies, n_loci=LOOKED_UP_LOCI, times=size.look_ups
        )
    _whole_task(report, material, labs, folder, size)


def _whole_genes(
    report: Report, material: Material, lab: Laboratory, folder: Path, size: Size
) -> None:
    loci = material.whole_genes(size.mutants)
    indexes = folder / "indexes"
    scheme = whole_genes.measure_index(report, lab, loci, indexes)
    index = whole_genes.index_of(lab, scheme, indexes)
    whole_genes.measure(report, material, loci, index, folder, rounds=size.rounds)


def _memory(report: Report, material: Material, lab: Laboratory, folder: Path, size: Size) -> None:
    report.title("Memory of one process that types genome after genome")
    name, genomes = _of_one_scheme(material)
    lab.load(name, material.schemes[name].loci, material.schemes[name].profiles, coding=False)
    given = {"indexes": folder / "indexes", "count": size.typed_for_memory}
    typing_memory.measure(report, lab, name, genomes, **given, varied=False)
    first = [next(iter(material.carriers.values()))]
    typing_memory.measure(report, lab, "whole_genes", first, **given, varied=True)


def _whole_task(
    report: Report, material: Material, labs: list[Laboratory], folder: Path, size: Size
) -> None:
    report.title("The whole task in one process: claim, index, read, type, store")
    name, genomes = _of_one_scheme(material)
    genes, loci = material.schemes[name], material.whole_genes(FEW_MUTANTS)
    carriers = list(material.carriers.values())[:3]
    rows = [throughput.HEADER]
    for lab in labs:
        seven = lab.load(name, genes.loci, genes.profiles, coding=False)
        few = lab.load("few_alleles", loci, coding=True)
        for scheme, files in ((seven, genomes), (few, carriers)):
            rows.append(
                throughput.measure(report, lab, scheme, files, folder, count=size.whole_tasks)
            )
    large = labs[0].store.schemes.scheme("whole_genes")
    rows.append(
        throughput.measure(report, labs[0], large, carriers, folder, count=size.whole_tasks)
    )
    report.table(rows)


def _of_one_scheme(material: Material) -> tuple[str, list[Path]]:
    """Return the seven-gene scheme that most genomes have, and these."""
    names = [material.scheme_of[genome] for genome in material.genomes]
    most = max(sorted(set(names)), key=names.count)
    return most, [material.genomes[g] for g in material.genomes if material.scheme_of[g] == most]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genomes", type=int, help="that each caller types by seven genes")
    parser.add_argument("--quick", action="store_true", help="less of all, in under two minutes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
