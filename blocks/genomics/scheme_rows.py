"""The rows of a scheme: its own, its columns, loci, alleles and sequence types."""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from blocks.errors import InconsistentInput
from blocks.genomics.barcodes import barcode
from blocks.genomics.keys import allele_key, profile_key
from blocks.genomics.legacy_json import decoded, encoded
from blocks.genomics.records import Column, Profile, SchemeParam
from blocks.genomics.sessions import lock_name
from blocks.genomics.tables import AlleleRow, DataParamRow, LocusRow, SchemeRow, SequenceTypeRow

BATCH = 5_000  # rows of one INSERT
TYPES_BATCH = 500  # their profiles are long: 3,000 numbers each


def save_scheme(
    session: Session,
    description: str,
    name: str,
    param: SchemeParam,
    columns: Sequence[Column],
    version: int | None,
) -> int:
    """Write a scheme, new or changed, and its columns; return its id. Its row is locked."""
    lock_name(session, f"scheme {description}")
    query = select(SchemeRow).where(SchemeRow.description == description)
    row = session.scalar(query.with_for_update(key_share=True))
    if row is None:
        row = SchemeRow(description=description, version=1)
        session.add(row)
    stored = decoded(row.param, param_of(row))
    kept = {key: value for key, value in stored.items() if key not in SchemeParam.model_fields}
    row.name = name
    row.param = encoded(kept | without_nothing(param.model_dump()))
    row.version = version or row.version
    if columns:
        _save_columns(session, description, columns)
    session.flush()
    return row.id


def _save_columns(session: Session, description: str, columns: Sequence[Column]) -> None:
    """Write the rows of `data_param`; one that stays keeps the columns that we do not know."""
    there = session.scalars(select(DataParamRow).where(DataParamRow.tabname == description))
    rows = {row.name: row for row in there}
    for place, column in enumerate(columns):
        row = rows.pop(column.name, None) or DataParamRow(tabname=description, name=column.name)
        row.label, row.datatype, row.display_order = column.label, column.datatype, place
        session.add(row)
    for row in rows.values():
        session.delete(row)


def require_once(locus: str, seen: Container[str]) -> None:
    """Refuse a locus that was seen."""
    if locus in seen:
        msg = f"locus {locus!r} comes twice"
        raise InconsistentInput(msg)


def new_locus(session: Session, scheme_id: int, name: str, place: int, *, was_empty: bool) -> int:
    """Return the id of a new locus; only a scheme that had none may get one."""
    if not was_empty:
        msg = f"locus {name!r} is not in the scheme that the database has; load it under a new name"
        raise InconsistentInput(msg)
    row = LocusRow(scheme_id=scheme_id, name=name, place=place)
    session.add(row)
    session.flush()
    return row.id


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


def add_alleles(
    session: Session, locus_id: int, locus: str, alleles: Sequence[tuple[int, bytes]]
) -> int:
    """Add what is new; return how many that are."""
    known = dict[int, UUID]()
    query = select(AlleleRow.number, AlleleRow.key).where(AlleleRow.locus_id == locus_id)
    for number, key in session.execute(query):
        known[number] = key
    keys = set(known.values())
    rows = list[dict[str, Any]]()
    for number, sequence in alleles:
        key = allele_key(sequence)
        if known.get(number, key) != key or (number not in known and key in keys):
            msg = (
                f"allele {locus}_{number} is another sequence in the database, or has another "
                "number there: was it minted here? Load the newer scheme under a new name"
            )
            raise InconsistentInput(msg)
        if number not in known:
            row = {"locus_id": locus_id, "number": number, "key": key}
            rows.append(row | {"sequence": sequence.decode()})
            known[number] = key
            keys.add(key)
    for start in range(0, len(rows), BATCH):
        session.execute(insert(AlleleRow), rows[start : start + BATCH])
    return len(rows)


def add_types(session: Session, scheme_id: int, prefix: str, profiles: Iterable[Profile]) -> int:
    """Add what is new, in batches; return how many that are."""
    query = select(SequenceTypeRow.number, SequenceTypeRow.key)
    query = query.where(SequenceTypeRow.scheme_id == scheme_id)
    known = dict(session.execute(query).all())
    new, n_new = _new_profiles(known, profiles), 0
    while some := list(islice(new, TYPES_BATCH)):
        ids = reserve_type_ids(session, len(some))
        rows = [type_row(scheme_id, prefix, *one) for one in zip(ids, some, strict=True)]
        session.execute(insert(SequenceTypeRow), rows)
        n_new += len(rows)
    return n_new


def _new_profiles(known: Mapping[int, UUID], profiles: Iterable[Profile]) -> Iterator[Profile]:
    """Return the profiles that are new; of two that are equal, the first.

    Raises:
        InconsistentInput: the database has a type under another number, or a number with another
            profile.
    """
    number_of = {key: number for number, key in known.items()}
    seen, renamed = dict[int, UUID](), dict[int, int]()
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
            renamed[number] = profile.number
    minted = [number for number in renamed if number not in seen]
    if minted:
        msg = (
            f"the profile of sequence type {renamed[minted[0]]} is type {minted[0]} in the "
            "database: was it minted here? Load the newer scheme under a new name"
        )
        raise InconsistentInput(msg)


def type_row(scheme_id: int, prefix: str, row_id: int, profile: Profile) -> dict[str, Any]:
    """Return the columns of a sequence type."""
    return {
        "id": row_id,
        "scheme_id": scheme_id,
        "number": profile.number,
        "key": profile_key(profile.alleles),
        "profile": ",".join(str(number) for number in profile.alleles),
        "barcode": barcode(prefix, row_id, "ST"),
        "extra": encoded(dict(profile.extra)) if profile.extra else None,
    }


def reserve_type_ids(session: Session, count: int) -> list[int]:
    """Return ids for new sequence types: a barcode is made of its row's id."""
    if session.get_bind().dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence("sequence_types", "id")
        numbers = func.generate_series(1, count).table_valued("n")
        query = select(func.nextval(sequence)).select_from(numbers)
        return [int(number) for number in session.scalars(query)]
    highest = session.scalar(select(func.coalesce(func.max(SequenceTypeRow.id), 0))) or 0
    return list(range(highest + 1, highest + 1 + count))


def param_of(row: SchemeRow) -> str:
    """Return how a message calls the column."""
    return f"schemes.param of {row.description}"


def without_nothing(facts: dict[str, Any]) -> dict[str, Any]:
    """Leave out our keys that say nothing: a scheme without `pipeline` has no such key."""
    ours = SchemeParam.model_fields
    return {key: value for key, value in facts.items() if value is not None or key not in ours}
