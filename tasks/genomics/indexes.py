"""The index of a scheme, built once from its alleles and kept: in memory, and in a file.

A scheme of 3,000 loci has more than half a million alleles, and minutes pass until they are
indexed. The index is a few arrays; its file is named by the state of the alleles, and new alleles
are added to what is there. Before an index that was kept is used, the newest alleles of the
database are looked up in it: neither a copy of another database nor what was there before a
restored backup passes. A sequence that is changed in place is seen when the scheme's version is.
"""

import hashlib
import logging
import re
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from blocks.errors import UNREADABLE
from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.records import KnownAllele, Scheme
from tasks.genomics.alleles import TypingIndex, choose_exemplars
from tasks.genomics.exact import ALLELE, ANCHOR, SEED, IndexParts

logger = logging.getLogger(__name__)

LAYOUT = 2  # of the file; raised when the arrays or the hash change
KEPT_IN_MEMORY = 16
LOOK_BACK = 1_000  # rows of `alleles` before the newest, that are looked up in an index
WORTH_A_FILE = 1_000  # alleles that are not in the file yet
NAME = re.compile(
    r"scheme-(?P<scheme>\d+)-v(?P<version>\d+)-(?P<count>\d+)-(?P<newest>\d+)-(?P<time>\d*)"
    r"-layout(?P<layout>\d+)\.npz"
)
ARRAYS = {
    "anchors": ANCHOR,
    "seeds": SEED,
    "alleles": ALLELE,
    "exemplars": np.dtype(np.uint8),
    "lengths": np.dtype(np.int64),
    "of_locus": np.dtype(np.int64),
}
# What numpy and zipfile raise of a file that is not what it was.
DAMAGED = (
    *(*UNREADABLE, EOFError, MemoryError, RuntimeError),
    *(struct.error, zipfile.BadZipFile, zlib.error),
)
Stamp = tuple[int, int, str]
Key = tuple[str, int, int]  # database, scheme, version


@dataclass(frozen=True)
class _Held:
    """An index, and the alleles' state that it stands for."""

    stamp: Stamp
    index: TypingIndex


@dataclass
class IndexCache:
    """Indexes by database and scheme; safe for threads, which wait only for their own scheme."""

    _held: dict[Key, _Held] = field(default_factory=dict[Key, _Held])
    _building: dict[Key, threading.Lock] = field(default_factory=dict[Key, threading.Lock])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def index(
        self, store: SchemeStore, scheme: Scheme, *, where: str, folder: Path | None = None
    ) -> TypingIndex:
        """Return the index of a scheme as its alleles are now.

        Args:
            store: Has the alleles.
            scheme: With its loci.
            where: What tells this database from another.
            folder: Where files are kept; None keeps it in memory only.

        Raises:
            InconsistentInput: an allele cannot be indexed.
        """
        key = (where, scheme.id, scheme.version)
        with self._lock:
            building = self._building.setdefault(key, threading.Lock())
        with building:
            held = _renewed(self._held.get(key), store, scheme, folder)
            self._keep(key, held)
        param, names = scheme.param, tuple(locus.name for locus in scheme.loci)
        return replace(held.index, names=names, coding=param.coding, require_orf=param.require_orf)

    def _keep(self, key: Key, held: _Held) -> None:
        with self._lock:
            self._held.pop(key, None)
            self._held[key] = held  # the newest is last
            while len(self._held) > KEPT_IN_MEMORY:
                self._held.pop(next(iter(self._held)))


def _renewed(held: _Held | None, store: SchemeStore, scheme: Scheme, folder: Path | None) -> _Held:
    """Return an index of the alleles as they are now: kept in memory, in a file, or a new one."""
    stamp = store.allele_stamp(scheme.id)
    if held and held.stamp == stamp and len(held.index.names) == len(scheme.loci):
        return held
    known = _caught_up(held, store, scheme, stamp) if held else None
    if known is None and folder:
        known = _from_file(folder, store, scheme, stamp)
    if known is None:
        logger.info("indexing scheme %s, %d alleles", scheme.description, stamp[0])
        known = _built(scheme, store.alleles(scheme.id))
        if folder:
            _write(folder, scheme, stamp, known)
    return _Held(stamp, known)


def _built(scheme: Scheme, alleles: Iterator[KnownAllele]) -> TypingIndex:
    """Return the index of alleles that come locus by locus."""
    parts = IndexParts()
    exemplars = [tuple[bytes, ...]()] * len(scheme.loci)
    for place, group in groupby(alleles, key=lambda allele: allele.place):
        known = [(allele.number, allele.sequence) for allele in group]
        parts.add(place, known)
        exemplars[place] = choose_exemplars([sequence for _, sequence in known])
        parts.add_seeds(place, exemplars[place])
    return _index(scheme, parts, tuple(exemplars))


def _index(
    scheme: Scheme, parts: IndexParts, exemplars: tuple[tuple[bytes, ...], ...]
) -> TypingIndex:
    return TypingIndex(tuple(locus.name for locus in scheme.loci), parts.index(), exemplars)


# An index of an earlier state


def _caught_up(held: _Held, store: SchemeStore, scheme: Scheme, stamp: Stamp) -> TypingIndex | None:
    """Return an index with the alleles that came after it; None if it is not of these alleles.

    The rows before the newest that it should know are asked for again: it must know them.
    """
    index = held.index
    if len(index.names) != len(scheme.loci):
        return None
    recent = list(store.alleles(scheme.id, after=max(0, held.stamp[1] - LOOK_BACK)))
    if any(allele.place >= len(index.names) for allele in recent):
        return None
    added = _unknown(index, recent)
    if any(not index.exemplars[allele.place] for allele in added):  # a locus that had none
        return None
    count = index.exact.n_alleles + len(added)
    if count != stamp[0] and count != store.allele_stamp(scheme.id)[0]:  # others mint meanwhile
        return None
    return _extended(index, added) if added else index


def _unknown(index: TypingIndex, alleles: Sequence[KnownAllele]) -> list[KnownAllele]:
    """Return those alleles, of any order, that an index does not know under their number."""
    parts = _parts_of(alleles)
    asked, known = np.concatenate([*parts.alleles, np.empty(0, ALLELE)]), index.exact.alleles
    if not len(known):
        return list(alleles)
    at = np.minimum(np.searchsorted(known["high"], asked["high"]), len(known) - 1)
    is_known = known[at] == asked
    return [allele for allele, found in zip(alleles, is_known, strict=True) if not found]


def _extended(index: TypingIndex, added: Iterable[KnownAllele]) -> TypingIndex:
    exact, new = index.exact, _parts_of(added)
    parts = IndexParts([exact.anchors, *new.anchors], [exact.seeds], [exact.alleles, *new.alleles])
    return replace(index, exact=parts.index())


def _parts_of(alleles: Iterable[KnownAllele]) -> IndexParts:
    """Return the tables of alleles that come locus by locus, in their order."""
    parts = IndexParts()
    for place, group in groupby(alleles, key=lambda allele: allele.place):
        parts.add(place, [(allele.number, allele.sequence) for allele in group])
    return parts


# Files


def folder_name(database: str, url: str) -> str:
    """Return a folder's name that tells databases apart, also two that are called the same.

    Nothing of it can be a password: that is before the @, or in the query.
    """
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    digest = hashlib.sha256(place.encode(errors="replace")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', database)}-{digest}"


def _from_file(
    folder: Path, store: SchemeStore, scheme: Scheme, stamp: Stamp
) -> TypingIndex | None:
    """Return the index of the newest file that is of these alleles, with those that came later."""
    for path, state in _files(folder, scheme, stamp):
        kept = _read(path, scheme)
        known = _caught_up(_Held(state, kept), store, scheme, stamp) if kept else None
        if kept is None or known is None:
            logger.warning("the index in %s is not used: it is of other alleles", path)
            continue
        if known.exact.n_alleles - kept.exact.n_alleles >= WORTH_A_FILE:
            _write(folder, scheme, stamp, known)
        return known
    return None


def _files(folder: Path, scheme: Scheme, stamp: Stamp) -> list[tuple[Path, Stamp]]:
    """Return the files that may be of a scheme, and each one's state, the newest first."""
    found = list[tuple[Path, Stamp]]()
    for path, name in _named(folder, scheme):
        state = (int(name["count"]), int(name["newest"]), name["time"])
        same = (int(name["version"]), int(name["layout"])) == (scheme.version, LAYOUT)
        if same and state[:2] <= stamp[:2]:
            found.append((path, state))
    return sorted(found, key=lambda one: (one[1] == stamp, one[1]), reverse=True)


def _named(folder: Path, scheme: Scheme) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in folder.glob(f"scheme-{scheme.id}-v*.npz"):
        name = NAME.fullmatch(path.name)
        if name:
            yield path, name


def _write(folder: Path, scheme: Scheme, stamp: Stamp, index: TypingIndex) -> None:
    """Write the file in one move; a folder that cannot be written costs the file only."""
    if index.exact.n_alleles != stamp[0]:  # others minted meanwhile: the name would be wrong
        return
    state = "-".join(str(part) for part in stamp)
    path = folder / f"scheme-{scheme.id}-v{scheme.version}-{state}-layout{LAYOUT}.npz"
    sequences = [sequence for own in index.exemplars for sequence in own]
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            part = Path(file.name)
            np.savez(
                file,
                anchors=index.exact.anchors,
                seeds=index.exact.seeds,
                alleles=index.exact.alleles,
                exemplars=np.frombuffer(b"".join(sequences), np.uint8),
                lengths=np.array([len(sequence) for sequence in sequences], np.int64),
                of_locus=np.array([len(own) for own in index.exemplars], np.int64),
            )
        part.chmod(0o644)  # other users of the share may read it
        part.replace(path)
    except OSError as error:
        logger.warning("the index of a scheme is not kept in %s: %s", folder, error)
        if part:
            _remove(part)
        return
    for older, name in _named(folder, scheme):
        newness = (int(name["layout"]), int(name["version"]), int(name["newest"]))
        if newness <= (LAYOUT, scheme.version, stamp[1]) and older != path:
            _remove(older)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("cannot remove %s: %s", path, error)


def _read(path: Path, scheme: Scheme) -> TypingIndex | None:
    """Return the index in a file; None if it is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
        return _checked(arrays, scheme)
    except FileNotFoundError:
        return None
    except DAMAGED as error:
        logger.warning("the index in %s cannot be read: %s", path, error)
        return None


def _checked(arrays: dict[str, NDArray[Any]], scheme: Scheme) -> TypingIndex:
    """Return the index of arrays.

    Raises:
        ValueError: they are not as `_write` writes them.
    """
    for name, kind in ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(f"{name} is no table of ours")
    joined, lengths = arrays["exemplars"].tobytes(), arrays["lengths"]
    of_locus = arrays["of_locus"]
    whole = lengths.sum() == len(joined) and of_locus.sum() == len(lengths)
    sound = min(lengths.min(initial=0), of_locus.min(initial=0)) >= 0
    places = [arrays[name]["locus"] for name in ("anchors", "seeds", "alleles")]
    inside = all(((at >= 0) & (at < len(of_locus))).all() for at in places)
    if not (whole and sound and inside and len(of_locus) == len(scheme.loci)):
        raise ValueError("its tables do not fit each other")
    ends = np.cumsum([0, *lengths.tolist()]).tolist()
    sequences = [joined[a:b] for a, b in pairwise(ends)]
    borders = np.cumsum([0, *of_locus.tolist()]).tolist()
    exemplars = tuple(tuple(sequences[a:b]) for a, b in pairwise(borders))
    parts = IndexParts(*([arrays[name]] for name in ("anchors", "seeds", "alleles")))
    return _index(scheme, parts, exemplars)
