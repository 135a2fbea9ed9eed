"""Loci that are broken, in pieces, repeated, or at the place of another one."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from blocks.genomics.genome import genome_of, reverse_complement
from blocks.genomics.records import CallStatus, LocusCall
from blocks.genomics.synthetic_isolate import random_bases, substituted, text
from tasks.genomics.alignment import MAX_PLACES
from tasks.genomics.alleles import LocusAlleles, build_index, type_genome

RNG = np.random.default_rng(41)
LENGTH, N_ALLELES = 500, 12
CHANCE_BP = 15  # that unrelated sequence beside a piece may be like what the piece lacks


def unrelated(length: int) -> bytes:
    return text(random_bases(length, RNG))


def a_locus(length: int = LENGTH, *, differences: float = 0.03) -> list[bytes]:
    first = unrelated(length)
    return [first, *(changed(first, differences) for _ in range(N_ALLELES - 1))]


def changed(sequence: bytes, share: float) -> bytes:
    return substituted(sequence, max(1, round(share * len(sequence))), RNG)


def typed(contigs: Sequence[bytes], *loci: Sequence[bytes]) -> tuple[LocusCall, ...]:
    """Type a genome by a scheme of these loci, each given as its alleles 1, 2, ..."""
    scheme = [
        LocusAlleles(f"locus{n}", list(enumerate(alleles, start=1)))
        for n, alleles in enumerate(loci, start=1)
    ]
    named = ((f"contig{n}", sequence, None) for n, sequence in enumerate(contigs, start=1))
    return type_genome(genome_of("a genome", named), build_index(scheme))


@pytest.mark.parametrize("replaced", [30, 60, 100])
@pytest.mark.parametrize("side", ["first", "last"])
def test_a_gene_whose_end_was_replaced_is_no_new_allele(side: str, replaced: int) -> None:
    for _ in range(20):
        alleles = a_locus()
        whole = alleles[5] if side == "last" else reverse_complement(alleles[5])
        broken = unrelated(1_000) + whole[:-replaced] + unrelated(1_500)

        [call] = typed([broken], alleles)

        assert call.status is CallStatus.FRAGMENTED


def test_a_gene_with_an_insertion_sequence_is_no_new_allele_wherever_it_lies() -> None:
    alleles, inserted = a_locus(), unrelated(1_300)
    for at in range(20, LENGTH - 20, 23):
        carried = alleles[3][:at] + inserted + alleles[3][at:]

        [call] = typed([unrelated(900) + carried + unrelated(900)], alleles)

        assert call.status is CallStatus.FRAGMENTED, at


@pytest.mark.parametrize("share", [0.15, 0.4, 0.6, 0.9])
@pytest.mark.parametrize("end", ["the first", "the last"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_piece_at_a_contigs_end_is_found_where_it_is(share: float, end: str, order: str) -> None:
    alleles, length = a_locus(), round(share * LENGTH)
    if end == "the first":
        contig, start = unrelated(800) + alleles[2][:length], 800
    else:
        contig, start = alleles[2][-length:] + unrelated(800), 0
    neighbours = [unrelated(1_200), unrelated(1_200)]
    contigs = [contig, *neighbours] if order == "before" else [*neighbours, contig]

    [call] = typed(contigs, alleles)

    assert (call.status, call.code) == (CallStatus.FRAGMENTED, -1)
    [place] = call.places
    assert place.contig == ("contig1" if order == "before" else "contig3")
    assert abs(place.start - start) <= CHANCE_BP
    assert abs(place.end - start - length) <= CHANCE_BP


def test_a_contig_inside_a_gene_is_a_piece_of_it_from_end_to_end() -> None:
    alleles = a_locus()

    [call] = typed([unrelated(2_000), alleles[7][150:350]], alleles)

    assert call.status is CallStatus.FRAGMENTED
    assert [(p.contig, p.start, p.end) for p in call.places] == [("contig2", 0, 200)]


@pytest.mark.parametrize("cuts", [(250,), (170, 340)])
def test_a_gene_in_pieces_has_a_place_on_every_contig(cuts: tuple[int, ...]) -> None:
    alleles = a_locus()
    borders = [0, *cuts, LENGTH]
    pieces = [alleles[4][a:b] for a, b in itertools.pairwise(borders)]
    pieces[0], pieces[-1] = unrelated(600) + pieces[0], pieces[-1] + unrelated(600)
    contigs = [one for piece in pieces for one in (piece, unrelated(1_000))]

    [call] = typed(contigs, alleles)

    assert call.status is CallStatus.FRAGMENTED
    assert {p.contig for p in call.places} == {f"contig{1 + 2 * n}" for n in range(len(pieces))}


@pytest.mark.parametrize("length", [100, 200, 450])
@pytest.mark.parametrize("differences", [0.01, 0.03])
def test_a_second_unequal_copy_is_seen_beside_a_known_allele(
    length: int, differences: float
) -> None:
    for _ in range(15):
        alleles = a_locus(length, differences=0.02)
        copy = alleles[6][:20] + changed(alleles[6][20:-20], differences) + alleles[6][-20:]

        [call] = typed([unrelated(900) + alleles[6] + unrelated(900) + copy, copy[:9]], alleles)

        assert (call.status, call.code) == (CallStatus.DUPLICATED, -1)


def test_a_new_allele_inside_another_locus_is_new_also_when_the_other_one_is_known() -> None:
    """Far from the first allele, near to a known one: the other locus is as long as both."""
    for _ in range(15):
        alleles = a_locus(differences=0.06)
        new = substituted(alleles[9], 1, RNG)
        outer = unrelated(300) + new + unrelated(300)

        known, inner = typed([unrelated(700) + outer + unrelated(700)], [outer], alleles)

        assert (known.status, known.allele) == (CallStatus.EXACT, 1)
        assert (inner.status, inner.sequence) == (CallStatus.NOVEL, new.decode())


def test_of_a_gene_that_is_repeated_thousands_of_times_some_places_are_told() -> None:
    alleles = a_locus()

    [call] = typed([(alleles[1] + unrelated(60)) * 3_000], alleles)

    assert call.status is CallStatus.DUPLICATED
    assert len(call.places) == MAX_PLACES


@pytest.mark.parametrize("seed", range(20))
def test_of_alleles_that_overlap_the_longest_is_kept(seed: int) -> None:
    """Windows of one sequence as alleles: who shares half of itself with a longer one goes."""
    rng = np.random.default_rng(seed)
    genome, kept = unrelated(3_000), list[tuple[int, int]]()
    windows = [(int(rng.integers(0, 2_700)), length) for length in range(260, 140, -2)]
    for start, length in windows:
        shared = [min(start + length, b) - max(start, a) for a, b in kept]
        if all(2 * bases < length for bases in shared):
            kept.append((start, start + length))

    [call] = typed([genome], [genome[start : start + length] for start, length in windows])

    assert call.status is CallStatus.DUPLICATED
    assert [(place.start, place.end) for place in call.places] == sorted(kept)
