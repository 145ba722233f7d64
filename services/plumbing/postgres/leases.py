"""Leases with fencing tokens: who alone may do something, and until when. Knows no table.

A lease is a row of its owner's schema: a name, a holder, a token and a time. Whoever takes it when
it is free or has run out gets a larger token than all before. It runs by the clock of the database;
its holder counts by a clock of its own, from before it asked, and so never believes in it for
longer than the database does.

That clock is only for giving up early. What keeps a holder from writing that was paused for longer
than its lease is `Leases.confirm`: it looks at the token in the transaction that writes, and holds
the row until that commits, so nobody takes the lease between the look and the commit.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from services.plumbing.errors import Conflict, ServiceError
from services.plumbing.logging import get_logger
from services.plumbing.postgres.failures import refusals_translated
from services.plumbing.postgres.sql import load

RENEWALS: Final = 3
"""So often a lease is renewed while it lasts: one renewal may be lost, and another be late."""

_log = get_logger("leases")


class LeaseLost(Conflict):
    """Somebody else may do it now. What was to be written under the lease was not."""

    reason = "LEASE_LOST"


class Executor(Protocol):
    """A connection."""

    async def fetchval(self, query: str, *args: Any) -> Any:  # noqa: ANN401 - asyncpg's
        """The first value of the first row, None of none."""


class Connections(Protocol):
    """Who lends connections."""

    def connection(self) -> AbstractAsyncContextManager[Executor]:
        """One for the block."""


@dataclass(frozen=True)
class Lease:
    """What its holder knows of it."""

    name: str
    token: int
    """Larger than those of all who had it before."""
    valid_until_s: float
    """By `time.monotonic`; the database believes in it for a little longer."""

    @property
    def is_valid(self) -> bool:
        return time.monotonic() < self.valid_until_s


class Leases:
    """The leases of one table, for one holder.

    Whatever the database answers to a statement in which no caller has a part, for instance that
    the table is gone while a backup is restored, is `DatabaseUnavailable`.
    """

    def __init__(
        self, connections: Connections, package: str, holder: str, duration_s: float
    ) -> None:
        """`package` has four statements; `holder` differs from all other holders' names.

        take_lease     $1 name, $2 holder, $3 seconds: the new token; no row while another holds it
        renew_lease    $1 name, $2 token, $3 seconds: the token; no row when it is lost or ran out
        release_lease  $1 name, $2 token: makes it free; nothing when it is lost
        confirm_lease  $1 name, $2 token: locks the row and answers the token, as `renew_lease` does
        """
        self._connections = connections
        self._package = package
        self._holder = holder
        self._duration_s = duration_s

    async def take(self, name: str) -> Lease | None:
        """The lease, unless another holds it. A holder that takes it again gets another token."""
        asked_s = time.monotonic()
        with refusals_translated():
            async with self._connections.connection() as connection:
                token = await connection.fetchval(
                    self._sql("take_lease"), name, self._holder, self._duration_s
                )
        return None if token is None else Lease(name, token, asked_s + self._duration_s)

    async def renew(self, lease: Lease) -> Lease:
        """The same lease for longer. Raises `LeaseLost`."""
        asked_s = time.monotonic()
        with refusals_translated():
            async with self._connections.connection() as connection:
                token = await connection.fetchval(
                    self._sql("renew_lease"), lease.name, lease.token, self._duration_s
                )
        _check(lease, token)
        return replace(lease, valid_until_s=asked_s + self._duration_s)

    async def release(self, lease: Lease) -> None:
        """Let others have it at once."""
        with refusals_translated():
            async with self._connections.connection() as connection:
                await connection.fetchval(self._sql("release_lease"), lease.name, lease.token)

    async def confirm(self, connection: Executor, lease: Lease) -> None:
        """See, in the transaction that writes, that the lease is held, and keep it until that ends.

        Raises `LeaseLost`: let it end the transaction.
        """
        token = await connection.fetchval(self._sql("confirm_lease"), lease.name, lease.token)
        _check(lease, token)

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator["HeldLease | None"]:
        """The lease for the block, renewed meanwhile and released after it; None when another has
        it.
        """
        lease = await self.take(name)
        if lease is None:
            yield None
            return
        held = HeldLease(lease)
        renewing = asyncio.create_task(self._keep(held), name=f"renew the lease {name}")
        renewing.add_done_callback(lambda _task: held.lose())
        try:
            yield held
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            with suppress(ServiceError):
                await self.release(held.lease)

    async def _keep(self, held: "HeldLease") -> None:
        """Renew until it is lost."""
        while held.lease.is_valid:
            await asyncio.sleep(self._duration_s / RENEWALS)
            try:
                held.lease = await self.renew(held.lease)
            except LeaseLost:
                return
            except ServiceError as error:
                _log.warning("a lease was not renewed", lease=held.lease.name, problem=str(error))

    def _sql(self, name: str) -> str:
        return load(self._package, name)


class HeldLease:
    """A lease that is renewed while it is held."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.lost = asyncio.Event()
        """Set once it is not renewed any more: end what is done under it."""

    def check(self) -> None:
        """Raise `LeaseLost` when somebody else may have it by now."""
        if self.lost.is_set() or not self.lease.is_valid:
            raise _lost(self.lease)

    def lose(self) -> None:
        self.lost.set()


def _check(lease: Lease, token: int | None) -> None:
    if token != lease.token:
        raise _lost(lease)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease {lease.name} is lost", lease=lease.name, token=lease.token)
