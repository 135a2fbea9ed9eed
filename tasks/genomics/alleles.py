"""The allele caller: which allele a genome has at every locus of a scheme.

Known alleles are found by hash (`exact`), all loci at once. Only a locus without exactly one
known allele, or with signs of a second copy, is aligned (`alignment`). The rules:

* of known alleles that overlap, the longest is it; two that do not are a duplication;
* a second whole copy counts when its identity is at most 0.05 less than the first one's; beside a
  known allele it is looked for where two words with a small hash agree;
* of two loci at the same place, the one that is more than 0.05 less alike is not there;
* a piece of 50 bp at a contig's end, or pieces that make 60 % of the locus, are a fragmented
  locus, not a missing one; so is a locus whose first or last bases are unlike all known ones.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, cast

import numpy as np

from blocks.genomics.genome import Genome
from blocks.genomics.keys import allele_key
from blocks.genomics.records import CallStatus, LocusCall, Place
from tasks.genomics.alignment import MAX_PLACES, Hit, align_at, places_of
from tasks.genomics.exact import (
    ALL_WORDS,
    STRANDS,
    ExactIndex,
    IndexParts,
    Table,
    find_exemplars,
    scan,
)
from tasks.genomics.kmers import Hashes, K, Positions, small_hashes

CLEARLY_LESS = 0.05  # difference of identity; EToKi's --overlap_iden
LENGTH_CHANGE = 0.2  # of the exemplar's length: beyond, it is not the same gene any more
WHOLE_ENOUGH = 0.6  # share of an exemplar that must be found in pieces inside contigs
EXEMPLARS_TRIED = 3  # at each place: those with the most words in common
SEEDS_OF_MANY = 2  # that a place must have when all words are looked up: chance gives one
SIGNS_OF_A_COPY = 2  # seeds that a place must have beside a known allele
UNLIKE = 0.6  # share of common words under which an allele is an exemplar of its own
WORDS_FOR_LIKENESS = 150  # of each allele, or all that it has
MAX_EXEMPLARS = 40
STARTS = ("ATG", "GTG", "TTG", "CTG", "ATT", "ATC", "ATA")  # genetic code 11
STOPS = ("TAA", "TAG", "TGA")
BASES = b"ACGT"


@dataclass(frozen=True)
class LocusAlleles:
    """The known alleles of a locus: (number, sequence of A, C, G, T)."""

    name: str
    alleles: Sequence[tuple[int, bytes]]


@dataclass(frozen=True)
class TypingIndex:
    """A scheme, ready to type genomes; loci in the order of its profile."""

    names: tuple[str, ...]
    exact: ExactIndex
    exemplars: tuple[tuple[bytes, ...], ...] = field(repr=False)
    coding: bool = False
    require_orf: bool = False


def build_index(
    loci: Sequence[LocusAlleles], *, coding: bool = False, require_orf: bool = False
) -> TypingIndex:
    """Return the index of a scheme.

    Args:
        loci: In the order of the profile.
        coding: Whether alleles are whole genes; then a reading frame decides about unlike ends.
        require_orf: Whether a new allele must be a whole reading frame; EToKi's ORF checking.

    Raises:
        InconsistentInput: an allele is too short, or has letters other than A, C, G, T.
    """
    parts, exemplars = IndexParts(), list[tuple[bytes, ...]]()
    for number, locus in enumerate(loci):
        parts.add(number, locus.alleles)
        chosen = choose_exemplars([sequence for _, sequence in locus.alleles])
        parts.add_seeds(number, chosen)
        exemplars.append(chosen)
    names = tuple(locus.name for locus in loci)
    return TypingIndex(names, parts.index(), tuple(exemplars), coding, require_orf)


def choose_exemplars(sequences: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return alleles that are unlike each other, so that every allele is like one of them.

    The first is the first allele; then the one with the smallest share of words in common with
    any one of them, as long as that is below `UNLIKE`, which is at about 3 % differences.
    """
    if not sequences:
        return ()
    hashes, owner = _words_for_likeness(sequences)
    distinct, words = np.unique(hashes, return_inverse=True)
    total = np.maximum(np.bincount(owner, minlength=len(sequences)), 1)
    chosen, likeness = [0], np.zeros(len(sequences))
    while len(chosen) < MAX_EXEMPLARS:
        has = np.zeros(len(distinct), np.bool_)
        has[words[owner == chosen[-1]]] = True
        share = np.bincount(owner[has[words]], minlength=len(sequences)) / total
        likeness = np.maximum(likeness, share)
        likeness[chosen] = 1.0
        least = int(likeness.argmin())
        if likeness[least] >= UNLIKE:
            break
        chosen.append(least)
    return tuple(sequences[number] for number in chosen)


def _words_for_likeness(sequences: Sequence[bytes]) -> tuple[Hashes, Positions]:
    """Return an even sample of the words of all sequences, and which sequence each is of."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    share = min(1.0, WORDS_FOR_LIKENESS * len(sequences) / int(ends[-1]))
    positions, words = small_hashes(b"".join(sequences), int(share * ALL_WORDS))
    owner = np.searchsorted(ends, positions, side="right")
    inside = positions + K <= ends[owner]  # a word must not reach into the next sequence
    return words[inside], owner[inside]


def type_genome(genome: Genome, index: TypingIndex) -> tuple[LocusCall, ...]:
    """Return the call of every locus, in the order of the scheme."""
    calling = _Calling(genome, index)
    unsettled = calling.settle_known()
    if unsettled:
        calling.settle_by_alignment(unsettled)
    return tuple(calling.calls[locus] for locus in range(len(index.names)))


@dataclass(frozen=True)
class _Known:
    """A known allele at its place."""

    start: int
    end: int
    strand: str
    number: int


class _Calling:
    """One genome being typed."""

    def __init__(self, genome: Genome, index: TypingIndex) -> None:
        self.genome = genome
        self.starts: list[int] = genome.starts.tolist()
        self.index = index
        self.calls: dict[int, LocusCall] = {}
        found = scan(genome, index.exact)
        self.known = _known_alleles(found.found)
        self.seeds = found.seeds

    def settle_known(self) -> list[int]:
        """Call the loci that known alleles decide; return the others."""
        doubtful = self._with_signs_of_a_copy()
        for locus, alleles in self.known.items():
            if len(alleles) > 1:
                self.calls[locus] = self._duplicated(locus, alleles)
            elif locus not in doubtful:
                self.calls[locus] = self._exact(locus, alleles[0])
        return [locus for locus in range(len(self.index.names)) if locus not in self.calls]

    def _with_signs_of_a_copy(self) -> set[int]:
        """Return the loci with one known allele that have seeds in another place as well."""
        single = {locus: alleles[0] for locus, alleles in self.known.items() if len(alleles) == 1}
        n_loci = len(self.index.names)
        start, end = np.full(n_loci, -1), np.full(n_loci, -1)
        for locus, allele in single.items():
            start[locus], end[locus] = allele.start, allele.end
        locus = self.seeds["locus"]
        elsewhere = _is_elsewhere(self.seeds, start[locus], end[locus])
        signs = np.bincount(locus[elsewhere], minlength=n_loci)
        return {locus for locus in single if signs[locus] >= SIGNS_OF_A_COPY}

    def settle_by_alignment(self, loci: Sequence[int]) -> None:
        """Align the exemplars of these loci where seeds are, and call them."""
        hits = self._hits(loci, self.seeds, least=1)
        lost = [locus for locus in loci if not any(hit.whole for hit in hits[locus])]
        lost = [locus for locus in lost if locus not in self.known]
        if lost:
            exemplars = {locus: self.index.exemplars[locus] for locus in lost}
            hits |= self._hits(lost, find_exemplars(self.genome, exemplars), least=SEEDS_OF_MANY)
        remaining = _without_worse_loci(hits, self.known)
        for locus in loci:
            alleles = self.known.get(locus)
            if alleles:
                self.calls[locus] = self._beside_known(locus, alleles[0], remaining[locus])
            else:
                self.calls[locus] = self._unknown(locus, remaining[locus])

    def _hits(self, loci: Sequence[int], seeds: Table, *, least: int) -> dict[int, list[Hit]]:
        """Return the best hit of each locus at each place that its seeds show."""
        ordered = np.argsort(seeds["locus"], kind="stable")
        after = [locus + 1 for locus in loci]
        borders = np.searchsorted(seeds["locus"][ordered], [loci, after]).T
        return {
            locus: self._best_hits(locus, seeds[ordered[first:last]], least)
            for locus, (first, last) in zip(loci, borders, strict=True)
        }

    def _best_hits(self, locus: int, seeds: Table, least: int) -> list[Hit]:
        exemplars = self.index.exemplars[locus]
        queries = [exemplars[number] for number in _most_seeds(seeds)]
        if locus in self.known:  # the known allele stands for the exemplars
            at = self.known[locus][0]
            queries = [self.genome.cut(at.start, at.end, at.strand)]
            seeds, least = seeds[_is_elsewhere(seeds, at.start, at.end)], SIGNS_OF_A_COPY
        places = places_of(
            self.genome, seeds, [len(exemplar) for exemplar in exemplars], least=least
        )
        found = [self._framed(hit) for hit in align_at(self.genome, places, queries)]
        found.sort(key=lambda hit: (hit.whole, hit.identity, hit.covered), reverse=True)
        best = list[Hit]()
        for hit in found:
            if not any(hit.overlaps(other.start, other.end) for other in best):
                best.append(hit)
        return best

    def _framed(self, hit: Hit) -> Hit:
        """In a scheme of reading frames, let the frame decide where unlike ends are."""
        if not self.index.coding:
            return hit
        fitted = [(hit.start, hit.end)] if hit.whole else []
        for start, end in [*fitted, *hit.others]:
            if is_reading_frame(self.genome.cut(start, end, hit.strand).decode()):
                return replace(hit, start=start, end=end, whole=True)
        return hit

    def _beside_known(self, locus: int, allele: _Known, hits: Sequence[Hit]) -> LocusCall:
        """Call a locus with one known allele, and perhaps a second copy."""
        copies = [
            hit
            for hit in hits
            if hit.whole
            and hit.identity >= 1 - CLEARLY_LESS
            and not hit.overlaps(allele.start, allele.end)
        ]
        if copies:
            return self._duplicated(locus, [allele, *copies])
        return self._exact(locus, allele)

    def _unknown(self, locus: int, hits: Sequence[Hit]) -> LocusCall:
        """Call a locus without a known allele."""
        whole = [hit for hit in hits if hit.whole]
        pieces = [hit for hit in hits if not hit.whole]
        best = max((hit.identity for hit in whole), default=0.0)
        better = [hit for hit in pieces if hit.identity > best + CLEARLY_LESS]
        if _is_fragmented(better):
            return self._call(locus, CallStatus.FRAGMENTED, better)
        copies = [hit for hit in whole if hit.identity >= best - CLEARLY_LESS]
        if len(copies) > 1:
            return self._duplicated(locus, copies)
        if copies:
            return self._whole(locus, copies[0])
        return self._call(locus, CallStatus.MISSING, [])

    def _whole(self, locus: int, hit: Hit) -> LocusCall:
        """Call a locus that is there once, wholly."""
        sequence = self.genome.cut(hit.start, hit.end, hit.strand)
        change = abs(len(sequence) - hit.exemplar_length)
        if change > LENGTH_CHANGE * hit.exemplar_length:
            return self._call(locus, CallStatus.FRAGMENTED, [hit])
        if sequence.translate(None, BASES):
            return self._call(locus, CallStatus.AMBIGUOUS, [hit])
        unframed = self.index.require_orf and not is_reading_frame(sequence.decode())
        quality = self.genome.quality
        return self._call(
            locus,
            CallStatus.NO_ORF if unframed else CallStatus.NOVEL,
            [hit],
            key=allele_key(sequence),
            sequence=sequence.decode(),
            min_quality=None if quality is None else int(quality[hit.start : hit.end].min()),
        )

    def _exact(self, locus: int, allele: _Known) -> LocusCall:
        sequence = self.genome.cut(allele.start, allele.end, allele.strand)
        return LocusCall(
            locus=self.index.names[locus],
            status=CallStatus.EXACT,
            allele=allele.number,
            key=allele_key(sequence),
            places=(self._place(allele),),
            identity=1.0,
        )

    def _duplicated(self, locus: int, copies: Sequence[_Known | Hit]) -> LocusCall:
        return self._call(locus, CallStatus.DUPLICATED, copies[:MAX_PLACES])

    def _call(
        self, locus: int, status: CallStatus, places: Sequence[_Known | Hit], **rest: Any
    ) -> LocusCall:
        identities = [at.identity for at in places if isinstance(at, Hit)]
        return LocusCall(
            locus=self.index.names[locus],
            status=status,
            places=tuple(self._place(at) for at in places),
            identity=min(1.0, max(identities)) if identities else None,
            **rest,
        )

    def _place(self, at: _Known | Hit) -> Place:
        contig = bisect_right(self.starts, at.start) - 1
        offset = self.starts[contig]
        return Place(
            contig=self.genome.contigs[contig],
            start=at.start - offset,
            end=at.end - offset,
            strand="+" if at.strand == "+" else "-",
        )


def _is_elsewhere(seeds: Table, start: Any, end: Any) -> Any:
    """Return which seeds do not speak of an allele from `start` to `end`."""
    return np.abs(seeds["start"] - start) * 2 > end - start


def _most_seeds(seeds: Table) -> list[int]:
    """Return the exemplars (numbers) with the most seeds, at most three."""
    numbers = cast("list[int]", seeds["number"].tolist())
    return [number for number, _ in Counter(numbers).most_common(EXEMPLARS_TRIED)]


def _known_alleles(found: Any) -> dict[int, list[_Known]]:
    """Return the known alleles of each locus; of those that overlap, the longest."""
    known = dict[int, list[_Known]]()
    start_of = attrgetter("start")
    longest_first = np.lexsort((found["start"], -found["length"], found["locus"]))
    for locus, rows in groupby(found[longest_first].tolist(), key=itemgetter(0)):
        kept, longest = list[_Known](), 0
        for _, start, length, strand, number in rows:
            longest = longest or length
            end = start + length
            first = bisect_left(kept, start - longest, key=start_of)
            after = bisect_left(kept, end, key=start_of)
            if all(2 * (min(end, k.end) - max(start, k.start)) < length for k in kept[first:after]):
                insort(kept, _Known(start, end, STRANDS[strand], number), key=start_of)
        known[locus] = kept
    return known


def _without_worse_loci(
    hits: Mapping[int, list[Hit]], known: Mapping[int, list[_Known]]
) -> dict[int, list[Hit]]:
    """Drop hits at the place of another locus that is clearly more alike there."""
    taken = [(at.start, at.end, 1.0, locus) for locus, many in known.items() for at in many]
    taken += [(h.start, h.end, h.identity, locus) for locus, many in hits.items() for h in many]
    taken.sort()
    starts = np.array([start for start, *_ in taken])
    longest = max((end - start for start, end, *_ in taken), default=0)
    remaining = dict[int, list[Hit]]()
    for locus, many in hits.items():
        remaining[locus] = []
        for hit in many:
            first = int(np.searchsorted(starts, hit.start - longest))
            last = int(np.searchsorted(starts, hit.end))
            rivals = taken[first:last]
            worse = any(
                other != locus
                and identity > hit.identity + CLEARLY_LESS
                and hit.overlaps(start, end)
                for start, end, identity, other in rivals
            )
            if not worse:
                remaining[locus].append(hit)
    return remaining


def _is_fragmented(pieces: Sequence[Hit]) -> bool:
    """Whether pieces are a broken locus, rather than a distant relative inside a contig."""
    if any(piece.at_edge for piece in pieces):
        return True
    covered = sum(piece.covered for piece in pieces)
    return bool(pieces) and covered >= WHOLE_ENOUGH * pieces[0].exemplar_length


def is_reading_frame(sequence: str) -> bool:
    """Whether it goes from a start codon to its first stop codon, with whole codons."""
    codons = [sequence[at : at + 3] for at in range(0, len(sequence), 3)]
    stops = [number for number, codon in enumerate(codons) if codon in STOPS]
    return len(sequence) % 3 == 0 and codons[0] in STARTS and stops == [len(codons) - 1]
