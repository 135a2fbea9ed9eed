"""What a night has to do: passed best assemblies x schemes, minus what is settled.

One set difference in SQL, in windows of assemblies from the newest to the oldest: what is complete
is summed up for each assembly out of an index, and only what is not is looked at row by row. A
window is one short transaction, so memory is flat and nothing holds others up.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Engine,
    Executable,
    Integer,
    Row,
    Select,
    and_,
    case,
    column,
    func,
    literal,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from blocks.errors import InvalidRequest
from blocks.genomics.isolates import FAILED, PASSED
from blocks.genomics.lookup_rows import OF_AN_ASSEMBLY, whole_number
from blocks.genomics.pairs import Pair, Skip, Standing, Wanted, why_not
from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.sessions import reading, utc
from blocks.genomics.tables import AssemblyLookupRow, AssemblyRow, SchemeCallRow, StrainRow

GOOD = (PASSED, "legacy")  # the site shows both
WINDOW = 50_000  # assemblies
AT_ONCE = 2  # windows
COMPLETE: ColumnElement[str] = literal_column(
    "'COMPLETE'"
)  # written out, so that the index of these rows is used
ROOMY = (  # a window fits, whatever the server's setting is, and keeps to one core
    text("SET LOCAL work_mem = '64MB'"),
    text("SET LOCAL max_parallel_workers_per_gather = 0"),
)
MOST_SCHEMES = 30  # a bit of an integer for each
IN_A_QUESTION = 4_000  # pairs that are looked up at once


class Window(NamedTuple):
    """What was found among some assemblies, one after another in the order of their ids."""

    pairs: list[Pair]  # to be called, newest assembly first
    again: list[Pair]  # to be called after all of those: the machine failed them before
    skipped: dict[int, Counter[Skip]]  # by scheme: pairs that are not, by reason
    n_assemblies: int  # that passed
    lowest: int  # id of the oldest assembly that was looked at


class PairSelection:
    """Chooses pairs of one species database. Reads only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def windows(
        self,
        wanted: Sequence[Wanted],
        *,
        since: datetime | None = None,
        force: bool = False,
        lost: Collection[str] = (),
    ) -> Iterator[Window]:
        """Return what is to be called, window by window, from the newest assembly to the oldest.

        Args:
            wanted: The schemes.
            since: Only assemblies that are in the database since then; without a zone it is UTC.
            force: Also what is complete, or was put aside; what a run works on never.
            lost: Runs on which nobody works: what they left counts as failed by the machine.

        Raises:
            InvalidRequest: more than 30 schemes.
        """
        _require_few(wanted)
        query = partial(self._looked_at, wanted, since=utc(since), force=force, lost=lost)
        bounds, ahead = self._bounds() if wanted else iter(()), deque[Future[Window]]()
        with ThreadPoolExecutor(AT_ONCE) as threads:  # the database has more than one core
            for low, high in bounds:
                ahead.append(threads.submit(query, low, high))
                if len(ahead) > AT_ONCE:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _bounds(self) -> Iterator[tuple[int, int]]:
        high = self._newest()
        while high > 0:
            low = self._below(high)
            yield low, high
            high = low

    def window(
        self,
        wanted: Sequence[Wanted],
        *,
        below: int | None = None,
        since: datetime | None = None,
        force: bool = False,
        lost: Collection[str] = (),
    ) -> Window | None:
        """Return the newest window, or the one below an assembly; None where there is no more."""
        _require_few(wanted)
        high = self._newest() if below is None else below - 1
        if not wanted or high < 1:
            return None
        low = self._below(high)
        return self._looked_at(wanted, low, high, since=utc(since), force=force, lost=lost)

    def _looked_at(
        self,
        wanted: Sequence[Wanted],
        low: int,
        high: int,
        *,
        since: datetime | None,
        force: bool,
        lost: Collection[str],
    ) -> Window:
        lacking = _lacking(wanted, low, high, since=since, force=force)
        return self._window(wanted, lacking, low, force=force, lost=lost)

    def failed_quality_control(self, since: datetime | None = None) -> int:
        """Return how many assemblies failed their quality control: nothing calls them."""
        query = select(func.count()).where(AssemblyRow.status == FAILED)
        if since:
            query = query.where(AssemblyRow.created >= utc(since))
        with reading(self._engine) as session:
            return session.scalar(query) or 0

    def _newest(self) -> int:
        with reading(self._engine) as session:
            return session.scalar(select(func.max(AssemblyRow.id))) or 0

    def _below(self, high: int) -> int:
        """Return the id under a window that begins at `high`: ids may have wide gaps."""
        query = select(AssemblyRow.id).where(AssemblyRow.id <= high)
        query = query.order_by(AssemblyRow.id.desc()).offset(WINDOW).limit(1)
        with reading(self._engine) as session:
            return session.scalar(query) or 0

    def _window(
        self,
        wanted: Sequence[Wanted],
        query: Select[Any],
        low: int,
        *,
        force: bool,
        lost: Collection[str],
    ) -> Window:
        with reading(self._engine) as session:
            if session.get_bind().dialect.name == "postgresql":
                for setting in ROOMY:
                    session.execute(setting)
            rows = session.execute(query).all()
            n_passed, found = rows[0].n_passed, _what_lacks(rows, wanted)
            window = Window([], [], {one.scheme.id: Counter() for one in wanted}, n_passed, low + 1)
            for start in range(0, len(found), IN_A_QUESTION):
                some = found[start : start + IN_A_QUESTION]
                _look_at(some, _standing(session, some, lost), window, force=force)
        lacking = Counter(one.pair.scheme_id for one in found)
        for scheme, skipped in window.skipped.items():
            skipped[Skip.COMPLETE] += n_passed - lacking[scheme]
        return window


def _require_few(wanted: Sequence[Wanted]) -> None:
    if len(wanted) > MOST_SCHEMES:
        msg = f"a night looks at {MOST_SCHEMES} schemes at once, not at {len(wanted)}"
        raise InvalidRequest(msg)


class _Lacking(NamedTuple):
    """A passed best assembly, and a scheme that it is not complete by."""

    pair: Pair
    wanted: Wanted
    key: tuple[int, int]


def _what_lacks(rows: Sequence[Row[Any]], wanted: Sequence[Wanted]) -> list[_Lacking]:
    """Return each pair that is not complete: a hundred thousand, so with few steps for each."""
    by_bits, found = dict[int, list[tuple[int, Wanted]]](), list[_Lacking]()
    for _, assembly, barcode, version, bits in rows:
        if assembly is None:  # all that passed are complete
            continue
        if bits not in by_bits:
            lacking = [one for bit, one in enumerate(wanted) if not bits & (1 << bit)]
            by_bits[bits] = [(one.scheme.id, one) for one in lacking]
        for scheme, one in by_bits[bits]:
            pair = Pair(assembly, barcode or "", version, scheme)
            found.append(_Lacking(pair, one, (assembly, scheme)))
    return found


def _within(column: InstrumentedAttribute[Any], low: int, high: int) -> ColumnElement[bool]:
    return and_(column > low, column <= high)


def _lacking(
    wanted: Sequence[Wanted], low: int, high: int, *, since: datetime | None, force: bool
) -> Select[Any]:
    """Return passed assemblies with what they are complete by, as bits; if all, they are left out.

    Each row says how many passed; there is always one. The tables are materialized each by itself:
    planned as one, the join becomes a loop.
    """
    passed, done = _passed(low, high, since), _done(wanted, low, high)
    current = and_(done.c.oldest == passed.c.version, done.c.newest == passed.c.version)
    bits = literal(0) if force else case((current, func.coalesce(done.c.bits, 0)), else_=0)
    found = select(passed, bits.label("bits")).outerjoin(done, done.c.id == passed.c.id)
    if not force:
        found = found.where(bits != (1 << len(wanted)) - 1)
    lacking = found.subquery("lacking")
    counted = select(func.count().label("n_passed")).select_from(passed).subquery("counted")
    query = select(counted.c.n_passed, lacking).outerjoin_from(counted, lacking, true())
    return query.order_by(lacking.c.id.desc())


def _passed(low: int, high: int, since: datetime | None) -> CTE:
    """Return the assemblies of a window that are good and a strain's best, each once."""
    row, at = AssemblyRow, StrainRow
    version = func.coalesce(func.nullif(row.version, 0), 1)  # as for one assembly by itself
    query = select(row.id, row.barcode, version.label("version"))
    best = select(at.best_assembly).where(_within(at.best_assembly, low, high))
    query = query.where(row.status.in_(GOOD), _within(row.id, low, high), row.id.in_(best))
    if since:
        query = query.where(row.created >= since)
    return query.cte("passed").prefix_with("MATERIALIZED")


def _done(wanted: Sequence[Wanted], low: int, high: int) -> CTE:
    """Return, of each assembly, a bit for each scheme that is complete at its version of now.

    An assembly that has calls of several versions is looked at row by row: it says both.
    """
    call, version = SchemeCallRow, SchemeCallRow.assembly_version
    now = case({one.scheme.id: one.scheme.version for one in wanted}, value=call.scheme_id)
    bit = case({one.scheme.id: 1 << n for n, one in enumerate(wanted)}, value=call.scheme_id)
    query = select(
        call.assembly_id.label("id"),
        func.sum(bit).label("bits"),
        func.min(version).label("oldest"),
        func.max(version).label("newest"),
    )
    settled = (call.status == COMPLETE, call.scheme_version == now, version.is_not(None))
    query = query.where(*settled, _within(call.assembly_id, low, high)).group_by(call.assembly_id)
    return query.cte("done").prefix_with("MATERIALIZED")


def _look_at(
    lacking: Sequence[_Lacking],
    stand: Mapping[tuple[int, int], Standing],
    window: Window,
    *,
    force: bool,
) -> None:
    """Sort what assemblies lack into what is to be called, and what not."""
    for pair, wanted, key in lacking:
        stands = stand.get(key)
        skip = why_not(stands, wanted, pair.assembly_version, force=force) if stands else None
        if skip:
            window.skipped[pair.scheme_id][skip] += 1
        elif stands and stands.fate == Fate.TRANSIENT:
            window.again.append(pair)
        else:
            window.pairs.append(pair)


def _standing(
    session: Session, lacking: Sequence[_Lacking], lost: Collection[str]
) -> dict[tuple[int, int], Standing]:
    """Return what is stored of what assemblies lack, by the old site or by us.

    Nobody wrote which version of an assembly an old result is of: it counts as the one of now.
    """
    now, found = {one.key: one for one in lacking}, dict[tuple[int, int], Standing]()
    for row in session.execute(_old_rows(list(now))):
        one, said = now[row.assembly_id, row.scheme_id], whole_number(row.version)
        status = row.status if row.status == LookupStatus.COMPLETE else ""
        version = one.wanted.scheme.version if said is None else said
        stands = Standing(status, None, one.pair.assembly_version, version, None)
        found[one.key] = stands  # the newest of a pair comes last
    for row in session.execute(_our_calls(list(now))):
        stands = Standing(*tuple(row)[3:])
        if stands.status == LookupStatus.QUEUED and row.flow_run_id in lost:
            stands = stands._replace(status=LookupStatus.FAILED.value, fate=Fate.TRANSIENT.value)
        found[row.assembly_id, row.scheme_id] = stands
    return found


def _our_calls(pairs: Sequence[tuple[int, int]]) -> Executable:
    call, asked = SchemeCallRow, _table_of(pairs)
    facts = (call.status, call.fate, call.assembly_version, call.scheme_version, call.tool)
    query = select(call.assembly_id, call.scheme_id, call.flow_run_id, *facts)
    of_pair = and_(call.assembly_id == asked.c.column1, call.scheme_id == asked.c.column2)
    return query.join_from(asked, call, of_pair)


def _old_rows(pairs: Sequence[tuple[int, int]]) -> Executable:
    """Return what the old site wrote of pairs that none of our runs has called since."""
    row, call, asked = AssemblyLookupRow, SchemeCallRow, _table_of(pairs)
    of_pair = and_(row.assembly_id == asked.c.column1, row.scheme_id == asked.c.column2)
    ours = and_(call.assembly_id == row.assembly_id, call.scheme_id == row.scheme_id)
    snp_call = func.coalesce(row.st_barcode, "").endswith(OF_AN_ASSEMBLY, autoescape=True)
    facts = (row.assembly_id, row.scheme_id, row.status, row.version)
    query = select(*facts).join_from(asked, row, of_pair).outerjoin(call, ours)
    return query.where(call.scheme_id.is_(None), ~snp_call).order_by(row.id)


def _table_of(pairs: Sequence[tuple[int, int]]) -> CTE:
    """Return pairs as a table of the statement, its columns named as databases name them.

    They are numbers, and thousands: written out, they are parsed once, by the database.
    """
    rows = ",".join(["(%d,%d)" % pair for pair in pairs])  # noqa: UP031 - twice as fast, and numbers only
    columns = (column("column1", Integer), column("column2", Integer))
    return text(f"VALUES {rows}").columns(*columns).cte("asked")
