"""What a scheme that is loaded changes in the one that the database has: what is new, what clashes.

Alleles and types that the database has stay as they are. Those that were minted here, under numbers
of this site's own, may get the number that the newer scheme gives them.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NoReturn
from uuid import UUID

from blocks.errors import InconsistentInput
from blocks.genomics.keys import profile_key
from blocks.genomics.records import Profile

Allele = tuple[int, UUID, bytes]  # number, key, sequence


def require_once(locus: str, seen: Container[str]) -> None:
    """Refuse a locus that was seen."""
    if locus in seen:
        msg = f"locus {locus!r} comes twice"
        raise InconsistentInput(msg)


def require_all(known: Iterable[str], seen: Container[str]) -> None:
    """Refuse a folder in which loci of the database are missing."""
    missing = [locus for locus in known if locus not in seen]
    if missing:
        msg = f"the database's scheme has a locus {missing[0]!r} that is not in the folder"
        raise InconsistentInput(msg)


def in_order(
    profiles: Iterable[Profile], given: Sequence[str], stored: Sequence[str]
) -> Iterator[Profile]:
    """Return profiles of loci in the given order as profiles in the database's order."""
    column = {locus: number for number, locus in enumerate(given)}
    order = [column[locus] for locus in stored]
    for profile in profiles:
        if len(profile.alleles) != len(order):
            msg = (
                f"sequence type {profile.number} has {len(profile.alleles)} alleles, "
                f"the scheme has {len(order)} loci"
            )
            raise InconsistentInput(msg)
        yield profile._replace(alleles=tuple(profile.alleles[place] for place in order))


def given_numbers(own: Mapping[UUID, int], given: Sequence[Allele]) -> dict[int, int]:
    """Return the numbers that our own alleles are given, by those that they have."""
    first = dict[UUID, int]()
    for number, key, _ in given:
        first.setdefault(key, number)
    return {number: first[key] for key, number in own.items() if first.get(key, number) != number}


def moved_numbers(
    known: Mapping[int, UUID], moved: Mapping[int, int], locus: str
) -> dict[int, UUID]:
    """Return the key of each number once our own alleles have moved.

    Raises:
        InconsistentInput: another allele has such a number.
    """
    after = {number: key for number, key in known.items() if number not in moved}
    for old, number in moved.items():
        if number in after:
            _refuse_allele(locus, number)
        after[number] = known[old]
    return after


def new_alleles(known: dict[int, UUID], given: Iterable[Allele], locus: str) -> Iterator[Allele]:
    """Return the alleles that are new, and add them to what is known.

    Raises:
        InconsistentInput: a number has another sequence, or a sequence another number.
    """
    keys = set(known.values())
    for number, key, sequence in given:
        if known.get(number, key) != key or (number not in known and key in keys):
            _refuse_allele(locus, number)
        if number not in known:
            known[number] = key
            keys.add(key)
            yield number, key, sequence


def _refuse_allele(locus: str, number: int) -> NoReturn:
    msg = (
        f"allele {locus}_{number} is another sequence in the database, or has another number "
        "there: was it minted here? Load the newer scheme under a new name"
    )
    raise InconsistentInput(msg)


def new_profiles(
    known: Mapping[int, UUID], profiles: Iterable[Profile], renamed: dict[int, Profile]
) -> Iterator[Profile]:
    """Return the profiles that are new; of two that are equal, the first.

    Args:
        known: Key of the profile of each type in the database.
        profiles: All.
        renamed: Gets those that the database has under a number that none of them has.

    Raises:
        InconsistentInput: the database has a number with another profile.
    """
    number_of = {key: number for number, key in known.items()}
    seen = dict[int, UUID]()
    for profile in profiles:
        key, comes_again = profile_key(profile.alleles), profile.number in seen
        if known.get(profile.number, key) != key or seen.setdefault(profile.number, key) != key:
            msg = f"sequence type {profile.number} has another profile in the database, or two"
            raise InconsistentInput(msg)
        if comes_again or profile.number in known:
            continue
        number = number_of.setdefault(key, profile.number)
        if number == profile.number:
            yield profile
        else:
            renamed.setdefault(number, profile)
    for number in renamed.keys() & seen.keys():
        del renamed[number]


def require_own(renamed: Mapping[int, Profile], own: Container[int]) -> None:
    """Refuse a profile that the database has under a number that is none of our own."""
    others = [number for number in renamed if number not in own]
    if others:
        msg = (
            f"the profile of sequence type {renamed[others[0]].number} is type {others[0]} in the "
            "database: was it minted here? Load the newer scheme under a new name"
        )
        raise InconsistentInput(msg)
