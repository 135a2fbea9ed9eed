"""Genes in GFF 3, as Prodigal and other annotating programs write them."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pydantic import Field

from blocks.genomics.records import Place
from blocks.record import Record

N_COLUMNS = 9
SEQUENCES = "##FASTA"  # from here on, the file has the contigs themselves
CODING = "CDS"


class Gene(Record):
    """One coding sequence."""

    id: str
    place: Place
    open_left: bool = Field(default=False, description="goes on before the contig's first base")
    open_right: bool = Field(default=False, description="goes on after the contig's last base")


def read_genes(text: str) -> list[Gene]:
    """Return the coding sequences, in the order of the file.

    Raises:
        ValueError: it is not GFF.
    """
    if not text.startswith("##gff-version"):
        msg = "it does not begin with ##gff-version"
        raise ValueError(msg)
    lines = text.partition(f"\n{SEQUENCES}")[0].split("\n")
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [_gene(row) for row in rows if _kind(row) == CODING]


def _kind(row: Sequence[str]) -> str:
    if len(row) != N_COLUMNS:
        msg = f"a line has {len(row)} columns, not {N_COLUMNS}: {row[0][:40]!r}"
        raise ValueError(msg)
    return row[2]


def _gene(row: Sequence[str]) -> Gene:
    contig, _, _, start, end, _, strand, _, last = row
    pairs = (pair.partition("=") for pair in last.strip(";").split(";"))
    attributes = {key.strip(): value for key, _, value in pairs}
    partial = attributes.get("partial", "00")  # Prodigal's: left end, right end
    if strand not in ("+", "-") or not 1 <= int(start) <= int(end):
        msg = f"a gene lies at {start} to {end} on strand {strand!r} of {contig}"
        raise ValueError(msg)
    return Gene(
        id=attributes.get("ID", ""),
        place=Place(contig=contig, start=int(start) - 1, end=int(end), strand=strand),
        open_left=partial[:1] == "1",
        open_right=partial[1:] == "1",
    )


def gene_counts(genes: Sequence[Gene]) -> dict[str, Any]:
    """Return what is stored of the genes; a base in two genes is one coding base."""
    return {
        "genes": len(genes),
        "partial_genes": sum(gene.open_left or gene.open_right for gene in genes),
        "coding_bases": _coding_bases(genes),
    }


def _coding_bases(genes: Sequence[Gene]) -> int:
    places = sorted((gene.place for gene in genes), key=lambda one: (one.contig, one.start))
    total = 0
    for _, on_contig in groupby(places, key=lambda one: one.contig):
        reached = 0
        for place in on_contig:
            total += max(0, place.end - max(place.start, reached))
            reached = max(reached, place.end)
    return total
