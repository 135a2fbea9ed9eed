"""Synthetic contigs with planted CRISPR arrays and genes, whose places are known."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.genomics.genome import reverse_complement
from blocks.genomics.records import Place, Strand

REPEAT = "GTATTCCGCGCGAGCGGGGATAAACCGA"  # 28 bases, of no organism
SPACER_BP = 32
# Codons that highly expressed genes of enteric bacteria prefer, often ones more than once.
CODONS = (
    *("CTG", "CTG", "GAA", "GAA", "GCG", "GCG", "AAA", "AAA", "GGT", "GGC", "GAT", "GAC"),
    *("ATC", "ATC", "GTT", "GTG", "ACC", "CGT", "CGT", "AAC", "CAG", "TTC", "CCG", "TCT"),
    *("TAC", "ATG", "CAC", "TGC", "TGG", "GCT"),
)
# A ribosome binds at AGGAGG; the stops, the last one in the gene's frame, keep other starts away.
BEFORE_A_GENE = "TTAACTAGTTGACTTATAATTAAGGAGGTAAAACT"
AFTER_A_GENE = "TAATTAACTAGCCTTTTTTAAGTTAATTGATTTA"


@dataclass(frozen=True)
class PlantedArray:
    """One array: where it lies, and its spacers on the forward strand."""

    place: Place
    spacers: tuple[str, ...]


def random_bases(rng: random.Random, n: int, letters: str = "ACGT") -> str:
    return "".join(rng.choices(letters, k=n))


def contig_with_array(
    n_copies: int, *, contig: str = "c1", before: int = 3000, after: int = 3000, seed: int = 7
) -> tuple[bytes, PlantedArray]:
    """Return a random contig with one array of `n_copies` equal repeats."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    spacers = tuple(random_bases(rng, SPACER_BP) for _ in range(n_copies - 1))
    array = REPEAT + "".join(spacer + REPEAT for spacer in spacers)
    sequence = random_bases(rng, before) + array + random_bases(rng, after)
    place = Place(contig=contig, start=before, end=before + len(array), strand="+")
    return sequence.encode(), PlantedArray(place, spacers)


def contig_with_genes(
    n_genes: int, *, contig: str = "c1", n_codons: int = 300, seed: int = 7
) -> tuple[bytes, list[Place]]:
    """Return a contig of genes on alternating strands, and where they are, stop included."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    sequence, places = random_bases(rng, 200, "AT").encode(), list[Place]()
    for number in range(n_genes):
        strand: Strand = "-" if number % 2 else "+"
        gene = "ATG" + "".join(rng.choices(CODONS, k=n_codons)) + "TAA"
        piece = (BEFORE_A_GENE + gene + AFTER_A_GENE).encode()
        before = BEFORE_A_GENE if strand == "+" else AFTER_A_GENE
        start = len(sequence) + len(before)
        places.append(Place(contig=contig, start=start, end=start + len(gene), strand=strand))
        sequence += piece if strand == "+" else reverse_complement(piece)
    return sequence + random_bases(rng, 200, "AT").encode(), places


def write_fasta(path: Path, contigs: Sequence[tuple[str, bytes]]) -> Path:
    path.write_bytes(b"".join(b">" + name.encode() + b"\n" + s + b"\n" for name, s in contigs))
    return path
