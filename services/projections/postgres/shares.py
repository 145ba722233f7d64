"""Which shares of the projections a process runs: leases, as many as are its part of all.

Knows how shares go from one process to another, and not what is run under them. What is written
under a lease names its token, which is kept in the checkpoint that the write locks: see
`sql/lock_checkpoint.sql`. So the transactions of one share need not wait for each other.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol, cast

from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger
from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.failures import refusals_translated
from services.plumbing.postgres.leases import RENEWALS, Lease, LeaseLost, Leases
from services.plumbing.postgres.sql import load
from services.projections.domain import SHARE_COUNT

_PACKAGE: Final = "services.projections.postgres.sql.shares"
_LEAVE_TIMEOUT_S: Final = 1.0

_log = get_logger("leases")


class Connections(Protocol):
    """Who lends connections."""

    def connection(self) -> AbstractAsyncContextManager[Connection]: ...


class Shares:
    """The shares of this process, kept by one task that runs `keep`.

    One that joins gets those of others as they give back what is more than their part.
    """

    def __init__(self, connections: Connections, holder: str, lease_s: float) -> None:
        """`holder` is a name that no other process has."""
        self._connections = connections
        self._holder = holder
        self._lease_s = lease_s
        self._leases = Leases(connections, _PACKAGE, holder, lease_s)
        self._held: dict[int, Lease] = {}

    @property
    def held(self) -> Mapping[int, int]:
        """The token of each share that is held now."""
        return {share: lease.token for share, lease in self._held.items() if lease.is_valid}

    async def keep(self, changed: Callable[[], None]) -> None:
        """Renew, take and give back for ever: the work of a task. Gives all back at its end.

        `changed` is called when `held` may be other than it was, before others may have what is
        given back.
        """
        try:
            while True:
                try:
                    await self.look(changed)
                except ServiceError as error:
                    _log.warning("leases are not renewed", problem=str(error))
                    changed()
                await asyncio.sleep(self._lease_s / RENEWALS)
        finally:
            await self._leave(changed)

    async def look(self, changed: Callable[[], None]) -> None:
        """Renew what is held, take what is free up to this process's part, give back the rest."""
        member_count = await self._seek()
        part = -(-SHARE_COUNT // member_count)
        await self._renew()
        await self._take(part)
        surplus = [self._held.pop(share) for share in sorted(self._held)[part:]]
        # What runs under these is ended before others may have them.
        changed()
        for lease in surplus:
            await self._leases.release(lease)

    async def _seek(self) -> int:
        with refusals_translated():
            async with self._connections.connection() as connection:
                seek = load(_PACKAGE, "seek")
                count = await connection.fetchval(seek, self._holder, self._lease_s)
        return cast("int", count)

    async def _renew(self) -> None:
        for share, lease in [*self._held.items()]:
            try:
                self._held[share] = await self._leases.renew(lease)
            except LeaseLost:
                del self._held[share]

    async def _take(self, part: int) -> None:
        others = [share for share in range(SHARE_COUNT) if share not in self._held]
        random.shuffle(others)
        for share in others:
            if len(self._held) >= part:
                return
            lease = await self._leases.take(str(share))
            if lease is not None:
                self._held[share] = lease

    async def _leave(self, changed: Callable[[], None]) -> None:
        leases, self._held = [*self._held.values()], {}
        changed()
        with suppress(ServiceError, TimeoutError), refusals_translated():
            async with asyncio.timeout(_LEAVE_TIMEOUT_S), self._connections.connection() as own:
                await own.execute(load(_PACKAGE, "leave"), self._holder)
            for lease in leases:
                async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                    await self._leases.release(lease)
