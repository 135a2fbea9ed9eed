import gzip
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from blocks.genomics.genome import read_genome, reverse_complement
from blocks.genomics.records import Place
from blocks.genomics.scheme_folder import read_scheme_folder
from blocks.genomics.synthetic_isolate import (
    SENSE,
    SyntheticGenome,
    SyntheticScheme,
    housekeeping_scheme,
    random_bases,
    reading_frame_scheme,
    substituted,
    synthetic_genome,
    text,
    write_genome,
    write_reads,
    write_scheme_folder,
)

MLST = housekeeping_scheme()
CGMLST = reading_frame_scheme(n_loci=8)
SMALL = synthetic_genome(MLST.carried(3) | CGMLST.carried(2), length=40_000)
STOPS = (b"TAA", b"TAG", b"TGA")


def differences(one: bytes, other: bytes) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def codons_of(sequence: bytes) -> list[bytes]:
    return [sequence[at : at + 3] for at in range(0, len(sequence), 3)]


def on_the_genome(genome: SyntheticGenome, place: Place) -> bytes:
    piece = dict(genome.contigs)[place.contig][place.start : place.end]
    return piece if place.strand == "+" else reverse_complement(piece)


Reads = list[tuple[str, bytes, bytes]]


def reads_of(path: Path) -> Reads:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = content.splitlines()
    return [
        (name.decode(), bases, quality)
        for name, bases, _, quality in zip(*[iter(lines)] * 4, strict=True)
    ]


# Schemes


def test_the_seven_fragments_are_as_long_as_pubmlsts() -> None:
    lengths = {len(sequences[0]) for sequences in MLST.alleles.values()}

    assert MLST.loci == ("demA", "demB", "demC", "demD", "demE", "demF", "demG")
    assert all(390 <= length <= 540 for length in lengths)


@pytest.mark.parametrize("locus", MLST.loci)
def test_alleles_of_a_locus_differ_a_little_from_the_first(locus: str) -> None:
    first, *others = MLST.alleles[locus]
    same_length = [allele for allele in others if len(allele) == len(first)]

    assert len({first, *others}) == 12
    assert all(1 <= differences(first, allele) <= 10 for allele in same_length)
    assert {abs(len(allele) - len(first)) for allele in others} == {0, 3}


def test_sequence_types_differ_and_descend_from_four_founders() -> None:
    founders = MLST.profiles[:4]
    shared = [
        sum(a == b for a, b in zip(profile, founders[clonal - 1], strict=True))
        for profile, clonal in zip(MLST.profiles, MLST.complexes, strict=True)
    ]

    assert len(set(MLST.profiles)) == len(MLST.profiles) == 20
    assert min(shared) >= 4
    assert set(MLST.complexes) == {1, 2, 3, 4}


def test_a_large_scheme_has_whole_reading_frames_of_another_length_each() -> None:
    for sequences in CGMLST.alleles.values():
        for sequence in sequences:
            codons = codons_of(sequence)

            assert (codons[0], codons[-1] in STOPS) == (b"ATG", True)
            assert not set(STOPS) & set(codons[1:-1])
            assert 600 <= len(sequence) <= 1500
        assert len(set(sequences)) == 5
    assert len({len(sequences[0]) for sequences in CGMLST.alleles.values()}) > 4


def test_there_are_61_sense_codons() -> None:
    assert len(SENSE) == len(np.unique(SENSE, axis=0)) == 61


def test_an_isolate_carries_the_alleles_of_its_profile() -> None:
    carried = MLST.carried(7)

    assert [MLST.alleles[locus].index(sequence) + 1 for locus, sequence in carried.items()] == list(
        MLST.profiles[6]
    )


def test_the_same_seed_gives_the_same_scheme_and_another_seed_another() -> None:
    assert housekeeping_scheme() == MLST
    assert housekeeping_scheme(seed=1).alleles != MLST.alleles


def test_substitutions_are_as_many_as_asked() -> None:
    sequence = MLST.alleles["demA"][0]
    changed = substituted(sequence, 9, np.random.default_rng(1))

    assert differences(sequence, changed) == 9


def test_a_scheme_is_written_as_pubmlst_gives_it(tmp_path: Path) -> None:
    folder = write_scheme_folder(MLST, tmp_path / "new" / "demo_mlst")
    table = (folder / "demo_mlst.txt").read_text().splitlines()
    alleles = (folder / "demA.tfa").read_bytes().splitlines()

    assert table[0] == "ST\tdemA\tdemB\tdemC\tdemD\tdemE\tdemF\tdemG\tclonal_complex"
    assert table[3] == "\t".join(map(str, (3, *MLST.profiles[2], MLST.complexes[2])))
    assert alleles[2:4] == [b">demA_2", MLST.alleles["demA"][1]]
    assert len(list(folder.iterdir())) == 8


@pytest.mark.parametrize("scheme", [MLST, CGMLST], ids=lambda scheme: scheme.name)
def test_what_is_written_is_read_again(scheme: SyntheticScheme, tmp_path: Path) -> None:
    read = read_scheme_folder(write_scheme_folder(scheme, tmp_path / scheme.name))

    assert read.loci == scheme.loci
    assert {locus: tuple(s for _, s in read.alleles(locus)) for locus in read.loci} == dict(
        scheme.alleles
    )
    assert [profile.alleles for profile in read.profiles()] == list(scheme.profiles)
    assert read.coding is (scheme is CGMLST)


# Genomes


def test_every_locus_lies_where_the_genome_says() -> None:
    carried = MLST.carried(3) | CGMLST.carried(2)
    found = {locus: on_the_genome(SMALL, place) for locus, place in SMALL.places.items()}

    assert found == carried
    assert {place.strand for place in SMALL.places.values()} == {"+", "-"}


def test_the_genome_has_the_length_and_contigs_that_were_asked_for() -> None:
    genome = synthetic_genome(MLST.carried(1))

    assert genome.length == 250_000
    assert [name for name, _ in genome.contigs] == [f"contig_{n}" for n in range(1, 6)]


def test_no_locus_is_near_another_or_an_end_of_its_contig() -> None:
    lengths = {name: len(sequence) for name, sequence in SMALL.contigs}
    places = list(SMALL.places.values())
    for one, other in combinations(places, 2):
        if one.contig == other.contig:
            assert one.start - other.end >= 200 or other.start - one.end >= 200
    assert all(place.start >= 200 and place.end <= lengths[place.contig] - 200 for place in places)


def test_half_of_the_bases_are_g_and_c() -> None:
    sequence = b"".join(sequence for _, sequence in synthetic_genome({}, n_contigs=1).contigs)
    gc = sequence.count(b"G") + sequence.count(b"C")

    assert gc / len(sequence) == pytest.approx(0.51, abs=0.005)
    assert set(sequence) == set(b"ACGT")


def test_loci_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the loci leave 1\d\d\d bp for 8 gaps"):
        synthetic_genome(MLST.carried(1), length=5_000)
    with pytest.raises(ValueError, match="7 loci leave no room for 9 contigs"):
        synthetic_genome(MLST.carried(1), n_contigs=9)


@pytest.mark.parametrize("name", ["a.fa", "a.fasta.gz", "a.fq", "a.fastq.gz"])
def test_a_genome_is_written_so_that_it_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    read = read_genome(write_genome(SMALL, tmp_path / name))

    assert read.contigs == tuple(name for name, _ in SMALL.contigs)
    assert [read.contig_sequence(n) for n in range(5)] == [s for _, s in SMALL.contigs]
    assert (read.quality is None) == ("q" not in name)


def test_only_the_weak_places_have_a_low_quality(tmp_path: Path) -> None:
    weak = Place(contig="contig_2", start=10, end=13, strand="+")
    path = write_genome(SMALL, tmp_path / "a.fastq", quality=37, weak=[weak])
    quality = {name: set(text) for name, _, text in reads_of(path)}
    (second,) = [text for name, _, text in reads_of(path) if name == "@contig_2"]

    assert second[8:15] == b"FF&&&FF"
    assert set(second[13:]) == quality["@contig_1"] == {ord("F")}


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.txt must end in one of .fa, "):
        write_genome(SMALL, tmp_path / "a.txt")


# Reads


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reads, Reads]:
    folder = tmp_path_factory.mktemp("reads")
    read1, read2 = folder / "r_1.fastq", folder / "r_2.fastq.gz"
    assert write_reads(SMALL, read1, read2, depth=20) == 2667
    return reads_of(read1), reads_of(read2)


def test_reads_of_a_pair_have_one_name_and_150_bases(
    pairs: tuple[Reads, Reads],
) -> None:
    first, second = pairs

    assert [name[:-2] for name, *_ in first] == [name[:-2] for name, *_ in second]
    assert len({name for name, *_ in first}) == 2667
    assert {(name[-2:], len(bases), len(quality)) for name, bases, quality in first} == {
        ("/1", 150, 150)
    }


def test_reads_of_a_pair_point_at_each_other_about_400_bases_apart(
    pairs: tuple[Reads, Reads],
) -> None:
    both = [s + b"N" + reverse_complement(s) for _, s in SMALL.contigs]
    inserts = list[int]()
    for (_, one, _), (_, other, _) in zip(pairs[0][:800], pairs[1][:800], strict=True):
        for strands in both:
            start = strands.find(one[:40])
            end = strands.find(reverse_complement(other[:40]))
            if start >= 0 and end >= 0:
                inserts.append(end + 40 - start)

    assert len(inserts) > 700
    assert np.mean(inserts) == pytest.approx(400, abs=5)
    assert np.std(inserts) == pytest.approx(40, abs=4)


def test_half_of_the_first_reads_are_of_either_strand(pairs: tuple[Reads, Reads]) -> None:
    forward = b"N".join(sequence for _, sequence in SMALL.contigs)
    backward = reverse_complement(forward)
    starts = [bases[:40] for _, bases, _ in pairs[0][:600]]
    along, against = (sum(start in strand for start in starts) for strand in (forward, backward))

    assert along + against > 500
    assert along / (along + against) == pytest.approx(0.5, abs=0.1)


def test_bases_are_wrong_as_often_as_their_qualities_say(
    pairs: tuple[Reads, Reads],
) -> None:
    strands = b"N".join(s + b"N" + reverse_complement(s) for _, s in SMALL.contigs)
    promised, wrong = 0.0, 0
    for _, bases, quality in pairs[0]:
        start = strands.find(bases[:30])
        if start >= 0:
            promised += sum(10 ** ((33 - letter) / 10) for letter in quality[30:])
            wrong += differences(bases[30:], strands[start + 30 : start + 150])

    assert wrong == pytest.approx(promised, rel=0.2)
    assert wrong > 100


def test_qualities_fall_along_a_read(pairs: tuple[Reads, Reads]) -> None:
    phred = np.array([list(quality) for _, _, quality in pairs[0]]) - 33

    assert phred[:, :10].mean() > phred[:, -10:].mean() + 5
    assert phred.min() >= 2
    assert phred.max() <= 41


def test_the_same_seed_gives_the_same_bytes_plain_or_packed(tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a.fastq.gz", "b.fastq.gz", "c.fastq.gz", "d.fastq.gz")]
    write_reads(SMALL, names[0], names[1], depth=2)
    write_reads(SMALL, names[2], names[3], depth=2)
    one, other = (write_genome(SMALL, tmp_path / name) for name in ("a.fa.gz", "b.fa.gz"))

    assert names[0].read_bytes() == names[2].read_bytes() != names[1].read_bytes()
    assert one.read_bytes() == other.read_bytes()
    assert names[0].read_bytes()[4:8] == bytes(4)


def test_contigs_shorter_than_a_read_are_not_sequenced(tmp_path: Path) -> None:
    short = text(random_bases(149, np.random.default_rng(0)))
    long = text(random_bases(3000, np.random.default_rng(1)))
    genome = SyntheticGenome("isolate", (("short", short), ("long", long)), {})
    write_reads(genome, tmp_path / "1.fq", tmp_path / "2.fq", depth=10)
    strands = long + b"N" + reverse_complement(long)
    found = [bases[:20] in strands for _, bases, _ in reads_of(tmp_path / "1.fq")]

    assert len(found) == 100
    assert sum(found) > 90
