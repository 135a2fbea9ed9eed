"""Seven genes: our caller beside BLAST, on the same genomes, in turns."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blocks.genomics.genome import read_genome
from blocks.genomics.records import LocusCall
from tasks.genomics.alleles import TypingIndex, build_index, type_genome
from tests.benchmarks import blast_calling
from tests.benchmarks.blast_calling import BlastCaller, Difference, differences, make_caller
from tests.benchmarks.stopwatch import Report, Turns
from tests.benchmarks.typing_material import Material

OURS, OURS_ALL = "limsflow", "limsflow, all schemes"
BLAST, BLAST_ALL = "BLAST", "BLAST, all schemes"
AIM = 20


def measure(report: Report, material: Material, folder: Path, *, rounds: int) -> None:
    """Time the callers on every genome, compare their calls, and print both."""
    report.title(f"Seven genes ({material.origin})")
    callers = _Callers(material, folder)
    turns = Turns(callers.by_name())
    turns.take({name: name for name in material.genomes}, rounds=rounds)
    _print_times(report, material, turns)
    if BLAST in turns.callers:
        _compare(report, material, turns, callers)


class _Callers:
    """The callers, each of which takes the name of a genome; reading its file is their work."""

    def __init__(self, material: Material, folder: Path) -> None:
        self.files: Mapping[str, Path] = {**material.genomes, **material.edited}
        self.scheme_of = material.scheme_of
        loci = {name: scheme.loci for name, scheme in material.schemes.items()}
        self.indexes: dict[str, TypingIndex] = {
            name: build_index(own) for name, own in loci.items()
        }
        self.index = build_index([locus for own in loci.values() for locus in own])
        self.blast = dict[str, BlastCaller]()
        if blast_calling.is_installed():
            self.blast = {
                name: make_caller(folder / name, {name: own}) for name, own in loci.items()
            }
            self.blast_all = make_caller(folder / "all", loci)

    def by_name(self) -> dict[str, Any]:
        """Return them by the names that the table has; ours first."""
        if not self.blast:
            return {OURS: self.ours, OURS_ALL: self.ours_all}
        return {
            OURS: self.ours,
            BLAST: self.one,
            OURS_ALL: self.ours_all,
            BLAST_ALL: lambda genome: self.blast_all.call(self.files[genome]),
        }

    def ours(self, genome: str) -> tuple[LocusCall, ...]:
        """Call the genome's own scheme."""
        return type_genome(read_genome(self.files[genome]), self.indexes[self.scheme_of[genome]])

    def ours_all(self, genome: str) -> tuple[LocusCall, ...]:
        """Call the loci of all schemes in one pass."""
        return type_genome(read_genome(self.files[genome]), self.index)

    def one(self, genome: str) -> blast_calling.Codes:
        """Let BLAST call the genome's own scheme."""
        return self.blast[self.scheme_of[genome]].call(self.files[genome])


def _print_times(report: Report, material: Material, turns: Turns) -> None:
    names = list(turns.callers)
    rows: list[Sequence[object]] = [["CPU ms per genome, file included", *names, "ratio"]]
    for genome in material.genomes:
        cpu = [1000 * turns.median_of(name, genome).cpu_s for name in names]
        rows.append([genome, *cpu, _ratio(turns, genome)])
    overall = [turns.overall(name) for name in names]
    rows.append(["median", *(1000 * one.cpu_s for one in overall), _ratio(turns)])
    rows.append(["median, wall", *(1000 * one.wall_s for one in overall), ""])
    report.table(rows)
    for name, one in zip(names, overall, strict=True):
        report.add("seven genes", **{name: {"cpu_s": one.cpu_s, "wall_s": one.wall_s}})
    ours = turns.overall(OURS)
    report.say(f"  one core, reading and typing: {1 / ours.wall_s:.1f} genomes per second")
    if BLAST not in names:
        report.say("  BLAST: not installed (Debian: ncbi-blast+)")
        return
    ratio = turns.overall(BLAST).cpu_s / ours.cpu_s
    report.say(f"  limsflow is {ratio:.0f} times faster than BLAST calling (aim: {AIM})")
    n_alleles = sum(scheme.n_alleles for scheme in material.schemes.values())
    report.say(
        f"  'all schemes' are the {len(material.schemes)} that are here ({n_alleles:,} alleles);"
        " mlst searches 160 at once. We know the species, and ask its own scheme"
    )
    report.add("seven genes", ratio_cpu=ratio, genomes_per_s=1 / ours.wall_s)


def _ratio(turns: Turns, genome: str | None = None) -> str:
    """Return how many times our time BLAST's is, both with one scheme."""
    if BLAST not in turns.callers:
        return ""
    ours, blast = (
        turns.overall(name) if genome is None else turns.median_of(name, genome)
        for name in (OURS, BLAST)
    )
    return f"{blast.cpu_s / ours.cpu_s:.0f} x"


# Are the calls equal?


def _compare(report: Report, material: Material, turns: Turns, callers: _Callers) -> None:
    """Compare all calls, of the edited genomes too, which are not timed."""
    found, n_loci, n_exact = list[Difference](), 0, 0
    for genome in [*material.genomes, *material.edited]:
        timed = genome in material.genomes
        calls = turns.answers[OURS, genome] if timed else callers.ours(genome)
        codes = turns.answers[BLAST, genome] if timed else callers.one(genome)
        scheme = material.scheme_of[genome]
        n_loci += len(calls)
        n_exact += sum(blast_calling.sort_of(code) == "n" for code in codes.values())
        found += differences(genome, calls, codes, scheme)
    print_differences(report, "seven genes", found, n_loci=n_loci, n_exact=n_exact, listed=40)
    if BLAST_ALL in turns.callers:
        changed = sum(_of_scheme(turns, material, genome) for genome in material.genomes)
        report.say(f"  BLAST with all schemes calls {changed} loci otherwise than with one")


def _of_scheme(turns: Turns, material: Material, genome: str) -> int:
    scheme = material.scheme_of[genome]
    one, every = turns.answers[BLAST, genome], turns.answers[BLAST_ALL, genome]
    return sum(code != every.get(key) for key, code in one.items() if key[0] == scheme)


def print_differences(
    report: Report, part: str, found: list[Difference], *, n_loci: int, n_exact: int, listed: int
) -> None:
    """Say how many calls differ and why, and list the first of each reason."""
    unexplained = [one for one in found if not one.reason]
    report.say(
        f"  calls: {n_loci - len(found):,} of {n_loci:,} loci equal"
        f" ({n_exact:,} known alleles), {len(found):,} differ, {len(unexplained)} unexplained"
    )
    reasons = Counter(one.words for one in found)
    for words, count in reasons.most_common():
        report.say(f"    {count:,} x {words}")
    for one in _first_of_each(found, listed):
        report.say(f"      {one.genome} {one.locus}: BLAST {one.blast}, ours {one.ours}")
    report.add(
        part, loci=n_loci, known_alleles=n_exact, differences=[str(one) for one in found],
        unexplained=len(unexplained),
    )  # fmt: skip


def _first_of_each(found: list[Difference], listed: int) -> Iterator[Difference]:
    """Return the unexplained ones first, then by reason."""
    ordered = sorted(found, key=lambda one: (bool(one.reason), one.reason))
    yield from ordered[:listed]
