"""An assembly in memory: its contigs in one sequence, and the quality of every base."""

import errno
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from blocks.errors import FileNotYetVisible, InconsistentInput

MAX_BYTES = 400_000_000  # decompressed; the largest bacterial genomes have 16 Mb
OF_THE_DISK = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN)  # of a share: it is away
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
AT_ONCE = 1 << 20  # bytes of one read
GZIP_MAGIC = b"\x1f\x8b"
BETWEEN = b"N"  # keeps contigs apart: no allele can reach over it
UPPER = bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
COMPLEMENT = bytes.maketrans(b"ACGTRYKMBDHVSWN", b"TGCAYRMKVHDBSWN")
LETTERS = b"ACGTNRYKMSWBDHVU"
PHRED_OFFSET = 33


@dataclass(frozen=True)
class Genome:
    """The contigs of an assembly, in one upper-case sequence with an N between two of them."""

    name: str
    contigs: tuple[str, ...]
    starts: NDArray[np.int64] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False)
    sequence: bytes = field(repr=False)
    quality: NDArray[np.uint8] | None = field(default=None, repr=False)

    def contig_at(self, position: int) -> int:
        """Return which contig (index) a position of the joined sequence lies in."""
        return int(np.searchsorted(self.starts, position, side="right")) - 1

    def contig_sequence(self, index: int) -> bytes:
        """Return the sequence of one contig, upper case."""
        start = int(self.starts[index])
        return self.sequence[start : start + int(self.lengths[index])]

    def contig_quality(self, index: int) -> NDArray[np.uint8] | None:
        """Return the Phred qualities of one contig, None if the assembly has none."""
        start = int(self.starts[index])
        if self.quality is None:
            return None
        return self.quality[start : start + int(self.lengths[index])]

    def cut(self, start: int, end: int, strand: str) -> bytes:
        """Return the sequence between two positions as it reads on a strand."""
        piece = self.sequence[start:end]
        return piece if strand == "+" else reverse_complement(piece)


def reverse_complement(sequence: bytes) -> bytes:
    """Return the other strand of an upper-case sequence."""
    return sequence.translate(COMPLEMENT)[::-1]


def read_genome(path: Path, *, name: str | None = None) -> Genome:
    """Read an assembly: FASTA or FASTQ, plain or gzip, any case, any line length.

    Raises:
        FileNotYetVisible: the file is not there, or its disk is not.
        InconsistentInput: it is neither, is damaged, empty or too large, or two contigs have the
            same name.
    """
    return genome_of(name or path.name, parse_genome(_content(path), path))


def parse_genome(content: bytes, path: Path) -> Iterator[tuple[str, bytes, bytes | None]]:
    """Return name, sequence and quality of each contig in the text of a FASTA or FASTQ file.

    Args:
        content: The text.
        path: What it is called in a message.

    Raises:
        InconsistentInput: it is neither, or is damaged.
    """
    content = content.removeprefix(BYTE_ORDER_MARK).lstrip()
    if not content:
        msg = f"{path.name} is empty"
        raise InconsistentInput(msg)
    first = content[:1]
    if first not in (b">", b"@"):
        msg = f"{path.name} is neither FASTA nor FASTQ: it begins with {content[:20]!r}"
        raise InconsistentInput(msg)
    return _fasta(content, path) if first == b">" else _fastq(content, path)


def genome_of(name: str, records: Iterator[tuple[str, bytes, bytes | None]]) -> Genome:
    """Return the genome of (contig name, sequence in any case, Phred+33 text or None).

    Raises:
        InconsistentInput: there is no base, or a contig's name comes twice.
    """
    contigs, pieces, qualities = list[str](), list[bytes](), list[bytes]()
    for contig, sequence, quality in records:
        contigs.append(contig)
        pieces.append(sequence.translate(UPPER))
        if quality is not None:
            qualities.append(quality)
    lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
    if not lengths.any():
        msg = f"{name} has no sequence"
        raise InconsistentInput(msg)
    if len(set(contigs)) != len(contigs):
        twice = Counter(contigs).most_common(1)[0][0]
        msg = f"{name} has two contigs named {twice!r}"
        raise InconsistentInput(msg)
    starts = np.concatenate([[0], np.cumsum(lengths[:-1] + len(BETWEEN))]).astype(np.int64)
    phred = BETWEEN.join(qualities) if qualities else None
    return Genome(
        name=name,
        contigs=tuple(contigs),
        starts=starts,
        lengths=lengths,
        sequence=BETWEEN.join(pieces),
        quality=None if phred is None else np.frombuffer(phred, np.uint8) - PHRED_OFFSET,
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:  # a device or a pipe has no size to ask for
            raw = _all_of(file)
    except FileNotFoundError as error:
        msg = f"the assembly {path} is not on this disk"
        raise FileNotYetVisible(msg) from error
    except (OSError, ValueError) as error:  # a ValueError is a null byte in the name
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"the assembly {str(path)!r} cannot be read: {reason}"
        of_the_disk = isinstance(error, OSError) and error.errno in OF_THE_DISK
        raise (FileNotYetVisible if of_the_disk else InconsistentInput)(msg) from error
    if raw.startswith(GZIP_MAGIC) and len(raw) <= MAX_BYTES:
        raw = _unzipped(raw, path)
    if len(raw) > MAX_BYTES:
        msg = f"{path.name} is larger than {MAX_BYTES // 1_000_000} MB: not a bacterial assembly"
        raise InconsistentInput(msg)
    return raw


def _all_of(file: BinaryIO | gzip.GzipFile) -> bytes:
    """Return what is in a file, up to a byte more than is allowed.

    In pieces: `read(n)` first makes room for n bytes, however few there are.
    """
    pieces, left = list[bytes](), MAX_BYTES + 1
    while piece := file.read(min(left, AT_ONCE)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _unzipped(packed: bytes, path: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            return _all_of(file)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path.name} is a damaged gzip file: {error}"
        raise InconsistentInput(msg) from error


def _fasta(content: bytes, path: Path) -> Iterator[tuple[str, bytes, None]]:
    for record in (b"\n" + content).split(b"\n>")[1:]:
        header, _, body = record.partition(b"\n")
        sequence = body.replace(b"\n", b"")
        if _strange(sequence):  # seldom: what is no letter is left out only then
            sequence = sequence.translate(None, b"\r \t*-")
            _require_letters(sequence, path)
        yield _name(header, path), sequence, None


def _fastq(content: bytes, path: Path) -> Iterator[tuple[str, bytes, bytes]]:
    lines = iter(content.splitlines())
    for header in lines:
        if not header:
            continue
        sequence = list[bytes]()
        for line in lines:
            if line.startswith(b"+"):
                break
            sequence.append(line)
        bases = b"".join(sequence)
        quality = b""
        while len(quality) < len(bases) and (line := next(lines, None)) is not None:
            quality += line
        _require_fastq(header, bases, quality, path)
        yield _name(header[1:], path), bases, quality


def _require_fastq(header: bytes, bases: bytes, quality: bytes, path: Path) -> None:
    name = header[:40].decode(errors="replace")
    if not header.startswith(b"@") or len(bases) != len(quality):
        msg = f"{path.name}: the FASTQ record {name!r} is damaged or cut short"
        raise InconsistentInput(msg)
    if quality and not (min(quality) >= PHRED_OFFSET and max(quality) <= PHRED_OFFSET + 93):
        msg = f"{path.name}: the qualities of {name!r} are not Phred+33"
        raise InconsistentInput(msg)
    _require_letters(bases, path)


def _require_letters(sequence: bytes, path: Path) -> None:
    strange = _strange(sequence)
    if strange:
        msg = f"{path.name} has the letter {chr(strange[0])!r} in a sequence: not DNA"
        raise InconsistentInput(msg)


def _strange(sequence: bytes) -> bytes:
    """Return what does not stand for a base."""
    return sequence.translate(None, LETTERS + LETTERS.lower())


def _name(header: bytes, path: Path) -> str:
    words = header.decode(errors="replace").split()
    if not words:
        msg = f"{path.name} has a contig without a name"
        raise InconsistentInput(msg)
    return words[0]
