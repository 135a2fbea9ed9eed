"""Thousands of whole genes (cgMLST): the index, our caller, and BLAST and chewBBACA beside it."""

import gzip
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from blocks.genomics.genome import Genome, read_genome
from blocks.genomics.records import LocusCall, Scheme
from tasks.genomics.alleles import LocusAlleles, TypingIndex, build_index, type_genome
from tasks.genomics.indexes import IndexCache
from tests.benchmarks import blast_calling, chewbbaca
from tests.benchmarks.blast_calling import BlastCaller, differences, make_caller
from tests.benchmarks.laboratory import Laboratory
from tests.benchmarks.seven_genes import print_differences
from tests.benchmarks.stopwatch import Report, Spent, spent
from tests.benchmarks.typing_material import Material, edited

NEW, LOST = 100, 60  # loci of the edited genome: what a usual new isolate has, and more
WHERE = "benchmark"


def index_of(lab: Laboratory, scheme: Scheme, folder: Path) -> TypingIndex:
    """Return the index as a new process gets it: from its file, if there is one."""
    return IndexCache().index(lab.store.schemes, scheme, where=WHERE, folder=folder)


def measure_index(
    report: Report, lab: Laboratory, loci: Sequence[LocusAlleles], folder: Path
) -> Scheme:
    """Load a scheme into the database, and time how its index is built, kept and read."""
    report.title("Index of the whole-gene scheme")
    scheme, loading = spent(lambda: lab.load("whole_genes", loci, coding=True))
    index, building = spent(lambda: index_of(lab, scheme, folder))
    _, reading = spent(lambda: index_of(lab, scheme, folder))
    _, asking = spent(lambda: lab.store.schemes.allele_stamp(scheme.id))
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    report.table(
        [
            [f"{len(loci):,} loci, {index.exact.n_alleles:,} alleles", "CPU s", "wall s"],
            [f"load into {lab.kind}", loading.cpu_s, loading.wall_s],
            ["build the index from the database, write its file", building.cpu_s, building.wall_s],
            [f"read the file ({size:.1f} MB)", reading.cpu_s, reading.wall_s],
            [
                "of that, and of every call: ask whether alleles are new",
                asking.cpu_s,
                asking.wall_s,
            ],
        ]
    )
    report.add(
        "index", loci=len(loci), alleles=index.exact.n_alleles, file_mb=size,
        build_cpu_s=building.cpu_s, read_cpu_s=reading.cpu_s, stamp_cpu_s=asking.cpu_s,
        load_cpu_s=loading.cpu_s,
    )  # fmt: skip
    return scheme


def measure(
    report: Report,
    material: Material,
    loci: Sequence[LocusAlleles],
    index: TypingIndex,
    folder: Path,
    *,
    rounds: int,
) -> None:
    """Time our caller on the genomes that carry the scheme, then its peers on one of them."""
    n_alleles = index.exact.n_alleles
    report.title(f"Whole genes ({len(loci):,} loci, {n_alleles:,} alleles; {material.origin})")
    files = {**material.carriers, **_edited_genome(material, index, folder)}
    ours = {name: _timed(path, index, rounds) for name, path in files.items()}
    rows: list[Sequence[object]] = [["limsflow, ms per genome", "CPU", "wall", "calls"]]
    for name, (calls, took) in ours.items():
        counts = Counter(call.status.value for call in calls)
        said = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
        rows.append([name, 1000 * took.cpu_s, 1000 * took.wall_s, said])
    report.table(rows)
    usual = median(ours[name][1].cpu_s for name in material.carriers)
    report.say(f"  median {1000 * usual:.0f} ms: {1 / usual:.1f} genomes per second and core")
    report.add("whole genes", median_cpu_s=usual, cpu_s={n: t.cpu_s for n, (_, t) in ours.items()})
    _beside_blast(report, material, loci, ours, folder)
    _beside_chewbbaca(report, material, loci, ours, folder)


def _timed(path: Path, index: TypingIndex, rounds: int) -> tuple[tuple[LocusCall, ...], Spent]:
    """Return the calls, and the medians of what reading and typing took."""
    taken = list[Spent]()
    calls: tuple[LocusCall, ...] = ()
    for _ in range(rounds):
        calls, took = spent(lambda: type_genome(read_genome(path), index))
        taken.append(took)
    return calls, Spent(median(t.cpu_s for t in taken), median(t.wall_s for t in taken))


def _edited_genome(material: Material, index: TypingIndex, folder: Path) -> dict[str, Path]:
    """Write the first genome again, with some new alleles and without some loci."""
    name, path = next(iter(material.carriers.items()))
    genome = read_genome(path)
    other = edited(genome, type_genome(genome, index), new=NEW, lost=LOST)
    target = folder / "edited.fna.gz"
    target.write_bytes(gzip.compress(b"".join(_fasta(other)), 1))
    return {f"{name}, {NEW} loci new, {LOST} lost": target}


def _fasta(genome: Genome) -> Iterator[bytes]:
    for number, contig in enumerate(genome.contigs):
        yield b">%s\n%s\n" % (contig.encode(), genome.contig_sequence(number))


Ours = Mapping[str, tuple[tuple[LocusCall, ...], Spent]]


def _beside_blast(
    report: Report, material: Material, loci: Sequence[LocusAlleles], ours: Ours, folder: Path
) -> None:
    """Let BLAST call a genome by every allele, the last one too, and one by exemplars only."""
    if not blast_calling.is_installed():
        report.say("  BLAST: not installed (Debian: ncbi-blast+)")
        return
    first, *_, last = material.carriers
    exemplars = [LocusAlleles(locus.name, locus.alleles[:1]) for locus in loci]
    caller, making = spent(lambda: make_caller(folder / "blast-every", {"whole": loci}))
    report.say(f"  BLAST's database of every allele: {making.cpu_s:.1f} CPU s")
    for name in (first, last):
        _beside_one(report, f"{name}, every allele", caller, material.carriers[name], *ours[name])
    few = make_caller(folder / "blast-few", {"whole": exemplars})
    index = build_index(exemplars, coding=True)
    alone = _timed(material.carriers[first], index, rounds=1)
    _beside_one(report, f"{first}, exemplars only", few, material.carriers[first], *alone)


def _beside_one(
    report: Report,
    title: str,
    caller: BlastCaller,
    genome: Path,
    calls: Sequence[LocusCall],
    took: Spent,
) -> None:
    codes, blast = spent(lambda: caller.call(genome))
    ratio = blast.cpu_s / took.cpu_s
    report.say(
        f"  {title}: BLAST {blast.cpu_s:.1f} CPU s, limsflow {took.cpu_s:.2f}:"
        f" {ratio:.1f} times faster"
    )
    report.add(f"BLAST, {title}", cpu_s=blast.cpu_s, ratio_cpu=ratio)
    found = list(differences(genome.name.split(".")[0], calls, codes, "whole"))
    exact = sum(blast_calling.sort_of(code) == "n" for code in codes.values())
    part = f"BLAST, {title}"
    print_differences(report, part, found, n_loci=len(calls), n_exact=exact, listed=3)


def _beside_chewbbaca(
    report: Report, material: Material, loci: Sequence[LocusAlleles], ours: Ours, folder: Path
) -> None:
    """Let chewBBACA call two genomes, if it is installed."""
    program = chewbbaca.find()
    if program is None:
        report.say("  chewBBACA: not installed (LIMSFLOW_CHEWBBACA may name its folder)")
        return
    genomes = dict(list(material.carriers.items())[-2:])
    known = {
        locus.name: [s for _, s in locus.alleles if s in carried]
        for locus in loci
        for carried in [{own.get(locus.name) for own in material.carried.values()}]
    }
    chewie, preparing = spent(
        lambda: chewbbaca.prepare(program, folder / "chewbbaca", material.exemplars, known)
    )
    report.say(
        f"  chewBBACA {chewie.version}: schema of {chewie.n_alleles:,} alleles prepared in"
        f" {preparing.cpu_s:.0f} CPU s"
    )
    took = sum(ours[name][1].cpu_s for name in genomes) / len(genomes)
    for n_cpu in (1, 2):
        answers, spending = spent(lambda n=n_cpu: chewie.call(genomes, n_cpu=n))
        per_genome = spending.cpu_s / len(genomes)
        report.say(
            f"  chewBBACA AlleleCall --cpu {n_cpu}, {len(genomes)} genomes:"
            f" {per_genome:.0f} CPU s and {spending.wall_s / len(genomes):.0f} wall s per genome,"
            f" limsflow {took:.2f} CPU s: {per_genome / took:.0f} times faster"
        )
        report.add(
            f"chewBBACA --cpu {n_cpu}", cpu_s=per_genome, wall_s=spending.wall_s / len(genomes),
            ratio_cpu=per_genome / took,
        )  # fmt: skip
        if n_cpu == 1:
            calls = {name: ours[name][0] for name in genomes}
            _print_agreement(report, chewbbaca.agreement(calls, answers))


def _print_agreement(report: Report, agreed: Mapping[str, int]) -> None:
    for words, count in sorted(agreed.items(), key=lambda one: -one[1]):
        report.say(f"    {count:,} x {words}")
    report.add("chewBBACA, calls", **agreed)
