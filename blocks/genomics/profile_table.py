"""Read the table of profiles of a typing scheme: which alleles each sequence type has.

Tab-separated, as PubMLST, BIGSdb and EnteroBase give it: the sequence type first, then a column
for each locus, then others such as `clonal_complex`.
"""

import gzip
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NoReturn

from blocks.errors import InconsistentInput
from blocks.genomics.locus_file import BYTE_ORDER_MARK, GZIP_MAGIC, MAX_NUMBER, LeftOut, Reason
from blocks.genomics.records import Profile

FIRST_CELL = re.compile(r"#?(cg|wg|r|core)?ST(_?id)?", re.IGNORECASE)
# Columns of PubMLST's tables that are no loci; all that follows one of them is none either.
NO_LOCUS = re.compile(
    r"cc|.*(clonal|clade|species|cluster|lineage|lin_?code|comment|note|serovar|biovar).*",
    re.IGNORECASE,
)
MISSING_CODES = frozenset({"", "0", "N", "n", "-", "?", "NA"})  # BIGSdb's N is any allele
WHOLE = re.compile(r"[0-9]{1,12}")
NEGATIVE = re.compile(r"-[0-9]+")  # EnteroBase: the locus is in pieces or in several copies
MAX_LINE = 8_000_000  # bytes; a wgMLST header of 25,000 loci has 0.5 MB
UNKNOWN, NO_CODE = -1, -2


@dataclass(frozen=True, slots=True)
class Numbers:
    """Which allele numbers of a locus may be named."""

    known: Container[int]
    stands_for: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ProfileTable:
    """The table of profiles: which of its columns are loci, and which others."""

    path: Path
    loci: tuple[str, ...]
    columns: tuple[str, ...]


def table_header(path: Path) -> list[str]:
    """Return the columns of a table of profiles; none if the file is something else."""
    _, first = next(_lines(path), (1, b""))
    cells = [cell.strip() for cell in first.decode("utf-8", errors="replace").split("\t")]
    if not FIRST_CELL.fullmatch(cells[0].partition(",")[0]):
        return []
    if len(cells) == 1:
        msg = f"{path.name} is a table of profiles, but its columns are not separated by tabs"
        raise InconsistentInput(msg)
    return cells[1:]


def profile_table(path: Path, columns: Sequence[str], known: Container[str]) -> ProfileTable:
    """Return which columns of a table are loci: those before the first that is known for none.

    Args:
        path: Of the table.
        columns: Its header, without the sequence type.
        known: The loci that have alleles.

    Raises:
        InconsistentInput: a column comes twice, a locus has no alleles, or there is none.
    """
    last = max((n for n, column in enumerate(columns, start=1) if column), default=0)
    columns = columns[:last]
    ends = (n for n, name in enumerate(columns) if name not in known and NO_LOCUS.fullmatch(name))
    loci = tuple(columns[: next(ends, None)])
    twice = [column for column, n in Counter(columns).items() if n > 1]
    without = [column for column in loci if column not in known]
    beyond = [column for column in columns[len(loci) :] if column in known]
    problem = ""
    if twice:
        problem = f"has two columns {twice[0]!r}"
    elif not loci:
        problem = "has no column of a locus"
    elif without:
        problem = f"has a column {without[0]!r} without a FASTA file of its alleles; fetch it again"
    elif beyond:
        problem = f"has the locus {beyond[0]} behind columns that are no loci"
    if problem:
        msg = f"{path.name} {problem}"
        raise InconsistentInput(msg)
    return ProfileTable(path, loci, tuple(columns))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield line number and line, without its end, of a plain or gzip file."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        with gzip.open(path) if packed else path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    msg = f"{path.name}, line {number} is longer than {MAX_LINE} bytes"
                    raise InconsistentInput(msg)
                yield number, line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path} cannot be read: {error}"
        raise InconsistentInput(msg) from error


def table_rows(table: ProfileTable, numbers: Mapping[str, Numbers]) -> Iterator[Profile | LeftOut]:
    """Yield each row: its profile, or why it is left out."""
    reader = _RowReader(table, [numbers[locus] for locus in table.loci])
    for line, raw in _lines(table.path):
        if line > 1 and raw.strip():
            yield reader.row(line, raw)


class _RowReader:
    """Reads rows of a table of profiles, and remembers what it has seen."""

    def __init__(self, table: ProfileTable, numbers: Sequence[Numbers]) -> None:
        self.file = table.path.name
        self.columns = table.columns
        self.codes = [_Codes(of_locus) for of_locus in numbers]
        self.seen: dict[int, bytes] = {}
        self.digests: set[bytes] = set()

    def row(self, line: int, raw: bytes) -> Profile | LeftOut:
        """Return the profile of a row, or why there is none."""
        label, cells = self._cells(line, raw)
        number = _whole(label)
        found = self._alleles(cells) if number else Reason.NUMBER
        if not isinstance(found, Reason):
            found = self._new(line, number, found)
        if isinstance(found, Reason):
            return LeftOut(self.file, line, f"ST {label[:20]}", found)
        named = zip(self.columns[len(found) :], cells[len(found) :], strict=False)
        return Profile(number, found, {column: cell for column, cell in named if cell})

    def _cells(self, line: int, raw: bytes) -> tuple[str, list[str]]:
        try:
            first, *cells = [cell.strip() for cell in raw.decode("utf-8").split("\t")]
        except UnicodeDecodeError:
            self._refuse(line, "is not UTF-8; save the table as UTF-8")
        while len(cells) > len(self.columns) and not cells[-1]:
            cells.pop()
        if not len(self.codes) <= len(cells) <= len(self.columns):
            self._refuse(line, f"has {len(cells) + 1} cells, not {len(self.columns) + 1}")
        return first, cells

    def _alleles(self, cells: Sequence[str]) -> tuple[int, ...] | Reason:
        found = tuple(codes[cell] for codes, cell in zip(self.codes, cells, strict=False))
        worst = min(found)
        if worst < 0:
            return Reason.UNKNOWN_ALLELE if worst == UNKNOWN else Reason.NOT_A_CODE
        return found if any(found) else Reason.NO_ALLELES

    def _new(self, line: int, number: int, alleles: tuple[int, ...]) -> tuple[int, ...] | Reason:
        digest = blake2b(array("q", alleles).tobytes(), digest_size=16).digest()
        before = self.seen.setdefault(number, digest)
        if before != digest:
            self._refuse(line, f"gives ST {number} another profile than a line before")
        if digest in self.digests:
            return Reason.REPEATED if before is not digest else Reason.SAME_PROFILE
        self.digests.add(digest)
        return alleles

    def _refuse(self, line: int, what: str) -> NoReturn:
        msg = f"{self.file}, line {line} {what}"
        raise InconsistentInput(msg)


class _Codes(dict[str, int]):
    """What is meant by a text in the column of one locus; filled as texts are met.

    Texts without a meaning are `UNKNOWN` or `NO_CODE`, and not kept.
    """

    def __init__(self, numbers: Numbers) -> None:
        super().__init__(dict.fromkeys(MISSING_CODES, 0))
        self.numbers = numbers

    def __missing__(self, text: str) -> int:
        number = _whole(text)
        number = self.numbers.stands_for.get(number, number)
        if not number:
            return 0 if NEGATIVE.fullmatch(text) else NO_CODE
        if number not in self.numbers.known:
            return UNKNOWN
        self[text] = number
        return number


def _whole(text: str) -> int:
    """Return a number from 1 on as it is written, or 0 if it is none."""
    return int(text) if WHOLE.fullmatch(text) and int(text) <= MAX_NUMBER else 0
