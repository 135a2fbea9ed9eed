"""The bench on which small genomes are put together, and what must be said of their loci."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from blocks.genomics.records import CallStatus, LocusCall, Place, Strand
from blocks.genomics.synthetic_isolate import random_bases, substituted, text

Alleles = Mapping[str, Sequence[tuple[int, bytes]]]

EXACT, NOVEL, MISSING = CallStatus.EXACT, CallStatus.NOVEL, CallStatus.MISSING
FRAGMENTED, DUPLICATED = CallStatus.FRAGMENTED, CallStatus.DUPLICATED
AMBIGUOUS = CallStatus.AMBIGUOUS

FLANK_BP = 700
COMPLEMENT = bytes.maketrans(b"ACGTRYKMacgtrykm", b"TGCAYRMKtgcayrmk")


def complemented(sequence: bytes) -> bytes:
    """Return the other strand, in the same case."""
    return sequence.translate(COMPLEMENT)[::-1]


def md5_uuid(sequence: bytes) -> UUID:
    """Return the key of an allele: the MD5 of its letters, as a UUID."""
    return UUID(hex=hashlib.md5(sequence, usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be said of a locus; `places` None where it is open what to report."""

    statuses: tuple[CallStatus, ...]
    allele: int | None = None
    sequence: bytes | None = None
    places: frozenset[Place] | None = None

    def problems(self, call: LocusCall) -> Iterator[str]:
        """Yield what is wrong with a call, in words."""
        if call.status not in self.statuses:
            yield f"{call.locus} is {call.status}, not {' or '.join(self.statuses)}"
        if call.allele != self.allele:
            yield f"{call.locus} is allele {call.allele}, not {self.allele}"
        if self.places is not None and frozenset(call.places) != self.places:
            yield f"{call.locus} is at {call.places}, not at {sorted(map(str, self.places))}"
        if self.sequence is not None and call.key not in self._keys(call):
            yield f"{call.locus} has the key of another sequence"
        if call.status is NOVEL and self.sequence != (call.sequence or "").encode():
            yield f"{call.locus} has another sequence"
        if call.status not in (EXACT, NOVEL) and call.code != (0 if call.status is MISSING else -1):
            yield f"{call.locus} has the code {call.code}"

    def _keys(self, call: LocusCall) -> tuple[UUID | None, ...]:
        """Return the keys that are right: a known allele may do without."""
        right = md5_uuid(self.sequence or b"")
        return (right, None) if call.status is EXACT else (right,)


@dataclass(frozen=True, slots=True)
class EdgeGenome:
    """Contigs as (name, sequence), the scheme to type them by, and what must come out."""

    sentence: str
    contigs: tuple[tuple[str, bytes], ...]
    alleles: Alleles
    expected: Mapping[str, Expected]

    def problems(self, calls: Sequence[LocusCall]) -> list[str]:
        """Return what is wrong with the calls, in words."""
        if [call.locus for call in calls] != list(self.alleles):
            return [f"the loci are {[call.locus for call in calls]}"]
        return [words for call in calls for words in self.expected[call.locus].problems(call)]

    def on_the_other_strand(self) -> "EdgeGenome":
        """Return the same genome, every contig reverse-complemented."""
        contigs = tuple((name, complemented(sequence)) for name, sequence in self.contigs)
        lengths = {name: len(sequence) for name, sequence in contigs}
        turned = {
            locus: replace(one, places=frozenset(_turned(place, lengths) for place in one.places))
            if one.places is not None
            else one
            for locus, one in self.expected.items()
        }
        return replace(self, contigs=contigs, expected=turned)

    def in_another_order(self) -> "EdgeGenome":
        """Return the same genome, its contigs shuffled."""
        order = np.random.default_rng(len(self.contigs)).permutation(len(self.contigs))
        if len(order) > 1 and list(order) == sorted(order):
            order = order[::-1]
        return replace(self, contigs=tuple(self.contigs[n] for n in order))


def _turned(place: Place, lengths: Mapping[str, int]) -> Place:
    length = lengths[place.contig]
    strand: Strand = "-" if place.strand == "+" else "+"
    return Place(
        contig=place.contig, start=length - place.end, end=length - place.start, strand=strand
    )


@dataclass(frozen=True, slots=True)
class Copy:
    """A sequence that is laid on a contig; `sequence` is its coding strand, upper case."""

    locus: str
    sequence: bytes
    strand: Strand = "+"
    written: Callable[[bytes], bytes] = bytes
    overlap: int = 0  # bases that it shares with what is already there


class Bench:
    """Lays loci on contigs; what a test does not edit is on a contig of its own, known."""

    def __init__(self, alleles: Alleles, carried: Mapping[str, int], seed: int) -> None:
        self.alleles = {locus: tuple(known) for locus, known in alleles.items()}
        self.carried = {
            locus: dict(self.alleles[locus])[number] for locus, number in carried.items()
        }
        self.numbers = dict(carried)
        self.rng = np.random.default_rng((seed, 23))

    def flank(self, length: int = FLANK_BP) -> bytes:
        """Return sequence that has nothing to do with any locus."""
        return text(random_bases(length, self.rng))

    def changed(self, locus: str, n: int, sequence: bytes | None = None) -> bytes:
        """Return the carried sequence with `n` substitutions, which is no known allele."""
        known = {one for _, one in self.alleles[locus]}
        while (found := substituted(sequence or self.carried[locus], n, self.rng)) in known:
            pass
        return found

    def with_locus(self, locus: str, sequences: Sequence[bytes]) -> "Bench":
        """Return a bench whose scheme has one locus more, of which it carries allele 1."""
        added = tuple(enumerate(sequences, start=1))
        return self._with({**self.alleles, locus: added}, {**self.numbers, locus: 1})

    def with_alleles(self, locus: str, sequences: Sequence[bytes]) -> "Bench":
        """Return a bench whose scheme has more alleles of a locus, numbered from 901."""
        known = (*self.alleles[locus], *enumerate(sequences, start=901))
        return self._with({**self.alleles, locus: known}, self.numbers)

    def _with(self, alleles: Alleles, numbers: Mapping[str, int]) -> "Bench":
        other = Bench(alleles, numbers, seed=0)
        other.rng = self.rng
        return other

    def exact(self, locus: str) -> Expected:
        """Return the expectation that the carried allele is found."""
        return Expected((EXACT,), self.numbers[locus], self.carried[locus])

    def genome(
        self,
        sentence: str,
        *contigs: Sequence[bytes | Copy],
        **expected: Expected,
    ) -> EdgeGenome:
        """Return the genome of these contigs, and of one with every locus that is not expected.

        Each contig is a list of plain sequence and of copies of loci; a locus with copies is
        expected at their places, unless it is expected to be in another state.
        """
        rest = [locus for locus in self.alleles if locus not in expected]
        known = [Copy(locus, self.carried[locus]) for locus in rest]
        spaced = [piece for copy in known for piece in (copy, self.flank())]
        others = [[self.flank(), *spaced]] if rest else []
        laid = [self._laid(contig) for contig in (*contigs, *others)]
        names = [f"contig_{n}" for n in range(1, len(laid) + 1)]
        all_expected = {locus: self.exact(locus) for locus in rest} | expected
        located = {
            locus: replace(one, places=_places(locus, names, laid))
            if one.statuses[0] in (EXACT, NOVEL, DUPLICATED)
            else one
            for locus, one in all_expected.items()
        }
        sequences = tuple(zip(names, (sequence for sequence, _ in laid), strict=True))
        return EdgeGenome(sentence, sequences, self.alleles, located)

    def _laid(self, pieces: Sequence[bytes | Copy]) -> tuple[bytes, list[tuple[Copy, int]]]:
        sequence, at = b"", list[tuple[Copy, int]]()
        for piece in pieces:
            if isinstance(piece, bytes):
                sequence += piece
                continue
            oriented = piece.sequence if piece.strand == "+" else complemented(piece.sequence)
            sequence = sequence[: len(sequence) - piece.overlap]
            at.append((piece, len(sequence)))
            sequence += piece.written(oriented)
        return sequence, at


def _places(
    locus: str, names: Sequence[str], laid: Sequence[tuple[bytes, list[tuple[Copy, int]]]]
) -> frozenset[Place]:
    return frozenset(
        Place(contig=name, start=start, end=start + len(copy.sequence), strand=copy.strand)
        for name, (_, copies) in zip(names, laid, strict=True)
        for copy, start in copies
        if copy.locus == locus
    )


def novel(sequence: bytes) -> Expected:
    """Return the expectation of a new allele."""
    return Expected((NOVEL,), sequence=sequence)


def in_state(*statuses: CallStatus) -> Expected:
    """Return the expectation of a locus without a usable allele."""
    return Expected(statuses)
