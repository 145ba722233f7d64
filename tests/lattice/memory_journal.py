"""A journal in memory. It passes the same contract tests as the one on the event store."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from girih.ids import TenantId
from services.lattice.domain import LatticeId
from services.lattice.state.journal import (
    Appended,
    BlockedChanged,
    CatalogueChanged,
    FieldEvent,
    JournalReplaced,
    LatticeCreated,
    LatticeDeleted,
    LatticeEvent,
    LatticeRecord,
    StreamChanged,
    StreamSlice,
    UnknownEvent,
)
from services.plumbing.errors import EventsUnavailable

CATALOGUE = "$lattices"


class MemoryFollower:
    """Folds what is recorded while it runs, unless its journal keeps that back."""

    def __init__(
        self,
        journal: "MemoryJournal",
        tenant: TenantId,
        fold: Callable[[Sequence[LatticeRecord]], None],
        began: Callable[[str], None],
    ) -> None:
        self.revision = -1
        self._journal = journal
        self._tenant = tenant
        self._fold = fold
        self._began = began
        self._runs = False

    @property
    def is_current(self) -> bool:
        return self._runs and not self._journal.is_away

    def restart(self) -> None:
        """The journal was replaced."""
        self.revision = len(self._journal.catalogue_of(self._tenant)) - 1
        self._began(self._journal.incarnation)

    def take(self, record: LatticeRecord) -> None:
        self.revision = record.revision
        self._fold([record])

    async def run(self) -> None:
        self.revision = len(self._journal.catalogue_of(self._tenant)) - 1
        self._began(self._journal.incarnation)
        self._runs = True
        self._journal.followers[self._tenant].append(self)
        try:
            await asyncio.Event().wait()
        finally:
            self._runs = False
            self._journal.followers[self._tenant].remove(self)


class MemoryJournal:
    """Keeps streams in lists. `is_away` makes it answer as an event store that is down."""

    def __init__(self) -> None:
        self.is_away = False
        self.incarnation = "first"
        self.keeps_back = False
        """Followers get nothing."""
        self.reads = 0
        self.catalogue_reads = 0
        self.followers: dict[str, list[MemoryFollower]] = defaultdict(list)
        self._streams: dict[tuple[str, str], list[LatticeRecord]] = defaultdict(list)
        self._commands: dict[tuple[str, UUID], tuple[bytes, datetime]] = {}

    async def append_created(
        self,
        tenant: TenantId,
        created: LatticeCreated,
        command_id: UUID,
        *,
        catalogue_revision: int | None = None,
    ) -> Appended:
        self._answer()
        known = self._repeated(tenant, command_id, created)
        if known is not None:
            return Appended(revision=0, recorded_at=known, is_new=False, catalogue_revision=0)
        if self._streams[tenant, created.lattice_id]:
            raise StreamChanged("the stream exists")
        if catalogue_revision not in (None, len(self._streams[tenant, CATALOGUE]) - 1):
            raise CatalogueChanged("the catalogue is at another revision")
        summary = replace(created, blocked=b"")
        recorded_at = self._append(tenant, command_id, created, summary)
        catalogue_revision = len(self._streams[tenant, CATALOGUE]) - 1
        return Appended(
            revision=0,
            recorded_at=recorded_at,
            is_new=True,
            catalogue_revision=catalogue_revision,
            incarnation=self.incarnation,
        )

    async def append_deleted(
        self, tenant: TenantId, lattice_id: LatticeId, *, expected_revision: int, command_id: UUID
    ) -> int:
        self._answer()
        deleted = LatticeDeleted(lattice_id=lattice_id)
        if self._repeated(tenant, command_id, deleted) is not None:
            return 0
        if len(self._streams[tenant, lattice_id]) - 1 != expected_revision:
            raise StreamChanged("the stream is at another revision")
        self._append(tenant, command_id, deleted, deleted)
        return len(self._streams[tenant, CATALOGUE]) - 1

    async def append_field(
        self, tenant: TenantId, event: FieldEvent, *, expected_revision: int, command_id: UUID
    ) -> LatticeRecord:
        self._answer()
        stream = self._streams[tenant, event.lattice_id]
        if self._repeated(tenant, command_id, event) is not None:
            return next(record for record in stream if record.event == event)
        if len(stream) - 1 != expected_revision:
            raise StreamChanged("the stream is at another revision")
        now = datetime.now(UTC)
        self._place(tenant, event.lattice_id, event, now)
        self._commands[tenant, command_id] = (_content(event), now)
        return stream[-1]

    async def append_blocked(
        self, tenant: TenantId, event: BlockedChanged, *, command_id: UUID
    ) -> Appended:
        self._answer()
        stream = self._streams[tenant, event.lattice_id]
        known = self._repeated(tenant, command_id, event)
        if known is None:
            if len(stream) != event.revision:
                raise StreamChanged("the stream is at another revision")
            known = datetime.now(UTC)
            self._place(tenant, event.lattice_id, event, known)
            self._place(tenant, CATALOGUE, replace(event, blocked=b""), known)
            self._commands[tenant, command_id] = (_content(event), known)
        return Appended(
            revision=event.revision,
            recorded_at=known,
            is_new=True,
            catalogue_revision=len(self._streams[tenant, CATALOGUE]) - 1,
            incarnation=self.incarnation,
        )

    async def read(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        incarnation: str = "",
    ) -> StreamSlice:
        self._answer(after_revision, incarnation)
        self.reads += 1
        stream = self._streams[tenant, lattice_id]
        recorded = tuple(stream[after_revision + 1 :])
        revision = recorded[-1].revision if recorded else after_revision
        return StreamSlice(
            revision=revision,
            recorded=recorded,
            incarnation=recorded[-1].incarnation if recorded else incarnation,
        )

    async def history(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        *,
        after_revision: int = -1,
        limit: int | None = None,
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        self._answer()
        stream = self._streams[tenant, lattice_id]
        end = len(stream) if limit is None else after_revision + 1 + limit
        for start in range(after_revision + 1, min(end, len(stream)), 100):
            self._answer()
            yield tuple(map(_summary, stream[start : min(end, start + 100)]))

    async def catalogue(
        self, tenant: TenantId, *, after_revision: int, incarnation: str = ""
    ) -> AsyncGenerator[Sequence[LatticeRecord]]:
        self._answer(after_revision, incarnation)
        self.catalogue_reads += 1
        stream = self._streams[tenant, CATALOGUE]
        for start in range(after_revision + 1, len(stream), 100):
            self._answer()
            yield tuple(stream[start : start + 100])

    def follower(
        self,
        tenant: TenantId,
        fold: Callable[[Sequence[LatticeRecord]], None],
        began: Callable[[str], None],
    ) -> MemoryFollower:
        return MemoryFollower(self, tenant, fold, began)

    def catalogue_of(self, tenant: TenantId) -> Sequence[LatticeRecord]:
        return self._streams[tenant, CATALOGUE]

    def append_something_else(self, tenant: TenantId, lattice_id: LatticeId) -> None:
        """What a newer version of the service would write."""
        painted = UnknownEvent(event_type="lattice.painted")
        self._place(tenant, lattice_id, painted, datetime.now(UTC))

    def restore(self, saved: "MemoryJournal") -> None:
        """Become what `saved` is: the same journal as it was before."""
        self._commands = saved._commands
        self.incarnation = "restored"
        self._streams = defaultdict(
            list,
            {
                key: [replace(record, incarnation=self.incarnation) for record in records]
                for key, records in saved._streams.items()
            },
        )
        for followers in self.followers.values():
            for follower in followers:
                if not self.keeps_back:
                    follower.restart()

    def saved(self) -> "MemoryJournal":
        """A copy of what is recorded now."""
        copy = MemoryJournal()
        copy._streams.update({key: list(records) for key, records in self._streams.items()})
        copy._commands.update(self._commands)
        return copy

    def _answer(self, after_revision: int = -1, incarnation: str = "") -> None:
        if self.is_away:
            raise EventsUnavailable("the event store cannot be reached")
        if after_revision >= 0 and incarnation not in ("", self.incarnation):
            raise JournalReplaced("the journal was replaced")

    def _repeated(self, tenant: TenantId, command_id: UUID, event: LatticeEvent) -> datetime | None:
        known = self._commands.get((tenant, command_id))
        if known is None:
            return None
        if known[0] != _content(event):
            raise StreamChanged("the command was used for something else")
        return known[1]

    def _append(
        self,
        tenant: TenantId,
        command_id: UUID,
        own: LatticeCreated | LatticeDeleted,
        summary: LatticeEvent,
    ) -> datetime:
        now = datetime.now(UTC)
        self._place(tenant, own.lattice_id, own, now)
        self._place(tenant, CATALOGUE, summary, now)
        self._commands[tenant, command_id] = (_content(own), now)
        return now

    def _place(self, tenant: TenantId, stream: str, event: LatticeEvent, now: datetime) -> None:
        places = self._streams[tenant, stream]
        record = LatticeRecord(
            revision=len(places), recorded_at=now, event=event, incarnation=self.incarnation
        )
        places.append(record)
        if stream == CATALOGUE and not self.keeps_back:
            for follower in self.followers[tenant]:
                follower.take(record)


def _summary(record: LatticeRecord) -> LatticeRecord:
    """Without the bitmap of a creation."""
    if isinstance(record.event, LatticeCreated):
        return replace(record, event=replace(record.event, blocked=b""))
    return record


def _content(event: LatticeEvent) -> bytes:
    return hashlib.sha256(repr(event).encode()).digest()
