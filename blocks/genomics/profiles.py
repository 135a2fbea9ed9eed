"""Profiles: the allele numbers of a genome in the order of its scheme, and whether they are a type.

One rule for who only looks a type up, in a shell or for a search, and for who may mint one.
"""

from collections.abc import Iterable, Sequence

from blocks.genomics.records import CallStatus, LocusCall, Profile

LEAST_FOUND = 0.5  # share of a scheme's loci that an isolate of its species has at the very least


def profile_of(calls: Sequence[LocusCall], max_missing: float) -> tuple[int, ...] | None:
    """Return the profile whose type a genome has, known or new; None if it can have none.

    A locus that is missing is 0, as in the profile of a type with a true null allele, however many
    are missing. A locus that is there but of no use (in pieces, in several copies) is not missing:
    such a genome has no exact type. It is 0 only in a scheme whose types may lack alleles, and
    only while all that have none are no larger a share of the loci than that.

    Args:
        calls: In the order of the scheme's loci. A novel allele without a number allows no type.
        max_missing: Share of loci that may have no allele in a type.
    """
    codes = [call.code for call in calls]
    numbers = tuple(max(code, 0) for code in codes if code is not None)
    if not codes or len(numbers) < len(codes):
        return None
    is_exact = all(code is not None and code >= 0 for code in codes)
    return numbers if is_exact or may_be_new(numbers, max_missing) else None


def may_be_new(profile: Sequence[int], max_missing: float) -> bool:
    """Whether a profile that no type has may become one: if it lacks no more than is allowed."""
    return profile.count(0) / len(profile) <= max_missing


def looks_foreign(calls: Sequence[LocusCall]) -> bool:
    """Whether most loci are missing: of another species, or no whole genome. It names nothing."""
    n_found = sum(call.status is not CallStatus.MISSING for call in calls)
    return n_found < LEAST_FOUND * len(calls)


def type_among(profiles: Iterable[Profile], wanted: Sequence[int] | None) -> int | None:
    """Return the type that has this profile, None if none has."""
    return next((row.number for row in profiles if wanted and row.alleles == tuple(wanted)), None)
