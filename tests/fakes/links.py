"""A connection to a broker for one deed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from blocks.broker import Link, open_link


def linked(
    url: str, deed: Callable[[Link], Awaitable[Any]], *queues: str, seconds: float = 30
) -> Any:
    """Return what a deed does on a new connection, which consumes these queues."""

    async def do() -> Any:
        async with asyncio.timeout(seconds), open_link(url, queues) as link:
            return await deed(link)

    return asyncio.run(do())
