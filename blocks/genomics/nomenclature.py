"""Schemes, their loci, known alleles and sequence types: what NServ knows."""

import logging
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from blocks.errors import InconsistentInput, NoSuchRecord
from blocks.genomics.keys import profile_key
from blocks.genomics.legacy_json import decoded
from blocks.genomics.profiles import profile_of
from blocks.genomics.records import (
    Column,
    KnownAllele,
    Locus,
    LocusCall,
    Profile,
    Scheme,
    SchemeParam,
    SequenceType,
)
from blocks.genomics.renumbering import Added, Renumbered
from blocks.genomics.scheme_changes import in_order, require_all, require_once
from blocks.genomics.scheme_rows import (
    add_alleles,
    add_types,
    new_locus,
    param_of,
    renumber,
    save_scheme,
    without_nothing,
)
from blocks.genomics.sessions import reading, writing
from blocks.genomics.tables import (
    AlleleRow,
    DataParamRow,
    LocusRow,
    SchemeRow,
    SequenceTypeRow,
)

logger = logging.getLogger(__name__)

BATCH = 5_000  # rows of one answer


class SchemeStore:
    """The schemes of one species database. Every method is one transaction."""

    def __init__(self, engine: Engine, prefix: str) -> None:
        self._engine = engine
        self._prefix = prefix

    # Reading

    def schemes(self) -> list[Scheme]:
        """Return all schemes, without their loci, in row order.

        One whose `param` cannot be read does not stop the others: it is never called by itself,
        and who asks for it by name is told why.
        """
        with reading(self._engine) as session:
            rows = session.scalars(select(SchemeRow).order_by(SchemeRow.id))
            return [_scheme_or_idle(row) for row in rows]

    def automatic(self) -> list[Scheme]:
        """Return the schemes that are called on every new assembly."""
        return [scheme for scheme in self.schemes() if scheme.is_automatic]

    def scheme(self, description: str) -> Scheme:
        """Return a scheme with its loci in profile order.

        Raises:
            NoSuchRecord: there is none; the message names those that are.
        """
        with reading(self._engine) as session:
            row = session.scalar(select(SchemeRow).where(SchemeRow.description == description))
            if row is None:
                known = session.scalars(select(SchemeRow.description).order_by("id")).all()
                msg = f"there is no scheme {description!r}; known: {', '.join(known) or 'none'}"
                raise NoSuchRecord(msg)
            return _scheme(row, _loci(session, row.id))

    def columns(self, description: str) -> list[Column]:
        """Return the columns that the site shows of a scheme."""
        query = select(DataParamRow).where(DataParamRow.tabname == description)
        ordered = query.order_by(DataParamRow.display_order, DataParamRow.id)
        with reading(self._engine) as session:
            return [
                Column(name=row.name, label=row.label or row.name, datatype=row.datatype or "text")
                for row in session.scalars(ordered)
            ]

    def allele_stamp(self, scheme_id: int) -> tuple[int, int, str]:
        """Return what changes when the alleles do: their number, the newest row and its time."""
        of_scheme = select(AlleleRow).join(LocusRow).where(LocusRow.scheme_id == scheme_id)
        newest_first = of_scheme.order_by(AlleleRow.id.desc()).limit(1)
        query = select(func.count(AlleleRow.id)).join(LocusRow)
        with reading(self._engine) as session:
            count = session.scalar(query.where(LocusRow.scheme_id == scheme_id)) or 0
            newest = session.scalar(newest_first)
            if newest is None:
                return 0, 0, ""
            return count, newest.id, f"{newest.created:%Y%m%d%H%M%S%f}" if newest.created else ""

    def alleles(self, scheme_id: int, *, after: int = 0) -> Iterator[KnownAllele]:
        """Return the alleles of a scheme, locus by locus, lowest number first.

        They are streamed: a cgMLST scheme has hundreds of thousands.

        Args:
            scheme_id: Which scheme.
            after: Only those of newer rows than this one.
        """
        query = (
            select(LocusRow.place, AlleleRow.number, AlleleRow.sequence)
            .join(LocusRow, AlleleRow.locus_id == LocusRow.id)
            .where(LocusRow.scheme_id == scheme_id, AlleleRow.id > after)
            .order_by(LocusRow.place, AlleleRow.number)
            .execution_options(yield_per=BATCH)
        )
        with reading(self._engine) as session:
            for place, number, sequence in session.execute(query):
                yield KnownAllele(place, number, sequence.encode())

    def profile(self, scheme_id: int, st: int) -> tuple[int, ...]:
        """Return the allele numbers of a sequence type.

        Raises:
            NoSuchRecord: the scheme has no such type.
        """
        query = select(SequenceTypeRow.profile).where(
            SequenceTypeRow.scheme_id == scheme_id, SequenceTypeRow.number == st
        )
        with reading(self._engine) as session:
            found = session.scalar(query)
        if found is None:
            msg = f"there is no sequence type {st} in this scheme"
            raise NoSuchRecord(msg)
        return tuple(int(number) for number in found.split(","))

    def type_of(self, scheme_id: int, profile: Sequence[int]) -> tuple[int, str] | None:
        """Return number and barcode of the type that has this profile, None if none has."""
        query = select(SequenceTypeRow.number, SequenceTypeRow.barcode).where(
            SequenceTypeRow.scheme_id == scheme_id, SequenceTypeRow.key == profile_key(profile)
        )
        with reading(self._engine) as session:
            found = session.execute(query).one_or_none()
        return (found[0], found[1]) if found else None

    def known_type(self, scheme: Scheme, calls: Sequence[LocusCall]) -> SequenceType | None:
        """Return the type that a genome with these calls has already, None if it has none."""
        profile = profile_of(calls, scheme.param.max_missing)
        found = self.type_of(scheme.id, profile) if profile else None
        return SequenceType(number=found[0], barcode=found[1]) if found else None

    # Loading

    def save_scheme(
        self,
        description: str,
        *,
        name: str,
        param: SchemeParam,
        columns: Sequence[Column] = (),
        version: int | None = None,
    ) -> int:
        """Write the rows of a scheme, new or changed; return its id.

        Args:
            description: Its machine name.
            name: Its label.
            param: `schemes.param`; keys of the database's that are not ours stay.
            columns: All rows of `data_param`; those that are there stay if none are given.
            version: Of the scheme; the one that it has, or 1, unless given.
        """
        with writing(self._engine) as session:
            return save_scheme(session, description, name, param, columns, version)

    def load(
        self,
        description: str,
        *,
        name: str,
        param: SchemeParam,
        loci: Iterable[tuple[str, Sequence[tuple[int, bytes]]]],
        profiles: Iterable[Profile],
    ) -> Added:
        """Load a scheme in one transaction; return how many alleles and types were new.

        A scheme that is there is added to, whatever the order of the loci. An allele that was
        minted here, from `param.first_own_number` on, takes the number that it is given now, and
        so does a type; whatever names it is written anew. The version is raised if anything was
        new or renumbered.

        Args:
            description: Its machine name.
            name: Its label.
            param: `schemes.param`.
            loci: Name and alleles of each, in profile order, upper case.
            profiles: The sequence types.

        Raises:
            InconsistentInput: the database has another sequence under a number, or another
                profile under a type, or other loci.
        """
        with writing(self._engine) as session:
            scheme_id = save_scheme(session, description, name, param, (), None)
            known = {locus.name: locus.id for locus in _loci(session, scheme_id)}
            was_empty, n_alleles, ids = not known, 0, dict[str, int]()
            own_from, renumbered = param.first_own_number, list[Renumbered]()
            for place, (locus, alleles) in enumerate(loci):
                require_once(locus, ids)
                ids[locus] = known.get(locus) or new_locus(
                    session, scheme_id, locus, place, was_empty=was_empty
                )
                n_new, moved = add_alleles(session, ids[locus], locus, alleles, own_from=own_from)
                n_alleles += n_new
                renumbered += moved
            require_all(known, ids)
            renumber(session, scheme_id, known, renumbered)
            ordered = in_order(profiles, list(ids), list(known or ids))
            n_types, moved = add_types(session, scheme_id, self._prefix, ordered, own_from=own_from)
            renumbered += moved
            if (n_alleles or n_types or renumbered) and not was_empty:
                row = session.get_one(SchemeRow, scheme_id)
                row.version = (row.version or 1) + 1
            return Added(n_alleles, n_types, tuple(renumbered))


def _loci(session: Session, scheme_id: int) -> tuple[Locus, ...]:
    query = select(LocusRow).where(LocusRow.scheme_id == scheme_id).order_by(LocusRow.place)
    return tuple(Locus(id=row.id, name=row.name) for row in session.scalars(query))


def _scheme_or_idle(row: SchemeRow) -> Scheme:
    try:
        return _scheme(row)
    except InconsistentInput as error:
        logger.warning("a scheme is not called by itself: %s", error)
        return _scheme_of(row, SchemeParam())


def _scheme(row: SchemeRow, loci: tuple[Locus, ...] = ()) -> Scheme:
    facts = without_nothing(decoded(row.param, param_of(row)))
    try:
        param = SchemeParam.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"{param_of(row)} cannot be used: {first['loc'][0]}: {first['msg']}"
        raise InconsistentInput(msg) from error
    return _scheme_of(row, param, loci)


def _scheme_of(row: SchemeRow, param: SchemeParam, loci: tuple[Locus, ...] = ()) -> Scheme:
    return Scheme(
        id=row.id,
        description=row.description,
        name=row.name or row.description,
        version=row.version or 1,
        param=param,
        loci=loci,
    )
