"""GenBank flat files of contigs and their genes: Prodigal's own lacks sequence and proteins.

Format: the GenBank release notes, section 3.4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from blocks.errors import UNREADABLE, OutputInvalid
from blocks.genomics.genes import Gene, read_genes
from blocks.genomics.genome import reverse_complement

Contig = tuple[str, bytes]
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
QUALIFIER = " " * 21
WIDTH = 58
GENETIC_CODE = 11  # bacteria
START_CODONS = ("ATG", "GTG", "TTG", "CTG", "ATT", "ATC", "ATA")

# The codons in the order TCAG of each letter, as NCBI lists its genetic codes.
AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = {
    f"{a}{b}{c}": AMINO_ACIDS[16 * i + 4 * j + k]
    for i, a in enumerate("TCAG")
    for j, b in enumerate("TCAG")
    for k, c in enumerate("TCAG")
}


def write_genbank(contigs: Sequence[Contig], genes_gff: Path, target: Path) -> None:
    """Write the contigs and their genes as one GenBank record for each contig.

    Raises:
        OutputInvalid: the genes cannot be read, or lie on no contig.
    """
    try:
        genes = read_genes(genes_gff.read_text(encoding="utf-8", errors="replace"))
        text = "".join(f"{line}\n" for line in genbank(contigs, genes, datetime.now(UTC).date()))
    except UNREADABLE as error:
        msg = f"{genes_gff.name} cannot be written as GenBank: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, directory=genes_gff.parent) from error
    target.write_text(text, encoding="utf-8")


MAKERS: Mapping[str, Callable[[Sequence[Contig], Path, Path], None]] = {"genbank": write_genbank}


def genbank(contigs: Sequence[Contig], genes: Iterable[Gene], when: date) -> Iterator[str]:
    """Return the lines of the records; sequences are upper case.

    Raises:
        ValueError: a gene does not lie on a contig.
    """
    on_contig: dict[str, list[Gene]] = {name: [] for name, _ in contigs}
    lengths = {name: len(sequence) for name, sequence in contigs}
    for gene in genes:
        if gene.place.end > lengths.get(gene.place.contig, 0):
            msg = f"gene {gene.id} at {gene.place.contig}:{gene.place.end} is on no contig"
            raise ValueError(msg)
        on_contig[gene.place.contig].append(gene)
    for name, sequence in contigs:
        yield from _record(name, sequence, on_contig[name], when)


def _record(name: str, sequence: bytes, genes: Sequence[Gene], when: date) -> Iterator[str]:
    day = f"{when.day:02}-{MONTHS[when.month - 1]}-{when.year}"
    yield f"LOCUS       {name:<16} {len(sequence):>11} bp    DNA     linear   BCT {day}"
    yield f"DEFINITION  {name}."
    yield f"ACCESSION   {name}"
    yield f"VERSION     {name}"
    yield "KEYWORDS    ."
    yield "SOURCE      ."
    yield "  ORGANISM  ."
    yield "            Bacteria."
    yield "FEATURES             Location/Qualifiers"
    yield f"     source          1..{len(sequence)}"
    yield f'{QUALIFIER}/mol_type="genomic DNA"'
    for gene in genes:
        yield from _feature(gene, sequence)
    yield "ORIGIN"
    yield from _origin(sequence)
    yield "//"


def _feature(gene: Gene, sequence: bytes) -> Iterator[str]:
    yield f"     CDS             {_location(gene)}"
    yield f'{QUALIFIER}/locus_tag="{gene.id}"'
    yield f"{QUALIFIER}/codon_start=1"
    yield f"{QUALIFIER}/transl_table={GENETIC_CODE}"
    yield f'{QUALIFIER}/product="hypothetical protein"'
    translation = f'/translation="{protein(gene, sequence)}"'
    yield from (QUALIFIER + piece for piece in _pieces(translation, WIDTH))


def _location(gene: Gene) -> str:
    left, right = "<" if gene.open_left else "", ">" if gene.open_right else ""
    span = f"{left}{gene.place.start + 1}..{right}{gene.place.end}"
    return span if gene.place.strand == "+" else f"complement({span})"


def protein(gene: Gene, contig: bytes) -> str:
    """Return the amino acids of a gene without its stop; X where a codon has other letters."""
    cut = contig[gene.place.start : gene.place.end]
    forward = gene.place.strand == "+"
    coding = (cut if forward else reverse_complement(cut)).decode()
    codons = [coding[i : i + 3] for i in range(0, len(coding) - 2, 3)]
    residues = [CODONS.get(codon, "X") for codon in codons]
    is_open = gene.open_left if forward else gene.open_right
    if not is_open and codons and codons[0] in START_CODONS:
        residues[0] = "M"  # whatever the start codon would mean elsewhere
    return "".join(residues).removesuffix("*")


def _origin(sequence: bytes) -> Iterator[str]:
    text = sequence.decode().lower()
    for number, line in enumerate(_pieces(text, 60)):
        yield f"{60 * number + 1:>9} {' '.join(_pieces(line, 10))}"


def _pieces(text: str, width: int) -> Iterator[str]:
    return (text[start : start + width] for start in range(0, len(text), width))
