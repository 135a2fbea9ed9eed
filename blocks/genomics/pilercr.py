"""PILER-CR 1.06: CRISPR arrays, their repeats and spacers, from its report.

The report has fixed columns. A repeat is written against the consensus of its array: `.` is the
consensus' letter, `-` is none.
"""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from blocks.record import Record

FOUND = re.compile(r"^.*: (\d+) putative CRISPR arrays? found\.$", re.MULTILINE)
ARRAY = re.compile(r"^Array \d+$", re.MULTILINE)
RULE = re.compile(r"=+(?: +=+)+ *")


class CrisprArray(Record):
    """Repeats and, between them, spacers; both as they read on the contig's forward strand."""

    contig: str
    start: int = Field(ge=0, description="from 0")
    end: int = Field(description="exclusive")
    consensus: str = Field(description="what the repeats have in common")
    repeats: tuple[str, ...]
    spacers: tuple[str, ...] = Field(description="one less than repeats")


def read_arrays(report: str) -> list[CrisprArray]:
    """Return the arrays of a report, in its order.

    Raises:
        ValueError: it is not a whole report of PILER-CR.
    """
    found = FOUND.search(report)
    if found is None:
        msg = "it does not say how many arrays were found"
        raise ValueError(msg)
    details = report.partition("\nDETAIL REPORT\n")[2].partition("\nSUMMARY BY SIMILARITY\n")[0]
    arrays = [_array(block.split("\n")) for block in ARRAY.split(details)[1:]]
    if len(arrays) != int(found[1]):
        msg = f"it says {found[1]} arrays and has {len(arrays)}"
        raise ValueError(msg)
    return arrays


def _array(lines: Sequence[str]) -> CrisprArray:
    """Return one array: a name, a header, a rule, a row for each repeat, a rule, the consensus."""
    (contig,) = (line[1:].split(" ")[0] for line in lines if line.startswith(">"))
    first, last = (i for i, line in enumerate(lines) if RULE.fullmatch(line))
    columns = [match.span() for match in re.finditer("=+", lines[first])]
    n_copies, *_, consensus = lines[last + 1].split()
    rows = [_row(line, columns) for line in lines[first + 1 : last]]
    if len(rows) != int(n_copies):
        msg = f"the array on {contig} has {len(rows)} repeats, not {n_copies}"
        raise ValueError(msg)
    repeats = tuple(_repeat(aligned, consensus) for _, aligned, _ in rows)
    spacers = tuple(spacer for _, _, spacer in rows[:-1])
    # Only the first position is right: those after a repeat with a gap are one too high.
    start = rows[0][0] - 1
    end = start + sum(map(len, (*repeats, *spacers)))
    return CrisprArray(
        contig=contig,
        start=start,
        end=end,
        consensus=consensus.replace("-", ""),
        repeats=repeats,
        spacers=spacers,
    )


def _row(line: str, columns: Sequence[tuple[int, int]]) -> tuple[int, str, str]:
    """Return position (from 1), aligned repeat, and spacer; the last row's is what follows."""
    position, _, _, length, _, aligned = (line[start:end].strip() for start, end in columns[:-1])
    spacer = line[columns[-1][0] :].strip()
    if length and int(length) != len(spacer):
        msg = f"the spacer after {position} has {len(spacer)} bases, not {length}"
        raise ValueError(msg)
    return int(position), aligned, spacer.upper()


def _repeat(aligned: str, consensus: str) -> str:
    pairs = zip(aligned, consensus, strict=True)
    return (
        "".join(own if letter == "." else letter for letter, own in pairs).replace("-", "").upper()
    )


def array_counts(arrays: Sequence[CrisprArray]) -> dict[str, Any]:
    """Return what is stored of the arrays: counts to look at, and each array whole.

    `copies` is the number of repeats of each array, as laboratories write it: "5+7".
    """
    return {
        "n_arrays": len(arrays),
        "n_spacers": sum(len(array.spacers) for array in arrays),
        "copies": "+".join(str(len(array.repeats)) for array in arrays),
        "arrays": [array.model_dump(mode="json") for array in arrays],
    }
