"""Which EnteroBase a command is about: a URL, a SQLite file, or a saved block."""

from pathlib import Path

from blocks.errors import InvalidRequest
from blocks.genomics.store import EnteroStore, open_store

OF_URLS = "?%"


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
        InvalidRequest: there is no such file, or no URL can name it.
    """
    if "://" in name or not (name.endswith((".db", ".sqlite")) or "/" in name):
        return name
    path = Path(name).resolve()
    if not _is_file(path):
        msg = f"there is no file {name}: 'limsflow init --for entero {name}' makes a database"
        raise InvalidRequest(msg)
    if set(OF_URLS) & set(str(path)):
        msg = f"{name} has a letter of {OF_URLS}, which means something else in a URL: rename it"
        raise InvalidRequest(msg)
    return f"sqlite:///{path}"


def plain(text: str) -> str:
    """Return a line without what a terminal would obey: names come from files and people."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def is_folder(path: Path) -> bool:
    """Return whether this is a folder that can be looked into."""
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder that is not ours
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
