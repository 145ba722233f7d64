"""Connections for what runs in the background, however much of it there is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from services.plumbing.postgres.database import Connection
from services.projections.postgres.store import Connections

_FOR_CALLS: Final = 2
"""Connections of the pool that are never all lent to the background."""


class ConnectionsInTurn:
    """Lends those of a pool to a part of those who ask, and has the others wait.

    A caller who waits for long is refused by the pool and comes again. Thousands of projections
    that begin at once would all be refused so, again and again, and get nowhere.
    """

    def __init__(self, connections: Connections, pool_size: int) -> None:
        self._connections = connections
        self._places = asyncio.Semaphore(max(1, pool_size - _FOR_CALLS))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for the block, first come, first served. Raises as the pool does. Who holds
        one must not ask for another."""
        async with self._places, self._connections.connection() as connection:
            yield connection
