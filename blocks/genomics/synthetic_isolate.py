"""Simulate an isolate with known answers: typing schemes, a genome that carries them, its reads.

Everything is made up, and follows from the seed. The sequence is random, so it has no repeats.
"""

import gzip
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blocks.genomics.genome import reverse_complement
from blocks.genomics.records import Place, Strand

Bases = NDArray[np.uint8]  # 0 to 3 for A, C, G, T
Random = np.random.Generator

LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)
CODES = bytes(max(b"ACGT".find(letter), 0) for letter in range(256))
STRANDS: tuple[Strand, Strand] = ("+", "-")
GC_SHARE = 0.51
HOUSEKEEPING = ("demA", "demB", "demC", "demD", "demE", "demF", "demG")
STOPS = (b"TAA", b"TAG", b"TGA")
CODONS = [bytes(codon) for codon in product(b"ACGT", repeat=3)]
SENSE = np.array([list(codon.translate(CODES)) for codon in CODONS if codon not in STOPS])
INDEL_EVERY = 5  # of this many housekeeping alleles, one has three bases more or less
FOUNDERS = 4  # the other sequence types descend from these
LINE_BP = 80
GZIP_LEVEL = 1  # random sequence packs hardly better at 6, which takes several times longer
MIN_GAP_BP = 200  # between two loci, and from a locus to the end of its contig
PAIRS_AT_ONCE = 20_000
FASTA = (".fa", ".fasta", ".fna")
FASTQ = (".fq", ".fastq")


@dataclass(frozen=True, slots=True)
class SyntheticScheme:
    """A typing scheme; allele n and ST n are the elements n - 1."""

    name: str
    alleles: Mapping[str, tuple[bytes, ...]]
    profiles: tuple[tuple[int, ...], ...]
    complexes: tuple[int, ...]

    @property
    def loci(self) -> tuple[str, ...]:
        """The loci in the order of the profiles."""
        return tuple(self.alleles)

    def carried(self, st: int) -> dict[str, bytes]:
        """Return the sequences, by locus, that an isolate of a sequence type has."""
        numbers = zip(self.loci, self.profiles[st - 1], strict=True)
        return {locus: self.alleles[locus][number - 1] for locus, number in numbers}


@dataclass(frozen=True, slots=True)
class SyntheticGenome:
    """Contigs as (name, upper-case sequence), and where each locus lies on them."""

    name: str
    contigs: tuple[tuple[str, bytes], ...]
    places: Mapping[str, Place]

    @property
    def length(self) -> int:
        """Base pairs of all contigs."""
        return sum(len(sequence) for _, sequence in self.contigs)


def random_bases(length: int, rng: Random) -> Bases:
    """Return random sequence, as codes, with a GC share as that of E. coli."""
    weights = np.array([1 - GC_SHARE, GC_SHARE, GC_SHARE, 1 - GC_SHARE]) / 2
    return rng.choice(4, size=length, p=weights).astype(np.uint8)


def text(bases: Bases) -> bytes:
    """Return codes as letters."""
    return LETTERS[bases].tobytes()


def codes(sequence: bytes) -> Bases:
    """Return letters as codes that may be changed; what is not A, C, G or T becomes an A."""
    return np.frombuffer(sequence.translate(CODES), dtype=np.uint8).copy()


def substituted(sequence: bytes, n: int, rng: Random) -> bytes:
    """Return the sequence with other bases at `n` places."""
    bases = codes(sequence)
    at = rng.choice(len(bases), size=n, replace=False)
    bases[at] = (bases[at] + rng.integers(1, 4, size=n)) % 4
    return text(bases)


# Schemes


def housekeeping_scheme(
    *, n_alleles: int = 12, n_types: int = 20, name: str = "demo_mlst", seed: int = 300
) -> SyntheticScheme:
    """Return a scheme of seven fragments inside genes, 399 to 537 bp, as PubMLST's are.

    Every allele has 1 to 10 substitutions to allele 1 of its locus; alleles 5, 10, ... also have
    three bases more or less.
    """
    rng = np.random.default_rng((seed, 7))
    alleles = {locus: _fragments(n_alleles, rng) for locus in HOUSEKEEPING}
    return _with_profiles(name, alleles, n_types, rng)


def reading_frame_scheme(
    *,
    n_loci: int = 50,
    n_alleles: int = 5,
    n_types: int = 10,
    name: str = "demo_cgmlst",
    seed: int = 300,
) -> SyntheticScheme:
    """Return a scheme of whole reading frames, ATG to stop, 600 to 1500 bp, as a cgMLST's are."""
    rng = np.random.default_rng((seed, n_loci))
    alleles = {f"LIMS_{n:05d}": _frames(n_alleles, rng) for n in range(1, n_loci + 1)}
    return _with_profiles(name, alleles, n_types, rng)


def _fragments(n_alleles: int, rng: Random) -> tuple[bytes, ...]:
    first = text(random_bases(3 * int(rng.integers(133, 180)), rng))
    found = {first: None}
    while len(found) < n_alleles:
        allele = substituted(first, int(rng.integers(1, 11)), rng)
        if (len(found) + 1) % INDEL_EVERY == 0:
            allele = _with_indel(allele, rng)
        found[allele] = None
    return tuple(found)


def _with_indel(sequence: bytes, rng: Random) -> bytes:
    """Return the sequence with three bases more, or three less, somewhere inside."""
    at = 3 * int(rng.integers(20, len(sequence) // 3 - 20))
    if rng.integers(2):
        return sequence[:at] + sequence[at + 3 :]
    return sequence[:at] + text(random_bases(3, rng)) + sequence[at:]


def _frames(n_alleles: int, rng: Random) -> tuple[bytes, ...]:
    n_codons = int(rng.integers(200, 501))
    first = SENSE[rng.integers(len(SENSE), size=n_codons - 2)]
    stop = STOPS[rng.integers(len(STOPS))]
    found = {_frame(first, stop): None}
    while len(found) < n_alleles:
        codons = first.copy()
        at = rng.choice(len(codons), size=int(rng.integers(1, 4)), replace=False)
        codons[at] = SENSE[rng.integers(len(SENSE), size=len(at))]
        found[_frame(codons, stop)] = None
    return tuple(found)


def _frame(codons: NDArray[Any], stop: bytes) -> bytes:
    return b"ATG" + text(codons.ravel().astype(np.uint8)) + stop


def _with_profiles(
    name: str, alleles: Mapping[str, tuple[bytes, ...]], n_types: int, rng: Random
) -> SyntheticScheme:
    """Return the scheme with sequence types: founders, and descendants with 1 to 3 new alleles."""
    sizes = np.array([len(known) for known in alleles.values()])
    found = dict[tuple[int, ...], int]()
    while len(found) < n_types:
        complex_number = len(found) % FOUNDERS + 1
        profile = rng.integers(1, sizes + 1)
        if len(found) >= FOUNDERS:
            fresh, profile = profile, np.array(list(found)[complex_number - 1])
            at = rng.choice(len(sizes), size=int(rng.integers(1, 4)), replace=False)
            profile[at] = fresh[at]
        found.setdefault(tuple(profile.tolist()), complex_number)
    return SyntheticScheme(name, dict(alleles), tuple(found), tuple(found.values()))


def write_scheme_folder(scheme: SyntheticScheme, folder: Path) -> Path:
    """Write a scheme as PubMLST gives it: `<locus>.tfa`, and `<scheme>.txt` with the profiles.

    The folder is made if missing; files of the same name are overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for locus, alleles in scheme.alleles.items():
        records = enumerate(alleles, start=1)
        (folder / f"{locus}.tfa").write_bytes(
            b"".join(b">%s_%d\n%s\n" % (locus.encode(), n, sequence) for n, sequence in records)
        )
    rows = [("ST", *scheme.loci, "clonal_complex")]
    rows += [
        tuple(map(str, (number, *profile, clonal)))
        for number, (profile, clonal) in enumerate(
            zip(scheme.profiles, scheme.complexes, strict=True), start=1
        )
    ]
    table = "".join("\t".join(row) + "\n" for row in rows)
    (folder / f"{scheme.name}.txt").write_text(table, encoding="utf-8")
    return folder


# Genomes


def synthetic_genome(
    carried: Mapping[str, bytes],
    *,
    length: int = 250_000,
    n_contigs: int = 5,
    name: str = "demo_isolate",
    seed: int = 300,
) -> SyntheticGenome:
    """Return a genome that carries each of these sequences once, by locus, on a random strand.

    Contigs end between two loci; no locus is nearer than 200 bp to another or to an end.

    Raises:
        ValueError: the loci do not fit the length, or there are not gaps for so many contigs.
    """
    rng = np.random.default_rng((seed, 11))
    loci = list(carried)
    order = [loci[int(n)] for n in rng.permutation(len(loci))]
    strands: list[Strand] = [STRANDS[int(n)] for n in rng.integers(2, size=len(order))]
    gaps = _gaps(length - sum(map(len, carried.values())), len(order) + 1, rng)
    if n_contigs > len(gaps):
        raise ValueError(f"{len(order)} loci leave no room for {n_contigs} contigs")
    pieces = [text(random_bases(gap, rng)) for gap in gaps]
    for locus, strand, number in zip(order, strands, range(1, 2 * len(order), 2), strict=True):
        forward = carried[locus]
        pieces.insert(number, forward if strand == "+" else reverse_complement(forward))
    edges = _contig_edges(pieces, n_contigs)
    starts = list(accumulate(len(piece) for piece in pieces))[:-1:2]
    places = {
        locus: _place(start, len(carried[locus]), strand, edges)
        for locus, start, strand in zip(order, starts, strands, strict=True)
    }
    return SyntheticGenome(name, tuple(_contigs(b"".join(pieces), edges)), places)


def _contig_edges(pieces: Sequence[bytes], n_contigs: int) -> list[int]:
    """Return where contigs begin and end: in the middle of the longest gaps between loci."""
    ends = list(accumulate(len(piece) for piece in pieces))
    between = range(2, len(pieces) - 1, 2)
    longest = sorted(between, key=lambda gap: -len(pieces[gap]))[: n_contigs - 1]
    middles = [ends[gap] - len(pieces[gap]) // 2 for gap in sorted(longest)]
    return [0, *middles, ends[-1]]


def _place(start: int, length: int, strand: Strand, edges: Sequence[int]) -> Place:
    number = bisect_right(edges, start)
    start -= edges[number - 1]
    return Place(contig=f"contig_{number}", start=start, end=start + length, strand=strand)


def _contigs(sequence: bytes, edges: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    for number, (start, end) in enumerate(pairwise(edges), start=1):
        yield f"contig_{number}", sequence[start:end]


def _gaps(total: int, n: int, rng: Random) -> list[int]:
    """Return `n` random lengths with this sum, each of at least two minimal gaps."""
    free = total - 2 * MIN_GAP_BP * n
    if free < 0:
        raise ValueError(f"the loci leave {total} bp for {n} gaps of {2 * MIN_GAP_BP} bp or more")
    extra = rng.multinomial(free, rng.dirichlet(np.full(n, 2.0)))
    return [2 * MIN_GAP_BP + gap for gap in extra.tolist()]


def write_genome(
    genome: SyntheticGenome, path: Path, *, quality: int = 40, weak: Sequence[Place] = ()
) -> Path:
    """Write an assembly as FASTA or FASTQ, by the suffix, and gzip if it ends in .gz.

    Args:
        genome: What to write.
        path: Ends in .fa, .fasta, .fna, .fq or .fastq, with or without .gz.
        quality: Phred quality of every base in FASTQ.
        weak: Where the quality is 5 instead: an allele there must not be given a number.

    Raises:
        ValueError: the suffix is none of these.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in (*FASTA, *FASTQ):
        raise ValueError(f"{path.name} must end in one of {', '.join((*FASTA, *FASTQ))}")
    if suffix in FASTA:
        return _write(path, b"".join(_fasta(genome)))
    return _write(path, b"".join(_fastq(genome, quality, weak)))


def _fasta(genome: SyntheticGenome) -> Iterator[bytes]:
    for contig, sequence in genome.contigs:
        yield b">%s\n" % contig.encode()
        for start in range(0, len(sequence), LINE_BP):
            yield sequence[start : start + LINE_BP] + b"\n"


def _fastq(genome: SyntheticGenome, quality: int, weak: Sequence[Place]) -> Iterator[bytes]:
    for contig, sequence in genome.contigs:
        phred = np.full(len(sequence), quality, dtype=np.uint8)
        for place in weak:
            if place.contig == contig:
                phred[place.start : place.end] = 5
        yield b"@%s\n%s\n+\n%s\n" % (contig.encode(), sequence, (phred + 33).tobytes())


def _write(path: Path, content: bytes) -> Path:
    packed = gzip.compress(content, GZIP_LEVEL, mtime=0) if path.suffix == ".gz" else content
    path.write_bytes(packed)
    return path


# Reads


def write_reads(
    genome: SyntheticGenome,
    read1: Path,
    read2: Path,
    *,
    depth: float = 40.0,
    read_length: int = 150,
    insert: tuple[float, float] = (400.0, 40.0),
    seed: int = 300,
) -> int:
    """Write Illumina-like read pairs of a genome as FASTQ, gzip by suffix; return how many pairs.

    Reads point at each other. Qualities fall from about 38 to 30 along a read, and each base is
    wrong as often as its quality says.

    Args:
        genome: What is sequenced; contigs shorter than a read are not.
        read1: The first reads of the pairs.
        read2: The second reads.
        depth: Mean reads over a base.
        read_length: Base pairs.
        insert: Mean and one sigma of the fragment length, base pairs.
        seed: Of everything random.
    """
    rng = np.random.default_rng((seed, 13))
    contigs = [codes(sequence) for _, sequence in genome.contigs if len(sequence) >= read_length]
    n_pairs = round(depth * sum(map(len, contigs)) / (2 * read_length))
    texts: tuple[list[bytes], list[bytes]] = ([], [])
    for first in range(0, n_pairs, PAIRS_AT_ONCE):
        n = min(PAIRS_AT_ONCE, n_pairs - first)
        for mate, bases in enumerate(_pairs(contigs, n, read_length, insert, rng)):
            names = (b"%s.%d/%d" % (genome.name.encode(), first + k, mate + 1) for k in range(n))
            texts[mate].append(_read_text(names, bases, rng))
    for path, parts in zip((read1, read2), texts, strict=True):
        _write(path, b"".join(parts))
    return n_pairs


def _pairs(
    contigs: list[Bases], n: int, read_length: int, insert: tuple[float, float], rng: Random
) -> tuple[Bases, Bases]:
    """Return the true bases of n pairs: two arrays of shape (n, read length)."""
    lengths = np.array([len(contig) for contig in contigs])
    starts = np.cumsum(lengths) - lengths
    contig = rng.choice(len(contigs), size=n, p=lengths / lengths.sum())
    size = np.clip(np.rint(rng.normal(*insert, size=n)), read_length, lengths[contig]).astype(int)
    left = starts[contig] + rng.integers(0, lengths[contig] - size + 1)
    joined, along = np.concatenate(contigs), np.arange(read_length)
    forward = joined[left[:, None] + along]
    backward = 3 - joined[(left + size - 1)[:, None] - along]
    turned = rng.integers(2, size=n, dtype=np.bool_)[:, None]
    return np.where(turned, backward, forward), np.where(turned, forward, backward)


def _read_text(names: Iterator[bytes], bases: Bases, rng: Random) -> bytes:
    """Return reads as FASTQ, with qualities and with the errors that these promise."""
    usual = np.linspace(38, 30, bases.shape[1])
    phred = np.clip(np.rint(usual + rng.normal(0, 3, size=bases.shape)), 2, 41)
    wrong = rng.random(bases.shape) < 10 ** (-phred / 10)
    seen = np.where(wrong, (bases + rng.integers(1, 4, size=bases.shape)) % 4, bases)
    rows = zip(names, LETTERS[seen], (phred + 33).astype(np.uint8), strict=True)
    return b"".join(b"@%s\n%s\n+\n%s\n" % (name, s.tobytes(), q.tobytes()) for name, s, q in rows)
