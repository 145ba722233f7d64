"""Lists a tenant's lattices from the catalogue, in pages. Knows no wire and no bitmap."""

import asyncio
import hashlib
import sys
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from weakref import WeakValueDictionary

from girih.ids import TenantId
from services.lattice.domain import Lattice, LatticeId
from services.lattice.state.cache import ByteCache
from services.lattice.state.journal import (
    BlockedChanged,
    JournalReplaced,
    LatticeCreated,
    LatticeDeleted,
    LatticeJournal,
    LatticeRecord,
)
from services.plumbing.base64url import from_base64url, to_base64url
from services.plumbing.errors import EventsUnavailable, InvalidInput

_SHARES = 4
"""A tenant's catalogue is kept while it takes no more than one share of the memory given."""
# What a line takes, and each axis on it; measured by a test.
_LINE_BYTES = 650
_AXIS_BYTES = 20
_REVISION_MAX = 2**63 - 2


@dataclass(frozen=True, kw_only=True)
class CataloguePage:
    """Lattices in the order of their creation, and where the next page begins, if there is one."""

    lattices: Sequence[Lattice]
    next_page_token: str
    total_count: int
    """Of all pages."""


@dataclass(frozen=True, kw_only=True)
class LatticeCount:
    """How many lattices a tenant has, and the revision of its catalogue that this is true at."""

    lattices: int
    revision: int


class Catalogue:
    """The catalogues of all tenants, in bounded memory.

    What was read is kept. While a catalogue is followed, what comes is added to it; otherwise its
    tail is read again when it is asked for. Of a tenant's catalogue that does
    not fit into the memory given only the number of its lattices is kept, and it is read
    through for each page: that takes longer, and no more memory than a page.
    """

    def __init__(self, journal: LatticeJournal, *, bytes_max: int) -> None:
        self._journal = journal
        self._kept: ByteCache[str, _CatalogueIndex | _TenantCounter] = ByteCache(bytes_max)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def page(
        self, tenant: TenantId, page_size: int, page_token: str, current_revision: int | None = None
    ) -> CataloguePage:
        """The page that a token asks for; raises InvalidInput when the token is not ours.

        What is kept is answered as it is when it goes up to `current_revision`, which is where
        the catalogue is known to end.
        """
        first_revision = _revision(tenant, page_token) if page_token else 0
        kept = self._kept.get(tenant)
        if kept is not None and current_revision is not None and kept.revision >= current_revision:
            known = kept
        else:
            known = await self._up_to_date(tenant, may_be_old=True)
        index = known
        if isinstance(index, _TenantCounter):
            index = await self._read_page(tenant, page_size, first_revision)
        lattices, next_revision = index.page(page_size, first_revision)
        token = "" if next_revision is None else _token(tenant, next_revision)
        return CataloguePage(lattices=lattices, next_page_token=token, total_count=known.count)

    async def count(self, tenant: TenantId) -> LatticeCount:
        """Count a tenant's lattices, never from memory alone."""
        known = await self._up_to_date(tenant, may_be_old=False)
        return LatticeCount(lattices=known.count, revision=known.revision)

    def fold(self, tenant: TenantId, records: Sequence[LatticeRecord]) -> None:
        """Add what was recorded in a catalogue, unless something before it is missing here."""
        kept = self._kept.peek(tenant)
        if kept is None or not records:
            return
        if records[0].revision > kept.revision + 1:
            self._kept.drop(tenant)
            return
        kept.add(records)
        self._put(tenant, kept)

    def forget(self, tenant: TenantId) -> None:
        """Keep nothing of a catalogue, nor what is being read of it: it was replaced."""
        self._kept.drop(tenant)
        self._locks.pop(tenant, None)

    async def _up_to_date(
        self, tenant: TenantId, *, may_be_old: bool
    ) -> "_CatalogueIndex | _TenantCounter":
        """All of a tenant's catalogue, or the number of its lattices when it is too large.

        When the journal is away, what was read before is answered if it may be old.
        """
        lock = self._locks.setdefault(tenant, asyncio.Lock())
        async with lock:
            kept = self._kept.get(tenant)
            known = kept or _CatalogueIndex()
            try:
                known = await self._read_on(tenant, known)
            except JournalReplaced:
                known = await self._read_on(tenant, _CatalogueIndex())
            except EventsUnavailable:
                if kept is None or not may_be_old:
                    raise
            # Whose lock it is not any more has read what was replaced meanwhile.
            return self._put(tenant, known) if self._locks.get(tenant) is lock else known

    async def _read_on(
        self, tenant: TenantId, known: "_CatalogueIndex | _TenantCounter"
    ) -> "_CatalogueIndex | _TenantCounter":
        """Add what was recorded since. What gets too large on the way is only counted on."""
        reading = self._journal.catalogue(
            tenant, after_revision=known.revision, incarnation=known.incarnation
        )
        async with aclosing(reading) as batches:
            async for batch in batches:
                known.add(batch)
                known = self._bounded(known)
        return known

    def _put(
        self, tenant: TenantId, known: "_CatalogueIndex | _TenantCounter"
    ) -> "_CatalogueIndex | _TenantCounter":
        known = self._bounded(known)
        self._kept.put(tenant, known, known.size_bytes)
        return known

    def _bounded(
        self, known: "_CatalogueIndex | _TenantCounter"
    ) -> "_CatalogueIndex | _TenantCounter":
        too_large = known.size_bytes > self._kept.bytes_max // _SHARES
        return _TenantCounter(known) if too_large else known

    async def _read_page(
        self, tenant: TenantId, page_size: int, first_revision: int
    ) -> "_CatalogueIndex":
        index = _CatalogueIndex(taken_max=page_size)
        reading = self._journal.catalogue(tenant, after_revision=first_revision - 1)
        async with aclosing(reading) as batches:
            async for batch in batches:
                index.add(batch)
        return index


class _TenantCounter:
    """The number of lattices of a catalogue that is too large to be kept.

    Ids are forgotten here, so it relies on what the journal promises of them: a lattice is
    created once, and deleted once at most.
    """

    size_bytes = _LINE_BYTES

    def __init__(self, before: "_CatalogueIndex | _TenantCounter") -> None:
        self.revision: int = before.revision
        self.incarnation: str = before.incarnation
        self.count: int = before.count

    def add(self, batch: Sequence[LatticeRecord]) -> None:
        for recorded in batch:
            if recorded.revision <= self.revision:
                continue
            self.revision, self.incarnation = recorded.revision, recorded.incarnation
            self.count += isinstance(recorded.event, LatticeCreated)
            self.count -= isinstance(recorded.event, LatticeDeleted)


class _CatalogueIndex:
    """The lattices that a stretch of a catalogue leaves, by the revision of their creation.

    With `taken_max` only so many creations are taken. Those after them are left to the
    next page even when some of the taken are deleted later on: the page is short then.
    """

    def __init__(self, taken_max: int | None = None) -> None:
        self.revision = -1
        self.incarnation = ""
        self.size_bytes = 0
        self._left = sys.maxsize if taken_max is None else taken_max
        self._first_not_taken: int | None = None
        self._lattices: dict[int, Lattice] = {}
        self._revisions: dict[LatticeId, int] = {}
        # Ascending; the deleted stay until they are half of all.
        self._order: list[int] = []

    @property
    def count(self) -> int:
        return len(self._lattices)

    def add(self, batch: Sequence[LatticeRecord]) -> None:
        for recorded in batch:
            if recorded.revision <= self.revision:
                # It was followed while it was read.
                continue
            self.revision, self.incarnation = recorded.revision, recorded.incarnation
            if isinstance(recorded.event, LatticeCreated):
                self._put(recorded.revision, recorded.event.lattice(recorded.recorded_at))
            elif isinstance(recorded.event, LatticeDeleted):
                self._drop(recorded.event.lattice_id)
            elif isinstance(recorded.event, BlockedChanged):
                self._change(recorded.event)

    def page(self, page_size: int, first_revision: int) -> tuple[list[Lattice], int | None]:
        """A page from a revision on, and the revision that the next begins at, if any."""
        lattices: list[Lattice] = []
        for place in range(bisect_left(self._order, first_revision), len(self._order)):
            lattice = self._lattices.get(self._order[place])
            if lattice is None:
                continue
            if len(lattices) == page_size:
                return lattices, self._order[place]
            lattices.append(lattice)
        return lattices, self._first_not_taken

    def _put(self, revision: int, lattice: Lattice) -> None:
        if lattice.lattice_id in self._revisions:
            # A lattice is created once: this was written by somebody else.
            return
        if self._left == 0:
            if self._first_not_taken is None:
                self._first_not_taken = revision
            return
        self._left -= 1
        self._lattices[revision] = lattice
        self._revisions[lattice.lattice_id] = revision
        self._order.append(revision)
        self.size_bytes += _size_of(lattice)

    def _change(self, changed: BlockedChanged) -> None:
        revision = self._revisions.get(changed.lattice_id)
        if revision is not None:
            self._lattices[revision] = changed.lattice(self._lattices[revision])

    def _drop(self, lattice_id: LatticeId) -> None:
        revision = self._revisions.pop(lattice_id, None)
        if revision is None:
            return
        self.size_bytes -= _size_of(self._lattices.pop(revision))
        if len(self._order) > 2 * len(self._lattices):
            self._order = list(self._lattices)


def _size_of(lattice: Lattice) -> int:
    """The bytes that keeping a lattice's line takes, its places in three tables included."""
    return _LINE_BYTES + _AXIS_BYTES * len(lattice.geometry.shape)


def _token(tenant: TenantId, revision: int) -> str:
    place = revision.to_bytes(8)
    return to_base64url(place + _seal(tenant, place))


def _revision(tenant: TenantId, token: str) -> int:
    """The revision in a token of ours; it grants nothing, so its seal needs no secret."""
    try:
        place = from_base64url(token)[:8]
    except ValueError:
        place = b""
    revision = int.from_bytes(place)
    if revision > _REVISION_MAX or _token(tenant, revision) != token:
        raise InvalidInput.of("page_token", "must be empty or a next_page_token of this list")
    return revision


def _seal(tenant: TenantId, place: bytes) -> bytes:
    digest = hashlib.blake2b(place, digest_size=8, key=tenant.encode(), person=b"lattices")
    return digest.digest()
