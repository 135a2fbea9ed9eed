"""Known alleles by hash find what a plain search of every allele on both strands finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.errors import InconsistentInput
from blocks.genomics.genome import Genome, genome_of, reverse_complement
from tasks.genomics.exact import SHORTEST, STRANDS, IndexParts, find_exemplars, scan
from tasks.genomics.kmers import CHUNK, K, small_hashes, word_hashes

Found = set[tuple[int, int, int, str, int]]  # locus, start, length, strand, number
ALL = (1 << 32) - 1


def random_sequence(length: int, seed: int) -> bytes:
    letters = np.frombuffer(b"ACGT", np.uint8)
    return letters[np.random.default_rng(seed).integers(4, size=length)].tobytes()


def one_contig(sequence: bytes) -> Genome:
    return genome_of("genome", iter([("contig", sequence, None)]))


def found_by_hash(genome: Genome, loci: list[list[bytes]]) -> Found:
    parts = IndexParts()
    for locus, alleles in enumerate(loci):
        parts.add(locus, list(enumerate(alleles, start=1)))
    rows = scan(genome, parts.index()).found.tolist()
    return {(locus, start, length, STRANDS[s], n) for locus, start, length, s, n in rows}


def found_by_search(genome: Genome, loci: list[list[bytes]]) -> Found:
    found = Found()
    for locus, alleles in enumerate(loci):
        for number, allele in enumerate(alleles, start=1):
            for strand, text in (("+", allele), ("-", reverse_complement(allele))):
                at = genome.sequence.find(text)
                while at >= 0:
                    found.add((locus, at, len(allele), strand, number))
                    at = genome.sequence.find(text, at + 1)
    return found


def variants(sequence: bytes, seed: int, n: int) -> list[bytes]:
    """Return distinct alleles: the sequence, one base changed here and there, some shorter."""
    rng, made = np.random.default_rng(seed), {sequence: None}
    while len(made) < n:
        changed = bytearray(sequence[: len(sequence) - int(rng.integers(3))])
        for at in rng.integers(len(changed), size=int(rng.integers(1, 4))):
            changed[at] = b"ACGT"[int(rng.integers(4))]
        made[bytes(changed)] = None
    return list(made)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), length=st.integers(SHORTEST + 2, 300), n=st.integers(1, 8))
def test_hashing_finds_what_a_plain_search_finds(seed: int, length: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    loci = [variants(random_sequence(length, seed + locus), seed + locus, n) for locus in range(3)]
    pieces = [random_sequence(int(rng.integers(0, 400)), seed + 50 + at) for at in range(8)]
    for at in range(7):
        alleles = loci[int(rng.integers(3))]
        chosen = alleles[int(rng.integers(len(alleles)))]
        pieces[at] += chosen if rng.integers(2) else reverse_complement(chosen)
    genome = one_contig(b"".join(pieces))

    assert found_by_hash(genome, loci) == found_by_search(genome, loci) != set()


@pytest.mark.parametrize("at", [0, CHUNK - 200, CHUNK - K, CHUNK - 1, CHUNK, 2 * CHUNK - 350])
def test_an_allele_is_found_wherever_the_genome_is_cut_for_the_scan(at: int) -> None:
    allele = random_sequence(400, 7)
    around = random_sequence(2 * CHUNK + 50, 8)
    genome = one_contig(around[:at] + allele + around[at:])

    assert found_by_hash(genome, [[allele]]) == {(0, at, 400, "+", 1)}


def test_an_allele_over_two_contigs_is_not_found() -> None:
    allele = random_sequence(400, 7)
    contigs = [("a", allele[:300], None), ("b", allele[300:], None)]

    assert found_by_hash(genome_of("genome", iter(contigs)), [[allele]]) == set()


def test_an_allele_that_two_loci_share_is_found_for_both() -> None:
    allele = random_sequence(400, 7)

    found = found_by_hash(one_contig(allele), [[allele], [random_sequence(90, 1), allele]])

    assert found == {(0, 0, 400, "+", 1), (1, 0, 400, "+", 2)}


@pytest.mark.parametrize("genome", [b"A", b"ACGT" * 3, b"N" * 500, b"A" * 70_000])
def test_a_genome_that_has_nothing_of_a_scheme_is_scanned_in_peace(genome: bytes) -> None:
    assert found_by_hash(one_contig(genome), [[random_sequence(400, 7)]]) == set()


def test_a_homopolymer_is_no_anchor_of_everything() -> None:
    allele = random_sequence(200, 3) + b"A" * 60 + random_sequence(200, 4)
    genome = one_contig(b"A" * 5_000 + allele + b"A" * 5_000)

    assert (0, 5_000, 460, "+", 1) in found_by_hash(genome, [[allele]])


@pytest.mark.parametrize("allele", [b"ACGT", b"A" * (SHORTEST - 1), b"ACGTN" * 20, b"acgt" * 20])
def test_an_allele_that_cannot_be_found_is_refused(allele: bytes) -> None:
    with pytest.raises(InconsistentInput, match="allele 1 is shorter than 32 bp, or not only"):
        IndexParts().add(0, [(1, allele)])


def test_alleles_that_are_added_later_are_found_like_the_first() -> None:
    first, later = random_sequence(400, 7), random_sequence(500, 8)
    genome = one_contig(random_sequence(100, 1) + first + later)
    parts = IndexParts()
    parts.add(0, [(1, first)])
    early = parts.index()
    parts.add(0, [(2, later)])

    assert scan(genome, early).found["number"].tolist() == [1]
    assert sorted(scan(genome, parts.index()).found["number"].tolist()) == [1, 2]


def test_words_in_common_show_where_an_unknown_allele_begins() -> None:
    allele = random_sequence(500, 7)
    unknown = bytearray(allele)
    for at in range(10, 500, 25):  # 4 % of the bases
        unknown[at] = b"CGTA"[b"ACGT".index(unknown[at])]
    genome = one_contig(random_sequence(3_000, 1) + reverse_complement(bytes(unknown)))

    seeds = find_exemplars(genome, {4: [allele]})

    assert set(zip(seeds["locus"].tolist(), seeds["start"].tolist(), strict=True)) == {(4, 3_000)}
    assert set(seeds["strand"].tolist()) == {1}


def test_a_hash_stands_for_one_word() -> None:
    sequence = random_sequence(50_000, 9)
    words = {sequence[at : at + K] for at in range(len(sequence) - K + 1)}

    assert len(set(word_hashes(sequence).tolist())) == len(words)


def test_small_hashes_are_an_even_share_of_all() -> None:
    sequence = random_sequence(300_000, 9)
    positions, hashes = small_hashes(sequence, ALL // 50)

    assert len(positions) == pytest.approx(len(sequence) / 50, rel=0.05)
    assert hashes.tolist() == word_hashes(sequence)[positions].tolist()
