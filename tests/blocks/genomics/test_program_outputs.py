"""What programs wrote, read back: recorded outputs on synthetic sequences, whole and damaged."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import OutputInvalid
from blocks.genomics.genbank import genbank, protein, write_genbank
from blocks.genomics.genes import Gene, gene_counts, read_genes
from blocks.genomics.genome import read_genome, reverse_complement
from blocks.genomics.outputs import read_output
from blocks.genomics.pilercr import CrisprArray, array_counts, read_arrays
from blocks.genomics.pipeline import load_pipeline
from blocks.genomics.records import Place
from tests.fakes.planted_genome import REPEAT

DATA = Path(__file__).parents[2] / "data" / "genomics"
REPORT = (DATA / "pilercr-arrays.txt").read_text()
GENES = (DATA / "prodigal.gff").read_text()


def arrays() -> dict[str, CrisprArray]:
    return {array.contig: array for array in read_arrays(REPORT)}


def a_gene(start: int, end: int, strand: str = "+", **more: Any) -> Gene:
    return Gene(id="1_1", place=Place(contig="c1", start=start, end=end, strand=strand), **more)  # type: ignore[arg-type]


# CRISPR arrays


def test_each_crispr_array_has_its_copies() -> None:
    copies = {name: len(array.repeats) for name, array in arrays().items()}

    assert copies == {"at_start": 4, "gap_and_change": 6, "at_end": 5, "near_start": 4}


@pytest.mark.parametrize("contig", ["at_start", "gap_and_change", "at_end", "near_start"])
def test_an_array_is_where_its_repeats_and_spacers_are(contig: str) -> None:
    genome = read_genome(DATA / "pilercr-arrays.fa")
    sequence = genome.contig_sequence(genome.contigs.index(contig)).decode()
    array = arrays()[contig]

    pairs = zip(array.repeats, (*array.spacers, ""), strict=True)

    assert sequence[array.start : array.end] == "".join(a + b for a, b in pairs)
    assert sequence.count(REPEAT, array.start, array.end) >= len(array.repeats) - 2


def test_a_repeat_that_differs_keeps_its_own_bases() -> None:
    array = arrays()["gap_and_change"]

    assert array.consensus == REPEAT
    assert array.repeats[0] == f"{REPEAT[:5]}A{REPEAT[6:]}"
    assert array.repeats[2] == f"{REPEAT[:10]}{REPEAT[11:]}"
    assert {*array.repeats[3:], array.repeats[1]} == {REPEAT}


def test_the_flank_of_the_last_repeat_is_no_spacer() -> None:
    array = arrays()["at_start"]

    assert array.spacers == (
        "CGCTAGGTGGTTCGTTCTTGGCGGAGTTGCGG",
        "CTATAGCAGCGTCACGAATGCTCGACTTTCGC",
        "ACTTGTCACCACGCCTTCAATAGGCTAACATA",
    )


def test_arrays_are_stored_with_their_counts() -> None:
    counts = array_counts(read_arrays(REPORT))

    assert (counts["n_arrays"], counts["n_spacers"], counts["copies"]) == (4, 15, "4+6+5+4")
    assert counts["arrays"][2]["start"], counts["arrays"][2]["end"] == (1500, 1768)


def test_a_genome_without_crispr_is_a_result() -> None:
    assert array_counts(read_arrays((DATA / "pilercr-none.txt").read_text())) == {
        "n_arrays": 0,
        "n_spacers": 0,
        "copies": "",
        "arrays": [],
    }


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:0],
        lambda text: text[:1500],
        lambda text: text.replace("4 putative", "5 putative"),
        lambda text: text.replace("\n        61  ", "\n            "),
        lambda text: text.replace("GGCGGAGTTGCGG\n", "GGCGG\n"),
        lambda text: text.replace("\n       121      28   100.0      32  CGACTTTCGC", "\n#", 1),
        lambda text: re.sub(r"\n +121 .*", "", text, count=1),
        lambda text: text.replace("............................  ", "..........  ", 1),
        lambda text: text.replace(">at_end\n", "\n"),
        lambda text: text.replace("=", "-"),
    ],
)
def test_a_damaged_crispr_report_is_no_result(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "pilercr.txt"
    path.write_text(damage(REPORT))

    with pytest.raises(OutputInvalid, match=r"pilercr.txt cannot be read as pilercr"):
        read_output("pilercr", path, {"n": "n_arrays"})


# Genes


def test_genes_that_a_contig_cuts_are_open_at_that_end() -> None:
    cut = [gene for gene in read_genes(GENES) if gene.open_left or gene.open_right]

    assert [(g.place.contig, g.id, g.open_left, g.open_right) for g in cut] == [
        ("left", "1_9", False, True),
        ("middle", "2_1", True, False),
        ("middle", "2_8", False, True),
        ("right", "3_1", True, False),
    ]
    assert cut[0].place == Place(contig="left", start=8035, end=8488, strand="+")


def test_genes_are_counted_with_their_bases() -> None:
    assert gene_counts(read_genes(GENES)) == {
        "genes": 26,
        "partial_genes": 4,
        "coding_bases": 22 * 906 + 4 * 453,
    }


def test_a_base_in_two_genes_is_one_coding_base() -> None:
    genes = [a_gene(0, 90), a_gene(60, 120), a_gene(70, 80), a_gene(300, 330)]

    assert gene_counts(genes)["coding_bases"] == 150


def test_other_features_and_the_contigs_behind_them_are_no_genes() -> None:
    other = GENES.replace("\tCDS\t236\t", "\ttRNA\t236\t") + "##FASTA\n>left\nACGT\n"

    assert len(read_genes(other)) == 25


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no gff",
        GENES + "left\tProdigal\n",
        GENES.replace("236\t1141", "236\t12"),
        GENES.replace("236\t1141", "0\t1141"),
        GENES.replace("236\t1141", "a\t1141"),
        GENES.replace("\t+\t", "\t.\t", 1),
    ],
)
def test_what_is_no_gff_is_no_result(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.gff"
    path.write_text(text)

    with pytest.raises(OutputInvalid, match=r"a.gff cannot be read as gff"):
        read_output("gff", path, {"genes": "genes"})


# GenBank


@pytest.mark.parametrize(
    ("codons", "expected"),
    [("ATGAAATAA", "MK"), ("GTGGTGTAA", "MV"), ("AAAATGTAG", "KM"), ("ATGNAACGTTGA", "MXR")],
)
def test_a_gene_becomes_its_protein_on_either_strand(codons: str, expected: str) -> None:
    contig = b"CC" + codons.encode() + b"GGGG"
    gene = a_gene(2, 2 + len(codons))
    other = a_gene(4, 4 + len(codons), "-")

    assert protein(gene, contig) == expected
    assert protein(other, reverse_complement(contig)) == expected


def test_a_gene_that_begins_before_its_contig_has_no_start_codon() -> None:
    assert protein(a_gene(0, 6, open_left=True), b"GTGAAA") == "VK"
    assert protein(a_gene(0, 6, open_right=True), b"GTGAAA") == "MK"
    assert protein(a_gene(0, 6, "-", open_right=True), b"TTTCAC") == "VK"


def test_a_genbank_record_has_contig_gene_protein_and_sequence() -> None:
    contig = b"ATGAAACGT" * 8
    gene = a_gene(0, 72, "-", open_right=True)

    lines = list(genbank([("c1", contig)], [gene], date(2026, 3, 9)))

    assert lines[0] == (
        "LOCUS       c1                        72 bp    DNA     linear   BCT 09-MAR-2026"
    )
    assert "     CDS             complement(1..>72)" in lines
    assert f'{" " * 21}/translation="{"TFH" * 8}"' in lines
    assert lines[-3:] == [
        "        1 atgaaacgta tgaaacgtat gaaacgtatg aaacgtatga aacgtatgaa acgtatgaaa",
        "       61 cgtatgaaac gt",
        "//",
    ]


@pytest.mark.parametrize("lengths", [(9000, 7000), (9000, 6823, 9000)])
def test_a_gene_on_no_contig_is_no_annotation(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    contigs = [(n, b"A" * k) for n, k in zip(("left", "middle", "right"), lengths, strict=False)]
    path = tmp_path / "a.gff"
    path.write_text(GENES)

    with pytest.raises(OutputInvalid, match=r"a.gff cannot be written as GenBank: .*on no contig"):
        write_genbank(contigs, path, tmp_path / "a.gbk")


# Results


def test_no_serovar_is_a_result() -> None:
    found = read_output(
        "json-list", DATA / "sistr-no-serovar.json", load_pipeline("SeroPred").fields
    )

    assert (found["serovar"], found["serogroup"], found["h1"]) == ("-:-:-", "-", "-")
    assert (found["serovar_cgmlst"], found["cgmlst_found_loci"]) == (None, 0)
    assert found["qc_status"] == "FAIL"


@pytest.mark.parametrize(
    ("reader", "text", "place", "expected"),
    [
        ("json", '{"a": {"b": [1, {"c": "d"}]}}', "a.b.1.c", "d"),
        ("json", '{"a": null}', "a", None),
        ("json", '{"a": NaN}', "a", None),
        ("json-list", '[{"a": 1}, {"a": 2}]', "a", 1),
        ("tsv", "a\tb c\n1\tx y\n2\tz\n", "b c", "x y"),
    ],
)
def test_a_field_is_taken_from_its_place(
    tmp_path: Path, reader: str, text: str, place: str, expected: object
) -> None:
    (tmp_path / "out").write_text(text)

    assert read_output(reader, tmp_path / "out", {"ours": place}) == {"ours": expected}


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        ("json", ""),
        ("json", '{"a": 1'),
        ("json", "\udcff"),
        ("json-list", "[]"),
        ("json-list", "3"),
        ("tsv", ""),
        ("tsv", "a\tb\n"),
        ("tsv", "a\tb\n1\n"),
        ("tsv", "a\tb\n1\t2\t3\n"),
    ],
)
def test_an_output_in_another_shape_is_no_result(tmp_path: Path, reader: str, text: str) -> None:
    (tmp_path / "out").write_text(text, errors="surrogateescape")

    with pytest.raises(OutputInvalid, match=f"out cannot be read as {reader}: "):
        read_output(reader, tmp_path / "out", {"a": "a"})


@pytest.mark.parametrize("place", ["b", "a.b", "a.0", "list.7", "list.x", "word.0"])
def test_a_field_that_is_not_there_is_another_version(tmp_path: Path, place: str) -> None:
    (tmp_path / "out").write_text('{"a": 1, "list": [1], "word": "serovar"}')

    with pytest.raises(OutputInvalid, match=f"out has no '{place}'"):
        read_output("json", tmp_path / "out", {"ours": place})
