"""Saves snapshots, and finds the newest one that fits. Knows neither PostgreSQL nor the wire."""

import asyncio
from collections.abc import Callable
from typing import Final

from girih.ids import NO_POSITION, Revision, StreamName, TenantId
from services.events.domain import LogEnd
from services.events.errors import LogReplaced, SnapshotRevisionNotFound
from services.events.snapshot import SnapshotStore, State, StoredSnapshot, Unfit, unfitness
from services.events.store import EventStore

_BEHIND_ALL: Final = Revision(2**63 - 1)


class Snapshots:
    """The snapshots of all tenants."""

    def __init__(
        self,
        snapshots: SnapshotStore,
        store: EventStore,
        count_max: int,
        passed_over: Callable[[Unfit], None],
    ) -> None:
        """`count_max` are kept of a stream; `passed_over` is told of each that does not fit."""
        self._snapshots = snapshots
        self._store = store
        self._count_max = count_max
        self._passed_over = passed_over

    async def save(
        self, tenant: TenantId, stream: StreamName, state: State, read_at: LogEnd
    ) -> bool:
        """Keep a state whose first event was read when the log ended there, or at 0 and in no
        incarnation where nobody knows; answers whether it is among those that are kept.

        Raises `SnapshotRevisionNotFound`, and `LogReplaced` when the log does not hold any longer
        what was read in that incarnation up to the state's revision.
        """
        read_in = read_at.incarnation
        incarnation, _ = await self._store.end(tenant)
        position = await self._store.log(tenant).position_of(stream, state.revision)
        if position is None:
            raise SnapshotRevisionNotFound(
                f"the stream {stream} has no event of revision {state.revision}", stream=stream
            )
        if read_in not in ("", incarnation):
            shared = await self._store.shared_position(tenant, read_in)
            if shared is None or shared < position:
                raise LogReplaced(incarnation, shared or NO_POSITION)
        if state.content:
            await asyncio.to_thread(lambda: state.digest)
        return await self._snapshots.save(
            tenant, stream, state, position, LogEnd(incarnation, read_at.head), self._count_max
        )

    async def newest(
        self, tenant: TenantId, stream: StreamName, known_version: int
    ) -> tuple[StoredSnapshot | None, LogEnd]:
        """The newest that fits a reader who knows layouts up to a version, 0 for all, and where the
        log ended before it was looked for.
        """
        end = await self._store.end(tenant)
        before = _BEHIND_ALL
        while (stored := await self._snapshots.newest(tenant, stream, before)) is not None:
            unfit = await asyncio.to_thread(unfitness, stored, known_version)
            if unfit is None and not await self._holds(tenant, stream, stored, end.incarnation):
                unfit = Unfit.REPLACED
            if unfit is None:
                break
            self._passed_over(unfit)
            before = stored.state.revision
        return stored, end

    async def _holds(
        self, tenant: TenantId, stream: StreamName, stored: StoredSnapshot, incarnation: str
    ) -> bool:
        """Whether the log holds all that it held when a snapshot was taken, and no event behind it
        is gone by the rules of its stream.
        """
        ends = await self._store.stream_ends(tenant, stream)
        if ends is None or ends.first_revision > stored.state.revision + 1:
            return False
        if stored.incarnation == incarnation:
            return True
        shared = await self._store.shared_position(tenant, stored.incarnation)
        return shared is not None and shared >= stored.position
