"""The rows of `assembly_lookup`: what the site reads of a call.

One for each assembly and scheme, but for SNP calls, which have one for each reference: their
`st_barcode` is the reference's. Those are never ours to write.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session, undefer

from blocks.genomics.legacy_json import decoded, encoded
from blocks.genomics.records import Lookup, LookupStatus
from blocks.genomics.tables import AssemblyLookupRow, SchemeCallRow

RESULTS, JOB = "results", "job_id"
OF_AN_ASSEMBLY = "_AS"
COUNTERS = {"job_count": "sent", "complete_count": "completed", "fail_count": "failed"}
QUEUED_NOW = "queued_count"
WHOLE = re.compile(r"[0-9]{1,9}")


def all_lookups(session: Session, assembly_id: int, scheme_id: int) -> list[Lookup]:
    """Return every row of a pair with its annotation, oldest first."""
    query = _of_pair(assembly_id, scheme_id).options(undefer(AssemblyLookupRow.annotation))
    return [_lookup(row, row.annotation) for row in session.scalars(query)]


def newest_lookup(session: Session, assembly_id: int, scheme_id: int) -> Lookup | None:
    """Return the row of a pair that calls are written to, without its annotation."""
    rows = _own(session, assembly_id, scheme_id)
    return _lookup(rows[-1], None) if rows else None


def stored_results(lookup: Lookup) -> dict[str, Any]:
    """Return the results in `other_data`; empty if there are none."""
    found = lookup.other_data.get(RESULTS)
    return dict[str, Any](found) if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownArgumentType] - keys are text in JSON


def take_over_old(
    session: Session, call: SchemeCallRow, *, assembly_version: int, scheme_version: int
) -> None:
    """Let the row of a pair that is new to us go on from what the old site wrote of it.

    Args:
        session: Open, with the new row in it.
        call: The new row.
        assembly_version: Of the assembly now: nobody wrote which one an old result is of.
        scheme_version: Of the scheme now; an old result that says no version has this one.
    """
    old = newest_lookup(session, call.assembly_id, call.scheme_id)
    if old is None:
        return
    versions = {"assembly_version": assembly_version, "scheme_version": scheme_version}
    for column, value in old_standing(old.status, old.version, old.other_data, **versions).items():
        setattr(call, column, value)


def old_standing(
    status: str | None,
    version: str | None,
    other_data: Mapping[str, Any],
    *,
    assembly_version: int,
    scheme_version: int,
) -> dict[str, Any]:
    """Return the columns of `scheme_calls` that follow from what the old site wrote of a pair.

    The counters go on for old readers; the rest is there for what is COMPLETE only.

    Args:
        status: Of the newest row of the pair, like the two that follow.
        version: Of the scheme, if it is a whole number.
        other_data: Decoded.
        assembly_version: Of the assembly now: nobody wrote which one an old result is of.
        scheme_version: Of the scheme now; an old result that says no version has this one.
    """
    standing: dict[str, Any] = {
        column: whole_number(other_data.get(counter)) or 0 for counter, column in COUNTERS.items()
    }
    if status == LookupStatus.COMPLETE:
        said = whole_number(version)
        standing |= {
            "status": LookupStatus.COMPLETE.value,
            "job_id": whole_number(other_data.get(JOB)),
            "assembly_version": assembly_version,
            "scheme_version": scheme_version if said is None else said,
        }
    return standing


def complete_before_us(session: Session, assembly_id: int) -> list[Lookup]:
    """Return what the old site completed of an assembly and none of our runs has called since."""
    row, call = AssemblyLookupRow, SchemeCallRow
    ours = (call.assembly_id == row.assembly_id) & (call.scheme_id == row.scheme_id)
    query = select(row.scheme_id).outerjoin(call, ours).where(row.assembly_id == assembly_id)
    query = query.where(call.scheme_id.is_(None), row.status == LookupStatus.COMPLETE.value)
    newest = [newest_lookup(session, assembly_id, one) for one in session.scalars(query.distinct())]
    return [one for one in newest if one and one.status == LookupStatus.COMPLETE]


def write_lookup(
    session: Session,
    call: SchemeCallRow,
    *,
    st_barcode: str | None = None,
    annotation: str | None = None,
    results: dict[str, Any] | None = None,
    rows: Sequence[AssemblyLookupRow] | None = None,
) -> None:
    """Write the row of a call; keys of `other_data` that are not ours stay.

    What is None stays as it is; `rows` are the pair's rows, where they were read already.
    """
    if rows is None:
        rows = _own(session, call.assembly_id, call.scheme_id)
    row = rows[-1] if rows else _added(session, call)
    data = _data(row)
    if st_barcode is not None:
        data = _joined(session, rows[:-1], st_barcode) | data
        row.st_barcode = st_barcode
    row.status = call.status
    if annotation is not None:
        row.annotation = annotation
    if call.status == LookupStatus.COMPLETE:
        row.version = str(call.scheme_version)
    data |= _counters(call)
    if results is not None:
        data[RESULTS] = results
    row.other_data = encoded(data)


def rows_of(
    session: Session, pairs: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], list[AssemblyLookupRow]]:
    """Return the rows of many pairs of assembly and scheme at once, oldest first."""
    row, found = AssemblyLookupRow, dict[tuple[int, int], list[AssemblyLookupRow]]()
    query = select(row).where(tuple_(row.assembly_id, row.scheme_id).in_(pairs)).order_by(row.id)
    for one in session.scalars(query):
        if not _is_snp_call(one):
            found.setdefault((one.assembly_id, one.scheme_id), []).append(one)
    return found


def _of_pair(assembly_id: int, scheme_id: int) -> Select[tuple[AssemblyLookupRow]]:
    of_assembly = AssemblyLookupRow.assembly_id == assembly_id
    query = select(AssemblyLookupRow).where(of_assembly, AssemblyLookupRow.scheme_id == scheme_id)
    return query.order_by(AssemblyLookupRow.id)


def _own(session: Session, assembly_id: int, scheme_id: int) -> list[AssemblyLookupRow]:
    rows = session.scalars(_of_pair(assembly_id, scheme_id)).all()
    return [row for row in rows if not _is_snp_call(row)]


def _is_snp_call(row: AssemblyLookupRow) -> bool:
    return (row.st_barcode or "").endswith(OF_AN_ASSEMBLY)


def _added(session: Session, call: SchemeCallRow) -> AssemblyLookupRow:
    row = AssemblyLookupRow(assembly_id=call.assembly_id, scheme_id=call.scheme_id, st_barcode="")
    session.add(row)
    return row


def _joined(
    session: Session, older: Sequence[AssemblyLookupRow], st_barcode: str
) -> dict[str, Any]:
    """Return what older rows of this type say, and remove them: their key is needed."""
    data = dict[str, Any]()
    for row in older:
        if row.st_barcode == st_barcode:
            data |= _data(row)
            session.delete(row)
    session.flush()
    return data


def _counters(call: SchemeCallRow) -> dict[str, Any]:
    """Return the counters that old readers know: continued, and read by nothing that decides."""
    counted = {counter: getattr(call, column) for counter, column in COUNTERS.items()}
    return {JOB: call.job_id, QUEUED_NOW: int(call.status == LookupStatus.QUEUED), **counted}


def whole_number(value: object) -> int | None:
    """Return the whole number that an old row has, None if it is something else."""
    text = str(value).strip()
    return int(text) if WHOLE.fullmatch(text) else None


def _data(row: AssemblyLookupRow) -> dict[str, Any]:
    where = f"other_data of assembly {row.assembly_id} and scheme {row.scheme_id}"
    return decoded(row.other_data, where)


def _lookup(row: AssemblyLookupRow, annotation: str | None) -> Lookup:
    return Lookup(
        assembly_id=row.assembly_id,
        scheme_id=row.scheme_id,
        st_barcode=row.st_barcode or "",
        status=row.status,
        version=row.version,
        annotation=annotation,
        other_data=_data(row),
    )
