"""The lattices of all tenants: what the journal holds, cached in bounded memory.

Memory may be lost at any time and is made anew from the journal. Another process may delete
what is cached here: it is believed while the tenant's catalogue is followed, and otherwise
for a moment only.
"""

import asyncio
import math
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID, uuid4, uuid5
from weakref import WeakValueDictionary

from cachetools import LRUCache

from girih.ids import TenantId, uuid7
from services.lattice import domain
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Lattice, LatticeId, LatticeSpec
from services.lattice.errors import (
    LatticeChanged,
    LatticeNotFound,
    LatticesChanged,
    PlanLimit,
    RequestIdReused,
)
from services.lattice.operations.context import OperationContext
from services.lattice.operations.creation import NewLattice, measure
from services.lattice.state.cache import ByteCache
from services.lattice.state.catalogue import Catalogue
from services.lattice.state.following import CatalogueFollowing, Following
from services.lattice.state.journal import (
    Appended,
    BlockedChanged,
    CatalogueChanged,
    JournalReplaced,
    LatticeCreated,
    LatticeDeleted,
    LatticeJournal,
    LatticeRecord,
    StreamChanged,
    StreamSlice,
)
from services.plumbing import correlation
from services.plumbing.budget import Budget
from services.plumbing.errors import EventsUnavailable
from services.policy import PlanLimits

Key = tuple[TenantId, LatticeId]
"""A tenant and the id of one of its lattices."""

_LOST_RACE_DELAYS_S = (0.05, 0.1, 0.2)
_LOADS_AT_ONCE = 8
_COUNTS_MAX = 100
"""How often a tenant's lattices are counted for one creation. Who loses so many races, each
to a creation or deletion through another replica, is refused and may retry."""
_REQUESTS = UUID("7d0cb0ae-0ac3-5a86-9f2b-6f0d26ad6a2e")
"""The namespace of lattice ids that are derived from request ids."""

# What a lattice takes in memory beside its bitmap and its tables; measured by a test.
_OVERHEAD_BYTES = 1_150
_GRID_BYTES = 900
_AXIS_BYTES = 30
_DELETED_BYTES = 500

_INCARNATIONS_MAX = 100_000

_GONE_REVISION = sys.maxsize
"""Of a lattice whose deletion was followed: whatever is read of it meanwhile is older."""


@dataclass(frozen=True, kw_only=True)
class ListedLattice:
    """A lattice in a list, with the bytes that this process holds for it."""

    lattice: Lattice
    bytes_held: int


@dataclass(frozen=True, kw_only=True)
class LatticePage:
    """A page of a list, and the token of the next one, empty on the last."""

    listed: Sequence[ListedLattice]
    next_page_token: str
    total_count: int


@dataclass(kw_only=True)
class _CacheEntry:
    """What this process knows of a lattice. None held means that it was deleted."""

    held: HeldLattice | None
    revision: int
    incarnation: str
    """Of the journal that it was read from; empty when that was not told."""
    read_s: float
    """When the reading of this from the journal began, by `time.monotonic()`."""
    confirmed_s: float
    """As `read_s`, or when the journal was asked in vain: it is not asked by every call."""
    size_bytes: int


class CacheState(Protocol):
    """What there is to know of a cache from outside."""

    hits: int
    misses: int

    @property
    def bytes_held(self) -> int:
        """The bytes of all that is kept."""


class Lattices:
    """Creates, finds, lists and deletes lattices.

    Reading goes on from memory while the journal is away; everything else raises
    EventsUnavailable then.
    """

    def __init__(
        self,
        journal: LatticeJournal,
        operations: OperationContext,
        *,
        cache_bytes: int,
        catalogue_bytes: int,
        freshness_s: float,
        confirm_timeout_s: float,
        followed_tenants_max: int,
    ) -> None:
        self._journal = journal
        self._operations = operations
        self._cache: ByteCache[Key, _CacheEntry] = ByteCache(cache_bytes)
        self._catalogue = Catalogue(journal, bytes_max=catalogue_bytes)
        self.following = CatalogueFollowing(
            journal, self._fold, self._began, tenant_count_max=followed_tenants_max
        )
        self._incarnations: LRUCache[TenantId, str] = LRUCache(_INCARNATIONS_MAX)
        """Of the journals that were followed."""
        self._moves: LRUCache[Key, int] = LRUCache(_INCARNATIONS_MAX)
        """The revisions of the last changes of lattices that were followed."""
        self._freshness_s = freshness_s
        self._confirm_timeout_s = confirm_timeout_s
        self._reading: dict[Key, asyncio.Task[_CacheEntry]] = {}
        self._creating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loads = Budget(_LOADS_AT_ONCE, share=_LOADS_AT_ONCE // 2)

    @property
    def cache(self) -> CacheState:
        """How the memory of lattices is used."""
        return self._cache

    async def close(self) -> None:
        """Follow nothing any more."""
        await self.following.close()

    async def create(self, tenant: TenantId, new: NewLattice, plan: PlanLimits) -> HeldLattice:
        """Create a lattice, or answer the one that the same request created before.

        Raises PlanLimit when the plan does not allow one more, or none like this.
        """
        lattice_id = _lattice_id(tenant, new.request_id)
        try:
            domain.check_shape_allowed(new.spec.geometry, plan)
            if plan.lattice_count_max:
                return await self._create_counted(tenant, lattice_id, new.spec, plan)
            return await self._record(tenant, await self._measured(lattice_id, new.spec), new.spec)
        except PlanLimit:
            if new.request_id is None:
                raise
            began_s = time.monotonic()
            reading = await self._journal.read(tenant, LatticeId(str(lattice_id)))
            if reading.revision < 0:
                raise
            return self._created_before(
                tenant, LatticeId(str(lattice_id)), new.spec, reading, began_s
            )

    async def open(self, tenant: TenantId, lattice_id: LatticeId) -> HeldLattice:
        """The lattice of that id; raises LatticeNotFound."""
        key = (tenant, lattice_id)
        following = self.following.of(tenant)
        known = self._cache.get(key)
        if known is None:
            known = await self._once(key, self._load(key))
        elif not self._is_current(known, following):
            known = await self._once(key, self._confirm_if_possible(key, known))
        return _existing(known, lattice_id)

    async def page(self, tenant: TenantId, page_size: int, page_token: str) -> LatticePage:
        """A page of the tenant's lattices in the order of their creation."""
        following = self.following.of(tenant)
        current_revision = following.revision if following and following.is_current else None
        page = await self._catalogue.page(tenant, page_size, page_token, current_revision)
        listed = [
            ListedLattice(lattice=lattice, bytes_held=self.bytes_held(tenant, lattice.lattice_id))
            for lattice in page.lattices
        ]
        return LatticePage(
            listed=listed, next_page_token=page.next_page_token, total_count=page.total_count
        )

    async def delete(self, tenant: TenantId, lattice_id: LatticeId) -> None:
        """Delete a lattice; raises LatticeNotFound, or LatticeChanged when it never rests."""
        command_id = uuid4()
        for delay_s in (*_LOST_RACE_DELAYS_S, None):
            known = await self._latest((tenant, lattice_id))
            _existing(known, lattice_id)
            try:
                written = await self._journal.append_deleted(
                    tenant, lattice_id, expected_revision=known.revision, command_id=command_id
                )
            except StreamChanged:
                if delay_s is None:
                    break
                await asyncio.sleep(delay_s)
            else:
                self.following.wrote(tenant, written)
                self._keep(
                    (tenant, lattice_id), None, known.revision + 1, incarnation=known.incarnation
                )
                return
        raise LatticeChanged("the lattice kept changing meanwhile", lattice_id=lattice_id)

    async def latest(self, tenant: TenantId, lattice_id: LatticeId) -> tuple[HeldLattice, int]:
        """A lattice as the journal has it now, and the revision of its stream.

        Raises LatticeNotFound, and EventsUnavailable while the journal is away.
        """
        known = await self._latest((tenant, lattice_id))
        return _existing(known, lattice_id), known.revision

    async def record_blocked(
        self,
        tenant: TenantId,
        changed: BlockedChanged,
        behind: HeldLattice,
        command_id: UUID,
    ) -> Appended:
        """Record that other sites are blocked, which makes a lattice `behind`.

        Raises StreamChanged unless the lattice is at the revision before.
        """
        key, began_s = (tenant, changed.lattice_id), time.monotonic()
        appended = await self._journal.append_blocked(tenant, changed, command_id=command_id)
        self.following.wrote(tenant, appended.catalogue_revision)
        if appended.is_new:
            self._keep(key, behind, appended.revision, began_s, appended.incarnation)
        else:
            self._drop(key)
        return appended

    def bytes_held(self, tenant: TenantId, lattice_id: LatticeId) -> int:
        """The bytes that this process holds for a lattice now."""
        known = self._cache.peek((tenant, lattice_id))
        return known.size_bytes if known and known.held else 0

    async def _create_counted(
        self, tenant: TenantId, lattice_id: UUID, spec: LatticeSpec, plan: PlanLimits
    ) -> HeldLattice:
        """Create a lattice where there is room for one more.

        It is recorded only if the catalogue is still the one that was counted: of two who
        count at once, in whatever process, one counts again. Those of this process wait for
        each other instead.
        """
        created = None
        async with self._creating.setdefault(tenant, asyncio.Lock()):
            for _ in range(_COUNTS_MAX):
                count = await self._catalogue.count(tenant)
                domain.check_count_allowed(count.lattices + 1, plan)
                created = created or await self._measured(lattice_id, spec)
                with suppress(CatalogueChanged):
                    return await self._record(tenant, created, spec, count.revision)
        raise LatticesChanged("the tenant's lattices kept changing while they were counted")

    async def _measured(self, lattice_id: UUID, spec: LatticeSpec) -> LatticeCreated:
        size = await measure(self._operations, spec)
        return await asyncio.to_thread(
            LatticeCreated.of,
            LatticeId(str(lattice_id)),
            spec,
            vertices=size.vertices,
            edges=size.edges,
        )

    async def _record(
        self,
        tenant: TenantId,
        created: LatticeCreated,
        spec: LatticeSpec,
        catalogue_revision: int | None = None,
    ) -> HeldLattice:
        """Record a creation, or answer what was recorded under its id before."""
        lattice_id = created.lattice_id
        began_s = time.monotonic()
        try:
            appended = await self._journal.append_created(
                tenant, created, UUID(lattice_id), catalogue_revision=catalogue_revision
            )
            self.following.wrote(tenant, appended.catalogue_revision)
        except StreamChanged:
            appended = None
        if appended is None or not appended.is_new:
            began_s = time.monotonic()
            reading = await self._journal.read(tenant, lattice_id)
            return self._created_before(tenant, lattice_id, spec, reading, began_s)
        held = HeldLattice.of(created.lattice(appended.recorded_at), spec)
        self._keep((tenant, lattice_id), held, appended.revision, began_s, appended.incarnation)
        return held

    def _created_before(
        self,
        tenant: TenantId,
        lattice_id: LatticeId,
        spec: LatticeSpec,
        reading: StreamSlice,
        began_s: float,
    ) -> HeldLattice:
        """The lattice that the request created first, even when it was deleted since."""
        for recorded in reading.recorded:
            created = recorded.event
            if isinstance(created, LatticeCreated) and created.creates(spec):
                held = HeldLattice.of(created.lattice(recorded.recorded_at), spec)
                self._keep(
                    (tenant, lattice_id),
                    _held(reading),
                    reading.revision,
                    began_s,
                    reading.incarnation,
                )
                return held
        raise RequestIdReused("the request id was used for another lattice", lattice_id=lattice_id)

    async def _latest(self, key: Key) -> _CacheEntry:
        """What is known of a lattice once the journal was asked."""
        known = self._cache.get(key)
        if known is None:
            return await self._once(key, self._load(key))
        return await self._confirm(key, known)

    async def _once(self, key: Key, work: Coroutine[Any, Any, _CacheEntry]) -> _CacheEntry:
        """Let one task read a lattice for all who ask for it meanwhile."""
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(_without_deadline(work))
            self._reading[key] = task
            task.add_done_callback(lambda done: self._read(key, done))
        else:
            work.close()
        return await asyncio.shield(task)

    def _read(self, key: Key, done: asyncio.Task[_CacheEntry]) -> None:
        del self._reading[key]
        if not done.cancelled():
            # Whoever asked may have gone, and then nobody else looks at it.
            done.exception()

    async def _load(self, key: Key) -> _CacheEntry:
        async with self._loads.borrowed(1, key[0]):
            began_s = time.monotonic()
            reading = await self._journal.read(*key)
            held = await asyncio.to_thread(_held, reading)
            # Where something is recorded already, no lattice can be created any more.
            if reading.revision < 0:
                return _NOTHING
            return self._keep(key, held, reading.revision, began_s, reading.incarnation)

    async def _confirm_if_possible(self, key: Key, known: _CacheEntry) -> _CacheEntry:
        try:
            async with asyncio.timeout(self._confirm_timeout_s):
                return await self._confirm(key, known)
        except (EventsUnavailable, TimeoutError):
            # Asked again after a while, not by every call.
            known.confirmed_s = time.monotonic()
            return known

    async def _confirm(self, key: Key, known: _CacheEntry) -> _CacheEntry:
        if known.revision == _GONE_REVISION or not known.incarnation:
            return await self._reload(key, known)
        began_s = time.monotonic()
        try:
            reading = await self._journal.read(
                *key, after_revision=known.revision, incarnation=known.incarnation
            )
        except JournalReplaced:
            self._forget(key[0])
            return await self._load(key)
        if any(isinstance(recorded.event, LatticeDeleted) for recorded in reading.recorded):
            return self._keep(key, None, reading.revision, incarnation=reading.incarnation)
        if any(isinstance(recorded.event, BlockedChanged) for recorded in reading.recorded):
            self._drop(key)
            return await self._load(key)
        known.revision = max(known.revision, reading.revision)
        known.incarnation = reading.incarnation
        known.read_s = known.confirmed_s = began_s
        return known

    async def _reload(self, key: Key, known: _CacheEntry) -> _CacheEntry:
        """Read a lattice from its beginning of which no place in a journal is known."""
        began_s = time.monotonic()
        reading = await self._journal.read(*key)
        held = await asyncio.to_thread(_held, reading)
        if _is_same(held, known.held):
            known.revision, known.incarnation = reading.revision, reading.incarnation
            known.read_s = known.confirmed_s = began_s
            return known
        self._drop(key)
        return self._keep(key, held, reading.revision, began_s, reading.incarnation)

    def _is_current(self, known: _CacheEntry, following: Following | None) -> bool:
        """Whether what is cached needs not be asked about."""
        if following is not None and following.covers(known.read_s):
            return True
        return time.monotonic() - known.confirmed_s <= self._freshness_s

    def _fold(self, tenant: TenantId, records: Sequence[LatticeRecord]) -> None:
        """Take note of what was recorded in a tenant's catalogue, by whatever process."""
        self._catalogue.fold(tenant, records)
        for record in records:
            if isinstance(record.event, LatticeDeleted):
                self._keep((tenant, record.event.lattice_id), None, _GONE_REVISION)
            elif isinstance(record.event, BlockedChanged):
                self._moved((tenant, record.event.lattice_id), record.event.revision)

    def _moved(self, key: Key, revision: int) -> None:
        """Take note that a lattice is not any more what it was before a revision."""
        self._moves[key] = max(revision, self._moves.get(key, -1))
        known = self._cache.peek(key)
        if known is not None and known.revision < revision:
            self._drop(key)

    def _began(self, tenant: TenantId, incarnation: str) -> None:
        """Take note of the journal that a tenant's catalogue is followed in from now on."""
        if self._incarnations.get(tenant, incarnation) != incarnation:
            self._forget(tenant)
        self._incarnations[tenant] = incarnation

    def _forget(self, tenant: TenantId) -> None:
        """Remember nothing of a tenant's lattices, deletions included: they were replaced."""
        self._catalogue.forget(tenant)
        for key in self._cache.kept():
            if key[0] == tenant:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        known = self._cache.peek(key)
        if known and known.held:
            self._operations.forget(known.held)
        self._cache.drop(key)

    def _keep(
        self,
        key: Key,
        held: HeldLattice | None,
        revision: int,
        began_s: float = 0.0,
        incarnation: str = "",
    ) -> _CacheEntry:
        """Cache what was read from `began_s` on, unless more is known already."""
        before = self._cache.peek(key)
        if before and before.revision > revision:
            return before
        if revision < self._moves.get(key, -1):
            # It was read before its last change, which was followed meanwhile: nobody believes it
            # without asking.
            began_s = -math.inf
        if before and before.held:
            self._operations.forget(before.held)
        known = _CacheEntry(
            held=held,
            revision=revision,
            incarnation=incarnation,
            read_s=began_s,
            confirmed_s=began_s,
            size_bytes=size_of(held) if held else _DELETED_BYTES,
        )
        self._cache.put(key, known, known.size_bytes)
        return known


_NOTHING = _CacheEntry(
    held=None, revision=-1, incarnation="", read_s=0.0, confirmed_s=0.0, size_bytes=0
)


def size_of(held: HeldLattice) -> int:
    """The bytes that a lattice takes in memory."""
    axes = len(held.spec.geometry.shape)
    tables = _GRID_BYTES + held.grid.bytes_held if held.grid else 0
    return _OVERHEAD_BYTES + _AXIS_BYTES * axes + tables


def _is_same(one: HeldLattice | None, other: HeldLattice | None) -> bool:
    """Both are one lattice, with the same sites blocked."""
    if one is None or other is None:
        return False
    return one.lattice == other.lattice and one.spec == other.spec


def _existing(known: _CacheEntry, lattice_id: LatticeId) -> HeldLattice:
    if known.held is None:
        raise LatticeNotFound("there is no such lattice", lattice_id=lattice_id)
    return known.held


def _held(reading: StreamSlice) -> HeldLattice | None:
    """The lattice that its history leaves, if any."""
    held = None
    for recorded in reading.recorded:
        if isinstance(recorded.event, LatticeCreated):
            held = _held_from(recorded, recorded.event)
        elif isinstance(recorded.event, LatticeDeleted):
            held = None
        elif isinstance(recorded.event, BlockedChanged) and held is not None:
            held = _held_behind(held, recorded.event)
    return held


def _held_behind(held: HeldLattice, changed: BlockedChanged) -> HeldLattice:
    """The lattice behind a change of its blocked sites."""
    spec = replace(held.spec, blocked=changed.blocked)
    return HeldLattice.of(changed.lattice(held.lattice), spec)


def _held_from(recorded: LatticeRecord, created: LatticeCreated) -> HeldLattice:
    spec = LatticeSpec(geometry=created.geometry, blocked=created.blocked)
    return HeldLattice.of(created.lattice(recorded.recorded_at), spec)


async def _without_deadline(work: Coroutine[Any, Any, _CacheEntry]) -> _CacheEntry:
    """Others may wait for this: the time of the call that came first does not bind it."""
    call = correlation.current()
    with correlation.bind(replace(call, deadline_s=None)):
        return await work


def _lattice_id(tenant: TenantId, request_id: UUID | None) -> UUID:
    """The id that a request always leads to, or a fresh one that sorts by time."""
    if request_id is not None:
        return uuid5(_REQUESTS, f"{tenant}/{request_id}")
    return uuid7()
