"""What is stored of a call: who may make it, what was found, and where."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine, Executable, delete, insert, select
from sqlalchemy.orm import Session

from blocks.errors import InconsistentInput
from blocks.genomics.gff import gff_text, positions_of
from blocks.genomics.lookup_rows import (
    all_lookups,
    complete_before_us,
    newest_lookup,
    stored_results,
    take_over_old,
    write_lookup,
)
from blocks.genomics.minting import numbered, sequence_type
from blocks.genomics.pairs import Skip, Standing, Wanted, why_not
from blocks.genomics.profiles import looks_foreign
from blocks.genomics.records import (
    CallStatus,
    Claim,
    Fate,
    LocusCall,
    LocusPosition,
    Lookup,
    LookupStatus,
    Place,
    SchemeCall,
    Typing,
)
from blocks.genomics.sessions import insert_missing, printable, reading, writing
from blocks.genomics.tables import (
    LocusPositionRow,
    LocusRow,
    SchemeCallRow,
    SchemeRow,
    now,
)

BATCH = 10_000  # assemblies in one question
LOCI_IN_RESULTS = 100  # a scheme with more tells its counts, not every allele


class CallStore:
    """The calls of one species database. Every method is one transaction."""

    def __init__(self, engine: Engine, prefix: str) -> None:
        self._engine = engine
        self._prefix = prefix

    def claim(self, claim: Claim, *, force: bool = False, held_by: str = "") -> SchemeCall:
        """Take the right to call a scheme on an assembly, if nobody has it; return who has it.

        The claim is given when the answer is QUEUED for this claim's flow run. COMPLETE means
        that there is a result for this version of assembly and scheme already, FAILED that they
        and the tool are those of a permanent failure.

        Args:
            claim: What is wanted.
            force: Take it also when there is a result, or a permanent failure.
            held_by: A flow run that is over or lost, and whose right may be taken.
        """
        with writing(self._engine) as session:
            row = _row_of(session, claim) or _new_row(session, claim)
            if not _is_free(row, claim, force=force, held_by=held_by):
                return _call(session, row, claim.scheme.description)
            row.status, row.fate, row.reason = LookupStatus.QUEUED.value, None, None
            row.job_id, row.flow_run_id, row.tool = claim.job_id, claim.flow_run_id, claim.tool
            row.assembly_version = claim.assembly.version
            row.scheme_version = claim.scheme.version
            row.sent, row.changed = row.sent + 1, now()
            row.night_id = row.batch_id = row.attempts = None  # no night's any more
            write_lookup(session, row)
            return _call(session, row, claim.scheme.description)

    def store_typing(
        self, claim: Claim, calls: Sequence[LocusCall], *, mint: bool = True
    ) -> Typing:
        """Store what was called; return it with the numbers of new alleles and the type.

        New alleles and the type are minted, positions and lookup row are written, in one
        transaction; a lock on the scheme lets one genome mint at a time.

        Args:
            claim: Whose right it is; nothing is written if it was lost.
            calls: In the order of the scheme's loci.
            mint: Whether new alleles and types may get a number. A genome that lacks most loci
                gives none to its alleles anyway.

        Raises:
            InconsistentInput: the claim is another run's now.
        """
        with writing(self._engine) as session:
            row = _held(session, claim)
            delivered = row.status == LookupStatus.COMPLETE
            mint = mint and not delivered
            settled = numbered(session, claim, calls, mint=mint and not looks_foreign(calls))
            st = sequence_type(session, claim, settled, self._prefix, mint=mint)
            typing = Typing(
                assembly=claim.assembly.barcode,
                scheme=claim.scheme.description,
                calls=tuple(settled),
                st=st,
            )
            if not delivered:
                _write_positions(session, claim, settled)
                finish(row, LookupStatus.COMPLETE)
                write_lookup(
                    session, row,
                    st_barcode=st.barcode if st else "",
                    annotation=gff_text(positions_of(settled)),
                    results=typing_results(typing),
                )  # fmt: skip
            return typing

    def store_results(self, claim: Claim, results: Mapping[str, Any]) -> None:
        """Store what a generic scheme found.

        Raises:
            InconsistentInput: the claim is another run's now.
        """
        with writing(self._engine) as session:
            row = _held(session, claim)
            if row.status != LookupStatus.COMPLETE:
                finish(row, LookupStatus.COMPLETE)
                write_lookup(session, row, results=dict(results))

    def fail(self, claim: Claim, fate: Fate, reason: str) -> None:
        """Store that a call failed, unless its claim is another run's now."""
        with writing(self._engine) as session:
            row = _row_of(session, claim)
            mine = row is not None and row.flow_run_id == claim.flow_run_id
            if row is None or not mine or row.status != LookupStatus.QUEUED:
                return
            finish(row, LookupStatus.FAILED, fate=fate, reason=reason)
            write_lookup(session, row)

    def fail_open(self, flow_run_id: str, fate: Fate, reason: str) -> int:
        """Store that what a flow run left open has failed; return how many calls that were."""
        mine = SchemeCallRow.flow_run_id == flow_run_id
        query = select(SchemeCallRow).where(mine, SchemeCallRow.status == LookupStatus.QUEUED.value)
        with writing(self._engine) as session:
            ordered = query.order_by(SchemeCallRow.assembly_id, SchemeCallRow.scheme_id)
            rows = session.scalars(ordered.with_for_update()).all()
            for row in rows:
                finish(row, LookupStatus.FAILED, fate=fate, reason=reason)
                write_lookup(session, row)
            return len(rows)

    def open_runs(self) -> list[str]:
        """Return the flow runs that hold a claim."""
        held = SchemeCallRow.status == LookupStatus.QUEUED.value
        query = select(SchemeCallRow.flow_run_id).where(held).distinct()
        with reading(self._engine) as session:
            return [run for run in session.scalars(query) if run]

    def completed_jobs(self, flow_run_id: str) -> set[int]:
        """Return the jobs whose result a flow run has stored."""
        call = SchemeCallRow
        query = select(call.job_id).where(call.flow_run_id == flow_run_id)
        query = query.where(call.status == LookupStatus.COMPLETE.value)
        with reading(self._engine) as session:
            return {job for job in session.scalars(query) if job}

    # Reading

    def calls(self, assembly_id: int) -> list[SchemeCall]:
        """Return what became of every scheme that was called on an assembly, by us or before."""
        query = (
            select(SchemeCallRow, SchemeRow.description)
            .join(SchemeRow, SchemeRow.id == SchemeCallRow.scheme_id)
            .where(SchemeCallRow.assembly_id == assembly_id)
            .order_by(SchemeRow.id)
        )
        with reading(self._engine) as session:
            found = {
                row.scheme_id: _call(session, row, scheme) for row, scheme in session.execute(query)
            }
            for lookup in complete_before_us(session, assembly_id):
                scheme = session.get(SchemeRow, lookup.scheme_id)
                if scheme:
                    found[scheme.id] = _old_call(lookup, scheme.description)
            return [found[scheme_id] for scheme_id in sorted(found)]

    def lookups(self, assembly_id: int, scheme_id: int) -> list[Lookup]:
        """Return the rows of `assembly_lookup` of a pair; more than one for SNP calls only."""
        with reading(self._engine) as session:
            return all_lookups(session, assembly_id, scheme_id)

    def positions(
        self, scheme_id: int, locus: str, assembly_ids: Sequence[int]
    ) -> dict[int, list[LocusPosition]]:
        """Return where a locus lies on each of these assemblies; those without it are left out."""
        found = dict[int, list[LocusPosition]]()
        with reading(self._engine) as session:
            for start in range(0, len(assembly_ids), BATCH):
                some = assembly_ids[start : start + BATCH]
                for assembly, *facts in session.execute(_places_of(scheme_id, locus, some)):
                    found.setdefault(assembly, []).append(_position(locus, *facts))
        return found


def typing_results(typing: Typing) -> dict[str, Any]:
    """Return what `other_data.results` says of a typing."""
    facts: dict[str, Any] = {
        "ST": typing.st.number if typing.st else None,
        "loci": {str(status): count for status, count in typing.counts.items()},
    }
    if len(typing.calls) <= LOCI_IN_RESULTS:
        facts["alleles"] = {call.locus: call.code for call in typing.calls}
    return facts


def _row_of(session: Session, claim: Claim) -> SchemeCallRow | None:
    return session.get(SchemeCallRow, (claim.assembly.id, claim.scheme.id), with_for_update=True)


def _new_row(session: Session, claim: Claim) -> SchemeCallRow:
    """Make the row of a pair; if another makes it at this moment, wait and return theirs.

    It goes on from what the site wrote of the pair before us, so that a result counts as one.
    """
    key = {"assembly_id": claim.assembly.id, "scheme_id": claim.scheme.id}
    session.execute(insert_missing(session, SchemeCallRow).values(**key, status=""))
    row = session.get_one(SchemeCallRow, tuple(key.values()), with_for_update=True)
    if not row.status:
        versions = {
            "assembly_version": claim.assembly.version,
            "scheme_version": claim.scheme.version,
        }
        take_over_old(session, row, **versions)
    return row


def _is_free(row: SchemeCallRow, claim: Claim, *, force: bool, held_by: str) -> bool:
    if row.flow_run_id == claim.flow_run_id:
        return row.status != LookupStatus.COMPLETE
    if row.status == LookupStatus.QUEUED:
        return bool(held_by) and row.flow_run_id == held_by
    skip = why_not(
        standing(row), Wanted(claim.scheme, claim.tool), claim.assembly.version, force=force
    )
    return skip not in (Skip.COMPLETE, Skip.PUT_ASIDE)  # a person may try a bug again


def standing(row: SchemeCallRow) -> Standing:
    """Return what a row says of its pair."""
    return Standing(row.status, row.fate, row.assembly_version, row.scheme_version, row.tool)


def _held(session: Session, claim: Claim) -> SchemeCallRow:
    row = _row_of(session, claim)
    if row is None or row.flow_run_id != claim.flow_run_id:
        msg = (
            f"{claim.scheme.description} of {claim.assembly.barcode} was given to another flow "
            "run meanwhile; what this one found is not stored"
        )
        raise InconsistentInput(msg)
    return row


def finish(
    row: SchemeCallRow, status: LookupStatus, *, fate: Fate | None = None, reason: str = ""
) -> None:
    """Say what became of a call."""
    row.status, row.changed = status.value, now()
    row.fate, row.reason = fate.value if fate else None, printable(reason) or None
    if status is LookupStatus.COMPLETE:
        row.completed += 1
    else:
        row.failed += 1


# Rows


def _places_of(scheme_id: int, locus: str, assembly_ids: Sequence[int]) -> Executable:
    row = LocusPositionRow
    query = select(
        row.assembly_id,
        row.copy,
        row.contig,
        row.start,
        row.end,
        row.strand,
        row.status,
        row.allele,
    )
    named = (LocusRow.scheme_id == scheme_id, LocusRow.name == locus)
    # A subquery, not a join: its answer completes the key of the table, whatever statistics say.
    locus_id = select(LocusRow.id).where(*named).scalar_subquery()
    at = (row.assembly_id.in_(assembly_ids), row.scheme_id == scheme_id, row.locus_id == locus_id)
    return query.where(*at).order_by(row.assembly_id, row.copy)


def _position(
    locus: str,
    copy: int,
    contig: str,
    start: int,
    end: int,
    strand: str,
    status: str,
    allele: int | None,
) -> LocusPosition:
    side = "+" if strand == "+" else "-"
    return LocusPosition(
        locus=locus,
        copy_number=copy,
        place=Place(contig=contig, start=start, end=end, strand=side),
        status=CallStatus(status),
        allele=allele,
    )


def _write_positions(session: Session, claim: Claim, calls: Sequence[LocusCall]) -> None:
    ids = {locus.name: locus.id for locus in claim.scheme.loci}
    session.execute(
        delete(LocusPositionRow).where(
            LocusPositionRow.assembly_id == claim.assembly.id,
            LocusPositionRow.scheme_id == claim.scheme.id,
        )
    )
    rows = [
        {
            "assembly_id": claim.assembly.id,
            "scheme_id": claim.scheme.id,
            "locus_id": ids[one.locus],
            "copy": one.copy_number,
            "contig": one.place.contig,
            "start": one.place.start,
            "end": one.place.end,
            "strand": one.place.strand,
            "status": one.status.value,
            "allele": one.allele,
        }
        for one in positions_of(calls)
    ]
    if rows:
        session.execute(insert(LocusPositionRow), rows)


def _old_call(lookup: Lookup, scheme: str) -> SchemeCall:
    """Return what the site shows of a call that was none of ours."""
    return SchemeCall(
        scheme=scheme,
        status=LookupStatus.COMPLETE,
        st_barcode=lookup.st_barcode,
        results=stored_results(lookup),
    )


def _call(session: Session, row: SchemeCallRow, scheme: str) -> SchemeCall:
    lookup = newest_lookup(session, row.assembly_id, row.scheme_id)
    return SchemeCall(
        scheme=scheme,
        status=LookupStatus(row.status),
        fate=Fate(row.fate) if row.fate else None,
        reason=row.reason or "",
        flow_run_id=row.flow_run_id or "",
        job_id=row.job_id,
        st_barcode=lookup.st_barcode if lookup else "",
        results=stored_results(lookup) if lookup else {},
    )
