"""Read the FASTA file of one locus of a typing scheme: its known alleles, by number.

PubMLST and BIGSdb head an allele `>adk_1` or `>adk-1`, chewBBACA also `>1` and `>adk_*5`; one
single sequence headed by nothing but the locus is an exemplar, and becomes allele 1.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from blocks.errors import InconsistentInput

MAX_BYTES = 200_000_000  # decompressed; 10,000 alleles of the longest genes are 160 MB
MAX_ALLELE_BP = 200_000
MIN_ALLELE_BP = 32  # what is shorter is found by chance, and the caller does not index it
MAX_NUMBER = 2**31 - 1  # an integer of every database
MAX_LEFT_OUT = 10_000
SUFFIXES = (".tfa", ".fas", ".fasta", ".fa", ".fna")
GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UPPER = bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
ALIKE = bytes.maketrans(
    b"-ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"_abcdefghijklmnopqrstuvwxyz"
)  # what files and headers of one locus differ by
SEPARATORS = b"_-:|. \t"  # between locus and number, or before a description
NUMBER = re.compile(rb"\*?([0-9]+)")
STARTS = frozenset({b"ATG", b"GTG", b"TTG", b"CTG", b"ATT", b"ATC", b"ATA"})  # genetic code 11
STOPS = frozenset({b"TAA", b"TAG", b"TGA"})


class Reason(StrEnum):
    """Why a part of a scheme is not taken over."""

    LETTERS = "letters other than A, C, G and T"
    SHORT = f"shorter than {MIN_ALLELE_BP} base pairs"
    LONG = f"longer than {MAX_ALLELE_BP} base pairs"
    NUMBER = f"no whole number from 1 to {MAX_NUMBER}"
    SAME_SEQUENCE = "the same sequence as a lower number"
    REPEATED = "given twice"
    SAME_PROFILE = "the same profile as an earlier sequence type"
    NO_ALLELES = "no allele at all"
    UNKNOWN_ALLELE = "an allele that the folder does not have"
    NOT_A_CODE = "neither an allele's number nor a mark for a missing one"
    NO_COLUMN = "no column in the table of profiles"


class LeftOut(NamedTuple):
    """A part of a scheme that is not taken over."""

    file: str
    line: int
    what: str
    reason: Reason

    def __str__(self) -> str:
        """Return it as a line of a report."""
        return f"{self.file}, line {self.line}: {self.what}: {self.reason}"


@dataclass(frozen=True, slots=True)
class LocusFile:
    """The usable alleles of one locus, by number, in upper case.

    `stands_for` gives the number that is kept for a number whose sequence comes twice.
    """

    locus: str
    alleles: tuple[tuple[int, bytes], ...] = field(repr=False)
    stands_for: dict[int, int]
    left_out: tuple[LeftOut, ...]

    @property
    def n_reading_frames(self) -> int:
        """How many alleles go from a start to a stop codon, in whole codons."""
        return sum(
            len(sequence) % 3 == 0 and sequence[:3] in STARTS and sequence[-3:] in STOPS
            for _, sequence in self.alleles
        )


def read_locus_file(path: Path, locus: str) -> LocusFile:
    """Read the alleles of a locus from FASTA, plain or gzip.

    Alleles that no genome can have, or whose sequence a lower number has, are left out.

    Raises:
        InconsistentInput: it cannot be read, is no FASTA of this locus, has a number with two
            sequences, or no usable allele at all.
    """
    reading = _Reading(path.name, locus)
    for line, header, sequence in _records(path):
        reading.add(line, header, sequence)
    return reading.result()


def read_content(path: Path) -> bytes:
    """Return a file's content, decompressed if it is gzip.

    Raises:
        InconsistentInput: it cannot be read, is a damaged gzip file, or is too large.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path} cannot be read: {error}"
        raise InconsistentInput(msg) from error
    if len(content) > MAX_BYTES:
        msg = f"{path.name} is larger than {MAX_BYTES // 1_000_000} MB: no file of one locus"
        raise InconsistentInput(msg)
    return content


def _records(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield line number, header without the >, and upper-case sequence of each record."""
    content = read_content(path).removeprefix(BYTE_ORDER_MARK)
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = len(content) - len(content.lstrip())
    if content[start : start + 1] != b">":
        begins = content[start : start + 20].decode("ascii", errors="backslashreplace")
        what = f"it begins with {begins!r}" if begins else "it is empty"
        msg = f"{path.name} is no FASTA: {what}; fetch it again"
        raise InconsistentInput(msg)
    line = 1 + content.count(b"\n", 0, start)
    while start < len(content):
        end = content.find(b"\n>", start)
        record = content[start : end if end >= 0 else None]
        header, _, body = record.partition(b"\n")
        yield line, header[1:].strip(), body.translate(UPPER, b" \t\n")
        line += record.count(b"\n") + 1
        start = end + 1 if end >= 0 else len(content)


class _Reading:
    """The alleles of one locus, as they are read."""

    def __init__(self, file: str, locus: str) -> None:
        self.file = file
        self.locus = locus
        self.marker = locus.encode().translate(ALIKE)
        self.sequences: dict[int, bytes] = {}
        self.numbers: dict[bytes, int] = {}
        self.lines: dict[int, int] = {}
        self.left_out: list[LeftOut] = []
        self.n_records = 0
        self.unnumbered = ""

    def add(self, line: int, header: bytes, sequence: bytes) -> None:
        """Take an allele over, or say why not."""
        self.n_records += 1
        number, name = self._number(line, header)
        reason = _unusable(sequence) if number else Reason.NUMBER
        if number in self.sequences:
            reason = self._again(line, number, sequence)
        if reason:
            self._leave_out(line, name, reason)
            return
        self.sequences[number], self.lines[number] = sequence, line
        self.numbers[sequence] = min(number, self.numbers.get(sequence, number))

    def _number(self, line: int, header: bytes) -> tuple[int, str]:
        """Return the number, 0 if there is none to use, and what to call the allele."""
        label = header.split(maxsplit=1)[0] if header else b""
        if not NUMBER.fullmatch(label):
            rest = self._after_locus(line, header)
            if not rest or rest[:1].isspace():
                self.unnumbered = _shown(header)
                return 1, self.unnumbered
            label = rest[1:].split(maxsplit=1)[0] if rest[1:].strip() else b""
        found = NUMBER.fullmatch(label)
        digits = found[1].lstrip(b"0") if found else b""
        number = int(digits) if 0 < len(digits) <= len(str(MAX_NUMBER)) else 0
        return number if number <= MAX_NUMBER else 0, _shown(header)

    def _after_locus(self, line: int, header: bytes) -> bytes:
        """Return what follows the locus in a header."""
        rest = header[len(self.marker) :]
        same = header.translate(ALIKE).startswith(self.marker)
        if not same or (rest and rest[:1] not in SEPARATORS):
            self._refuse(line, f"has an allele of another locus, {_shown(header)}")
        return rest

    def _again(self, line: int, number: int, sequence: bytes) -> Reason:
        if self.sequences[number] != sequence:
            self._refuse(
                line, f"gives allele {number} another sequence than line {self.lines[number]}"
            )
        return Reason.REPEATED

    def _leave_out(self, line: int, what: str, reason: Reason) -> None:
        self.left_out.append(LeftOut(self.file, line, what, reason))
        require_few(self.left_out)

    def _refuse(self, line: int, what: str) -> None:
        msg = f"{self.file}, line {line}: the file of locus {self.locus} {what}"
        raise InconsistentInput(msg)

    def result(self) -> LocusFile:
        """Return the alleles, each sequence once, under its lowest number."""
        if self.unnumbered and self.n_records > 1:
            msg = f"{self.file} has {self.unnumbered} without a number beside other alleles"
            raise InconsistentInput(msg)
        stands_for = {
            number: self.numbers[sequence]
            for number, sequence in self.sequences.items()
            if self.numbers[sequence] != number
        }
        for number in stands_for:
            what = f"{self.locus} {number}"
            self._leave_out(self.lines[number], what, Reason.SAME_SEQUENCE)
        alleles = sorted((number, sequence) for sequence, number in self.numbers.items())
        if not alleles:
            first = self.left_out[0]
            msg = f"{self.file} has no usable allele of locus {self.locus}: {first.reason}"
            raise InconsistentInput(msg)
        return LocusFile(self.locus, tuple(alleles), stands_for, tuple(self.left_out))


def _unusable(sequence: bytes) -> Reason | None:
    if sequence.translate(None, b"ACGT"):
        return Reason.LETTERS
    if len(sequence) < MIN_ALLELE_BP:
        return Reason.SHORT
    return Reason.LONG if len(sequence) > MAX_ALLELE_BP else None


def _shown(header: bytes) -> str:
    return header[:60].decode("ascii", errors="backslashreplace") or "one without a name"


def require_few(left_out: list[LeftOut]) -> None:
    """Stop at a file that is not what it is taken for, before its report fills the memory.

    Raises:
        InconsistentInput: more than 10,000 parts of one file are left out.
    """
    if len(left_out) > MAX_LEFT_OUT:
        first = left_out[0]
        msg = f"more than {MAX_LEFT_OUT} parts of {first.file} cannot be used, the first is {first}"
        raise InconsistentInput(msg)
