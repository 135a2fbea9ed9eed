"""A scheme's folder into the database, in one transaction."""

from typing import Any

from blocks.errors import InvalidRequest
from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.records import Scheme, SchemeParam
from blocks.genomics.scheme_folder import SchemeFolder
from blocks.record import Record

FEW_LOCI = 100  # a scheme with more is typed although some loci are missing
LARGEST_NUMBER = 10**12  # numbers go up from here, and a database's end at 2**63
MISSING_OF_MANY = 0.05  # share of the loci of such a scheme; EnteroBase's core loci: 2 %


class Loaded(Record):
    """What was loaded."""

    scheme: str
    version: int
    loci: int
    alleles: int
    types: int
    new_alleles: int
    new_types: int


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


def scheme_param(
    folder: SchemeFolder,
    *,
    automatic: bool,
    max_missing: float | None,
    first_own_number: int,
    known: Scheme | None = None,
) -> SchemeParam:
    """Return `schemes.param` of a folder's scheme.

    Args:
        folder: Tells whether its alleles are whole genes.
        automatic: Whether it is called on every new assembly.
        max_missing: Share of loci that may lack an allele in a type; None chooses by size.
        first_own_number: From where new alleles and types are numbered, at least.
        known: As the database has it. What the site chose stays: its display, and that it is not
            automatic.

    Raises:
        InvalidRequest: no column can hold such a number.
    """
    if first_own_number > LARGEST_NUMBER:
        msg = f"own numbers from {first_own_number} are too large: at most {LARGEST_NUMBER}"
        raise InvalidRequest(msg)
    many = len(folder.loci) > FEW_LOCI
    param = (
        known.param
        if known
        else SchemeParam(
            pipeline="nomenclature",
            scheme=folder.name,
            barcode="st_barcode",
            max_missing=MISSING_OF_MANY if many else 0.0,
        )
    )
    changes: dict[str, Any] = {
        "coding": folder.coding,
        "first_own_number": max(first_own_number, param.first_own_number),
        "max_missing": param.max_missing if max_missing is None else max_missing,
        "pipeline": param.pipeline if automatic else None,
    }
    return param.model_copy(update=changes)


def load_scheme(
    store: SchemeStore, folder: SchemeFolder, *, name: str, param: SchemeParam
) -> Loaded:
    """Load a folder's scheme; what is there already stays.

    Raises:
        InconsistentInput: the database has another sequence or profile under a number.
    """
    new_alleles, new_types = store.load(
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
        new_alleles=new_alleles,
        new_types=new_types,
    )
