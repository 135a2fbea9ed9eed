"""Where exemplars of a locus lie on a genome when no known allele does.

Words in common say where (`seeds`), edlib aligns there: the whole exemplar against a window of
the genome. An allele is compared from its first base to its last, so an end that is unlike the
exemplar's is looked at by itself: extended without gaps unless gaps save more than one
difference, and left off when it is unlike altogether.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple, cast

import edlib
import numpy as np

from blocks.genomics.genome import Genome, reverse_complement
from tasks.genomics.exact import STRANDS, Table

MIN_IDENTITY = 0.8  # mlst asks 0.95, EToKi 0.65: below, a paralogue is likelier than an allele
MIN_PIECE = 50  # base pairs; EToKi's -l
ANCHOR_RUN = 12  # equal bases in a row that are believed to be the same bases
SAME_END = 9  # base pairs of an end that are taken whatever they are; EToKi's 5' and 3' ends
LONGEST_END = 0.5  # share of an exemplar that an end may be, for a reading frame to decide
END_DIFFERENCES = 0.25  # of an end's bases may differ; of unrelated ones, with gaps, 0.4 and more
FEW_DIFFERENCES = 3  # may be in any end
UNLIKE = 0.15  # share of differences beyond which an alignment is looked at step by step
CHANCE = 0.47  # share of differences, a little less than unlike sequences have at their best
FEW_SEEDS = 8  # of a place inside a contig: with fewer, it is looked at whether it is chance
PAD_SHARE, PAD = 0.2, 30  # of the exemplar, and base pairs, to each side of its window
MAX_PLACES = 24  # of one locus: beyond, it is a repeat
STEP = re.compile(r"(\d+)([=XID])")
EQUAL = re.compile(r"(\d+)=")


@dataclass(frozen=True)
class Hit:
    """An exemplar's alignment; start and end are in the genome's joined sequence."""

    start: int
    end: int
    strand: str
    identity: float
    whole: bool  # from the exemplar's first base to its last
    at_edge: bool  # what is missing of it lies beyond a contig's end, or in a run of N
    covered: int  # bases of the exemplar
    exemplar_length: int
    others: tuple[tuple[int, int], ...] = ()  # start and end, if unlike ends are read otherwise

    def overlaps(self, start: int, end: int) -> bool:
        """Whether it shares half of the shorter one with an interval."""
        shared = min(self.end, end) - max(self.start, start)
        return 2 * shared >= min(self.end - self.start, end - start)


class Sign(NamedTuple):
    """Where a locus may begin, by the seeds on one contig that agree on it."""

    seeds: int
    start: int  # may lie before the contig, if only the end of the locus is there
    strand: str
    contig: int


def places_of(genome: Genome, seeds: Table, lengths: Sequence[int], *, least: int) -> list[Sign]:
    """Return where one locus may begin; the likeliest first.

    Args:
        genome: In which the seeds lie.
        seeds: Rows of SIGN of one locus; `number` is the exemplar's.
        lengths: Of the locus' exemplars, in base pairs.
        least: Seeds that a place must have.
    """
    apart = PAD_SHARE * max(lengths, default=0) + PAD
    contigs = np.searchsorted(genome.starts, seeds["at"], side="right") - 1
    starts = dict[tuple[int, int], list[int]]()
    for contig, strand, start in zip(
        contigs.tolist(), seeds["strand"].tolist(), seeds["start"].tolist(), strict=True
    ):
        starts.setdefault((contig, strand), []).append(start)
    ranked = [
        Sign(len(group), int(median(group)), STRANDS[strand], contig)
        for (contig, strand), own in starts.items()
        for group in _groups(sorted(own), apart)
        if len(group) >= least
    ]
    return sorted(ranked, reverse=True)[:MAX_PLACES]


def _groups(starts: Sequence[int], apart: float) -> Iterator[Sequence[int]]:
    """Split ascending positions where the next is further away than `apart`."""
    first = 0
    for at in range(1, len(starts) + 1):
        if at == len(starts) or starts[at] - starts[at - 1] > apart:
            yield starts[first:at]
            first = at


def align_at(genome: Genome, places: Iterable[Sign], exemplars: Sequence[bytes]) -> Iterator[Hit]:
    """Align every exemplar of a locus at these places."""
    for place in places:
        for exemplar in exemplars:
            hit = align(genome, place, exemplar)
            if hit and hit.identity >= MIN_IDENTITY and hit.covered >= MIN_PIECE:
                yield hit


def align(genome: Genome, place: Sign, exemplar: bytes) -> Hit | None:
    """Align an exemplar near the position where it seems to begin, None if it is not there.

    What would lie beyond the contig is left out: it can only be aligned by chance.
    """
    start, strand = place.start, place.strand
    query = exemplar if strand == "+" else reverse_complement(exemplar)
    first = int(genome.starts[place.contig])
    last = first + int(genome.lengths[place.contig])
    pad = int(PAD_SHARE * len(query)) + PAD
    low, high = max(first, start - pad), min(last, start + len(query) + pad)
    lost = _Lost(max(0, first - start), max(0, start + len(query) - last))
    part = query[lost.left : len(query) - lost.right]
    if min(high - low, len(part)) < ANCHOR_RUN:
        return None
    window = genome.sequence[low:high]
    plain = None if any(lost) else _with_equal_ends(query, window, low, strand)
    if plain:
        return plain
    entire = high - low == len(query) + 2 * pad and b"N" not in window
    if entire and place.seeds < FEW_SEEDS and not _resembles(query, window):
        return None
    found = _infix(part, window, task="path")
    path = _path(found["cigar"], low + found["locations"][0][0], lost)
    if path is None:
        return None
    left = _end(
        query[: path.query_first][::-1],
        genome.sequence[max(first, path.first - path.query_first) : path.first][::-1],
        taken=path.first - path.start,
        differences=path.left_differences,
    )
    beyond = len(query) - path.query_last
    right = _end(
        query[path.query_last :],
        genome.sequence[path.last : min(last, path.last + beyond)],
        taken=path.end - path.last,
        differences=path.right_differences,
    )
    unread = genome.sequence.count(b"N", path.first, path.last)
    hit = _hit(path, left, right, len(query), strand, (first, last), unread)
    apart = None if any(lost) else _ends_apart(query, window, low)
    return replace(hit, others=(*hit.others, apart)) if apart else hit


class _Lost(NamedTuple):
    """Bases of an exemplar that would lie beyond its contig."""

    left: int
    right: int


def _infix(query: bytes, window: bytes, *, task: str = "locations", limit: int = -1) -> Any:
    """Align all of `query` to the part of `window` that it fits best; edlib has no types."""
    return cast("Any", edlib).align(query, window, mode="HW", task=task, k=limit)


def _resembles(query: bytes, window: bytes) -> bool:
    """Whether more of an exemplar lies here than chance gives; far quicker to see than where."""
    limit = int(CHANCE * len(query))
    return _infix(query, window, task="distance", limit=limit)["editDistance"] >= 0


def _ends_apart(query: bytes, window: bytes, low: int) -> tuple[int, int] | None:
    """Return where the exemplar's first and last quarter lie, whatever is between them.

    A domain that is there once more costs more differences than to align its neighbour wrongly.
    """
    quarter = len(query) // 4
    parts = query[:quarter], query[-quarter:]
    found = [_infix(part, window, limit=int(UNLIKE * quarter)) for part in parts]
    if any(not one["locations"] for one in found):
        return None
    return low + found[0]["locations"][0][0], low + found[1]["locations"][-1][1] + 1


def _with_equal_ends(query: bytes, window: bytes, low: int, strand: str) -> Hit | None:
    """Return the hit if both ends are as the exemplar's, which is usual and quick to see."""
    length = len(query)
    limit = int(UNLIKE * length)
    found = _infix(query, window, limit=limit)
    for first, last in found["locations"]:
        lies = window[first : last + 1]
        ends = query[:ANCHOR_RUN] == lies[:ANCHOR_RUN], query[-ANCHOR_RUN:] == lies[-ANCHOR_RUN:]
        if all(ends):
            identity = 1 - found["editDistance"] / max(length, len(lies))
            return Hit(
                low + first, low + last + 1, strand, identity,
                whole=True, at_edge=False, covered=length, exemplar_length=length,
            )  # fmt: skip
    return None


@dataclass(frozen=True)
class _Path:
    """An alignment between the first and the last run of equal bases, and what is outside."""

    start: int  # of the whole path on the genome
    end: int
    first: int  # of the first run, on the genome and on the exemplar
    query_first: int
    last: int
    query_last: int
    columns: int
    matches: int
    left_differences: int
    right_differences: int


def _path(cigar: str, start: int, lost: _Lost) -> _Path | None:
    """Read an extended CIGAR whose first base lies at `start` of the genome.

    It is of an exemplar without the bases that are `lost`; positions and differences count them.
    """
    if max(map(int, EQUAL.findall(cigar)), default=0) < ANCHOR_RUN:  # most are chance: no more work
        return None
    steps = [(int(count), kind) for count, kind in STEP.findall(cigar)]
    runs = [n for n, (count, kind) in enumerate(steps) if kind == "=" and count >= ANCHOR_RUN]
    before = _lengths(steps[: runs[0]])
    core = _lengths(steps[runs[0] : runs[-1] + 1])
    after = _lengths(steps[runs[-1] + 1 :])
    first, last = start + before.genome, start + before.genome + core.genome
    return _Path(
        start=start,
        end=last + after.genome,
        first=first,
        query_first=lost.left + before.exemplar,
        last=last,
        query_last=lost.left + before.exemplar + core.exemplar,
        columns=core.columns,
        matches=core.equal,
        left_differences=lost.left + before.columns - before.equal,
        right_differences=lost.right + after.columns - after.equal,
    )


class _Lengths(NamedTuple):
    """How long a part of a path is."""

    exemplar: int
    genome: int
    columns: int
    equal: int


def _lengths(steps: Sequence[tuple[int, str]]) -> _Lengths:
    totals = {"=": 0, "X": 0, "I": 0, "D": 0}
    for count, kind in steps:
        totals[kind] += count
    aligned = totals["="] + totals["X"]
    extra, missing = totals["I"], totals["D"]
    columns = aligned + extra + missing
    return _Lengths(aligned + extra, aligned + missing, columns, totals["="])


@dataclass(frozen=True)
class _End:
    """How the rest of an exemplar lies beyond the runs of equal bases, read outward."""

    length: int  # of the exemplar's rest
    reached: bool  # to the exemplar's last base
    taken: int = 0  # bases of the genome that are of it
    differences: int = 0
    at_edge: bool = False


def _end(rest: bytes, beyond: bytes, *, taken: int, differences: int) -> _End:
    """Judge an end: the path's, or without gaps.

    Args:
        rest: The exemplar's bases, outward.
        beyond: As many bases of the genome, outward; fewer at a contig's end.
        taken: Bases of the genome on the path.
        differences: On the path.
    """
    length, left = len(rest), len(beyond)
    if left < length:
        plain = sum(a != b for a, b in zip(rest, beyond, strict=False))
        like = b"N" not in beyond and (left <= SAME_END or plain <= END_DIFFERENCES * left)
        return _End(length, reached=False, taken=left if like else 0, at_edge=True)
    if 2 * beyond.count(b"N") > length > 0:
        return _End(length, reached=False, at_edge=True)
    plain = sum(a != b for a, b in zip(rest, beyond, strict=True))
    if plain <= differences + 1:  # a gap must save two differences to be believed
        taken, differences = length, plain
    reached = length <= SAME_END or differences <= max(FEW_DIFFERENCES, END_DIFFERENCES * length)
    return _End(length, reached, taken if reached else 0, min(differences, length))


def _hit(
    path: _Path,
    left: _End,
    right: _End,
    length: int,
    strand: str,
    contig: tuple[int, int],
    unread: int,
) -> Hit:
    """Return the hit; the bases that nobody read (N) between the runs tell nothing of identity."""
    reached = [end for end in (left, right) if end.reached]
    columns = max(path.columns - unread, path.matches) + sum(end.length for end in reached)
    matches = path.matches + sum(end.length - end.differences for end in reached)
    return Hit(
        start=path.first - left.taken,
        end=path.last + right.taken,
        strand=strand,
        identity=matches / columns,
        whole=left.reached and right.reached,
        at_edge=left.at_edge or right.at_edge,
        covered=path.query_last - path.query_first + sum(end.length for end in reached),
        exemplar_length=length,
        others=_others(path, left, right, length, contig),
    )


def _others(
    path: _Path, left: _End, right: _End, length: int, contig: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """Return the other readings of the ends, inside the contig: without gaps, and the path's."""
    if max(left.length, right.length) > LONGEST_END * length:
        return ()
    starts = dict.fromkeys((path.first - left.length, path.start))
    ends = dict.fromkeys((path.last + right.length, path.end))
    return tuple(
        (start, end) for start in starts for end in ends if contig[0] <= start and end <= contig[1]
    )
