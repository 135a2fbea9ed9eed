"""New alleles and sequence types get their numbers: once, however many genomes bring them.

A lock on the scheme's row lets one transaction at a time give numbers; it looks again once it has
the lock. Unique keys would refuse what came past it. Rows that refer to the scheme do not wait.

A newer scheme may give an allele that was minted here another number (`scheme_rows`). Calls that
were made before are stored with the number that the allele has now.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select, tuple_
from sqlalchemy.orm import Session

from blocks.errors import DatabaseUnavailable
from blocks.genomics.keys import profile_key
from blocks.genomics.profiles import may_be_new, profile_of
from blocks.genomics.records import CallStatus, Claim, LocusCall, Profile, SequenceType
from blocks.genomics.scheme_rows import reserve_type_ids, type_row
from blocks.genomics.tables import AlleleRow, SchemeRow, SequenceTypeRow

BATCH = 500  # pairs in one question


def numbered(
    session: Session, claim: Claim, calls: Sequence[LocusCall], *, mint: bool
) -> list[LocusCall]:
    """Return the calls with the numbers that their alleles have, those of novel ones also get one.

    A novel allele gets a number only where every base is of quality 10 or more.
    """
    calls = _as_numbered_now(session, claim, calls)
    ids = _ids(claim)
    novel = {
        (ids[call.locus], call.key): call
        for call in calls
        if call.status is CallStatus.NOVEL and call.key is not None
    }
    if not novel:
        return calls
    numbers = _known_numbers(session, novel)
    unknown = [pair for pair, call in novel.items() if pair not in numbers and call.is_mintable]
    if unknown and mint:
        _lock_scheme(session, claim.scheme.id, to_mint=True)
        numbers = _known_numbers(session, novel)
        still = [pair for pair in unknown if pair not in numbers]
        numbers |= _mint(session, claim, {pair: novel[pair] for pair in still})
    return [_with_number(call, numbers.get((ids[call.locus], call.key))) for call in calls]


def _with_number(call: LocusCall, number: int | None) -> LocusCall:
    if call.status is not CallStatus.NOVEL or number is None:
        return call
    return call.model_copy(update={"allele": number})


def _as_numbered_now(session: Session, claim: Claim, calls: Sequence[LocusCall]) -> list[LocusCall]:
    """Return the calls with the numbers of today, if the scheme was loaded since the claim."""
    row = SchemeRow
    version = session.scalar(select(row.version).where(row.id == claim.scheme.id)) or 1
    if version == claim.scheme.version:
        return list(calls)
    ids = _ids(claim)
    pairs = [(ids[one.locus], one.key) for one in calls if one.key and one.allele is not None]
    now = _known_numbers(session, pairs)
    return [
        call.model_copy(update={"allele": now.get((ids[call.locus], call.key), call.allele)})
        for call in calls
    ]


def _require_as_numbered_now(session: Session, claim: Claim, calls: Sequence[LocusCall]) -> None:
    if _as_numbered_now(session, claim, calls) != list(calls):
        msg = f"{claim.scheme.description} was loaded at this moment, and alleles have new numbers"
        raise DatabaseUnavailable(msg)


def _ids(claim: Claim) -> dict[str, int]:
    return {locus.name: locus.id for locus in claim.scheme.loci}


def _lock_scheme(session: Session, scheme_id: int, *, to_mint: bool) -> None:
    """Wait for who mints, or only for who gives alleles other numbers, and let none begin."""
    scheme = select(SchemeRow.id).where(SchemeRow.id == scheme_id)
    session.execute(scheme.with_for_update(read=not to_mint, key_share=True))


def _known_numbers(session: Session, pairs: Iterable[tuple[int, Any]]) -> dict[Any, int]:
    wanted, known = list(pairs), dict[Any, int]()
    for start in range(0, len(wanted), BATCH):
        query = select(AlleleRow.locus_id, AlleleRow.key, AlleleRow.number).where(
            tuple_(AlleleRow.locus_id, AlleleRow.key).in_(wanted[start : start + BATCH])
        )
        known |= {(locus, key): number for locus, key, number in session.execute(query)}
    return known


def _mint(session: Session, claim: Claim, novel: Mapping[Any, LocusCall]) -> dict[Any, int]:
    """Give each novel allele the next number of its locus; the scheme is locked."""
    loci = sorted({locus for locus, _ in novel})
    highest = dict.fromkeys(loci, 0)
    for start in range(0, len(loci), BATCH):
        query = select(AlleleRow.locus_id, func.max(AlleleRow.number))
        chosen = AlleleRow.locus_id.in_(loci[start : start + BATCH])
        grouped = query.where(chosen).group_by(AlleleRow.locus_id)
        highest |= {locus: number or 0 for locus, number in session.execute(grouped)}
    first = claim.scheme.param.first_own_number
    numbers = {pair: max(highest[pair[0]] + 1, first) for pair in novel}
    rows = [
        {
            "locus_id": locus,
            "key": key,
            "number": numbers[locus, key],
            "sequence": novel[locus, key].sequence,
            "minted_for": claim.assembly.barcode,
        }
        for locus, key in novel
    ]
    if rows:
        session.execute(insert(AlleleRow), rows)
    return numbers


def sequence_type(
    session: Session, claim: Claim, calls: Sequence[LocusCall], prefix: str, *, mint: bool
) -> SequenceType | None:
    """Return the type of a profile, known or minted; None if too much of it is unknown.

    Raises:
        DatabaseUnavailable: the scheme was loaded at this moment, and gave alleles other numbers.
    """
    max_missing = claim.scheme.param.max_missing
    profile = profile_of(calls, max_missing)
    mint = mint and profile is not None and may_be_new(profile, max_missing)
    mint = mint and _known_type(session, claim, profile) is None
    # One lock, taken once it is known which: two that hold the weaker cannot both get the stronger.
    _lock_scheme(session, claim.scheme.id, to_mint=mint)
    _require_as_numbered_now(session, claim, calls)
    known = _known_type(session, claim, profile)
    if known or not mint or profile is None:
        return known
    of_scheme = SequenceTypeRow.scheme_id == claim.scheme.id
    highest = session.scalar(select(func.max(SequenceTypeRow.number)).where(of_scheme)) or 0
    number = max(highest + 1, claim.scheme.param.first_own_number)
    [row_id] = reserve_type_ids(session, 1)
    row = type_row(claim.scheme.id, prefix, row_id, Profile(number, profile))
    session.execute(insert(SequenceTypeRow), [row | {"minted_for": claim.assembly.barcode}])
    return SequenceType(number=number, barcode=row["barcode"], is_new=True)


def _known_type(
    session: Session, claim: Claim, profile: Sequence[int] | None
) -> SequenceType | None:
    if profile is None:
        return None
    row = SequenceTypeRow
    query = select(row.number, row.barcode, row.minted_for).where(
        row.scheme_id == claim.scheme.id, row.key == profile_key(profile)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        return None
    number, barcode, minted_for = found
    is_new = bool(minted_for) and minted_for == claim.assembly.barcode
    return SequenceType(number=number, barcode=barcode, is_new=is_new)
