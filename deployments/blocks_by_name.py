"""Saved blocks, for commands that are not flows."""

import asyncio

from blocks.connections import EnteroBase, IspybDatabase
from blocks.genomics.store import EnteroStore
from blocks.mx.store import IspybStore


def saved_store(name: str) -> IspybStore:
    """Return the store of a saved ISPyB block.

    Raises:
        InvalidRequest: there is none of this name.
    """
    return asyncio.run(IspybDatabase.named(name)).store()


def saved_entero(name: str) -> EnteroStore:
    """Return the store of a saved EnteroBase block.

    Raises:
        InvalidRequest: there is none of this name.
    """
    return asyncio.run(EnteroBase.named(name)).store()
