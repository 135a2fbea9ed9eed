"""A scheme's folder into the database, in one transaction."""

from blocks.genomics.nomenclature import SchemeStore
from blocks.genomics.records import SchemeParam
from blocks.genomics.scheme_folder import SchemeFolder
from blocks.record import Record

FEW_LOCI = 100  # a scheme with more is typed although some loci are missing
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


def scheme_param(
    folder: SchemeFolder, *, automatic: bool, max_missing: float | None, first_own_number: int
) -> SchemeParam:
    """Return `schemes.param` of a folder's scheme.

    Args:
        folder: Tells whether its alleles are whole genes.
        automatic: Whether it is called on every new assembly.
        max_missing: Share of loci that may lack an allele in a type; None chooses by size.
        first_own_number: From where new alleles and types are numbered, at least.
    """
    many = len(folder.loci) > FEW_LOCI
    return SchemeParam(
        pipeline="nomenclature" if automatic else None,
        scheme=folder.name,
        barcode="st_barcode",
        max_missing=(MISSING_OF_MANY if many else 0.0) if max_missing is None else max_missing,
        coding=folder.coding,
        first_own_number=first_own_number,
    )


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
