"""The final assembly: contigs corrected by their own reads, with the quality of every base.

As EnteroBase's EToKi does after assembling: bases are changed where the reads clearly say so,
contigs that few reads cover are taken as contamination, and every base gets a Phred quality of 0
to 40. A new allele may only come from bases of 10 or more.
"""

import gzip
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np
from pydantic import Field

from blocks.errors import UNREADABLE, InvalidRequest, OutputInvalid
from blocks.genomics.genome import read_genome
from blocks.genomics.records import MINTABLE_QUALITY
from blocks.record import Record

MAX_QUALITY = 40
MIN_READS = 3  # over a base, for a call that counts
DOUBTFUL = MINTABLE_QUALITY - 1  # the best quality of a base that the reads do not settle
MIN_CONTIG_BP = 200
MIN_DEPTH_SHARE = 0.2  # of the average; a contig with less is contamination
LINE_BP = 80
GZIP_LEVEL = 6
PHRED_OFFSET = 33
DELETED = 0
GAP = b"*"
FILE_NAME = re.compile(r"\w[\w.+-]*")

Row = tuple[bytes, int, int, int, bytes, int]  # contig, position, nth inserted, depth, call, phred


class Changes(Record):
    """How many bases of the draft were changed, of the contigs that were kept."""

    substituted: int = 0
    inserted: int = 0
    deleted: int = 0


UNCHANGED = Changes()


class Consensus(Record):
    """What was written."""

    fastq: Path
    fasta: Path
    mean_depth: float = Field(ge=0, description="reads over a base, of the longer half")
    n_contigs: int
    n_removed: int = Field(description="contigs of the draft: too short, or too few reads")
    changes: Changes


@dataclass(frozen=True)
class PolishedContig:
    """One contig after correction; `quality` is Phred, as long as the sequence."""

    sequence: bytes
    quality: bytes
    depth: float
    changes: Changes = UNCHANGED


def polish(draft: Path, pileup: Path, *, directory: Path, stem: str) -> Consensus:
    """Correct a draft by its pileup; write `<stem>.fastq.gz` and `<stem>.fasta.gz`.

    Contigs are named contig_1, contig_2, ... from the longest to the shortest; the same draft
    and pileup give the same bytes. A genome of 5 Mb takes some 10 s of computing: call it in a
    thread.

    Args:
        draft: The assembler's contigs, FASTA.
        pileup: What `samtools.pile_up` made of reads mapped to the draft.
        directory: Where the two files go.
        stem: Of their names.

    Raises:
        OutputInvalid: the pileup is not of this draft, or no contig is left.
        InvalidRequest: the stem is no file name.
    """
    fastq, fasta = (directory / f"{_file_name(stem)}.{kind}.gz" for kind in ("fastq", "fasta"))
    contigs = _contigs(draft, pileup)
    average = average_depth(contigs)
    kept = chosen(contigs, average)
    if not kept:
        msg = f"no contig of {MIN_CONTIG_BP} bases or more in {draft.name} has reads that map to it"
        raise OutputInvalid(msg, program="samtools", directory=pileup.parent)
    _write(fastq, _fastq(kept))
    _write(fasta, _fasta(kept))
    return Consensus(
        fastq=fastq,
        fasta=fasta,
        mean_depth=average,
        n_contigs=len(kept),
        n_removed=len(contigs) - len(kept),
        changes=_sum([contig.changes for contig in kept]),
    )


def _file_name(stem: str) -> str:
    if not FILE_NAME.fullmatch(stem):
        msg = f"{stem!r} cannot be the name of a file"
        raise InvalidRequest(msg)
    return stem


def _contigs(draft: Path, pileup: Path) -> list[PolishedContig]:
    try:
        return polished(draft, pileup)
    except UNREADABLE as error:
        msg = f"{pileup.name} is no pileup of {draft.name}: {type(error).__name__}: {error}"
        raise OutputInvalid(msg, program="samtools", directory=pileup.parent) from error


def polished(draft: Path, pileup: Path) -> list[PolishedContig]:
    """Return all contigs of the draft after correction, in the draft's order.

    Raises:
        KeyError, IndexError, ValueError: the pileup is not of this draft.
        InconsistentInput: the draft is no FASTA.
    """
    genome = read_genome(draft)
    index = {name.encode(): number for number, name in enumerate(genome.contigs)}
    sequences = [genome.contig_sequence(number) for number in range(len(genome.contigs))]
    contigs = [PolishedContig(bases, bytes(len(bases)), 0.0) for bases in sequences]
    with pileup.open("rb") as file:
        for name, rows in itertools.groupby(_rows(file), key=itemgetter(0)):
            contigs[index[name]] = polished_contig(sequences[index[name]], rows)
    return contigs


def _rows(lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the columns of a pileup of samtools that count; positions from 0."""
    for line in lines:
        name, position, nth, depth, call, quality, _ = line.split(b"\t", 6)
        yield name, int(position) - 1, int(nth), int(depth), call, int(quality)


def polished_contig(draft: bytes, rows: Iterable[Row]) -> PolishedContig:
    """Return a contig with the calls that count, and the draft's bases elsewhere.

    A call counts if its quality is 10 or more and three reads or more lie there. Where another
    one says something else than the draft, the draft's base stays, of a quality below 10; bases
    without reads have quality 0.
    """
    bases, phred = bytearray(draft), bytearray(len(draft))
    inserted = dict[int, list[tuple[bytes, int]]]()
    total = 0
    for _, position, nth, depth, call, said in rows:
        counts = depth >= MIN_READS and said >= MINTABLE_QUALITY
        quality = min(said, MAX_QUALITY if depth >= MIN_READS else DOUBTFUL)
        if nth:
            if counts and call != GAP:
                inserted.setdefault(position, []).append((call, quality))
            elif not counts:  # that there may be a base more makes its neighbour doubtful
                phred[position] = min(phred[position], quality)
            continue
        total += depth
        phred[position] = quality
        if counts and call[0] != draft[position]:
            bases[position] = DELETED if call == GAP else call[0]
    return _joined(draft, bases, phred, inserted, total / len(draft))


def _joined(
    draft: bytes,
    bases: bytearray,
    phred: bytearray,
    inserted: dict[int, list[tuple[bytes, int]]],
    depth: float,
) -> PolishedContig:
    """Return the contig: insertions stand behind their position, deletions are left out."""
    after = sorted(inserted)
    cuts = [0, *(position + 1 for position in after), len(bases)]
    sequence, quality = bytearray(), bytearray()
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        sequence += bases[start:end]
        quality += phred[start:end]
        if number < len(after):
            for base, q in inserted[after[number]]:
                sequence += base
                quality.append(q)
    kept = np.frombuffer(sequence, np.uint8) != DELETED
    now, before = np.frombuffer(bases, np.uint8), np.frombuffer(draft, np.uint8)
    deleted = int((now == DELETED).sum())
    changes = Changes(
        substituted=int((now != before).sum()) - deleted,
        inserted=sum(map(len, inserted.values())),
        deleted=deleted,
    )
    return PolishedContig(
        np.frombuffer(sequence, np.uint8)[kept].tobytes(),
        np.frombuffer(quality, np.uint8)[kept].tobytes(),
        depth,
        changes,
    )


def average_depth(contigs: Sequence[PolishedContig]) -> float:
    """Return the mean depth of the longest contigs that hold half of the bases, as EToKi does.

    Plasmids of many copies and short contigs of contamination so do not count.
    """
    half = sum(len(contig.sequence) for contig in contigs) / 2
    length, total = 0, 0.0
    for contig in sorted(contigs, key=lambda one: len(one.sequence), reverse=True):
        length += len(contig.sequence)
        total += contig.depth * len(contig.sequence)
        if length >= half:
            break
    return total / max(1, length)


def chosen(contigs: Sequence[PolishedContig], average: float) -> list[PolishedContig]:
    """Return the contigs that are long and deep enough, longest first; equal ones by sequence."""
    kept = [
        contig
        for contig in contigs
        if len(contig.sequence) >= MIN_CONTIG_BP
        and contig.depth > 0
        and contig.depth >= MIN_DEPTH_SHARE * average
    ]
    return sorted(kept, key=lambda contig: (-len(contig.sequence), contig.sequence))


def _sum(changes: Sequence[Changes]) -> Changes:
    return Changes(
        substituted=sum(one.substituted for one in changes),
        inserted=sum(one.inserted for one in changes),
        deleted=sum(one.deleted for one in changes),
    )


def _header(number: int, contig: PolishedContig) -> bytes:
    return b"contig_%d length=%d depth=%.1f\n" % (number, len(contig.sequence), contig.depth)


def _fastq(contigs: Sequence[PolishedContig]) -> Iterator[bytes]:
    for number, contig in enumerate(contigs, 1):
        quality = (np.frombuffer(contig.quality, np.uint8) + PHRED_OFFSET).tobytes()
        yield b"@" + _header(number, contig)
        yield contig.sequence + b"\n+\n" + quality + b"\n"


def _fasta(contigs: Sequence[PolishedContig]) -> Iterator[bytes]:
    for number, contig in enumerate(contigs, 1):
        yield b">" + _header(number, contig)
        for start in range(0, len(contig.sequence), LINE_BP):
            yield contig.sequence[start : start + LINE_BP] + b"\n"


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a gzip file without name and time in it; it appears when it is whole."""
    unfinished = path.with_name(f"{path.name}.part")
    with (
        unfinished.open("wb") as raw,
        gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as packed,
        io.BufferedWriter(packed) as file,  # pyright: ignore[reportArgumentType] - writes bytes
    ):
        file.writelines(pieces)
    unfinished.replace(path)
