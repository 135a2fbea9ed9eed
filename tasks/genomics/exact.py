"""Every known allele of a scheme on a genome, found in one pass by hash.

Each known allele, and its reverse complement, is represented by the one word of 16 bases in it
that has the smallest hash, its *anchor*. Alleles of a locus share few anchors, and small hashes
are rare, so a genome is scanned once for small hashes, these are looked up, and each anchor says
where an allele would begin and end. What is there is cut out; its MD5 tells whether, and which.
No allele can be missed: if it is there, so is its anchor.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocks.errors import InconsistentInput
from blocks.genomics.genome import Genome, reverse_complement
from tasks.genomics.kmers import WORD_BITS, K, small_hashes, word_hashes

SHORTEST = 2 * K  # base pairs of the shortest allele that is indexed
ALL_WORDS = (1 << WORD_BITS) - 1
SEED_LIMIT = (1 << WORD_BITS) // 50  # one word in 50 is a seed
SEEDS_OF_EXEMPLAR = 32  # at least, on each strand: short loci have seeds closer together
ALLELE_LETTERS = b"ACGT"
FILTER_FACTOR = 16  # slots of the first filter for each anchor: one false pass in 16
STRANDS = "+-"

ANCHOR = np.dtype(
    [("hash", "u4"), ("locus", "i4"), ("offset", "i4"), ("length", "i4"), ("strand", "i1")]
)
SEED = np.dtype(
    [("hash", "u4"), ("locus", "i4"), ("offset", "i4"), ("strand", "i1"), ("exemplar", "i2")]
)
ALLELE = np.dtype([("high", "u8"), ("low", "u8"), ("locus", "i4"), ("number", "i8")])
FOUND = np.dtype(
    [("locus", "i4"), ("start", "i8"), ("length", "i4"), ("strand", "i1"), ("number", "i8")]
)
SIGN = np.dtype(
    [("locus", "i4"), ("start", "i8"), ("at", "i8"), ("strand", "i1"), ("number", "i8")]
)
Table = NDArray[Any]  # of one of the structures above


@dataclass(frozen=True)
class ExactIndex:
    """The alleles of a scheme, ready to be found; loci are numbered as they were given."""

    anchors: Table = field(repr=False)
    seeds: Table = field(repr=False)
    alleles: Table = field(repr=False)
    filter: NDArray[np.bool_] = field(repr=False)
    limit: int = SEED_LIMIT

    @property
    def n_alleles(self) -> int:
        """How many alleles it knows."""
        return len(self.alleles)


@dataclass
class IndexParts:
    """Collects alleles, locus by locus; more may be added at any time."""

    anchors: list[Table] = field(default_factory=list[Table])
    seeds: list[Table] = field(default_factory=list[Table])
    alleles: list[Table] = field(default_factory=list[Table])

    def add(self, locus: int, alleles: Sequence[tuple[int, bytes]]) -> None:
        """Add known alleles of one locus: number, and sequence of A, C, G and T.

        Raises:
            InconsistentInput: a sequence is too short, or has other letters.
        """
        if not alleles:
            return
        for number, sequence in alleles:
            if len(sequence) < SHORTEST or sequence.translate(None, ALLELE_LETTERS):
                msg = f"allele {number} is shorter than {SHORTEST} bp, or not only A, C, G and T"
                raise InconsistentInput(msg)
        forward = [sequence for _, sequence in alleles]
        backward = [reverse_complement(sequence) for sequence in forward]
        for strand, sequences in enumerate((forward, backward)):
            self.anchors.append(_anchors(locus, strand, sequences))
        self.alleles.append(_alleles(locus, alleles))

    def add_seeds(self, locus: int, exemplars: Iterable[bytes]) -> None:
        """Add the words with a small hash of a locus' exemplars: they betray where it lies."""
        self.seeds.extend(seeds_of(locus, exemplars))

    def index(self) -> ExactIndex:
        """Return the index of all that was added."""
        anchors = np.unique(_joined(self.anchors, ANCHOR))
        seeds = np.unique(_joined(self.seeds, SEED))
        limit = max(int(table["hash"].max(initial=0)) for table in (anchors, seeds))
        alleles = _joined(self.alleles, ALLELE)
        alleles = alleles[np.lexsort((alleles["number"], alleles["high"]))]
        self.anchors, self.seeds, self.alleles = [anchors], [seeds], [alleles]
        hashes = np.concatenate([anchors["hash"], seeds["hash"]])
        return ExactIndex(anchors, seeds, alleles, _filter(hashes), limit)


def seeds_of(locus: int, exemplars: Iterable[bytes], *, entire: bool = False) -> Iterator[Table]:
    """Return the words of exemplars with a small hash, on both strands; all words if `entire`."""
    for number, sequence in enumerate(exemplars):
        for strand, oriented in enumerate((sequence, reverse_complement(sequence))):
            offsets, hashes = small_hashes(oriented, ALL_WORDS)
            if not entire and len(hashes) > SEEDS_OF_EXEMPLAR:
                last = np.partition(hashes, SEEDS_OF_EXEMPLAR - 1)[SEEDS_OF_EXEMPLAR - 1]
                small = hashes <= max(int(last), SEED_LIMIT)
                offsets, hashes = offsets[small], hashes[small]
            seeds = np.zeros(len(hashes), SEED)
            seeds["hash"], seeds["offset"] = hashes, offsets
            seeds["locus"], seeds["strand"], seeds["exemplar"] = locus, strand, number
            yield seeds


def _joined(parts: list[Table], kind: np.dtype[Any]) -> Table:
    return np.concatenate(parts) if parts else np.empty(0, kind)


def _anchors(locus: int, strand: int, sequences: Sequence[bytes]) -> Table:
    """Return the distinct anchors of the alleles of one locus on one strand."""
    lengths = np.array([len(sequence) for sequence in sequences])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    hashes = word_hashes(b"".join(sequences) + b"A" * (K - 1)).astype(np.uint64)
    within = np.arange(len(hashes)) - np.repeat(starts, lengths)
    crossing = within > np.repeat(lengths, lengths) - K  # a word that leaves its allele
    ranked = (hashes << np.uint64(32)) | within.astype(np.uint64)
    ranked[crossing] = np.iinfo(np.uint64).max
    smallest = np.minimum.reduceat(ranked, starts)
    anchors = np.zeros(len(sequences), ANCHOR)
    anchors["hash"], anchors["offset"] = smallest >> np.uint64(32), smallest & np.uint64(0xFFFFFFFF)
    anchors["length"], anchors["locus"], anchors["strand"] = lengths, locus, strand
    return np.unique(anchors)


def _alleles(locus: int, alleles: Sequence[tuple[int, bytes]]) -> Table:
    table = np.zeros(len(alleles), ALLELE)
    digests = _digests([sequence for _, sequence in alleles])
    table["high"], table["low"] = _mixed(digests[:, 0], np.array(locus)), digests[:, 1]
    table["locus"], table["number"] = locus, [number for number, _ in alleles]
    return table


def _digests(sequences: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return the MD5 of each sequence as two 64-bit numbers: shape (n, 2)."""
    md5 = hashlib.md5
    joined = b"".join(md5(s, usedforsecurity=False).digest() for s in sequences)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def _mixed(high: NDArray[np.uint64], locus: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a key that differs between loci which have an allele in common."""
    return high ^ (locus.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def _filter(hashes: NDArray[np.uint32]) -> NDArray[np.bool_]:
    size = 1 << max(16, int(len(hashes) * FILTER_FACTOR).bit_length())
    passes = np.zeros(size, np.bool_)
    passes[hashes & np.uint32(size - 1)] = True
    return passes


@dataclass(frozen=True)
class Scan:
    """What one pass over a genome found."""

    found: Table = field(repr=False)
    seeds: Table = field(repr=False)


def scan(genome: Genome, index: ExactIndex) -> Scan:
    """Return every place where a known allele lies, and every seed.

    `found` has the structure FOUND: start in the genome's joined sequence, strand 0 forward.
    `seeds` has the structure SIGN: start is where the exemplar would begin, number is the
    exemplar's, and the word itself is `at`.
    """
    positions, hashes = _looked_up(genome, index.limit, index.filter)
    at, anchor = _matches(hashes, index.anchors)
    places = np.zeros(len(at), FOUND)
    for name in ("locus", "length", "strand"):
        places[name] = index.anchors[name][anchor]
    places["start"] = positions[at] - index.anchors["offset"][anchor]
    inside = places["start"] >= 0
    inside &= places["start"] + places["length"] <= len(genome.sequence)
    return Scan(
        found=_verified(genome, index, np.unique(places[inside])),
        seeds=_placed(index.seeds, positions, hashes),
    )


def find_exemplars(genome: Genome, exemplars: Mapping[int, Sequence[bytes]]) -> Table:
    """Return every word that a genome has in common with these loci's exemplars, as `Scan.seeds`.

    Slower than a scan, and sensitive: at 20 % differences a locus of 500 bp still has about 13.
    """
    parts = [part for at, own in exemplars.items() for part in seeds_of(at, own, entire=True)]
    seeds = _joined(parts, SEED)
    seeds = seeds[np.argsort(seeds["hash"], kind="stable")]  # whole rows sort ten times slower
    return _placed(seeds, *_looked_up(genome, ALL_WORDS, _filter(seeds["hash"])))


def _looked_up(
    genome: Genome, limit: int, passes: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return position and hash of the genome's words that pass the filter."""
    positions, hashes = small_hashes(genome.sequence, limit)
    passed = passes[hashes & np.uint32(len(passes) - 1)]
    return positions[passed], hashes[passed]


def _placed(seeds: Table, positions: NDArray[np.int64], hashes: NDArray[np.uint32]) -> Table:
    at, seed = _matches(hashes, seeds)
    places = np.zeros(len(at), SIGN)
    for name in ("locus", "strand"):
        places[name] = seeds[name][seed]
    places["at"] = positions[at]
    places["start"] = positions[at] - seeds["offset"][seed]
    places["number"] = seeds["exemplar"][seed]
    return places


def _matches(
    hashes: NDArray[np.uint32], table: Table
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs (index in `hashes`, index in `table`) with the same hash."""
    keys = np.ascontiguousarray(table["hash"])
    first = np.searchsorted(keys, hashes, side="left")
    count = np.searchsorted(keys, hashes, side="right") - first
    at = np.repeat(np.arange(len(hashes)), count)
    before = np.repeat(np.cumsum(count) - count, count)
    return at, np.arange(len(at)) - before + np.repeat(first, count)


def _verified(genome: Genome, index: ExactIndex, places: Table) -> Table:
    """Return those places whose sequence is a known allele, with its number."""
    cuts = [
        genome.cut(start, start + length, STRANDS[strand])
        for start, length, strand in zip(
            places["start"].tolist(),
            places["length"].tolist(),
            places["strand"].tolist(),
            strict=True,
        )
    ]
    if not cuts:
        return places
    digests = _digests(cuts)
    keys = _mixed(digests[:, 0], places["locus"])
    at = np.minimum(np.searchsorted(index.alleles["high"], keys), len(index.alleles) - 1)
    known = (index.alleles["high"][at] == keys) & (index.alleles["low"][at] == digests[:, 1])
    places["number"] = index.alleles["number"][at]
    return places[known]
