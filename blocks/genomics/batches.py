"""Many pairs claimed, begun and finished at once: what a night sends, in a few statements.

The same rows and the same rule as one call's (`results`); only the number differs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Engine, Select, func, select, tuple_
from sqlalchemy.orm import Session

from blocks.errors import InconsistentInput
from blocks.genomics.isolates import assembly_of
from blocks.genomics.legacy_json import decoded
from blocks.genomics.lookup_rows import rows_of, take_over_old, write_lookup
from blocks.genomics.pairs import Outcome, Pair, Wanted, why_not
from blocks.genomics.records import Assembly, Fate, LookupStatus
from blocks.genomics.results import finish, standing
from blocks.genomics.selection import GOOD
from blocks.genomics.sessions import insert_missing, reading, writing
from blocks.genomics.tables import (
    AssemblyLookupRow,
    AssemblyRow,
    SchemeCallRow,
    SchemeRow,
    StrainRow,
    now,
)

QUEUED = LookupStatus.QUEUED.value
IN_A_QUESTION = 1_000  # pairs
Key = tuple[int, int]  # assembly, scheme
Lookups = dict[Key, list[AssemblyLookupRow]]


class Waiting(NamedTuple):
    """A pair of a batch that is not called yet."""

    assembly: Assembly
    scheme_id: int
    job_id: int | None
    tool: str

    @property
    def key(self) -> Key:
        """Which pair it is."""
        return self.assembly.id, self.scheme_id


class BatchStore:
    """The batches of one species database. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(
        self,
        pairs: Sequence[Pair],
        wanted: Mapping[int, Wanted],
        *,
        batch_id: str,
        flow_run_id: str,
        night_id: int,
        force: bool = False,
    ) -> int:
        """Take those of these pairs that nobody has, as a batch; return how many that are.

        Compare and set: a row is there once for each pair, and is looked at again under its lock.

        Args:
            pairs: At most 10,000. One whose assembly is gone, failed its quality control or is no
                longer the best, or whose scheme has another version by now, is left out.
            wanted: By scheme: what calls it now.
            batch_id: That they will be known by.
            flow_run_id: Of the night, until the batch's own run begins.
            night_id: Of the night.
            force: Also what is complete, or was put aside.
        """
        facts = {"batch_id": batch_id, "flow_run_id": flow_run_id, "night_id": night_id}
        n_taken = 0
        with writing(self._engine) as session:
            versions = _versions_now(session, pairs, wanted)
            for row in _rows_to_claim(session, sorted(versions), versions, wanted):
                one, version = wanted[row.scheme_id], versions[row.assembly_id, row.scheme_id]
                if row.batch_id == batch_id:  # claimed before an answer that never came
                    n_taken += 1
                elif why_not(standing(row), one, version, force=force) is None:
                    _take(row, one, version, facts)
                    n_taken += 1
        return n_taken

    def waiting(self, batch_id: str) -> list[Waiting]:
        """Return what is left to do of a batch."""
        call = SchemeCallRow
        query = select(call, AssemblyRow, StrainRow)
        query = query.join(AssemblyRow, AssemblyRow.id == call.assembly_id)
        query = query.outerjoin(StrainRow, StrainRow.id == AssemblyRow.strain_id)
        query = query.where(call.batch_id == batch_id, call.status == QUEUED)
        query = query.order_by(call.assembly_id.desc(), call.scheme_id)
        with reading(self._engine) as session:
            return [_waiting(*row) for row in session.execute(query).all()]

    def begin(self, batch_id: str, flow_run_id: str, jobs: Mapping[Key, int]) -> set[Key]:
        """Hand a batch to the run that will call it, with a job for each pair; show it as QUEUED.

        A run that had it before writes nothing more. Returned are the pairs that are the run's.
        """
        call = SchemeCallRow
        query = select(call).where(call.batch_id == batch_id, call.status == QUEUED)
        with writing(self._engine) as session:
            rows = [row for row in session.scalars(_in_order(query)) if _key(row) in jobs]
            lookups = _lookups(session, rows)
            for row in rows:
                row.flow_run_id, row.job_id, row.changed = flow_run_id, jobs[_key(row)], now()
                row.sent += 1
                _show(session, row, lookups)
            return {_key(row) for row in rows}

    def finish(self, flow_run_id: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Store what became of pairs that a run has; return those that were its own, as stored.

        A result that a damaged row of the site cannot take is a failure of its pair.
        """
        told = {(one.assembly_id, one.scheme_id): one for one in outcomes}
        with writing(self._engine) as session:
            rows = _locked(session, sorted(told))
            mine = [row for row in rows if row.flow_run_id == flow_run_id]
            lookups = _lookups(session, [row for row in mine if row.status == QUEUED])
            for row in mine:
                _settle(session, row, told[_key(row)], lookups)
            return [_as_stored(told[_key(row)], row) for row in mine]

    def hand_back(self, batch_id: str, flow_run_id: str, to: str) -> list[int]:
        """Let another run, the night's, have what a run has not called yet; return the jobs."""
        call = SchemeCallRow
        left = (call.batch_id == batch_id, call.flow_run_id == flow_run_id, call.status == QUEUED)
        with writing(self._engine) as session:
            rows = session.scalars(_in_order(select(call).where(*left))).all()
            for row in rows:
                row.flow_run_id = to
            return [row.job_id for row in rows if row.job_id]

    def fail_left(self, batch_id: str, reason: str) -> list[int]:
        """Store that the machine failed what is left of a batch; return the jobs of it."""
        return self._fail(SchemeCallRow.batch_id == batch_id, reason)

    def fail_night(self, night_id: int, reason: str) -> list[int]:
        """Store that the machine failed what is left of a whole night; return the jobs of it."""
        return self._fail(SchemeCallRow.night_id == night_id, reason)

    def _fail(self, which: ColumnElement[bool], reason: str) -> list[int]:
        query = select(SchemeCallRow).where(which, SchemeCallRow.status == QUEUED)
        with writing(self._engine) as session:
            rows = session.scalars(_in_order(query)).all()
            lookups = _lookups(session, rows)
            for row in rows:
                finish(row, LookupStatus.FAILED, fate=Fate.TRANSIENT, reason=reason)
                _show(session, row, lookups)
            return [row.job_id for row in rows if row.job_id]

    def holders(self, batch_id: str) -> set[str]:
        """Return the runs that hold what is still to be called of a batch."""
        call = SchemeCallRow
        query = select(call.flow_run_id).where(call.batch_id == batch_id, call.status == QUEUED)
        with reading(self._engine) as session:
            return {run for run in session.scalars(query.distinct()) if run}

    def n_queued(self, batch_id: str) -> int:
        """Return how many pairs of a batch are still to be called."""
        call = SchemeCallRow
        query = select(func.count()).where(call.batch_id == batch_id, call.status == QUEUED)
        with reading(self._engine) as session:
            return session.scalar(query) or 0


def _key(row: SchemeCallRow) -> Key:
    return row.assembly_id, row.scheme_id


def _rows_to_claim(
    session: Session,
    keys: Sequence[Key],
    versions: Mapping[Key, int],
    wanted: Mapping[int, Wanted],
) -> list[SchemeCallRow]:
    """Return the rows of these pairs under their locks; made if they are new.

    All claim in the order of the keys, so two nights wait for each other and never in a ring.
    """
    new = [
        {"assembly_id": assembly, "scheme_id": scheme, "status": ""} for assembly, scheme in keys
    ]
    if new:
        session.execute(insert_missing(session, SchemeCallRow), new)
    rows = _locked(session, keys)
    unknown = [row for row in rows if not row.status]
    known_before = _lookups(session, unknown)
    for row in unknown:
        if _key(row) in known_before:
            scheme_version = wanted[row.scheme_id].scheme.version
            at = {"assembly_version": versions[_key(row)], "scheme_version": scheme_version}
            _take_over(session, row, at)
    return rows


def _versions_now(
    session: Session, pairs: Sequence[Pair], wanted: Mapping[int, Wanted]
) -> dict[Key, int]:
    """Return the assembly's version of each pair that is still to be called: a plan gets old."""
    row, ids = AssemblyRow, sorted({one.assembly_id for one in pairs})
    good = dict[int, int]()
    for start in range(0, len(ids), IN_A_QUESTION):
        some = ids[start : start + IN_A_QUESTION]
        best = select(StrainRow.best_assembly).where(StrainRow.best_assembly.in_(some))
        query = select(row.id, row.version).where(row.id.in_(some), row.id.in_(best))
        for assembly, version in session.execute(query.where(row.status.in_(GOOD))):
            good[assembly] = version or 1
    schemes = select(SchemeRow.id, SchemeRow.version).where(SchemeRow.id.in_(list(wanted)))
    as_planned = {
        scheme
        for scheme, version in session.execute(schemes)
        if (version or 1) == wanted[scheme].scheme.version
    }
    keys = [(one.assembly_id, one.scheme_id) for one in pairs]
    return {key: good[key[0]] for key in keys if key[0] in good and key[1] in as_planned}


def _take_over(session: Session, row: SchemeCallRow, versions: Mapping[str, int]) -> None:
    try:
        take_over_old(session, row, **versions)
    except InconsistentInput:  # damaged JSON of the old site: as if it had written nothing
        return


def _locked(session: Session, keys: Sequence[Key]) -> list[SchemeCallRow]:
    """Return the rows of some pairs, locked in the order of their keys."""
    row, found = SchemeCallRow, list[SchemeCallRow]()
    for start in range(0, len(keys), IN_A_QUESTION):
        some = tuple_(row.assembly_id, row.scheme_id).in_(keys[start : start + IN_A_QUESTION])
        query = _in_order(select(row).where(some))
        found += session.scalars(query.execution_options(populate_existing=True))
    return found


def _in_order(query: Select[tuple[SchemeCallRow]]) -> Select[tuple[SchemeCallRow]]:
    """Let a query lock its rows in the order of their keys, as all that lock many do."""
    call = SchemeCallRow
    return query.order_by(call.assembly_id, call.scheme_id).with_for_update()


def _lookups(session: Session, rows: Sequence[SchemeCallRow]) -> Lookups:
    """Return what the site reads of pairs; PostgreSQL takes some thousands at once."""
    keys, found = [_key(row) for row in rows], Lookups()
    for start in range(0, len(keys), IN_A_QUESTION):
        found |= rows_of(session, keys[start : start + IN_A_QUESTION])
    return found


def _take(row: SchemeCallRow, one: Wanted, version: int, facts: Mapping[str, Any]) -> None:
    row.status, row.fate, row.reason = QUEUED, None, None
    row.assembly_version, row.scheme_version, row.tool = version, one.scheme.version, one.tool
    row.job_id, row.attempts, row.changed = None, None, now()
    for name, value in facts.items():
        setattr(row, name, value)


def _settle(session: Session, row: SchemeCallRow, outcome: Outcome, lookups: Lookups) -> None:
    """Write what became of a pair that is its run's; of a typing the most is written already."""
    if row.status == QUEUED:
        complete = outcome.status is LookupStatus.COMPLETE
        fault = _fault(row, lookups) if complete else ""
        if fault:
            finish(row, LookupStatus.FAILED, fate=Fate.PERMANENT, reason=fault)
        else:
            finish(row, outcome.status, fate=outcome.fate, reason=outcome.reason)
        is_new = complete and not (fault or outcome.is_stored)
        _show(session, row, lookups, dict(outcome.results) if is_new else None)
    elif not outcome.is_stored or row.status != LookupStatus.COMPLETE:
        return  # settled before
    row.attempts = outcome.attempts


def _fault(row: SchemeCallRow, lookups: Lookups) -> str:
    """Return why the site's row of a pair can take no result; empty if it can."""
    try:
        if known := lookups.get(_key(row)):
            where = f"other_data of assembly {row.assembly_id} and scheme {row.scheme_id}"
            decoded(known[-1].other_data, where)
    except InconsistentInput as error:
        return f"{error}; repair it, then call the pair again by force"
    return ""


def _as_stored(outcome: Outcome, row: SchemeCallRow) -> Outcome:
    fate = Fate(row.fate) if row.fate else None
    stored = {"status": LookupStatus(row.status), "fate": fate, "reason": row.reason or ""}
    return outcome.model_copy(update=stored)


def _show(
    session: Session,
    row: SchemeCallRow,
    lookups: Lookups,
    results: dict[str, Any] | None = None,
) -> None:
    """Write what the site reads; of a damaged row only the status, so that others go on."""
    known = lookups.get(_key(row)) or []
    try:
        write_lookup(session, row, results=results, rows=known)
    except InconsistentInput:
        known[-1].status = row.status


def _waiting(call: SchemeCallRow, assembly: AssemblyRow, strain: StrainRow | None) -> Waiting:
    return Waiting(assembly_of(assembly, strain), call.scheme_id, call.job_id, call.tool or "")
