"""The GFF text of `assembly_lookup.annotation`, which the old site reads for its browser.

GFF3, one line for each place of a locus: https://github.com/The-Sequence-Ontology/Specifications.
The same records fill the table `locus_positions`, which is asked instead of this text.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import quote, unquote

from blocks.errors import InconsistentInput
from blocks.genomics.records import CallStatus, LocusCall, LocusPosition, Place

HEADER = "##gff-version 3"
COLUMNS = 9
SAFE_IN_CONTIG = ":^*$@!+_?-|."  # all that GFF3 allows there
SAFE_IN_VALUE = "[]:^*$@!+_?-|./() '"


def positions_of(calls: Iterable[LocusCall]) -> Iterator[LocusPosition]:
    """Return every place of every locus that was found, numbered within its locus from 1."""
    for call in calls:
        for copy, place in enumerate(call.places, start=1):
            yield LocusPosition(
                locus=call.locus, copy_number=copy, place=place, status=call.status,
                allele=call.allele,
            )  # fmt: skip


def gff_text(positions: Iterable[LocusPosition]) -> str:
    """Return the lines of these positions; starts count from 1 in GFF, ends are included."""
    return "\n".join([HEADER, *(_line(one) for one in positions)]) + "\n"


def _line(position: LocusPosition) -> str:
    place = position.place
    allele = "" if position.allele is None else f";allele={position.allele}"
    locus = quote(position.locus, safe=SAFE_IN_VALUE)
    about = f"ID={locus}.{position.copy_number};locus={locus}{allele};status={position.status}"
    contig = quote(place.contig, safe=SAFE_IN_CONTIG)
    return (
        f"{contig}\tlimsflow\tgene\t{place.start + 1}\t{place.end}\t.\t{place.strand}\t.\t{about}"
    )


def find_in_gff(text: str, locus: str) -> list[LocusPosition]:
    """Return the places of one locus by reading the text line by line, as the old site does.

    Raises:
        InconsistentInput: a line of the locus is not as `gff_text` writes it.
    """
    return [one for line in text.splitlines() if (one := _read(line)) and one.locus == locus]


def _read(line: str) -> LocusPosition | None:
    if line.startswith("#") or not line.strip():
        return None
    columns = line.split("\t")
    pairs = [pair.partition("=") for pair in columns[-1].split(";")]
    about = {key: unquote(value) for key, _, value in pairs}
    try:
        contig, _, _, start, end, _, strand, _, _ = columns
        return LocusPosition(
            locus=about["locus"],
            copy_number=int(about["ID"].rpartition(".")[2]),
            place=Place(
                contig=unquote(contig),
                start=int(start) - 1,
                end=int(end),
                strand="+" if strand == "+" else "-",
            ),
            status=CallStatus(about["status"]),
            allele=int(about["allele"]) if "allele" in about else None,
        )
    except (ValueError, KeyError) as error:
        msg = f"an annotation has a line that is not ours: {line[:80]!r}"
        raise InconsistentInput(msg) from error
