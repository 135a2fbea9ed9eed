"""The allele caller on real genomes whose alleles are known from tseemann/mlst and chewBBACA.

The data are not in this repository (their README says where they come from); without them these
tests are skipped.
"""

import csv
import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from blocks.genomics.genome import Genome, read_genome, reverse_complement
from blocks.genomics.records import CallStatus, LocusCall
from blocks.genomics.scheme_folder import SchemeFolder, read_scheme_folder
from tasks.genomics.alleles import LocusAlleles, TypingIndex, build_index, type_genome

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "genomics"
EDGE = DATA / "mlst_edge" / "derived"
GENOMES = ("Sal_GCA_000008105", "Sal_SRR6126859", "Sal_SRR1002850_SMALL", "Ec_GCF_000005845")
GENOMES += ("Ec_GCF_000010485", "Ec_GCF_001566635", "Sb_GCF_016726285", "Lm_CFSAN023463")
TYPED_BY_WHOLE_GENES = GENOMES[3:7]
BASE = {"aroC": 34, "dnaN": 31, "hemD": 35, "hisD": 14, "purE": 26, "sucA": 6, "thrA": 8}

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the real genomes are not in this repository, and not beside it"
)


class Typed:
    """A scheme that is read, and its index."""

    def __init__(self, scheme: SchemeFolder) -> None:
        self.loci = scheme.loci
        self.profiles = {profile.alleles: profile.number for profile in scheme.profiles()}
        self.index: TypingIndex = build_index(
            [LocusAlleles(locus, scheme.alleles(locus)) for locus in scheme.loci]
        )


@cache
def typed(name: str) -> Typed:
    with (
        TemporaryDirectory() as directory,
        tarfile.open(DATA / "schemes" / f"{name}.tar.xz") as tar,
    ):
        tar.extractall(directory, filter="data")
        return Typed(read_scheme_folder(Path(directory) / name))


@cache
def whole_genes() -> TypingIndex:
    text = gzip.decompress((DATA / "cgmlst" / "exemplars.fa.gz").read_bytes()).decode()
    records = (record.split("\n", 1) for record in text.split(">")[1:])
    loci = [(name, sequence.replace("\n", "").encode()) for name, sequence in records]
    return build_index(
        [LocusAlleles(name, [(1, sequence)]) for name, sequence in loci], coding=True
    )


def a_genome(name: str) -> Genome:
    return read_genome(DATA / "genomes" / f"{name}.fna.gz")


def sequence_at(genome: Genome, call: LocusCall) -> bytes:
    (place,) = call.places
    contig = genome.contig_sequence(genome.contigs.index(place.contig))
    piece = contig[place.start : place.end]
    return piece if place.strand == "+" else reverse_complement(piece)


def md5(sequence: bytes) -> str:
    return hashlib.md5(sequence, usedforsecurity=False).hexdigest()


# Seven genes


@pytest.mark.parametrize("name", GENOMES)
def test_a_real_genome_has_the_sequence_type_that_mlst_finds(name: str) -> None:
    expected = json.loads((DATA / "expected_genomes.json").read_text())[name]["mlst"]
    scheme = typed(expected["scheme"])
    calls = type_genome(a_genome(name), scheme.index)
    numbers = tuple(call.allele or 0 for call in calls)

    assert [f"{call.locus}({call.allele})" for call in calls] == expected["alleles"]
    assert {call.status for call in calls} == {CallStatus.EXACT}
    assert str(scheme.profiles[numbers]) == expected["ST"]


def test_all_genomes_with_a_known_sequence_type_are_looked_at() -> None:
    expected = json.loads((DATA / "expected_genomes.json").read_text())

    assert set(GENOMES) == {name for name, genome in expected.items() if "mlst" in genome}


@pytest.mark.parametrize(
    ("file", "locus", "status"),
    [
        ("base.fa", None, None),
        ("rc_lower.fa", None, None),
        ("snp.fa", "hemD", CallStatus.NOVEL),
        ("del3.fa", "purE", CallStatus.NOVEL),
        ("missing.fa", "dnaN", CallStatus.MISSING),
        ("split.fa", "sucA", CallStatus.FRAGMENTED),
        ("dup.fa", "aroC", CallStatus.DUPLICATED),
        ("dup_same.fa", "aroC", CallStatus.DUPLICATED),
        ("ns.fa", "thrA", CallStatus.AMBIGUOUS),
    ],
)
def test_one_edit_of_a_real_genome_changes_one_call(
    file: str, locus: str | None, status: CallStatus | None
) -> None:
    calls = {
        call.locus: call
        for call in type_genome(read_genome(EDGE / file), typed("salmonella").index)
    }
    others = {name: call.allele for name, call in calls.items() if name != locus}

    assert others == {name: number for name, number in BASE.items() if name != locus}
    assert locus is None or (calls[locus].status, calls[locus].allele) == (status, None)


def test_the_edits_are_all_looked_at() -> None:
    with (EDGE / "EXPECTED.tsv").open() as file:
        files = {row["file"] for row in csv.DictReader(file, delimiter="\t")}

    assert files == {path.name for path in EDGE.glob("*.fa")}
    assert len(files) == 10


def test_a_new_allele_of_a_real_locus_is_what_the_edit_made() -> None:
    base = read_genome(EDGE / "base.fa")
    before = {call.locus: call for call in type_genome(base, typed("salmonella").index)}
    snp = read_genome(EDGE / "snp.fa")
    after = {call.locus: call for call in type_genome(snp, typed("salmonella").index)}
    known, new = sequence_at(base, before["hemD"]), sequence_at(snp, after["hemD"])
    deleted = read_genome(EDGE / "del3.fa")
    shorter = {call.locus: call for call in type_genome(deleted, typed("salmonella").index)}

    assert [n for n, (a, b) in enumerate(zip(known, new, strict=True)) if a != b] == [215]
    assert (after["hemD"].key or md5(b"")).hex == md5(new)
    assert len(sequence_at(deleted, shorter["purE"])) == 396


def test_every_locus_of_a_genome_that_differs_at_ten_per_cent_is_new() -> None:
    base, other = read_genome(EDGE / "base.fa"), read_genome(EDGE / "div10.fa")
    scheme = typed("salmonella")
    at = {call.locus: call.places for call in type_genome(base, scheme.index)}
    calls = type_genome(other, scheme.index)

    assert {call.status for call in calls} == {CallStatus.NOVEL}
    assert {call.locus: call.places for call in calls} == at


# 2,959 whole genes


def rows_of(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(DATA / "cgmlst" / f"{name}.calls.tsv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if (row["status"], row["chewbbaca_same"]) == ("OK", "1"):
                yield row


@pytest.mark.parametrize("name", TYPED_BY_WHOLE_GENES)
def test_a_real_genome_has_the_whole_genes_that_chewbbaca_finds(name: str) -> None:
    genome = a_genome(name)
    calls = {call.locus: call for call in type_genome(genome, whole_genes())}
    wrong = list[str]()
    rows = list(rows_of(name))
    for row in rows:
        call = calls[row["locus"]]
        strand = "+" if row["strand"] == "1" else "-"
        place = (row["contig"], int(row["start0"]), int(row["end"]), strand)
        found = [(one.contig, one.start, one.end, one.strand) for one in call.places]
        if call.status not in (CallStatus.EXACT, CallStatus.NOVEL) or found != [place]:
            wrong.append(f"{call.locus} is {call.status} at {found}, not at {place}")
        elif call.key is None or call.key.hex != row["md5"]:
            wrong.append(f"{call.locus} has another sequence")

    assert len(rows) > 2400
    assert wrong == []
