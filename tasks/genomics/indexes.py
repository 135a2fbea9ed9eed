"""The index of a scheme, built once from its alleles and kept: in memory, and in a file.

A scheme of 3,000 loci has more than half a million alleles. Its index is a few arrays; the file
is named by the state of the alleles, and a new allele is added to what is there.
"""

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.records import KnownAllele, Scheme
from tasks.genomics.alleles import TypingIndex, choose_exemplars
from tasks.genomics.exact import IndexParts

logger = logging.getLogger(__name__)

LAYOUT = 1  # of the file; raised when the arrays or the hash change
KEPT_IN_MEMORY = 16
Stamp = tuple[int, int, str]
Key = tuple[str, int, int]  # database, scheme, version


@dataclass
class _Held:
    """An index in memory, and the alleles' state that it stands for."""

    stamp: Stamp
    index: TypingIndex


@dataclass
class IndexCache:
    """Indexes by database and scheme; safe for threads."""

    _held: dict[tuple[str, int, int], _Held] = field(
        default_factory=dict[tuple[str, int, int], _Held]
    )
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
        """
        key = (where, scheme.id, scheme.version)
        with self._lock:
            stamp = store.allele_stamp(scheme.id)
            held = self._held.pop(key, None)
            if held is None or held.stamp != stamp:
                held = _Held(stamp, self._renewed(held, store, scheme, stamp, folder))
            self._held[key] = held  # the newest is last
            while len(self._held) > KEPT_IN_MEMORY:
                self._held.pop(next(iter(self._held)))
            return held.index

    def _renewed(
        self,
        held: _Held | None,
        store: SchemeStore,
        scheme: Scheme,
        stamp: Stamp,
        folder: Path | None,
    ) -> TypingIndex:
        if held:
            added = list(store.alleles(scheme.id, after=held.stamp[1]))
            if held.stamp[0] + len(added) == stamp[0]:
                return _extended(held.index, added)
        path = _path(folder, scheme, stamp) if folder else None
        found = _read(path, scheme) if path else None
        if found is not None:
            return found
        logger.info("indexing scheme %s, %d alleles", scheme.description, stamp[0])
        index = _built(scheme, store.alleles(scheme.id))
        if path:
            _write(path, index)
        return index


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


def _extended(index: TypingIndex, added: list[KnownAllele]) -> TypingIndex:
    exact = index.exact
    parts = IndexParts([exact.anchors], [exact.seeds], [exact.alleles])
    for place, group in groupby(added, key=lambda allele: allele.place):
        parts.add(place, [(allele.number, allele.sequence) for allele in group])
    return TypingIndex(index.names, parts.index(), index.exemplars, index.coding, index.require_orf)


def _index(
    scheme: Scheme, parts: IndexParts, exemplars: tuple[tuple[bytes, ...], ...]
) -> TypingIndex:
    names = tuple(locus.name for locus in scheme.loci)
    param = scheme.param
    return TypingIndex(names, parts.index(), exemplars, param.coding, param.require_orf)


# Files


def _path(folder: Path, scheme: Scheme, stamp: Stamp) -> Path:
    state = "-".join(str(part) for part in stamp)
    return folder / f"scheme-{scheme.id}-v{scheme.version}-{state}-layout{LAYOUT}.npz"


def _write(path: Path, index: TypingIndex) -> None:
    """Write the file in one move; a folder that cannot be written costs the file only."""
    lengths = [[len(sequence) for sequence in own] for own in index.exemplars]
    joined = b"".join(sequence for own in index.exemplars for sequence in own)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            np.savez(
                file,
                anchors=index.exact.anchors,
                seeds=index.exact.seeds,
                alleles=index.exact.alleles,
                exemplars=np.frombuffer(joined, np.uint8),
                lengths=np.array([length for own in lengths for length in own], np.int64),
                of_locus=np.array([len(own) for own in lengths], np.int64),
            )
        os.replace(file.name, path)  # noqa: PTH105 - from a name
    except OSError as error:
        logger.warning("the index of a scheme is not kept in %s: %s", path.parent, error)
        return
    for older in path.parent.glob(f"{path.name.partition('-v')[0]}-v*.npz"):
        if older != path:
            older.unlink(missing_ok=True)


def _read(path: Path, scheme: Scheme) -> TypingIndex | None:
    """Return the index in a file; None if it is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            tables = [arrays[name] for name in ("anchors", "seeds", "alleles")]
            joined = arrays["exemplars"].tobytes()
            lengths, of_locus = arrays["lengths"].tolist(), arrays["of_locus"].tolist()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError) as error:
        logger.warning("the index in %s is made again: %s", path, error)
        return None
    ends = np.cumsum([0, *lengths]).tolist()
    sequences = [joined[a:b] for a, b in pairwise(ends)]
    borders = np.cumsum([0, *of_locus]).tolist()
    exemplars = tuple(tuple(sequences[a:b]) for a, b in pairwise(borders))
    parts = IndexParts(*([table] for table in tables))
    return _index(scheme, parts, exemplars)
