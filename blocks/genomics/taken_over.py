"""Changes of old rows, done and undone: each is written down in the transaction that does it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    Row,
    Table,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from blocks.genomics.changes import Change, Found, Key, Left, WhyLeft
from blocks.genomics.records import LookupStatus
from blocks.genomics.sessions import insert_missing
from blocks.genomics.tables import (
    AssemblyLookupRow,
    Base,
    JobRunRow,
    SchemeCallRow,
    TakenOverRow,
    now,
)

Values = tuple[Any, ...]  # of a primary key
NEW_VALUE, KEY = "new_value", "key_"


class Recorded(NamedTuple):
    """A change that was done."""

    change: Change
    row_id: int  # in `taken_over`
    at: datetime


def do(session: Session, taking: int, changes: Sequence[Change]) -> list[Change]:
    """Do the changes whose rows still are as they were; return those that were done.

    Rows of ours come first: whoever claims a pair takes the locks in this order.
    """
    done = [one for group in _groups(changes, _of_change) for one in _do(session, group)]
    if done:
        at = now()
        rows = [_row(one, taking=taking, at=at) for one in done]
        session.connection().execute(insert(_table("taken_over")), rows)
    return done


def undo(session: Session, records: Sequence[Recorded]) -> list[Found]:
    """Undo what nobody has changed since, and forget it; the rest is returned as left."""
    undone, found = list[int](), list[Found]()
    for group in _groups(records, lambda one: _of_change(one.change)):
        for one, why in _undo(session, group):
            if why is None:
                undone.append(one.row_id)
            found.append(_left(one.change, why) if why else one.change)
    session.execute(delete(TakenOverRow).where(TakenOverRow.id.in_(undone)))
    return found


def recorded(row: TakenOverRow) -> Recorded:
    """Return the change that a row of `taken_over` says."""
    change = Change(
        table=row.table_name,
        key=json.loads(row.row_key),
        column=row.column_name,
        why=row.why,
        before=row.before,
        after=row.after,
    )
    return Recorded(change, row.id, row.at or datetime.min)  # noqa: DTZ901 - the tables' zone is none


def _row(change: Change, *, taking: int, at: datetime) -> dict[str, Any]:
    return {
        "taking": taking,
        "table_name": change.table,
        "row_key": json.dumps(change.key),
        "column_name": change.column,
        "why": change.why,
        "before": change.before,
        "after": change.after,
        "at": at,
    }


# Doing


def _do(session: Session, changes: Sequence[Change]) -> list[Change]:
    return _add(session, changes) if changes[0].column is None else _set(session, changes)


def _add(session: Session, changes: Sequence[Change]) -> list[Change]:
    table = _table(changes[0].table)
    new = insert_missing(session, table).returning(*table.primary_key.columns)
    rows = [json.loads(change.after or "{}") for change in changes]
    added = {tuple(row) for row in session.connection().execute(new, rows)}
    return [change for change in changes if _values(table, change.key) in added]


def _set(session: Session, changes: Sequence[Change]) -> list[Change]:
    table, column = _table(changes[0].table), str(changes[0].column)
    keys = [_values(table, change.key) for change in changes]
    current = _current(session, table, keys, column)
    held = _held(session, table, column, keys)
    same = [
        change
        for change, key in zip(changes, keys, strict=True)
        if key in current and getattr(current[key], column) == change.before and key not in held
    ]
    _write(session, table, column, {_values(table, one.key): one.after for one in same})
    return same


def _held(session: Session, table: Table, column: str, keys: Sequence[Values]) -> set[Values]:
    """Return which rows a run of ours has begun to work on, since they were looked at."""
    ids = [key[0] for key in keys]
    if (table.name, column) == ("assembly_lookup", "status"):
        query = _calls_of(ids).where(SchemeCallRow.status == LookupStatus.QUEUED.value)
        return {(row.id,) for row in session.execute(query)}
    return _of_our_jobs(session, table, column, ids)


def _of_our_jobs(session: Session, table: Table, column: str, ids: Sequence[int]) -> set[Values]:
    if (table.name, column) != ("user_jobs", "status"):
        return set()
    query = select(JobRunRow.job_id).where(JobRunRow.job_id.in_(ids))
    return {(job_id,) for job_id in session.scalars(query)}


def _calls_of(lookup_ids: Sequence[int]) -> Any:
    row, call = AssemblyLookupRow, SchemeCallRow
    pair = (call.assembly_id == row.assembly_id) & (call.scheme_id == row.scheme_id)
    query = select(row.id, call.changed, call.flow_run_id).join(call, pair)
    return query.where(row.id.in_(lookup_ids))


# Undoing


def _undo(session: Session, records: Sequence[Recorded]) -> list[tuple[Recorded, WhyLeft | None]]:
    """Undo changes of one kind; return why those that stay do."""
    table, column = _table(records[0].change.table), records[0].change.column
    keys = {one.row_id: _values(table, one.change.key) for one in records}
    current = _current(session, table, list(keys.values()), column)
    called = _called_since(session, table, str(column), records)
    judged = list[tuple[Recorded, WhyLeft | None]]()
    for one in records:
        row = current.get(keys[one.row_id])
        stays = WhyLeft.CALLED_SINCE if one.row_id in called else _why_kept(one.change, row)
        judged.append((one, stays))
    going = {keys[one.row_id]: one.change.before for one, stays in judged if stays is None}
    if column is None:
        _remove(session, table, list(going))
    else:
        _write(session, table, column, going)
    return judged


def _why_kept(change: Change, row: Row[Any] | None) -> WhyLeft | None:
    if row is None:
        return WhyLeft.GONE_SINCE
    if change.column is None:
        added = json.loads(change.after or "{}")
        same = all(getattr(row, column) == added.get(column) for column in _names(change.table))
    else:
        same = getattr(row, change.column) == change.after
    return None if same else WhyLeft.CHANGED_SINCE


def _called_since(
    session: Session, table: Table, column: str, records: Sequence[Recorded]
) -> set[int]:
    """Return which old rows a run of ours has worked on, though it wrote the same value again."""
    ids = {one.change.key[table.primary_key.columns.keys()[0]]: one for one in records}
    if (table.name, column) == ("assembly_lookup", "status"):
        query = _calls_of(list(ids)).where(SchemeCallRow.flow_run_id.is_not(None))
        runs = [row for row in session.execute(query) if row.changed is not None]
        return {ids[row.id].row_id for row in runs if row.changed > ids[row.id].at}
    ours = _of_our_jobs(session, table, column, list(ids))
    return {ids[key[0]].row_id for key in ours}


def _left(change: Change, why: WhyLeft) -> Left:
    return Left(table=change.table, key=change.key, column=change.column, why=why, said=change.why)


# Rows of any table


def _groups(
    some: Iterable[Any], kind: Callable[[Any], tuple[bool, str, str]]
) -> Iterable[list[Any]]:
    """Return changes of one column of one table together; rows that are added first."""
    groups = dict[tuple[bool, str, str], list[Any]]()
    for one in some:
        groups.setdefault(kind(one), []).append(one)
    return [groups[name] for name in sorted(groups)]


def _of_change(change: Change) -> tuple[bool, str, str]:
    return change.column is not None, change.table, change.column or ""


def _table(name: str) -> Table:
    return Base.metadata.tables[name]


def _names(table: str) -> list[str]:
    return [column.name for column in _table(table).columns]


def _values(table: Table, key: Key) -> Values:
    return tuple(key[name] for name in table.primary_key.columns.keys())  # noqa: SIM118 - not a dict


def _current(
    session: Session, table: Table, keys: Sequence[Values], column: str | None
) -> dict[Values, Row[Any]]:
    """Return a column, or all, of rows as they are; they stay so to the end of the transaction."""
    names = list(table.primary_key.columns)
    columns = list(table.columns) if column is None else [*names, table.columns[column]]
    query = select(*columns).where(tuple_(*names).in_(keys)).order_by(*names)
    found = session.connection().execute(query.with_for_update()).all()
    return {tuple(getattr(row, name.name) for name in names): row for row in found}


def _write(
    session: Session, table: Table, column: str, values: Mapping[Values, str | None]
) -> None:
    if not values:
        return
    names = list(table.primary_key.columns)
    query = update(table).values({column: bindparam(NEW_VALUE)})
    query = query.where(*(name == bindparam(KEY + name.name) for name in names))
    rows = [
        {NEW_VALUE: value} | {KEY + name.name: part for name, part in zip(names, key, strict=True)}
        for key, value in values.items()
    ]
    session.connection().execute(query, rows)


def _remove(session: Session, table: Table, keys: Sequence[Values]) -> None:
    if keys:
        names = tuple_(*table.primary_key.columns)
        session.execute(delete(table).where(names.in_(keys)))
