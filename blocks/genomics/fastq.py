"""FASTQ files that people name: are they the two files of one paired run, before time is spent.

Plain, gzip or bzip2, told by their first bytes and not by their names. Nothing is loaded whole.
"""

import bz2
import gzip
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from blocks.errors import FileNotYetVisible, InconsistentInput

MAX_BYTES = 20_000_000_000  # unpacked, of one file; 200x of the largest bacterial genome has 8 GB
PIECE = 1 << 20
LINES = 4  # of a record: name, bases, '+', qualities
LONGEST_RECORD = 1 << 20  # bytes; a line without an end is not worth the memory
FIRST_READS = 1000
GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
LETTERS = b"ACGTUNRYKMSWBDHVacgtunrykmswbdhv.-"
QUALITIES = bytes(range(33, 127))
# Phred+64 writes Q0 as "@"; Solexa's begins at ";". Phred+33 has all of Illumina's below "O".
LOWEST_OF_64, HIGHEST_OF_33 = ord(";"), ord("N")
MATE = re.compile(rb"@\S*?(?:/([12])$|/([12])\s|\s+([12]):[YN]:)")
GZIP_LEVEL = 4  # a fifth of the time of 9, for a tenth more bytes


def check_pair(read1: Path, read2: Path, *, max_bytes: int = MAX_BYTES, whole: bool = True) -> int:
    """Require two FASTQ files of one paired-end run; return how many pairs were read.

    Of both files each record is looked at (form, letters, Phred+33), and that the names agree up
    to `/1`, `/2` and what follows a space. A gigabyte takes some seconds, most of it to unpack.

    Args:
        read1: The first reads; plain, gzip or bzip2.
        read2: Their mates, in the same order.
        max_bytes: Of one file, unpacked; a small file can unpack to a full disk.
        whole: Whether to read to the end, or the first 1,000 pairs only.

    Raises:
        FileNotYetVisible: a file is not there, or the disk does not give it.
        InconsistentInput: a file is empty, damaged, no FASTQ, or not the mate of the other.
    """
    heads = [_head(path, max_bytes) for path in (read1, read2)]
    _require_mates(read1, read2, *heads)
    if not whole:
        return _same_names(read1, read2, _names(heads[0]), _names(heads[1]))
    first, second = (
        itertools.chain.from_iterable(map(_names, _records(path, max_bytes)))
        for path in (read1, read2)
    )
    return _same_names(read1, read2, first, second)


def pieces(path: Path, *, max_bytes: int = MAX_BYTES) -> Iterator[bytes]:
    """Yield the unpacked content of a plain, gzip or bzip2 file, a megabyte at a time.

    Raises:
        FileNotYetVisible: the file is not there, or the disk does not give it.
        InconsistentInput: it is no file, is damaged, or unpacks to more than `max_bytes`.
    """
    total = 0
    for piece in _read(path, _opened):
        total += len(piece)
        if total > max_bytes:
            msg = f"{path.name} has more than {max_bytes:,} bytes unpacked: too much for one run"
            raise InconsistentInput(msg)
        yield piece


def append_gzip(source: Path, file: BinaryIO) -> None:
    """Append a file of reads to a gzip file: as it is if it is gzip, else packed.

    Raises:
        FileNotYetVisible: the source cannot be read.
        InconsistentInput: it is to be packed, and is damaged or too large.
    """
    stored = _read(source, lambda path: path.open("rb"))
    first = next(stored, b"")
    if not first.startswith(GZIP_MAGIC):
        for _ in pack(source, file):
            pass
        return
    for piece in itertools.chain([first], stored):
        file.write(piece)


def pack(source: Path, file: BinaryIO, *, max_bytes: int = MAX_BYTES) -> Iterator[int]:
    """Append what is in a plain, gzip or bzip2 file as one gzip member; yield bytes read so far.

    The same source gives the same bytes: neither name nor time are in them.

    Raises:
        FileNotYetVisible: the source cannot be read.
        InconsistentInput: it is damaged, or unpacks to more than `max_bytes`.
    """
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    total = 0
    for piece in pieces(source, max_bytes=max_bytes):
        file.write(packer.compress(piece))
        total += len(piece)
        yield total
    file.write(packer.flush())


def _read(path: Path, opened: Callable[[Path], BinaryIO]) -> Iterator[bytes]:
    if path.exists() and not path.is_file():
        msg = f"{path} is not a file"
        raise InconsistentInput(msg)
    try:
        with opened(path) as file:
            while piece := file.read(PIECE):
                yield piece
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        magic = file.read(max(len(GZIP_MAGIC), len(BZIP2_MAGIC)))
    if magic.startswith(GZIP_MAGIC):
        return gzip.open(path)  # pyright: ignore[reportReturnType] - a BinaryIO but for its class
    if magic.startswith(BZIP2_MAGIC):
        return bz2.open(path)  # pyright: ignore[reportReturnType]
    return path.open("rb")


def _unreadable(path: Path, error: Exception) -> FileNotYetVisible | InconsistentInput:
    """Tell a disk that does not answer (it has an errno) from a file that is damaged."""
    if isinstance(error, FileNotFoundError):
        return FileNotYetVisible(f"{path} is not on this disk")
    if isinstance(error, OSError) and error.errno is not None:
        return FileNotYetVisible(f"{path} cannot be read: {error.strerror}")
    return InconsistentInput(f"{path.name} is damaged or cut short: {error}")


def _records(path: Path, max_bytes: int) -> Iterator[list[bytes]]:
    """Yield the lines of whole, checked records, four a record, many at a time."""
    left, number = b"", 0
    for piece in pieces(path, max_bytes=max_bytes):
        lines = (left + piece).split(b"\n")
        incomplete = (len(lines) - 1) % LINES + 1
        left = b"\n".join(lines[-incomplete:])
        if len(left) > LONGEST_RECORD:
            raise _bad(
                path, number + len(lines) // LINES, "is not a FASTQ record: a line does not end"
            )
        if whole := lines[:-incomplete]:
            _check(path, number, whole)
            number += len(whole) // LINES
            yield whole
    if left.strip(b"\n"):  # the last line has no line end, or the last record is cut
        last = left.split(b"\n")
        if len(last) < LINES:
            raise _bad(path, number, "is cut short: the file ends in the middle of it")
        _check(path, number, last)
        yield last


def _check(path: Path, before: int, lines: list[bytes]) -> None:
    """Require the form of records; `before` is how many records there were before them."""
    if lines[0].endswith(b"\r"):
        raise _bad(path, before, "has Windows line ends: convert the file to Unix text")
    names, bases, pluses, qualities = (lines[n::LINES] for n in range(LINES))
    for number, (name, base, plus, quality) in enumerate(
        zip(names, bases, pluses, qualities, strict=True), before
    ):
        if name[:1] != b"@" or len(name) == 1 or plus[:1] != b"+" or len(base) != len(quality):
            raise _bad(path, number, _fault(name, plus))
    if strange := b"".join(bases).translate(None, LETTERS):
        number = next(n for n, base in enumerate(bases, before) if base.translate(None, LETTERS))
        raise _bad(path, number, f"has {chr(strange[0])!r} in its sequence: not DNA")
    if strange := b"".join(qualities).translate(None, QUALITIES):
        raise _bad(path, before, f"or one after it has the quality {strange[0]}: not Phred+33")


def _fault(name: bytes, plus: bytes) -> str:
    if name[:1] != b"@":
        return f"begins with {_shown(name)}, not with '@' and a name: the file is not FASTQ"
    if len(name) == 1:
        return "has no name"
    if plus[:1] != b"+":
        return f"has {_shown(plus)} where '+' must be: the file is not FASTQ"
    return f"({_shown(name)}) has not as many qualities as bases"


def _bad(path: Path, number: int, fault: str) -> InconsistentInput:
    return InconsistentInput(f"{path.name}: read {number + 1} {fault}")


def _shown(text: bytes) -> str:
    return repr(text[:40].decode(errors="replace"))


def _head(path: Path, max_bytes: int) -> list[bytes]:
    """Return the lines of the first reads, and require that their qualities are Phred+33."""
    lines = list[bytes]()
    for more in _records(path, max_bytes):
        lines += more
        if len(lines) >= LINES * FIRST_READS:
            break
    if not lines:
        msg = f"{path.name} is empty: there is no read in it"
        raise InconsistentInput(msg)
    lines = lines[: LINES * FIRST_READS]
    qualities = b"".join(lines[3::LINES])
    if qualities and min(qualities) >= LOWEST_OF_64 and max(qualities) > HIGHEST_OF_33:
        msg = (
            f"{path.name} has qualities from {chr(min(qualities))} to {chr(max(qualities))}: "
            "Phred+64, of before 2011; convert it to Phred+33"
        )
        raise InconsistentInput(msg)
    return lines


def _require_mates(read1: Path, read2: Path, head1: list[bytes], head2: list[bytes]) -> None:
    """Refuse the same reads given twice. Two files that are swapped do no harm to an assembly."""
    mates = _mate(head1[0]), _mate(head2[0])
    if mates[0] and mates[0] == mates[1]:
        msg = f"{read1.name} and {read2.name} both have reads {mates[0].decode()} of their pairs"
        raise InconsistentInput(msg)
    if head1[1::LINES] == head2[1::LINES]:
        msg = f"{read1.name} and {read2.name} have the same sequences: one file was given twice"
        raise InconsistentInput(msg)


def _mate(line: bytes) -> bytes | None:
    found = MATE.match(line)
    return found[found.lastindex or 0] if found else None


def _names(lines: list[bytes]) -> list[bytes]:
    """Return the names of pairs: without `/1`, `/2` and comments."""
    words = [line[1:].split(None, 1)[0] if len(line) > 1 else b"" for line in lines[0::LINES]]
    return [word[:-2] if word.endswith((b"/1", b"/2")) else word for word in words]


def _same_names(read1: Path, read2: Path, first: Iterable[bytes], second: Iterable[bytes]) -> int:
    """Return how many names there are, the same in both."""
    number = 0
    both = itertools.zip_longest(first, second)
    for number, (a, b) in enumerate(both, 1):
        if a is None or b is None:
            more = 1 + sum(1 for _ in both)
            few, many = (read1, read2) if a is None else (read2, read1)
            msg = f"{few.name} has {number - 1:,} reads, {many.name} has {number - 1 + more:,}"
            raise InconsistentInput(f"{msg}: one of them is cut short or of another run")
        if a != b:
            msg = f"read {number:,} is {_shown(a)} in {read1.name}, but {_shown(b)} in {read2.name}"
            raise InconsistentInput(f"{msg}: they are not the two files of one run")
    return number
