"""Where a locus lies: our rows beside the linear scan of the GFF text, as the old site does it.

The peers fetch `assembly_lookup.annotation` with one plain query. One reads its lines as the old
site does; the other looks for the locus in each line and splits only the line that has it, so
that it is not slowed by our parser.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from sqlalchemy import text

from blocks.database import engine_for
from blocks.genomics.gff import find_in_gff
from blocks.genomics.records import CallStatus, LocusCall, Place, Scheme
from blocks.genomics.synthetic_isolate import STRANDS
from tasks.genomics.alleles import LocusAlleles
from tests.benchmarks.laboratory import Laboratory
from tests.benchmarks.stopwatch import Report, seconds, spent
from tests.benchmarks.typing_material import random_letters

AIM = 100
LOCUS_BP, CONTIGS = 1_000, 60
OF_ONE = "SELECT annotation FROM assembly_lookup WHERE assembly_id = :a AND scheme_id = :s"
OF_ALL = "SELECT annotation FROM assembly_lookup WHERE scheme_id = :s ORDER BY assembly_id"


def measure(report: Report, lab: Laboratory, *, n_assemblies: int, n_loci: int, times: int) -> None:
    """Store so many assemblies through the store, then look up loci in both ways."""
    scheme = lab.load("looked_up", _loci(n_loci), coding=True)
    ids, storing = spent(lambda: list(_stored(lab, scheme, n_assemblies)))
    look = _Look(lab, scheme, ids)
    names = [locus.name for locus in scheme.loci]
    loci = cycle(np.random.default_rng(7).permutation(names).tolist())
    report.title(
        f"Locus look-up, {lab.kind}: {n_assemblies} assemblies x {n_loci:,} loci, a GFF text has"
        f" {look.size_kb:.0f} kB; stored at {n_assemblies / storing.wall_s:.1f} assemblies per s"
    )
    rows: list[Sequence[object]] = [["ms, median", "limsflow", "line scan", "minimal", "ratios"]]
    for title, some in (
        (f"one locus of one of {n_assemblies} assemblies", ids[len(ids) // 2 :][:1]),
        (f"one locus of {n_assemblies} assemblies", ids),
    ):
        ours, scan, least = (
            seconds(lambda do=do, some=some: do(next(loci), some), times=times)
            for do, times in (
                (look.ours, 5 * times),
                (look.scanned, max(times // (5 if len(some) > 1 else 1), 3)),
                (look.minimal, max(times // (5 if len(some) > 1 else 1), 3)),
            )
        )
        ratios = f"{scan / ours:.0f} x, {least / ours:.1f} x"
        rows.append([title, 1000 * ours, 1000 * scan, 1000 * least, ratios])
        report.add(
            f"look-up, {lab.kind}, {title}", ours_s=ours, line_scan_s=scan, minimal_scan_s=least,
            ratio=scan / ours, ratio_minimal=least / ours,
        )  # fmt: skip
    report.table(rows)
    same = look.ours(names[0], ids) == look.scanned(names[0], ids)
    report.say(f"  (aim: {AIM} x the line scan) answers are {'equal' if same else 'NOT EQUAL'}")


@dataclass(frozen=True)
class _Look:
    """The three ways; each returns how many places a locus has, by start and contig."""

    lab: Laboratory
    scheme: Scheme
    ids: Sequence[int]

    @property
    def size_kb(self) -> float:
        """How long one annotation is."""
        return sum(map(len, self._texts(self.ids[:1]))) / 1000

    def ours(self, locus: str, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Ask the rows."""
        found = self.lab.store.calls.positions(self.scheme.id, locus, ids)
        return [(one.place.contig, one.place.start) for own in found.values() for one in own]

    def scanned(self, locus: str, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Read every line."""
        found = (one for text in self._texts(ids) for one in find_in_gff(text, locus))
        return [(one.place.contig, one.place.start) for one in found]

    def minimal(self, locus: str, ids: Sequence[int]) -> list[tuple[str, int]]:
        """Look into every line, and read the one that has the locus."""
        wanted = f";locus={locus};"
        lines = (line for text in self._texts(ids) for line in text.splitlines() if wanted in line)
        return [(line.split("\t")[0], int(line.split("\t")[3]) - 1) for line in lines]

    def _texts(self, ids: Sequence[int]) -> list[str]:
        query = text(OF_ONE if len(ids) == 1 else OF_ALL)
        values = {"s": self.scheme.id} | ({"a": ids[0]} if len(ids) == 1 else {})
        with engine_for(self.lab.url).connect() as connection:
            return list(connection.scalars(query, values))


def _loci(n: int) -> Iterator[LocusAlleles]:
    """Return loci with one allele each; nothing is typed with them."""
    rng = np.random.default_rng(5)
    for number in range(1, n + 1):
        sequence = random_letters(LOCUS_BP, rng).tobytes()
        yield LocusAlleles(f"LOCUS_{number:05d}", [(1, sequence)])


def _stored(lab: Laboratory, scheme: Scheme, n: int) -> Iterator[int]:
    """Store calls of so many assemblies; return the assemblies' ids."""
    for number in range(n):
        claim = lab.claimed(scheme, Path(f"/genomes/{scheme.id}-{number}.fa"), f"lookup {number}")
        lab.stored(claim, _calls(scheme, shift=number))
        yield claim.assembly.id


def _calls(scheme: Scheme, *, shift: int) -> tuple[LocusCall, ...]:
    """Return calls of all loci, one after the other on the contigs of an assembly."""
    per_contig = -(-len(scheme.loci) // CONTIGS)
    return tuple(
        LocusCall(
            locus=locus.name,
            status=CallStatus.EXACT,
            allele=1,
            identity=1.0,
            places=(_place(number // per_contig, number % per_contig, shift),),
        )
        for number, locus in enumerate(scheme.loci)
    )


def _place(contig: int, number: int, shift: int) -> Place:
    start = number * 2 * LOCUS_BP + shift
    name = f"NODE_{contig + 1}_length_150000_cov_42.123"
    return Place(contig=name, start=start, end=start + LOCUS_BP, strand=STRANDS[number % 2])
