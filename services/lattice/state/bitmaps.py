"""A journal whose large bitmaps are kept as arrays: events hold where they are, and digests.

Who writes and reads lattices through it has whole creations, and need not know.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from girih.ids import TenantId
from services.lattice.domain import LatticeId
from services.lattice.state.journal import (
    Appended,
    BlockedChanged,
    CatalogueFollower,
    FieldEvent,
    LatticeCreated,
    LatticeJournal,
    LatticeRecord,
    StreamSlice,
)

INLINE_BYTES_MAX = 1 << 22
"""A bitmap of so many bytes lies in events, compressed."""


_INLINE_CHANGE_BYTES_MAX = 1 << 20
"""One that is changed has no events of its own."""


class BitmapStore(Protocol):
    """Keeps bitmaps."""

    async def save(self, tenant: str, lattice_id: str, bitmap: bytes) -> tuple[str, str]:
        """Keep one; its array's id and digest."""

    async def load(
        self, tenant: str, lattice_id: str, array_id: str, digest: str, size_bytes: int
    ) -> bytes:
        """One that was kept; raises ChunkDamaged."""


class JournalWithBitmaps:
    """A `LatticeJournal` in front of another one."""

    def __init__(self, journal: LatticeJournal, bitmaps: BitmapStore) -> None:
        self._journal = journal
        self._bitmaps = bitmaps

    async def append_created(
        self,
        tenant: TenantId,
        created: LatticeCreated,
        command_id: UUID,
        *,
        catalogue_revision: int | None = None,
    ) -> Appended:
        if len(created.blocked) > INLINE_BYTES_MAX:
            array_id, digest = await self._bitmaps.save(tenant, created.lattice_id, created.blocked)
            created = replace(created, blocked=b"", array_id=array_id, array_digest=digest)
        return await self._journal.append_created(
            tenant, created, command_id, catalogue_revision=catalogue_revision
        )

    async def append_deleted(
        self, tenant: TenantId, lattice_id: LatticeId, *, expected_revision: int, command_id: UUID
    ) -> int:
        return await self._journal.append_deleted(
            tenant, lattice_id, expected_revision=expected_revision, command_id=command_id
        )

    async def append_field(
        self, tenant: TenantId, event: FieldEvent, *, expected_revision: int, command_id: UUID
    ) -> LatticeRecord:
        return await self._journal.append_field(
            tenant, event, expected_revision=expected_revision, command_id=command_id
        )

    async def append_blocked(
        self, tenant: TenantId, event: BlockedChanged, *, command_id: UUID
    ) -> Appended:
        kept = await self.kept(tenant, event)
        return await self._journal.append_blocked(tenant, kept, command_id=command_id)

    async def kept(self, tenant: TenantId, event: BlockedChanged) -> BlockedChanged:
        """A change as it is recorded: without a large bitmap, which is kept. Raises
        StorageUnavailable."""
        if len(event.blocked) <= _INLINE_CHANGE_BYTES_MAX:
            return event
        array_id, digest = await self._bitmaps.save(tenant, event.lattice_id, event.blocked)
        return replace(event, blocked=b"", array_id=array_id, array_digest=digest)

    async def read(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        incarnation: str = "",
    ) -> StreamSlice:
        reading = await self._journal.read(
            tenant, lattice_id, after_revision=after_revision, incarnation=incarnation
        )
        recorded = list(reading.recorded)
        # Of all bitmaps that a lattice had only the last one is wanted.
        for at in range(len(recorded) - 1, -1, -1):
            if isinstance(recorded[at].event, LatticeCreated | BlockedChanged):
                recorded[at] = await self._whole(tenant, recorded[at])
                break
        return replace(reading, recorded=recorded)

    async def bitmap(self, tenant: TenantId, event: LatticeCreated | BlockedChanged) -> bytes:
        """The blocked sites that an event tells of; raises ChunkDamaged."""
        if not event.array_id or event.blocked:
            return event.blocked
        sites = event.sites if isinstance(event, BlockedChanged) else event.geometry.sites
        return await self._bitmaps.load(
            tenant, event.lattice_id, event.array_id, event.array_digest, (sites + 7) // 8
        )

    def history(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        limit: int | None = None,
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        return self._journal.history(tenant, lattice_id, after_revision=after_revision, limit=limit)

    def catalogue(
        self, tenant: TenantId, *, after_revision: int, incarnation: str = ""
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        return self._journal.catalogue(
            tenant, after_revision=after_revision, incarnation=incarnation
        )

    def follower(
        self,
        tenant: TenantId,
        fold: Callable[[Sequence[LatticeRecord]], None],
        began: Callable[[str], None],
    ) -> CatalogueFollower:
        return self._journal.follower(tenant, fold, began)

    async def _whole(self, tenant: TenantId, record: LatticeRecord) -> LatticeRecord:
        event = record.event
        if not isinstance(event, LatticeCreated | BlockedChanged) or not event.array_id:
            return record
        return replace(record, event=replace(event, blocked=await self.bitmap(tenant, event)))
