"""A scheme's folder into the database, in one transaction."""

from typing import Any

from blocks.errors import InvalidRequest
from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.records import Scheme, SchemeParam
from blocks.genomics.renumbering import Renumbered
from blocks.genomics.scheme_folder import SchemeFolder
from blocks.record import Record

FEW_LOCI = 100  # a scheme with more is typed although some loci are missing
OWN_NUMBERS_FROM = 1_000_000  # beyond what PubMLST and EnteroBase have given so far
LARGEST_NUMBER = 10**12  # numbers go up from here, and a database's end at 2**63
MISSING_OF_MANY = 0.05  # share of the loci of such a scheme; EnteroBase's core loci: 2 %


class Loaded(Record):
    """What was loaded, and which numbers of this site's own gave way to the folder's."""

    scheme: str
    version: int
    loci: int
    alleles: int
    types: int
    new_alleles: int
    new_types: int
    renumbered_alleles: int = 0
    renumbered_types: int = 0
    renumbered: tuple[Renumbered, ...] = ()


def known_scheme(store: SchemeStore, name: str) -> Scheme | None:
    """Return the scheme that the database has under a name, None if it has none.

    Raises:
        InconsistentInput: its `param` cannot be read.
        InvalidRequest: it is a program's scheme.
    """
    if name not in {scheme.description for scheme in store.schemes()}:
        return None
    scheme = store.scheme(name)
    if not scheme.is_nomenclature:
        msg = f"the database has a scheme {name!r} that has no alleles: give this one another name"
        raise InvalidRequest(msg)
    return scheme


def usual_max_missing(folder: SchemeFolder) -> float:
    """Return the share of loci that a type may lack where nobody chose one."""
    return MISSING_OF_MANY if len(folder.loci) > FEW_LOCI else 0.0


def scheme_param(
    folder: SchemeFolder,
    *,
    automatic: bool,
    max_missing: float | None = None,
    first_own_number: int | None = None,
    coding: bool | None = None,
    known: Scheme | None = None,
) -> SchemeParam:
    """Return `schemes.param` of a folder's scheme.

    What is None stays as the database has it, and so does the scheme's display.

    Args:
        folder: Tells whether most of its alleles are whole genes.
        automatic: Whether it is called on every new assembly; one that is not stays so.
        max_missing: Share of loci that may lack an allele in a type; a new scheme's goes by its
            size.
        first_own_number: From where new alleles and types are numbered: 1 for a scheme whose
            numbers this site gives alone; a new scheme's are from 1,000,000 on.
        coding: Whether alleles are whole genes; a new scheme's go by the majority.
        known: As the database has it.

    Raises:
        InvalidRequest: no column can hold such a number.
    """
    if first_own_number is not None and first_own_number > LARGEST_NUMBER:
        msg = f"own numbers from {first_own_number} are too large: at most {LARGEST_NUMBER}"
        raise InvalidRequest(msg)
    new: dict[str, Any] = {
        "coding": folder.coding,
        "first_own_number": OWN_NUMBERS_FROM,
        "max_missing": usual_max_missing(folder),
    }
    given: dict[str, Any] = {
        "coding": coding, "first_own_number": first_own_number, "max_missing": max_missing,
    }  # fmt: skip
    param = (
        known.param
        if known
        else SchemeParam(pipeline="nomenclature", scheme=folder.name, barcode="st_barcode")
    )
    stored = param.model_fields_set if known else set[str]()
    changes = {key: value for key, value in new.items() if key not in stored}
    changes |= {key: value for key, value in given.items() if value is not None}
    changes["pipeline"] = param.pipeline if automatic else None
    return param.model_copy(update=changes)


def load_scheme(
    store: SchemeStore, folder: SchemeFolder, *, name: str, param: SchemeParam
) -> Loaded:
    """Load a folder's scheme; what is there already stays.

    An allele or type that was minted here, under a number of this site's own, takes the number
    that the folder gives it.

    Raises:
        InconsistentInput: the database has another sequence or profile under a number.
    """
    added = store.load(
        folder.name,
        name=name,
        param=param,
        loci=((locus, folder.alleles(locus)) for locus in folder.loci),
        profiles=folder.profiles(),
    )
    return Loaded(
        scheme=folder.name,
        version=store.scheme(folder.name).version,
        loci=len(folder.loci),
        alleles=folder.n_alleles,
        types=folder.n_profiles,
        new_alleles=added.alleles,
        new_types=added.types,
        renumbered_alleles=sum(one.locus is not None for one in added.renumbered),
        renumbered_types=sum(one.locus is None for one in added.renumbered),
        renumbered=added.renumbered,
    )
