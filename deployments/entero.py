"""Which EnteroBase a command is about: a URL, a SQLite file, or a saved block."""

from pathlib import Path

from blocks.errors import InvalidRequest
from blocks.genomics.store import EnteroStore, open_store


def store_of(name: str) -> EnteroStore:
    """Return the store of an EnteroBase by URL, by the path of a SQLite file, or by block.

    Raises:
        InvalidRequest: there is none.
    """
    where = block_or_url(name)
    if "://" in where:
        return open_store(where, database="senterica", prefix="SAL")
    from deployments.blocks_by_name import saved_entero  # noqa: PLC0415 - loads Prefect

    return saved_entero(where)


def block_or_url(name: str) -> str:
    """Return a block's name or a URL as it is, and the path of a SQLite file as its URL.

    Raises:
        InvalidRequest: there is no such file.
    """
    if "://" in name or not (name.endswith((".db", ".sqlite")) or "/" in name):
        return name
    path = Path(name).resolve()
    if not path.is_file():
        msg = f"there is no file {name}: 'limsflow init --for entero {name}' makes a database"
        raise InvalidRequest(msg)
    return f"sqlite:///{path}"
