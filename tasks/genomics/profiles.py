"""Profiles: the allele numbers of an assembly, in the order of its scheme."""

from collections.abc import Iterable, Sequence

from blocks.genomics.records import LocusCall, Profile


def codes_of(calls: Sequence[LocusCall]) -> tuple[int, ...] | None:
    """Return the profile of calls, 0 for a locus without an allele.

    None if a novel allele has no number, so that there can be no type.
    """
    codes = [call.code for call in calls]
    if any(code is None for code in codes):
        return None
    return tuple(max(code or 0, 0) for code in codes)


def type_among(profiles: Iterable[Profile], codes: Sequence[int] | None) -> int | None:
    """Return the type that has this profile, None if none has."""
    return next((row.number for row in profiles if codes and row.alleles == tuple(codes)), None)
