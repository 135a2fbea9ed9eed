"""The report of one scheme on one assembly as Markdown, for the Prefect page.

Names of loci and contigs, and the results of programs come from outside: each goes through
`tasks.markdown`, and none makes a page endless.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from blocks.genomics.profiles import looks_foreign
from blocks.genomics.records import (
    MINTABLE_QUALITY,
    CallStatus,
    Column,
    LocusCall,
    SequenceType,
    Typing,
)
from tasks.markdown import code, cut, picture, shown, table

MAX_LISTED = 50  # loci in a list
MAX_TABLE = 60  # loci in a table; a scheme of more is counted
MAX_ROWS = 200  # of a generic result
MAX_DEPTH = 4  # of a generic result
NONE = "-"
FOREIGN = (
    "**Most loci are missing: is it of another species, or no whole genome?** "
    "New alleles of it get no number."
)


# One typing


def typing_report(typing: Typing, *, pictures: Sequence[tuple[str, str]] = ()) -> str:
    """Return the report of one assembly typed by one scheme: sequence type, alleles, new ones.

    Args:
        typing: After its new alleles have numbers.
        pictures: Title and data URI.
    """
    minted = [call for call in typing.calls if _is_minted(call)]
    usable = sum(call.code is not None and call.code > 0 for call in typing.calls)
    facts = [
        ["Assembly", shown(typing.assembly)],
        ["Sequence type", _sequence_type(typing.st)],
        ["Loci with an allele number", f"{usable:,} of {len(typing.calls):,}"],
    ]
    return "\n\n".join(
        [
            f"# {shown(typing.scheme)}: {_st_name(typing.st)}",
            table(["", ""], facts),
            *([FOREIGN] if looks_foreign(typing.calls) else []),
            *_calls(typing),
            *(picture(title, uri) for title, uri in pictures),
            *_listed("New alleles", [f"{shown(c.locus)} {c.allele}" for c in minted]),
        ]
    )


def _is_minted(call: LocusCall) -> bool:
    return call.status is CallStatus.NOVEL and call.allele is not None


def _st_name(st: SequenceType | None) -> str:
    return "no sequence type" if st is None else f"ST {st.number}"


def _sequence_type(st: SequenceType | None) -> str:
    if st is None:
        return NONE
    return f"**{st.number}**, {code(cut(st.barcode))}" + (", new" if st.is_new else "")


def _calls(typing: Typing) -> list[str]:
    if len(typing.calls) <= MAX_TABLE:
        rows = [
            [shown(call.locus), _allele(call), _identity(call), _place(call)]
            for call in typing.calls
        ]
        return ["## Alleles", table(["Locus", "Allele", "Identity", "Where"], rows)]
    counts = [[status.value, f"{number:,}"] for status, number in typing.counts.items()]
    others = [status for status in typing.counts if status is not CallStatus.EXACT]
    lists = [part for status in others for part in _with_status(typing.calls, status)]
    return ["## Loci", table(["", "Loci"], counts), *lists]


def _with_status(calls: Sequence[LocusCall], status: CallStatus) -> list[str]:
    found = [call for call in calls if call.status is status]
    reasons = Counter(reason for call in found if (reason := _unnumbered(call)))
    return [
        *_listed(status.value.capitalize(), [shown(call.locus) for call in found]),
        *(f"{number:,} {reason}." for reason, number in reasons.items()),
    ]


def _listed(title: str, names: Sequence[str]) -> list[str]:
    """Return a heading and names that are Markdown already; a long list is cut."""
    if not names:
        return []
    rest = len(names) - MAX_LISTED
    more = f" and {rest:,} more" if rest > 0 else ""
    return [f"## {title} ({len(names):,})", ", ".join(names[:MAX_LISTED]) + more]


def _allele(call: LocusCall) -> str:
    if call.status is CallStatus.EXACT:
        return NONE if call.allele is None else str(call.allele)
    if _is_minted(call):
        return f"**{call.allele}**, new"
    reason = _unnumbered(call)
    return f"{call.status.value}, {reason}" if reason else call.status.value


def _unnumbered(call: LocusCall) -> str:
    """Return why a novel allele has no number."""
    if call.status is not CallStatus.NOVEL or call.allele is not None:
        return ""
    if call.min_quality is None:
        return "without a number: the assembly has no base qualities"
    if not call.is_mintable:
        least = MINTABLE_QUALITY
        return f"without a number: a base has quality {call.min_quality}, at least {least} needed"
    return "without a number so far"


def _identity(call: LocusCall) -> str:
    return NONE if call.identity is None else f"{100 * call.identity:.2f} %"


def _place(call: LocusCall) -> str:
    """Return where it lies, as a biologist counts: from 1, the last base included."""
    if not call.places:
        return NONE
    first, more = call.places[0], len(call.places) - 1
    text = f"{shown(first.contig)} {first.start + 1:,} to {first.end:,} ({first.strand})"
    return text + (f" and {more:,} more" if more else "")


# A generic scheme


def generic_report(
    scheme: str, assembly: str, results: Mapping[str, Any], *, columns: Sequence[Column] = ()
) -> str:
    """Return the report of a scheme that gives a dictionary, such as a serovar.

    Args:
        scheme: What a person reads.
        assembly: Its barcode.
        results: As they are stored: texts, numbers, lists and dictionaries of these.
        columns: What the site calls the keys.
    """
    labels = {column.name: column.label for column in columns}
    named = {labels.get(str(key), str(key)): value for key, value in results.items()}
    flat = _flat(named, "", 1) if named else ()
    rows = [[shown(name), shown(value)] for name, value in flat]
    more = len(rows) - MAX_ROWS
    return "\n\n".join(
        [
            f"# {shown(scheme)}",
            f"Assembly {shown(assembly)}",
            table(["", ""], rows[:MAX_ROWS]) if rows else "It gave no result.",
            *([f"and {more:,} more"] if more > 0 else []),
        ]
    )


def _flat(value: object, name: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield names and texts; what lies inside something has both names."""
    if _is_mapping(value):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif _is_sequence(value) and any(_is_mapping(one) or _is_sequence(one) for one in value):
        parts = [(str(number), inner) for number, inner in enumerate(value, 1)]
    else:
        yield name, _scalar(value)
        return
    if not parts or depth > MAX_DEPTH:
        yield name, "..." if parts else NONE
        return
    for key, inner in parts:
        yield from _flat(inner, f"{name}: {key}" if name else key, depth + 1)


def _is_mapping(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, Mapping)


def _is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _scalar(value: object) -> str:
    if _is_sequence(value):
        return ", ".join(map(_scalar, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else str(value)
