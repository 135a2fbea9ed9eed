"""Read a typing scheme from a folder, as PubMLST, BIGSdb, EnteroBase and chewBBACA give them.

One FASTA file for each locus, and for most schemes a table of profiles: tab-separated, sequence
type first, then a column for each locus, then others such as `clonal_complex`. All is read and
checked once, before anybody stores a part of it; sequences and profiles are then read again as
they are asked for, one locus and one row at a time, because a cgMLST scheme has gigabytes.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blocks.errors import InconsistentInput, InvalidRequest
from blocks.genomics.locus_file import (
    SUFFIXES,
    LeftOut,
    LocusFile,
    Reason,
    read_locus_file,
    require_few,
)
from blocks.genomics.profile_table import (
    Numbers,
    ProfileTable,
    profile_table,
    table_header,
    table_rows,
)
from blocks.genomics.records import Profile

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.'\-() ]{0,120}")
TABLES = (".txt", ".tsv", ".tab", ".list", ".csv")
MAX_VERSION = 100
WHOLE_GENES = 0.9  # share of its alleles that are whole reading frames, in a scheme of genes


@dataclass(frozen=True, slots=True)
class _Locus:
    """What is remembered of the file of a locus."""

    path: Path
    n_alleles: int
    n_reading_frames: int
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class SchemeFolder:
    """A scheme that was read and checked; loci are in the order of the profiles.

    `left_out` says what is not taken over, and why. Alleles and profiles are read again when they
    are asked for.
    """

    name: str
    version: str
    loci: tuple[str, ...]
    extra_columns: tuple[str, ...]
    n_profiles: int
    left_out: tuple[LeftOut, ...] = field(repr=False)
    _loci: Mapping[str, _Locus] = field(repr=False)
    _table: ProfileTable | None = field(repr=False)

    @property
    def n_alleles(self) -> int:
        """How many alleles all loci have."""
        return sum(locus.n_alleles for locus in self._loci.values())

    @property
    def n_reading_frames(self) -> int:
        """How many alleles go from a start to a stop codon, in whole codons."""
        return sum(locus.n_reading_frames for locus in self._loci.values())

    @property
    def coding(self) -> bool:
        """Whether this is a scheme of whole genes: at least 90 % of its alleles are such frames.

        All alleles of all loci count together. Some of a scheme's alleles are always cut short or
        shifted; pieces inside of genes, of the usual seven, begin and end so by chance only.
        """
        return self.n_reading_frames >= WHOLE_GENES * self.n_alleles

    @property
    def left_out_by_reason(self) -> dict[Reason, int]:
        """How many parts are left out for each reason."""
        reasons = [one.reason for one in self.left_out]
        return {reason: reasons.count(reason) for reason in Reason if reason in reasons}

    def alleles(self, locus: str) -> tuple[tuple[int, bytes], ...]:
        """Read the alleles of a locus: number and upper-case sequence, by number."""
        return read_locus_file(self._loci[locus].path, locus).alleles

    def profiles(self) -> Iterator[Profile]:
        """Read the profiles, in the order of the table."""
        if self._table is not None:
            rows = table_rows(self._table, _numbers(self._loci))
            yield from (row for row in rows if isinstance(row, Profile))


def read_scheme_folder(folder: Path, name: str | None = None) -> SchemeFolder:
    """Read and check the scheme in a folder; its name is the folder's, unless one is given.

    Raises:
        InvalidRequest: there is no such folder, or the name is not one to use.
        InconsistentInput: the folder has no scheme, or files of it contradict each other, are
            damaged, or have names that are not safe.
    """
    visible = _visible_files(folder)
    name = folder.resolve().name if name is None else name
    if not SAFE_NAME.fullmatch(name):
        msg = f"{name!r} is no name for a scheme; give one of letters, digits, - and _"
        raise InvalidRequest(msg)
    files = _files_of_loci(visible, folder)
    table = _profile_table(visible, (name, folder.resolve().name), files)
    names = table.loci if table else tuple(files)
    left_out = [
        LeftOut(path.name, 1, f"locus {locus}", Reason.NO_COLUMN)
        for locus, path in files.items()
        if locus not in names
    ]
    loci = {locus: _read(files[locus], locus, left_out) for locus in names}
    return SchemeFolder(
        name=name,
        version=_version(folder),
        loci=names,
        extra_columns=table.columns[len(names) :] if table else (),
        n_profiles=_count_profiles(table, loci, left_out) if table else 0,
        left_out=tuple(left_out),
        _loci=loci,
        _table=table,
    )


def _read(path: Path, locus: str, left_out: list[LeftOut]) -> _Locus:
    content = read_locus_file(path, locus)
    left_out += content.left_out
    numbers = Numbers(_known(content), content.stands_for)
    return _Locus(path, len(content.alleles), content.n_reading_frames, numbers)


def _count_profiles(
    table: ProfileTable, loci: Mapping[str, _Locus], left_out: list[LeftOut]
) -> int:
    n_profiles, unusable = 0, list[LeftOut]()
    for row in table_rows(table, _numbers(loci)):
        if isinstance(row, Profile):
            n_profiles += 1
        else:
            unusable.append(row)
            require_few(unusable)
    left_out += unusable
    return n_profiles


def _numbers(loci: Mapping[str, _Locus]) -> dict[str, Numbers]:
    return {locus: content.numbers for locus, content in loci.items()}


def _known(content: LocusFile) -> Container[int]:
    """Return the numbers of a locus; most are 1 to n, which needs no memory."""
    numbers = [number for number, _ in content.alleles]
    if numbers[-1] - numbers[0] + 1 == len(numbers):
        return range(numbers[0], numbers[-1] + 1)
    return frozenset(numbers)


# What is in the folder


def _visible_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_file())
    except (OSError, ValueError) as error:  # a ValueError is a null byte in the name
        msg = f"the folder {str(folder)!r} cannot be read: {error}"
        raise InvalidRequest(msg) from error


def _stem(path: Path, suffixes: Sequence[str]) -> str | None:
    """Return a file's name without one of these suffixes, and without .gz; None if it has none."""
    plain = path.name.removesuffix(".gz")
    stem, dot, suffix = plain.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in suffixes else None


def _with_suffix(visible: Sequence[Path], suffixes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for path in visible:
        stem = _stem(path, suffixes)
        if stem is not None and not SAFE_NAME.fullmatch(stem):
            msg = f"the file {path.name!r} has no name to use in a scheme; rename it"
            raise InconsistentInput(msg)
        if stem is not None:
            yield stem, path


def _files_of_loci(visible: Sequence[Path], folder: Path) -> dict[str, Path]:
    files = dict[str, Path]()
    for locus, path in _with_suffix(visible, SUFFIXES):
        if locus in files:
            msg = f"{files[locus].name} and {path.name} are both of locus {locus}; remove one"
            raise InconsistentInput(msg)
        files[locus] = path
    if not files:
        msg = f"{folder} has no FASTA file of a locus ({', '.join(SUFFIXES)})"
        raise InconsistentInput(msg)
    return files


def _version(folder: Path) -> str:
    """Return what PubMLST's database_version.txt says, a date; empty if there is none."""
    try:
        with (folder / "database_version.txt").open("rb") as file:
            text = file.read(MAX_VERSION).decode("utf-8", errors="replace")
    except OSError:
        return ""
    first = text.strip().partition("\n")[0].strip()
    return first if first.isprintable() else ""


def _profile_table(
    visible: Sequence[Path], names: Sequence[str], files: Mapping[str, Path]
) -> ProfileTable | None:
    """Return the table of profiles, None if the folder has none.

    Raises:
        InconsistentInput: there are several, and none is named as the scheme; or it cannot be
            that of these loci.
    """
    found = [(stem, path, table_header(path)) for stem, path in _with_suffix(visible, TABLES)]
    tables = [one for one in found if one[-1]]
    chosen = [one for one in tables if one[0] in names] if tables[1:] else tables
    if tables and len(chosen) != 1:
        msg = (
            f"{', '.join(path.name for _, path, _ in tables)} are all tables of profiles; keep one"
        )
        raise InconsistentInput(msg)
    return profile_table(*chosen[0][1:], files) if chosen else None
