"""A number of this site's own that gives way to the one that a newer scheme gives: what is stored.

What is minted here is numbered from `SchemeParam.first_own_number` on. When PubMLST later gives the
same sequence, or the same profile, a number, that number takes its place wherever the first was
written.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from blocks.record import Record

ANNOTATED = re.compile(r";locus=(?P<locus>[^;\n]*);allele=(?P<number>\d+)(?=;)")
Moves = Mapping[tuple[str, int], int]  # of a locus: new numbers by the old ones


class Renumbered(Record):
    """An allele, or a sequence type, that has another number now."""

    locus: str | None  # None: a sequence type
    before: int
    now: int

    def __str__(self) -> str:
        """Return it as a line of a report."""
        what = f"allele {self.locus}" if self.locus is not None else "sequence type"
        return f"{what} {self.before} is {self.now} now"


class Added(NamedTuple):
    """What loading a scheme did."""

    alleles: int
    types: int
    renumbered: tuple[Renumbered, ...] = ()


def moves_of(renumbered: Sequence[Renumbered]) -> dict[tuple[str, int], int]:
    """Return the new numbers of alleles."""
    return {(one.locus, one.before): one.now for one in renumbered if one.locus is not None}


def moved_profile(profile: Sequence[int], loci: Sequence[str], moves: Moves) -> tuple[int, ...]:
    """Return a profile, its loci in this order, with the new numbers."""
    return tuple(moves.get(pair, pair[1]) for pair in zip(loci, profile, strict=True))


def moved_annotation(text: str, moves: Moves) -> str:
    """Return the GFF text of an assembly with the new numbers."""

    def moved(found: re.Match[str]) -> str:
        before = int(found["number"])
        number = moves.get((unquote(found["locus"]), before), before)
        return f";locus={found['locus']};allele={number}"

    return ANNOTATED.sub(moved, text)


def moved_results(results: Mapping[str, Any], moves: Moves) -> dict[str, Any]:
    """Return `other_data.results` with the new numbers of alleles."""
    alleles = results.get("alleles")
    if not isinstance(alleles, dict):
        return dict(results)
    pairs: list[tuple[str, Any]] = list(alleles.items())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - keys are text in JSON
    return {**results, "alleles": {locus: _moved(moves, locus, code) for locus, code in pairs}}


def _moved(moves: Moves, locus: str, code: Any) -> Any:
    return moves.get((locus, code), code) if isinstance(code, int) else code
