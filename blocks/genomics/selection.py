"""What a night has to do: passed best assemblies x schemes, minus what is settled.

One set difference in SQL, in windows of assemblies from the newest to the oldest: what is complete
is summed up for each assembly out of an index, and only what is not is looked at row by row. A
window is one short transaction, so memory is flat and nothing holds others up.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Engine,
    Executable,
    Row,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from blocks.errors import InvalidRequest
from blocks.genomics.isolates import FAILED, PASSED
from blocks.genomics.lookup_rows import OF_AN_ASSEMBLY, whole_number
from blocks.genomics.pairs import Pair, Skip, Standing, Wanted, why_not
from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.sessions import reading
from blocks.genomics.tables import AssemblyLookupRow, AssemblyRow, SchemeCallRow, StrainRow

GOOD = (PASSED, "legacy")  # the site shows both
WINDOW = 50_000  # assemblies
COMPLETE: ColumnElement[str] = literal_column(
    "'COMPLETE'"
)  # written out, so that the index of these rows is used
MOST_SCHEMES = 30  # a bit of an integer for each
IN_A_QUESTION = 2_000  # assemblies whose pairs are read at once


class Window(NamedTuple):
    """What was found among some assemblies, one after another in the order of their ids."""

    pairs: list[Pair]  # to be called, newest assembly first
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
        below: int | None = None
        options = {"since": since, "force": force, "lost": lost}
        while window := self.window(wanted, below=below, **options):  # pyright: ignore[reportArgumentType] - by name
            yield window
            below = window.lowest

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
        if len(wanted) > MOST_SCHEMES:
            msg = f"a night looks at {MOST_SCHEMES} schemes at once, not at {len(wanted)}"
            raise InvalidRequest(msg)
        high = self._newest() if below is None else below - 1
        if not wanted or high < 1:
            return None
        low = self._below(high)
        lacking = _lacking(wanted, low, high, since=_plain(since), force=force)
        return self._window(wanted, lacking, low, force=force, lost=lost)

    def failed_quality_control(self, since: datetime | None = None) -> int:
        """Return how many assemblies failed their quality control: nothing calls them."""
        query = select(func.count()).where(AssemblyRow.status == FAILED)
        if since:
            query = query.where(AssemblyRow.created >= _plain(since))
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
            rows = session.execute(query).all()
            found = [_lacks(row, wanted) for row in rows if row.id is not None]
            n_passed = rows[0].n_passed
            window = Window([], {one.scheme.id: Counter() for one in wanted}, n_passed, low + 1)
            for start in range(0, len(found), IN_A_QUESTION):
                some = found[start : start + IN_A_QUESTION]
                _look_at(some, _standing(session, some, lost), window, force=force)
        lacking = Counter(one.scheme.id for assembly in found for one in assembly.wanted)
        for scheme, skipped in window.skipped.items():
            skipped[Skip.COMPLETE] += n_passed - lacking[scheme]
        return window


class _Assembly(NamedTuple):
    """A passed best assembly, and the schemes that it is not complete by."""

    id: int
    barcode: str
    version: int
    wanted: list[Wanted]


def _lacks(row: Row[Any], wanted: Sequence[Wanted]) -> _Assembly:
    lacking = [one for bit, one in enumerate(wanted) if not row.bits & (1 << bit)]
    return _Assembly(row.id, row.barcode or "", row.version, lacking)


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
    """Return the assemblies of a window that are their strains' best, and good."""
    row, at = AssemblyRow, StrainRow
    query = select(row.id, row.barcode, func.coalesce(row.version, 1).label("version"))
    query = query.join(at, and_(at.id == row.strain_id, at.best_assembly == row.id)).where(
        row.status.in_(GOOD), _within(row.id, low, high), _within(at.best_assembly, low, high)
    )
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
    assemblies: Sequence[_Assembly],
    stand: Mapping[tuple[int, int], Standing],
    window: Window,
    *,
    force: bool,
) -> None:
    """Sort what some assemblies lack into what is to be called, and what not."""
    for assembly in assemblies:
        for one in assembly.wanted:
            stands = stand.get((assembly.id, one.scheme.id))
            skip = why_not(stands, one, assembly.version, force=force)
            if skip:
                window.skipped[one.scheme.id][skip] += 1
            else:
                pair = Pair(assembly.id, assembly.barcode, assembly.version, one.scheme.id)
                window.pairs.append(pair)


def _standing(
    session: Session, assemblies: Sequence[_Assembly], lost: Collection[str]
) -> dict[tuple[int, int], Standing]:
    """Return what is stored of what these assemblies lack, by the old site or by us.

    Nobody wrote which version of an assembly an old result is of: it counts as the one of now.
    """
    versions = {one.id: one.version for one in assemblies}
    schemes = {one.scheme.id: one.scheme for assembly in assemblies for one in assembly.wanted}
    found = dict[tuple[int, int], Standing]()
    for row in session.execute(_old_results(list(versions), list(schemes))):
        said, now = whole_number(row.version), schemes[row.scheme_id].version
        stands = (LookupStatus.COMPLETE, None, versions[row.assembly_id])
        version = now if said is None else said
        found[row.assembly_id, row.scheme_id] = Standing(*stands, version, None)
    for row in session.execute(_our_calls(list(versions), list(schemes))):
        stands = Standing(*tuple(row)[3:])
        if stands.status == LookupStatus.QUEUED and row.flow_run_id in lost:
            stands = stands._replace(status=LookupStatus.FAILED.value, fate=Fate.TRANSIENT.value)
        found[row.assembly_id, row.scheme_id] = stands
    return found


def _our_calls(ids: Sequence[int], schemes: Sequence[int]) -> Executable:
    call = SchemeCallRow
    facts = (call.status, call.fate, call.assembly_version, call.scheme_version, call.tool)
    query = select(call.assembly_id, call.scheme_id, call.flow_run_id, *facts)
    return query.where(call.assembly_id.in_(_written_out(ids)), call.scheme_id.in_(schemes))


def _written_out(ids: Sequence[int]) -> BindParameter[Any]:
    """Return numbers as part of the statement: the driver takes long over thousands of values."""
    return bindparam("ids", ids, expanding=True, literal_execute=True, unique=True)


def _old_results(ids: Sequence[int], schemes: Sequence[int]) -> Executable:
    """Return what the old site completed and none of our runs has called since."""
    row, call = AssemblyLookupRow, SchemeCallRow
    ours = and_(call.assembly_id == row.assembly_id, call.scheme_id == row.scheme_id)
    snp_call = func.coalesce(row.st_barcode, "").endswith(OF_AN_ASSEMBLY, autoescape=True)
    query = select(row.assembly_id, row.scheme_id, row.version).outerjoin(call, ours)
    # Of a scheme there are a million rows, of an assembly a few: the sum hides the wrong index.
    of_these = (row.assembly_id.in_(_written_out(ids)), (row.scheme_id + 0).in_(schemes))
    query = query.where(row.status == COMPLETE)
    return query.where(*of_these, call.scheme_id.is_(None), ~snp_call).order_by(row.id)


def _plain(moment: datetime | None) -> datetime | None:
    """Return a moment as the tables have it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment and moment.tzinfo else moment
