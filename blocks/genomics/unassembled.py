"""Strains without a valid assembly, the reads that one could be made of, and who works on those."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, func, or_, select
from sqlalchemy.orm import Session

from blocks.errors import InvalidRequest
from blocks.genomics.pairs import Skip
from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.selection import GOOD
from blocks.genomics.sessions import insert_missing, printable, reading, utc, writing
from blocks.genomics.tables import AssemblyCallRow, AssemblyRow, StrainRow, TraceRow, now
from blocks.genomics.uploads import parse_accession

WINDOW = 2_000  # strains
ILLUMINA, PAIRED, UNPAIRED = "illumina", "paired", "unpaired"
QUEUED = LookupStatus.QUEUED.value


class Unassembled(NamedTuple):
    """A strain without a valid assembly, and its reads as `user_jobs.accession` has them."""

    strain_id: int
    strain: str
    reads: str  # empty: there are none that can be assembled
    stands: str | None = None  # status of the newest attempt, if there was one
    fate: str | None = None
    tool: str | None = None

    @property
    def was_tried(self) -> bool:
        """Whether the machine failed it before: it is sent after what was never tried."""
        return self.fate == Fate.TRANSIENT


class AssemblyCallStore:
    """Who assembles which reads. Every method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def windows(
        self, *, since: datetime | None = None, lost: Collection[str] = ()
    ) -> Iterator[list[Unassembled]]:
        """Return strains without a valid assembly, window by window from the newest to the oldest.

        Args:
            since: Only strains that are in the database since then; without a zone it is UTC.
            lost: Runs on which nobody works: what they left counts as failed by the machine.
        """
        below: int | None = None
        while strains := self.window(below=below, since=since, lost=lost):
            yield strains
            below = strains[-1].strain_id

    def window(
        self,
        *,
        below: int | None = None,
        since: datetime | None = None,
        lost: Collection[str] = (),
    ) -> list[Unassembled]:
        """Return the newest strains without a valid assembly, or those below one."""
        with reading(self._engine) as session:
            strains = _without_assembly(session, below, utc(since))
            return _with_reads(session, strains, lost) if strains else []

    def claim_for_night(
        self, strain: Unassembled, tool: str, *, flow_run_id: str, night_id: int, force: bool
    ) -> bool:
        """Take a strain's reads for a night, if nobody has them or has settled them meanwhile."""
        with writing(self._engine) as session:
            row = _row(session, in_order(strain.reads))
            claimed = (row.night_id, row.flow_run_id, row.strain_id)
            if claimed == (night_id, flow_run_id, strain.strain_id):
                return row.status == QUEUED  # claimed before an answer that never came
            now_stands = strain._replace(stands=row.status or None, fate=row.fate, tool=row.tool)
            if why_not_assembled(now_stands, tool, force=force):
                return False
            if not _lacks_assembly(session, strain.strain_id):  # a window gets old
                return False
            _take(row, flow_run_id, tool)
            row.strain_id, row.night_id = strain.strain_id, night_id
            return True

    def claim(
        self,
        reads: str,
        *,
        flow_run_id: str,
        tool: str,
        job_id: int,
        held_by: str = "",
    ) -> str:
        """Take the right to assemble some reads, if no other run has it; return who has it.

        Args:
            reads: In any order.
            flow_run_id: Who asks.
            tool: What will assemble, with its version.
            job_id: That the run works on.
            held_by: A run that hands its right over, or that is over or lost.
        """
        with writing(self._engine) as session:
            row = _row(session, in_order(reads))
            holder = row.flow_run_id or ""
            if row.status == QUEUED and holder not in (flow_run_id, held_by):
                return holder
            if not held_by:
                row.night_id = None
            _take(row, flow_run_id, tool)
            row.job_id = job_id
            return flow_run_id

    def tool(self, reads: str) -> str:
        """Return what assembles some reads, or did; empty if nothing has."""
        with reading(self._engine) as session:
            row = session.get(AssemblyCallRow, in_order(reads))
            return (row.tool or "") if row else ""

    def tried(self, reads: str, flow_run_id: str) -> None:
        """Count one more try to get reads; people read the count, and nothing decides by it."""
        with writing(self._engine) as session:
            row = _row(session, in_order(reads))
            if row.flow_run_id == flow_run_id:
                row.attempts = (row.attempts or 0) + 1

    def finish(
        self,
        reads: str,
        flow_run_id: str,
        *,
        fate: Fate | None = None,
        reason: str = "",
        failed: bool = False,
    ) -> None:
        """Store what became of reads, unless they are another run's now.

        Args:
            reads: In any order.
            flow_run_id: Whose they were.
            fate: None: there is a valid assembly; permanent also of one of poor quality.
            reason: Why there is none.
            failed: Whether there is no assembly at all.
        """
        with writing(self._engine) as session:
            row = _row(session, in_order(reads))
            if row.flow_run_id == flow_run_id and row.status == QUEUED:
                status = LookupStatus.FAILED if failed else LookupStatus.COMPLETE
                row.status, row.fate = status.value, fate.value if fate else None
                row.reason, row.changed = printable(reason) or None, now()

    def fail_open(self, flow_run_id: str, fate: Fate, reason: str) -> int:
        """Store that what a run left open has failed; return how many reads that were."""
        mine = AssemblyCallRow.flow_run_id == flow_run_id
        query = select(AssemblyCallRow).where(mine, AssemblyCallRow.status == QUEUED)
        with writing(self._engine) as session:
            rows = session.scalars(query.with_for_update()).all()
            for row in rows:
                row.status, row.fate = LookupStatus.FAILED.value, fate.value
                row.reason, row.changed = printable(reason), now()
            return len(rows)

    def fail_if_open(self, reads: str, night_id: int, reason: str) -> None:
        """Store that the machine failed what a night sent, if its run left it open."""
        with writing(self._engine) as session:
            row = _row(session, in_order(reads))
            if row.night_id == night_id and row.status == QUEUED:
                row.status, row.fate = LookupStatus.FAILED.value, Fate.TRANSIENT.value
                row.reason, row.changed = printable(reason), now()

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
    session.execute(insert_missing(session, AssemblyCallRow).values(reads=reads, status=""))
    return session.get_one(AssemblyCallRow, reads, with_for_update=True)


def _take(row: AssemblyCallRow, flow_run_id: str, tool: str) -> None:
    row.status, row.fate, row.reason = QUEUED, None, None
    row.flow_run_id, row.tool, row.attempts, row.changed = flow_run_id, tool, None, now()


def _without_assembly(
    session: Session, high: int | None, since: datetime | None
) -> list[tuple[int, str]]:
    best = AssemblyRow.id == StrainRow.best_assembly
    query = select(StrainRow.id, func.coalesce(StrainRow.strain, "")).outerjoin(AssemblyRow, best)
    status = func.coalesce(AssemblyRow.status, "")
    query = query.where(or_(AssemblyRow.id.is_(None), status.not_in(GOOD)))
    if high is not None:
        query = query.where(StrainRow.id < high)
    if since:
        query = query.where(StrainRow.created >= since)
    found = session.execute(query.order_by(StrainRow.id.desc()).limit(WINDOW))
    return [(strain_id, name) for strain_id, name in found]


def _lacks_assembly(session: Session, strain_id: int) -> bool:
    best = select(AssemblyRow.status).join(StrainRow, StrainRow.best_assembly == AssemblyRow.id)
    return session.scalar(best.where(StrainRow.id == strain_id)) not in GOOD


def _with_reads(
    session: Session, strains: Sequence[tuple[int, str]], lost: Collection[str]
) -> list[Unassembled]:
    traces = _traces(session, [strain_id for strain_id, _ in strains])
    reads = {strain_id: accession_of(own) for strain_id, own in traces.items()}
    stand = _standing(session, [text for text in reads.values() if text], lost)
    found = list[Unassembled]()
    for strain_id, name in strains:
        text = reads.get(strain_id, "")
        found.append(Unassembled(strain_id, name, text, *stand.get(text, (None, None, None))))
    return found


def _traces(session: Session, strains: Sequence[int]) -> dict[int, list[TraceRow]]:
    row, found = TraceRow, dict[int, list[TraceRow]]()
    query = select(row).where(row.strain_id.in_(strains), *can_be_assembled())
    for trace in session.scalars(query.order_by(row.id)):
        if trace.strain_id:
            found.setdefault(trace.strain_id, []).append(trace)
    return found


def can_be_assembled() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of reads that can be assembled: Illumina, paired-end, and named."""
    row = TraceRow
    library = func.lower(row.seq_library)
    return (
        func.lower(row.seq_platform).contains(ILLUMINA),
        library.contains(PAIRED),
        ~library.contains(UNPAIRED),
        row.accession.is_not(None),
    )


def accession_of(traces: Sequence[TraceRow]) -> str:
    """Return a strain's reads as `user_jobs.accession` has them; an upload comes before runs."""
    for trace in traces:
        files = [PurePath(one).name for one in (trace.read_location or "").split(",") if one]
        if len(files) == 2:  # noqa: PLR2004 - read 1 and read 2
            return _usable(f"{trace.accession}#{files[0]}#{files[1]}")
    accessions = ",".join({trace.accession or "": None for trace in traces})
    return _usable(in_order(accessions))  # one row may name several runs


def _usable(text: str) -> str:
    """Return what names reads; nothing where the rows hold something else."""
    try:
        return str(parse_accession(text))
    except InvalidRequest:
        return ""


def _standing(
    session: Session, reads: Sequence[str], lost: Collection[str]
) -> Mapping[str, tuple[str, str | None, str | None]]:
    row, found = AssemblyCallRow, dict[str, tuple[str, str | None, str | None]]()
    query = select(row.reads, row.status, row.fate, row.tool, row.flow_run_id)
    for text, status, fate, tool, run in session.execute(query.where(row.reads.in_(reads))):
        if status == QUEUED and run in lost:
            found[text] = (LookupStatus.FAILED.value, Fate.TRANSIENT.value, tool)
        else:
            found[text] = (status, fate, tool)
    return found
