"""Whether an assembly is good enough to be typed: its statistics, and the verdict on them.

The criteria and their order are those of EnteroBase's QA_evaluation; what is counted is what
EToKi counts. Only an assembly that passed is typed.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from blocks.errors import InconsistentInput
from blocks.genomics.genome import PHRED_OFFSET, Genome
from blocks.genomics.quality_limits import QualityLimits
from blocks.genomics.records import (
    MINTABLE_QUALITY,
    AssemblyStatistics,
    Criterion,
    SpeciesShare,
    Verdict,
)

Contig = tuple[str, bytes, bytes | None]

MIN_CONTIG = 300  # bp; EToKi counts no shorter one
LOW_QUALITY = MINTABLE_QUALITY  # Phred; a base below it is as good as unknown
MEGABASE = 1_000_000
MAX_DIGITS = 6

OTHER, AT, GC = 0, 1, 2
KINDS = np.zeros(256, np.uint8)  # what each letter is
KINDS[list(b"ATat")] = AT
KINDS[list(b"GCgc")] = GC


# Statistics


def statistics(
    contigs: Iterable[Contig], *, mean_depth: float | None = None, min_contig: int = MIN_CONTIG
) -> AssemblyStatistics:
    """Count an assembly.

    Args:
        contigs: Name, sequence, and its qualities as in FASTQ (Phred+33), None from FASTA: then
            only letters other than A, C, G and T are of low quality.
        mean_depth: Reads over a base, if known.
        min_contig: Shorter contigs are not counted (bp).

    Raises:
        InconsistentInput: a contig has more or fewer qualities than bases.
    """
    lengths, gc, known, low = list[int](), 0, 0, 0
    for name, sequence, quality in contigs:
        _require_pairs(name, sequence, quality)
        if len(sequence) < min_contig:
            continue
        kinds = KINDS[np.frombuffer(sequence, np.uint8)]
        lengths.append(len(sequence))
        gc += int(np.count_nonzero(kinds == GC))
        known += int(np.count_nonzero(kinds))
        low += len(sequence) - int(np.count_nonzero(_good(kinds, quality)))
    lengths.sort(reverse=True)
    total = sum(lengths)
    n50, l50 = _half(lengths)
    return AssemblyStatistics(
        n_contigs=len(lengths),
        total_length=total,
        n50=n50,
        l50=l50,
        longest=max(lengths, default=0),
        gc_share=gc / known if known else 0.0,
        low_quality=low,
        low_quality_share=low / total if total else 0.0,
        mean_depth=mean_depth,
        contig_lengths=tuple(lengths),
        min_contig=min_contig,
    )


def contigs_of(genome: Genome) -> Iterator[Contig]:
    """Yield the contigs of an assembly in memory, as `statistics` takes them."""
    for index, name in enumerate(genome.contigs):
        quality = genome.contig_quality(index)
        text = None if quality is None else (quality + PHRED_OFFSET).tobytes()
        yield name, genome.contig_sequence(index), text


def _require_pairs(name: str, sequence: bytes, quality: bytes | None) -> None:
    if quality is not None and len(quality) != len(sequence):
        msg = f"contig {name[:60]!r} has {len(sequence)} bases but {len(quality)} qualities"
        raise InconsistentInput(msg)


def _good(kinds: NDArray[np.uint8], quality: bytes | None) -> NDArray[np.bool_]:
    """Return which bases are known and not of low quality."""
    if quality is None:
        return kinds != OTHER
    return (kinds != OTHER) & (np.frombuffer(quality, np.uint8) >= PHRED_OFFSET + LOW_QUALITY)


def _half(lengths: Sequence[int]) -> tuple[int, int]:
    """Return N50 and L50 of lengths that are sorted, longest first."""
    reached, total = 0, sum(lengths)
    for number, length in enumerate(lengths, 1):
        reached += length
        if 2 * reached >= total:
            return length, number
    return 0, 0


# Verdict


def judge(
    statistics: AssemblyStatistics,
    species: Sequence[SpeciesShare] | None,
    limits: QualityLimits,
) -> Verdict:
    """Judge an assembly by the limits of its genus; a value that equals a limit is good.

    Args:
        statistics: Of the assembly.
        species: How much of it looks like which species; None if nobody looked.
        limits: Of the genus that it is said to be.
    """
    return Verdict(
        genus=limits.genus,
        criteria=(
            _size(statistics.total_length, limits),
            _contigs(statistics.n_contigs, limits),
            _n50(statistics.n50, limits),
            _low_quality(statistics.low_quality_share, limits),
            _species(species, limits),
        ),
    )


def _size(total: int, limits: QualityLimits) -> Criterion:
    low, high = limits.min_length, limits.max_length
    value, least = _megabases(total, low)
    fault = ""
    if total < low:
        fault = f"The assembly is too small: {value}, at least {least} {_asked(limits)}"
    elif total > high:
        value, most = _megabases(total, high)
        fault = f"The assembly is too large: {value}, at most {most} {_asked(limits)}"
    limit = f"{low / MEGABASE:.2f} to {high / MEGABASE:.2f} Mb"
    return _criterion("Number of bases", value, limit, fault)


def _contigs(number: int, limits: QualityLimits) -> Criterion:
    value, most = f"{number:,}", f"{limits.max_contigs:,}"
    fault = ""
    if number > limits.max_contigs:
        fault = f"The assembly is in too many pieces: {value} contigs, at most {most} "
        fault += _asked(limits)
    return _criterion("Number of contigs", value, f"at most {most}", fault)


def _n50(n50: int, limits: QualityLimits) -> Criterion:
    value, least = f"{n50:,} bp", f"{limits.min_n50:,} bp"
    fault = ""
    if n50 < limits.min_n50:
        fault = f"The contigs are too short: N50 is {value}, at least {least} {_asked(limits)}"
    return _criterion("N50", value, f"at least {least}", fault)


def _low_quality(share: float, limits: QualityLimits) -> Criterion:
    value, most = _percents(100 * share, 100 * limits.max_low_quality_share)
    fault = ""
    if share > limits.max_low_quality_share:
        fault = f"Too many bases are of low quality: {value}, at most {most} {_asked(limits)}"
    return _criterion("Low-quality bases", value, f"at most {most}", fault)


def _species(species: Sequence[SpeciesShare] | None, limits: QualityLimits) -> Criterion:
    wanted = " or ".join(limits.allowed_species) or "one species"
    percent = _right_percent(species or (), limits.allowed_species)
    value, least = _percents(percent, limits.min_species_percent)
    name, limit = "Species", f"at least {least} {wanted}"
    if species is None:
        reason = "No species database: not looked at"
        return Criterion(name=name, value="", limit=limit, passed=None, reason=reason)
    best = max(species, key=lambda one: one.percent, default=None)
    found = f"most is {best.name} ({best.percent:.2f} %)" if best else "no species was found"
    fault = ""
    if percent < limits.min_species_percent:
        fault = f"Only {value} of the assembly is {wanted}, at least {least} {_asked(limits)}"
        fault += f": {found}"
    return _criterion(name, f"{value}: {found}", limit, fault)


def _right_percent(species: Sequence[SpeciesShare], allowed: Sequence[str]) -> float:
    """Return how much is of the allowed species together; of the largest if any is allowed."""
    if not allowed:
        return max((one.percent for one in species), default=0.0)
    right = [one.percent for one in species if _is_among(one.name, allowed)]
    return round(sum(right), MAX_DIGITS)  # 0.1 + 0.2 is to be 0.3


def _is_among(name: str, allowed: Sequence[str]) -> bool:
    words = name.casefold().split()
    wanted = [one.casefold().split() for one in allowed]
    return any(words[: len(one)] == one for one in wanted)


def _criterion(name: str, value: str, limit: str, fault: str) -> Criterion:
    return Criterion(name=name, value=value, limit=limit, passed=not fault, reason=fault)


def _asked(limits: QualityLimits) -> str:
    return "by the default limits" if limits.is_default else f"for {limits.genus}"


def _megabases(value: int, limit: int) -> tuple[str, str]:
    """Return both in Mb; in bp if they would look the same and are not."""
    texts = (f"{value / MEGABASE:.2f} Mb", f"{limit / MEGABASE:.2f} Mb")
    same = texts[0] == texts[1] and value != limit
    return (f"{value:,} bp", f"{limit:,} bp") if same else texts


def _percents(value: float, limit: float) -> tuple[str, str]:
    """Return both in per cent, with as many digits as tell them apart."""
    for digits in range(1, MAX_DIGITS + 1):
        texts = (f"{value:.{digits}f} %", f"{limit:.{digits}f} %")
        if texts[0] != texts[1]:
            return texts
    return f"{value:.1f} %", f"{limit:.1f} %"
