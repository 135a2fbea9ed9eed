"""Strains without a valid assembly, the reads that one could be made of, and who works on those."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import NamedTuple

from sqlalchemy import Engine, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from blocks.errors import InvalidRequest
from blocks.genomics.pairs import Skip
from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.selection import GOOD
from blocks.genomics.sessions import reading, writing
from blocks.genomics.tables import AssemblyCallRow, AssemblyRow, StrainRow, TraceRow, now
from blocks.genomics.uploads import parse_accession

WINDOW = 2_000  # strains
ILLUMINA, PAIRED = "illumina", "paired"
QUEUED = LookupStatus.QUEUED.value


class Unassembled(NamedTuple):
    """A strain without a valid assembly, and its reads as `user_jobs.accession` has them."""

    strain_id: int
    strain: str
    reads: str  # empty: there are none that can be assembled
    stands: str | None = None  # status of the newest attempt, if there was one
    fate: str | None = None
    tool: str | None = None


class AssemblyCallStore:
    """Who assembles which reads. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def windows(self, *, since: datetime | None = None) -> Iterator[list[Unassembled]]:
        """Return strains without a valid assembly, from the newest to the oldest.

        Args:
            since: Only strains that are in the database since then; without a zone it is UTC.
        """
        high = None
        if since and since.tzinfo:
            since = since.astimezone(UTC).replace(tzinfo=None)
        while True:
            with reading(self._engine) as session:
                strains = _without_assembly(session, high, since)
                if not strains:
                    return
                found = _with_reads(session, strains)
            yield found
            high = found[-1].strain_id

    def claim(
        self,
        reads: str,
        *,
        flow_run_id: str,
        tool: str,
        strain_id: int | None = None,
        night_id: int | None = None,
        held_by: str = "",
    ) -> str:
        """Take the right to assemble some reads, if no other run has it; return who has it.

        Args:
            reads: In any order.
            flow_run_id: Who asks.
            tool: What will assemble, with its version.
            strain_id: Whose they are, if that is known.
            night_id: Of the night that sends them.
            held_by: A run that hands its right over, or that is over or lost.
        """
        with writing(self._engine) as session:
            row = _row(session, in_order(reads))
            holder = row.flow_run_id or ""
            if row.status == QUEUED and holder not in (flow_run_id, held_by):
                return holder
            row.status, row.fate, row.reason = QUEUED, None, None
            row.flow_run_id, row.tool, row.changed = flow_run_id, tool, now()
            row.strain_id = strain_id or row.strain_id
            row.night_id = night_id if night_id or not held_by else row.night_id
            return flow_run_id

    def begin(self, reads: str, flow_run_id: str, job_id: int) -> None:
        """Say which job a run makes of reads that it has."""
        with writing(self._engine) as session:
            row = _row(session, in_order(reads))
            if row.flow_run_id == flow_run_id:
                row.job_id = job_id

    def finish(
        self,
        reads: str,
        flow_run_id: str,
        *,
        fate: Fate | None = None,
        reason: str = "",
        failed: bool = False,
        attempts: int = 1,
    ) -> None:
        """Store what became of reads, unless they are another run's now.

        Args:
            reads: In any order.
            flow_run_id: Whose they were.
            fate: None: there is a valid assembly; permanent also of one of poor quality.
            reason: Why there is none.
            failed: Whether there is no assembly at all.
            attempts: How often the longest step was tried.
        """
        with writing(self._engine) as session:
            row = _row(session, in_order(reads))
            if row.flow_run_id == flow_run_id and row.status == QUEUED:
                status = LookupStatus.FAILED if failed else LookupStatus.COMPLETE
                row.status, row.fate = status.value, fate.value if fate else None
                row.reason, row.attempts, row.changed = reason or None, attempts, now()

    def fail_open(self, flow_run_id: str, fate: Fate, reason: str) -> int:
        """Store that what a run left open has failed; return how many reads that were."""
        mine = AssemblyCallRow.flow_run_id == flow_run_id
        query = select(AssemblyCallRow).where(mine, AssemblyCallRow.status == QUEUED)
        with writing(self._engine) as session:
            rows = session.scalars(query.with_for_update()).all()
            for row in rows:
                row.status, row.fate = LookupStatus.FAILED.value, fate.value
                row.reason, row.changed = reason, now()
            return len(rows)

    def open_runs(self) -> list[str]:
        """Return the flow runs that hold reads."""
        query = select(AssemblyCallRow.flow_run_id).where(AssemblyCallRow.status == QUEUED)
        with reading(self._engine) as session:
            return [run for run in session.scalars(query.distinct()) if run]


def why_not_assembled(strain: Unassembled, tool: str, *, force: bool = False) -> Skip | None:
    """Return why nobody should assemble a strain's reads by himself now; None if he should.

    What was put aside without a tool on record, by taking an old database over, waits for a person.
    """
    if not strain.reads:
        return Skip.NO_READS
    if strain.stands == QUEUED:
        return Skip.LIVE
    if force or strain.stands is None:
        return None
    if strain.tool not in (None, tool):
        return None
    return {Fate.PERMANENT.value: Skip.PUT_ASIDE, Fate.BUG.value: Skip.BUG}.get(strain.fate or "")


def in_order(reads: str) -> str:
    """Return reads as they are known: runs in the order of the alphabet."""
    return ",".join(sorted(reads.split(","))) if "#" not in reads else reads


def _row(session: Session, reads: str) -> AssemblyCallRow:
    """Return the row of some reads under its lock; made if it is new."""
    name = session.get_bind().dialect.name
    insert_row = postgresql.insert if name == "postgresql" else sqlite.insert
    new = insert_row(AssemblyCallRow).values(reads=reads, status="")
    session.execute(new.on_conflict_do_nothing())
    return session.get_one(AssemblyCallRow, reads, with_for_update=True)


def _without_assembly(
    session: Session, high: int | None, since: datetime | None
) -> list[tuple[int, str]]:
    best = AssemblyRow.id == StrainRow.best_assembly
    query = select(StrainRow.id, func.coalesce(StrainRow.strain, "")).outerjoin(AssemblyRow, best)
    query = query.where(or_(AssemblyRow.id.is_(None), AssemblyRow.status.not_in(GOOD)))
    if high is not None:
        query = query.where(StrainRow.id < high)
    if since:
        query = query.where(StrainRow.created >= since)
    found = session.execute(query.order_by(StrainRow.id.desc()).limit(WINDOW))
    return [(strain_id, name) for strain_id, name in found]


def _with_reads(session: Session, strains: Sequence[tuple[int, str]]) -> list[Unassembled]:
    traces = _traces(session, [strain_id for strain_id, _ in strains])
    reads = {strain_id: _accession(own) for strain_id, own in traces.items()}
    stand = _standing(session, [text for text in reads.values() if text])
    found = list[Unassembled]()
    for strain_id, name in strains:
        text = reads.get(strain_id, "")
        found.append(Unassembled(strain_id, name, text, *stand.get(text, (None, None, None))))
    return found


def _traces(session: Session, strains: Sequence[int]) -> dict[int, list[TraceRow]]:
    row, found = TraceRow, dict[int, list[TraceRow]]()
    query = select(row).where(
        row.strain_id.in_(strains),
        func.lower(row.seq_platform).contains(ILLUMINA),
        func.lower(row.seq_library).contains(PAIRED),
        row.accession.is_not(None),
    )
    for trace in session.scalars(query.order_by(row.id)):
        if trace.strain_id:
            found.setdefault(trace.strain_id, []).append(trace)
    return found


def _accession(traces: Sequence[TraceRow]) -> str:
    """Return a strain's reads as `user_jobs.accession` has them; an upload comes before runs."""
    for trace in traces:
        files = [PurePath(one).name for one in (trace.read_location or "").split(",") if one]
        if len(files) == 2:  # noqa: PLR2004 - read 1 and read 2
            return _usable(f"{trace.accession}#{files[0]}#{files[1]}")
    return _usable(",".join(sorted({trace.accession or "" for trace in traces})))


def _usable(text: str) -> str:
    """Return what names reads; nothing where the rows hold something else."""
    try:
        return str(parse_accession(text))
    except InvalidRequest:
        return ""


def _standing(
    session: Session, reads: Sequence[str]
) -> Mapping[str, tuple[str, str | None, str | None]]:
    row = AssemblyCallRow
    query = select(row.reads, row.status, row.fate, row.tool).where(row.reads.in_(reads))
    return {text: (status, fate, tool) for text, status, fate, tool in session.execute(query)}
