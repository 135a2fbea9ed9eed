"""The rows of a scheme: its own, its columns, loci, alleles and sequence types."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, insert, literal, or_, select, update
from sqlalchemy.orm import Session, undefer

from blocks.errors import InconsistentInput
from blocks.genomics.barcodes import barcode
from blocks.genomics.keys import allele_key, profile_key
from blocks.genomics.legacy_json import decoded, encoded
from blocks.genomics.lookup_rows import RESULTS
from blocks.genomics.records import Column, Profile, SchemeParam
from blocks.genomics.renumbering import (
    Moves,
    Renumbered,
    moved_annotation,
    moved_profile,
    moved_results,
    moves_of,
)
from blocks.genomics.scheme_changes import (
    given_numbers,
    moved_numbers,
    new_alleles,
    new_profiles,
    require_own,
)
from blocks.genomics.sessions import lock_name
from blocks.genomics.tables import (
    AlleleRow,
    AssemblyLookupRow,
    DataParamRow,
    LocusPositionRow,
    LocusRow,
    SchemeCallRow,
    SchemeRow,
    SequenceTypeRow,
)

BATCH = 5_000  # rows of one INSERT
FEW = 200  # rows with long texts, or terms of one condition
ASSEMBLIES = 1_000  # looked through at once
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


def new_locus(session: Session, scheme_id: int, name: str, place: int, *, was_empty: bool) -> int:
    """Return the id of a new locus; only a scheme that had none may get one."""
    if not was_empty:
        msg = f"locus {name!r} is not in the scheme that the database has; load it under a new name"
        raise InconsistentInput(msg)
    row = LocusRow(scheme_id=scheme_id, name=name, place=place)
    session.add(row)
    session.flush()
    return row.id


def add_alleles(
    session: Session,
    locus_id: int,
    locus: str,
    alleles: Sequence[tuple[int, bytes]],
    *,
    own_from: int,
) -> tuple[int, list[Renumbered]]:
    """Add what is new; return how many that are, and which of our own got another number.

    Our own are those that were minted here, from `own_from` on. Whatever names them is left to
    `renumber`.
    """
    row = AlleleRow
    query = select(row.number, row.key, row.minted_for).where(row.locus_id == locus_id)
    known, own = dict[int, UUID](), dict[UUID, int]()
    for number, key, minted_for in session.execute(query):
        known[number] = key
        if minted_for and number >= own_from:
            own[key] = number
    given = [(number, allele_key(sequence), sequence) for number, sequence in alleles]
    moved = given_numbers(own, given)
    known = moved_numbers(known, moved, locus)
    new = list(new_alleles(known, given, locus))
    _renumber_alleles(session, locus_id, moved)
    rows = [
        {"locus_id": locus_id, "number": number, "key": key, "sequence": sequence.decode()}
        for number, key, sequence in new
    ]
    for start in range(0, len(rows), BATCH):
        session.execute(insert(AlleleRow), rows[start : start + BATCH])
    return len(rows), [Renumbered(locus=locus, before=old, now=n) for old, n in moved.items()]


def _renumber_alleles(session: Session, locus_id: int, moved: Mapping[int, int]) -> None:
    row = AlleleRow
    for old in moved:  # out of the way first: one may get the number that another had
        one = update(row).where(row.locus_id == locus_id, row.number == old)
        session.execute(one.values(number=-old))
    for old, number in moved.items():
        one = update(row).where(row.locus_id == locus_id, row.number == -old)
        session.execute(one.values(number=number))


def renumber(
    session: Session, scheme_id: int, loci: Mapping[str, int], renumbered: Sequence[Renumbered]
) -> None:
    """Write the new numbers of alleles wherever they are named: types, positions, the site's rows.

    Args:
        session: In which `add_alleles` renumbered them.
        scheme_id: Their scheme.
        loci: Ids of its loci, in the order of the profile.
        renumbered: Which alleles.
    """
    if not renumbered:
        return
    _stop_typings(session, scheme_id)
    moves = moves_of(renumbered)
    _renumber_profiles(session, scheme_id, list(loci), moves)
    row, last = SchemeCallRow, 0
    query = select(row.assembly_id).where(row.scheme_id == scheme_id).order_by(row.assembly_id)
    while some := session.scalars(query.where(row.assembly_id > last).limit(ASSEMBLIES)).all():
        last = some[-1]
        changed = sorted(_renumber_positions(session, scheme_id, loci, some, moves))
        for start in range(0, len(changed), FEW):
            of = AssemblyLookupRow.assembly_id.in_(changed[start : start + FEW])
            for lookup in _lookups(session, scheme_id, of):
                if lookup.annotation:
                    lookup.annotation = moved_annotation(lookup.annotation, moves)
                _rewrite_results(lookup, lambda results: moved_results(results, moves))
            session.flush()
            session.expunge_all()  # a text of a megabyte each


def _stop_typings(session: Session, scheme_id: int) -> None:
    """Wait until nobody stores a typing of the scheme; who begins to waits for us.

    See `minting`: those who store one hold the row of its scheme, so that it keeps its key.
    """
    session.execute(select(SchemeRow.id).where(SchemeRow.id == scheme_id).with_for_update())


def _renumber_profiles(session: Session, scheme_id: int, loci: Sequence[str], moves: Moves) -> None:
    row, changed = SequenceTypeRow, dict[int, tuple[int, ...]]()
    text, olds = literal(",").concat(row.profile).concat(","), sorted({old for _, old in moves})
    for start in range(0, len(olds), FEW):
        holds = or_(*(text.contains(f",{old},") for old in olds[start : start + FEW]))
        query = select(row.id, row.profile).where(row.scheme_id == scheme_id, holds)
        for row_id, profile in session.execute(query):
            before = tuple(int(number) for number in profile.split(","))
            after = moved_profile(before, loci, moves)
            if after != before:
                changed[row_id] = after
    for row_id in changed:  # out of the way first: one may get the profile that another had
        session.execute(update(row).where(row.id == row_id).values(key=uuid4()))
    for row_id, after in changed.items():
        session.execute(update(row).where(row.id == row_id).values(**_of_profile(after)))


def _renumber_positions(
    session: Session,
    scheme_id: int,
    loci: Mapping[str, int],
    assemblies: Sequence[int],
    moves: Moves,
) -> set[int]:
    """Return the assemblies that have such alleles."""
    row, names = LocusPositionRow, {loci[locus]: locus for locus, _ in moves}
    olds = [old for _, old in moves]
    query = select(row.assembly_id, row.locus_id, row.copy, row.allele).where(
        row.assembly_id.in_(assemblies),  # with the next two, the table's key
        row.scheme_id == scheme_id,
        row.locus_id.in_(names),
        row.allele.between(min(olds), max(olds)),
    )
    changed = set[int]()
    for assembly, locus, copy, allele in session.execute(query).all():
        now = moves.get((names[locus], allele)) if allele else None
        if now is not None:
            changed.add(assembly)
            at = (row.assembly_id == assembly, row.scheme_id == scheme_id, row.locus_id == locus)
            session.execute(update(row).where(*at, row.copy == copy).values(allele=now))
    return changed


def _lookups(
    session: Session, scheme_id: int, chosen: ColumnElement[bool]
) -> Sequence[AssemblyLookupRow]:
    query = select(AssemblyLookupRow).where(AssemblyLookupRow.scheme_id == scheme_id, chosen)
    return session.scalars(query.options(undefer(AssemblyLookupRow.annotation))).all()


def _rewrite_results(
    lookup: AssemblyLookupRow, rewritten: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    where = f"other_data of assembly {lookup.assembly_id} and scheme {lookup.scheme_id}"
    data = decoded(lookup.other_data, where)
    if isinstance(data.get(RESULTS), dict):
        lookup.other_data = encoded(data | {RESULTS: rewritten(data[RESULTS])})


def add_types(
    session: Session, scheme_id: int, prefix: str, profiles: Iterable[Profile], *, own_from: int
) -> tuple[int, list[Renumbered]]:
    """Add what is new, in batches; return how many that are, and which of our own got a number."""
    row = SequenceTypeRow
    query = select(row.number, row.key, row.minted_for).where(row.scheme_id == scheme_id)
    known, own = dict[int, UUID](), set[int]()
    for number, key, minted_for in session.execute(query):
        known[number] = key
        if minted_for and number >= own_from:
            own.add(number)
    renamed, n_new = dict[int, Profile](), 0
    new = new_profiles(known, profiles, renamed)
    while some := list(islice(new, TYPES_BATCH)):
        ids = reserve_type_ids(session, len(some))
        rows = [type_row(scheme_id, prefix, *one) for one in zip(ids, some, strict=True)]
        session.execute(insert(SequenceTypeRow), rows)
        n_new += len(rows)
    require_own(renamed, own)
    _renumber_types(session, scheme_id, renamed)
    return n_new, [
        Renumbered(locus=None, before=old, now=given.number) for old, given in renamed.items()
    ]


def _renumber_types(session: Session, scheme_id: int, renamed: Mapping[int, Profile]) -> None:
    """Give types their new numbers; a barcode is made of the row, and stays."""
    if not renamed:
        return
    _stop_typings(session, scheme_id)
    row = SequenceTypeRow
    for old, profile in renamed.items():
        one = (row.scheme_id == scheme_id, row.number == old)
        written = session.scalar(select(row.barcode).where(*one))
        values = {"number": profile.number, "extra": _extra(profile)}
        session.execute(update(row).where(*one).values(**values))
        of_type = AssemblyLookupRow.st_barcode == written
        for lookup in _lookups(session, scheme_id, of_type):
            _rewrite_results(lookup, lambda results, now=profile.number: results | {"ST": now})
        session.flush()
        session.expunge_all()


def type_row(scheme_id: int, prefix: str, row_id: int, profile: Profile) -> dict[str, Any]:
    """Return the columns of a sequence type."""
    return {
        "id": row_id,
        "scheme_id": scheme_id,
        "number": profile.number,
        **_of_profile(profile.alleles),
        "barcode": barcode(prefix, row_id, "ST"),
        "extra": _extra(profile),
    }


def _of_profile(alleles: Sequence[int]) -> dict[str, Any]:
    written = ",".join(str(number) for number in alleles)
    return {"key": profile_key(alleles), "profile": written}


def _extra(profile: Profile) -> str | None:
    return encoded(dict(profile.extra)) if profile.extra else None


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
