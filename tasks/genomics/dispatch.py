"""Which flow serves a value of `user_jobs.pipeline`: one table.

The site's `pipeline` is the key to the class that processes a result. Text after a `;` is a
comment. A locus search runs nomenclature, and still has a handler of its own.
"""

from enum import StrEnum

from blocks.errors import InvalidRequest
from blocks.genomics.records import Scheme
from blocks.record import Record

NOMENCLATURE, LOCUS_SEARCH = "nomenclature", "locus_search"
COMMENT = ";"
OF_SCHEME = ":"


class Handler(StrEnum):
    """The flows, by name."""

    ASSEMBLE = "assemble-strain"
    TYPE = "type-assembly"
    SEARCH = "search-loci"


HANDLERS = {
    "QAssembly": Handler.ASSEMBLE,
    NOMENCLATURE: Handler.TYPE,
    LOCUS_SEARCH: Handler.SEARCH,
}


class Dispatch(Record):
    """The flow for a job, and the scheme that it is about, if any."""

    handler: Handler
    scheme: str = ""


def dispatch(pipeline: str, schemes: dict[str, Scheme]) -> Dispatch:
    """Return what serves a job; a value that no line of the table names is a generic scheme.

    Args:
        pipeline: `user_jobs.pipeline`.
        schemes: All schemes of the database, by description.

    Raises:
        InvalidRequest: nothing serves it.
    """
    value = without_comment(pipeline)
    kind, _, named = value.partition(OF_SCHEME)
    if kind == NOMENCLATURE:
        return Dispatch(handler=HANDLERS[kind], scheme=_nomenclature(named, schemes))
    if value in HANDLERS:
        return Dispatch(handler=HANDLERS[value])
    if value in schemes:
        return Dispatch(handler=Handler.TYPE, scheme=value)
    msg = f"no flow serves the pipeline {pipeline[:80]!r}, and no scheme has this description"
    raise InvalidRequest(msg)


def handler_of(pipeline: str) -> Handler:
    """Return what serves a job, whatever schemes there are: what is not in the table is one's."""
    return HANDLERS.get(without_comment(pipeline), Handler.TYPE)


def without_comment(pipeline: str) -> str:
    """Return what counts of `user_jobs.pipeline`."""
    return pipeline.partition(COMMENT)[0].strip()


def _nomenclature(named: str, schemes: dict[str, Scheme]) -> str:
    """Return the description of the scheme that NServ calls `named`, or that is called so here."""
    known = [scheme for scheme in schemes.values() if named and scheme.is_nomenclature]
    for scheme in known:
        if scheme.param.scheme == named:
            return scheme.description
    for scheme in known:
        if scheme.description == named:
            return scheme.description
    msg = f"no scheme of this database is {named[:80]!r} in the nomenclature"
    raise InvalidRequest(msg)


def pipeline_of(scheme: Scheme) -> str:
    """Return `user_jobs.pipeline` for a call of a scheme."""
    if scheme.is_nomenclature:
        return f"{NOMENCLATURE}{OF_SCHEME}{scheme.param.scheme}"
    return scheme.description
