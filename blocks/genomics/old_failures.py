"""Strains whose newest assembly failed its quality control before us: their reads are put aside.

An old database says in up to three places which strain an assembly is of: on the assembly, by its
reads, and where it is a strain's best.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, func, or_, select
from sqlalchemy.orm import Session

from blocks.genomics.changes import Change, Found, Left, Page, Why, WhyLeft
from blocks.genomics.isolates import FAILED
from blocks.genomics.old_schema import Present
from blocks.genomics.records import Fate, LookupStatus
from blocks.genomics.selection import GOOD
from blocks.genomics.tables import (
    AssemblyCallRow,
    AssemblyRow,
    StrainRow,
    TraceAssemblyRow,
    TraceRow,
)
from blocks.genomics.unassembled import accession_of, can_be_assembled

PAGE = 2_000  # strains
REASON = "failed its quality control before limsflow"


class OldFailures:
    """What was assembled before us, failed, and would fail again."""

    def __init__(self, present: Present) -> None:
        self._present = present

    def page(self, session: Session, after: int | None) -> Page:
        """Return what is to be done of the next strains that have no good assembly."""
        if not self._present.has(StrainRow.best_assembly, AssemblyRow.status, TraceRow.strain_id):
            return Page([], None)
        strains = session.scalars(self._without_assembly(after)).all()
        newest = dict[int, Row[Any]]()
        for query in self._assemblies_of(strains):
            for row in session.execute(query):
                if row.strain_id not in newest or newest[row.strain_id].id < row.id:
                    newest[row.strain_id] = row
        failed = {one: row for one, row in newest.items() if row.status == FAILED}
        found = list(self._found(session, failed)) if failed else []
        return Page(found, strains[-1] if len(strains) == PAGE else None)

    def _without_assembly(self, after: int | None) -> Select[tuple[int]]:
        best = AssemblyRow.id == StrainRow.best_assembly
        query = select(StrainRow.id).outerjoin(AssemblyRow, best)
        status = func.coalesce(AssemblyRow.status, "")
        query = query.where(or_(AssemblyRow.id.is_(None), status.not_in(GOOD)))
        further = query if after is None else query.where(StrainRow.id > after)
        return further.order_by(StrainRow.id).limit(PAGE)

    def _assemblies_of(self, strains: Sequence[int]) -> Iterator[Select[Any]]:
        row, at, link, trace = AssemblyRow, StrainRow, TraceAssemblyRow, TraceRow
        facts = self._present.values(row.id, row.status, row.job_id)
        if self._present.has(row.strain_id):
            yield select(row.strain_id, *facts).where(row.strain_id.in_(strains))
        best = select(at.id.label("strain_id"), *facts).join(row, row.id == at.best_assembly)
        yield best.where(at.id.in_(strains))
        if self._present.has(link):
            linked = select(trace.strain_id, *facts).join(link, link.trace_id == trace.id)
            linked = linked.join(row, row.id == link.assembly_id)
            yield linked.where(trace.strain_id.in_(strains))

    def _found(self, session: Session, failed: dict[int, Row[Any]]) -> Iterator[Found]:
        traces = self._traces(session, failed)
        reads = {strain: accession_of(traces.get(strain, [])) for strain in sorted(failed)}
        shared = _shared(session, [trace for some in traces.values() for trace in some])
        known = self._known(session, [one for one in reads.values() if one])
        for strain, text in reads.items():
            mine = {trace.accession for trace in traces.get(strain, [])}
            if not text or mine & shared:
                why = WhyLeft.SHARED_READS if text else WhyLeft.NO_READS
                yield Left(table="strains", key={"id": strain}, why=why)
            elif text not in known:
                yield _put_aside(strain, text, failed[strain].job_id)

    def _traces(self, session: Session, strains: Collection[int]) -> dict[int, list[TraceRow]]:
        """Return what a night would assemble of each strain."""
        row, found = TraceRow, defaultdict[int, list[TraceRow]](list)
        if not self._present.has(row.seq_platform, row.seq_library, row.accession):
            return found
        query = select(row.strain_id, row.accession, self._present.value(row.read_location))
        query = query.where(row.strain_id.in_(strains), *can_be_assembled())
        for strain, accession, location in session.execute(query.order_by(row.id)):
            found[strain or 0].append(TraceRow(accession=accession, read_location=location))
        return found

    def _known(self, session: Session, reads: Sequence[str]) -> set[str]:
        if not reads or not self._present.has(AssemblyCallRow):
            return set()
        row = AssemblyCallRow
        return set(session.scalars(select(row.reads).where(row.reads.in_(reads))))


def _shared(session: Session, traces: Sequence[TraceRow]) -> set[str | None]:
    """Return which accessions are those of several strains."""
    row, accessions = TraceRow, {trace.accession for trace in traces}
    if not accessions:
        return set()
    several = func.count(row.strain_id.distinct()) > 1
    query = select(row.accession).where(row.accession.in_(accessions)).group_by(row.accession)
    return set(session.scalars(query.having(several)))


def _put_aside(strain: int, reads: str, job_id: int | None) -> Change:
    facts = {
        "reads": reads,
        "strain_id": strain,
        "status": LookupStatus.COMPLETE.value,
        "fate": Fate.PERMANENT.value,
        "reason": REASON,
        "job_id": job_id,
        "changed": None,  # nobody knows when it was
    }
    key = {"reads": reads}
    return Change(
        table="assembly_calls", key=key, column=None, why=Why.FAILED_QC, after=json.dumps(facts)
    )
