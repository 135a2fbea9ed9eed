"""The allele caller on genomes with one peculiarity each; see tests/fakes/edge_genomes.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blocks.genomics.genome import read_genome
from blocks.genomics.records import CallStatus, LocusCall
from blocks.genomics.synthetic_isolate import (
    SyntheticGenome,
    SyntheticScheme,
    housekeeping_scheme,
    reading_frame_scheme,
    substituted,
    synthetic_genome,
    write_genome,
)
from tasks.genomics.alleles import LocusAlleles, build_index, type_genome
from tests.fakes.edge_bench import (
    EXACT,
    NOVEL,
    Alleles,
    Bench,
    Copy,
    EdgeGenome,
    complemented,
    in_state,
    novel,
)
from tests.fakes.edge_genomes import edge_genomes

ST = 3
MLST = housekeeping_scheme()
CGMLST = reading_frame_scheme(n_loci=4, n_alleles=6)
VARIANTS: dict[str, Callable[[EdgeGenome], EdgeGenome]] = {
    "": lambda genome: genome,
    ", on the other strand": EdgeGenome.on_the_other_strand,
    ", contigs in another order": EdgeGenome.in_another_order,
}


def numbered(scheme: SyntheticScheme) -> Alleles:
    return {
        locus: tuple(enumerate(sequences, start=1)) for locus, sequences in scheme.alleles.items()
    }


def genomes_of(scheme: SyntheticScheme) -> list[EdgeGenome]:
    carried = dict(zip(scheme.loci, scheme.profiles[ST - 1], strict=True))
    return edge_genomes(numbered(scheme), carried)


EDGE_GENOMES = genomes_of(MLST)
OF_READING_FRAMES = genomes_of(CGMLST)


def calls_of(path: Path, alleles: Alleles) -> tuple[LocusCall, ...]:
    index = build_index([LocusAlleles(locus, known) for locus, known in alleles.items()])
    return type_genome(read_genome(path), index)


def problems_of(genome: EdgeGenome, directory: Path) -> list[str]:
    path = directory / "genome.fa"
    path.write_bytes(b"".join(b">%s\n%s\n" % (name.encode(), s) for name, s in genome.contigs))
    return genome.problems(calls_of(path, genome.alleles))


@pytest.mark.parametrize("genome", EDGE_GENOMES, ids=lambda genome: genome.sentence)
def test_the_expected_places_hold_the_expected_sequences(genome: EdgeGenome) -> None:
    contigs = dict(genome.contigs)
    for locus, expected in genome.expected.items():
        if expected.statuses[0] not in (EXACT, NOVEL):
            continue
        (place,) = expected.places or ()
        found = contigs[place.contig][place.start : place.end].upper()

        assert found == (
            expected.sequence if place.strand == "+" else complemented(expected.sequence or b"")
        ), locus


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("genome", EDGE_GENOMES, ids=lambda genome: genome.sentence)
def test_a_genome_with(genome: EdgeGenome, variant: str, tmp_path: Path) -> None:
    assert problems_of(VARIANTS[variant](genome), tmp_path) == []


@pytest.mark.parametrize("genome", OF_READING_FRAMES, ids=lambda genome: genome.sentence)
def test_a_genome_typed_by_whole_genes_with(genome: EdgeGenome, tmp_path: Path) -> None:
    assert problems_of(genome, tmp_path) == []


# Which new alleles may be given a number


def isolate_with_a_new_allele() -> tuple[SyntheticGenome, str]:
    locus = MLST.loci[2]
    carried = MLST.carried(ST)
    carried[locus] = substituted(carried[locus], 2, np.random.default_rng(5))
    return synthetic_genome(carried, length=20_000, n_contigs=3), locus


@pytest.mark.parametrize(
    ("name", "quality", "weak", "mintable"),
    [
        ("isolate.fa", 40, False, False),
        ("isolate.fastq.gz", 40, False, True),
        ("isolate.fastq", 10, False, True),
        ("isolate.fastq", 9, False, False),
        ("isolate.fastq", 40, True, False),
    ],
    ids=[
        "from FASTA: no",
        "from good bases: yes",
        "from bases of quality 10: yes",
        "from bases of quality 9: no",
        "from one weak base: no",
    ],
)
def test_a_new_allele_may_be_given_a_number(
    name: str, quality: int, weak: bool, mintable: bool, tmp_path: Path
) -> None:
    genome, locus = isolate_with_a_new_allele()
    place = genome.places[locus]
    middle = place.model_copy(update={"start": place.start + 200, "end": place.start + 201})
    path = write_genome(genome, tmp_path / name, quality=quality, weak=(middle,) if weak else ())
    calls = {call.locus: call for call in calls_of(path, numbered(MLST))}

    assert calls[locus].status is CallStatus.NOVEL
    assert calls[locus].is_mintable is mintable
    assert [call.locus for call in calls.values() if call.is_mintable] == [locus] * mintable


def test_weak_bases_beside_a_new_allele_do_not_matter(tmp_path: Path) -> None:
    genome, locus = isolate_with_a_new_allele()
    place = genome.places[locus]
    beside = [(place.start - 5, place.start), (place.end, place.end + 5)]
    weak = [place.model_copy(update={"start": start, "end": end}) for start, end in beside]
    path = write_genome(genome, tmp_path / "isolate.fastq", weak=weak)
    calls = {call.locus: call for call in calls_of(path, numbered(MLST))}

    assert calls[locus].min_quality == 40
    assert calls[locus].is_mintable


def test_a_whole_isolate_has_the_alleles_of_its_sequence_type(tmp_path: Path) -> None:
    genome = synthetic_genome(MLST.carried(ST) | CGMLST.carried(2))
    path = write_genome(genome, tmp_path / "isolate.fa.gz")
    calls = calls_of(path, numbered(MLST))

    assert tuple(call.allele for call in calls) == MLST.profiles[ST - 1]
    assert [call.places for call in calls] == [(genome.places[locus],) for locus in MLST.loci]


def test_the_five_fates_of_a_locus_give_enterobases_codes(tmp_path: Path) -> None:
    known, (new, missing, split, twice) = MLST.carried(ST), MLST.loci[1:5]
    bench = Bench(numbered(MLST), dict(zip(MLST.loci, MLST.profiles[ST - 1], strict=True)), seed=1)
    cut, flank = len(known[split]) * 7 // 10, bench.flank()
    copies = [Copy(twice, known[twice]), bench.flank(), Copy(twice, known[twice], "-")]
    genome = bench.genome(
        "a locus of each kind",
        [flank, Copy(new, changed := bench.changed(new, 1)), bench.flank(), *copies, flank],
        [flank, known[split][:cut]],
        [known[split][cut:], flank],
        **{new: novel(changed), missing: in_state(CallStatus.MISSING)},
        **{split: in_state(CallStatus.FRAGMENTED), twice: in_state(CallStatus.DUPLICATED)},
    )
    path = tmp_path / "genome.fa"
    path.write_bytes(b"".join(b">%s\n%s\n" % (n.encode(), s) for n, s in genome.contigs))
    calls = calls_of(path, genome.alleles)
    exact = MLST.profiles[ST - 1]

    assert [call.code for call in calls] == [exact[0], None, 0, -1, -1, exact[5], exact[6]]
    assert genome.problems(calls) == []
