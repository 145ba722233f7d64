"""Lists a tenant's lattices from the catalogue, in pages. Knows no wire and no bitmap."""

import asyncio
import base64
import hashlib
import sys
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from weakref import WeakValueDictionary

from services.lattice.cache import ByteCache
from services.lattice.domain import Lattice
from services.lattice.errors import EventsUnavailable
from services.lattice.journal import Journal, LatticeCreated, LatticeDeleted, Recorded
from services.plumbing.errors import InvalidInput

_SHARES = 4
"""A tenant's catalogue is kept while it takes no more than one share of the memory given."""
# What a line takes, and each axis on it; measured by a test.
_LINE_BYTES = 650
_AXIS_BYTES = 20
_REVISION_MAX = 2**63 - 2


@dataclass(frozen=True, kw_only=True)
class Page:
    """Lattices in the order of their creation, and where the next page begins, if there is one."""

    lattices: Sequence[Lattice]
    next_page_token: str


class Catalogue:
    """The catalogues of all tenants, in bounded memory.

    What was read is kept and only the tail is read again. A tenant's catalogue that does
    not fit into the memory given is read through for each page instead: that takes
    longer, and no more memory than a page.
    """

    def __init__(self, journal: Journal, *, bytes_max: int) -> None:
        self._journal = journal
        self._kept: ByteCache[str, _Shelf] = ByteCache(bytes_max)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def page(self, tenant: str, page_size: int, page_token: str) -> Page:
        """The page that a token asks for; raises InvalidInput when the token is not ours."""
        first_revision = _revision(tenant, page_token) if page_token else 0
        shelf = await self._up_to_date(tenant)
        if shelf is None:
            shelf = await self._read_page(tenant, page_size, first_revision)
        lattices, next_revision = shelf.page(page_size, first_revision)
        token = "" if next_revision is None else _token(tenant, next_revision)
        return Page(lattices=lattices, next_page_token=token)

    async def _up_to_date(self, tenant: str) -> "_Shelf | None":
        """All of a tenant's catalogue, or None when it is too large to be kept.

        When the journal is away, what was read before is answered.
        """
        lock = self._locks.setdefault(tenant, asyncio.Lock())
        async with lock:
            kept = self._kept.get(tenant)
            shelf = kept or _Shelf()
            if self._has_room_for(shelf):
                await self._read_on(tenant, shelf, may_be_old=kept is not None)
            if self._has_room_for(shelf):
                self._kept.put(tenant, shelf, shelf.size_bytes)
                return shelf
            self._kept.put(tenant, _Shelf.too_large(), sys.getsizeof(shelf))
            return None

    def _has_room_for(self, shelf: "_Shelf") -> bool:
        return shelf.size_bytes <= self._kept.bytes_max // _SHARES

    async def _read_on(self, tenant: str, shelf: "_Shelf", *, may_be_old: bool) -> None:
        try:
            reading = self._journal.catalogue(tenant, after_revision=shelf.revision)
            async with aclosing(reading) as batches:
                async for batch in batches:
                    shelf.add(batch)
                    if not self._has_room_for(shelf):
                        return
        except EventsUnavailable:
            if not may_be_old:
                raise

    async def _read_page(self, tenant: str, page_size: int, first_revision: int) -> "_Shelf":
        shelf = _Shelf(taken_max=page_size)
        reading = self._journal.catalogue(tenant, after_revision=first_revision - 1)
        async with aclosing(reading) as batches:
            async for batch in batches:
                shelf.add(batch)
        return shelf


class _Shelf:
    """The lattices that a stretch of a catalogue leaves, by the revision of their creation.

    With `taken_max` only so many creations are taken. Those after them are left to the
    next page even when some of the taken are deleted later on: the page is short then.
    """

    def __init__(self, taken_max: int | None = None) -> None:
        self.revision = -1
        self.size_bytes = 0
        self._left = sys.maxsize if taken_max is None else taken_max
        self._first_not_taken: int | None = None
        self._lattices: dict[int, Lattice] = {}
        self._revisions: dict[str, int] = {}
        # Ascending; the deleted stay until they are half of all.
        self._order: list[int] = []

    @classmethod
    def too_large(cls) -> "_Shelf":
        """Stands for a catalogue that is not kept."""
        shelf = cls()
        shelf.size_bytes = sys.maxsize
        return shelf

    def add(self, batch: Sequence[Recorded]) -> None:
        for recorded in batch:
            self.revision = recorded.revision
            if isinstance(recorded.happening, LatticeCreated):
                self._put(recorded.revision, recorded.happening.lattice(recorded.recorded_at))
            elif isinstance(recorded.happening, LatticeDeleted):
                self._drop(recorded.happening.lattice_id)

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

    def _drop(self, lattice_id: str) -> None:
        revision = self._revisions.pop(lattice_id, None)
        if revision is None:
            return
        self.size_bytes -= _size_of(self._lattices.pop(revision))
        if len(self._order) > 2 * len(self._lattices):
            self._order = list(self._lattices)


def _size_of(lattice: Lattice) -> int:
    """The bytes that keeping a lattice's line takes, its places in three tables included."""
    return _LINE_BYTES + _AXIS_BYTES * len(lattice.geometry.shape)


def _token(tenant: str, revision: int) -> str:
    place = revision.to_bytes(8)
    return base64.urlsafe_b64encode(place + _seal(tenant, place)).rstrip(b"=").decode()


def _revision(tenant: str, token: str) -> int:
    """The revision that a token of ours tells; it grants nothing, so its seal needs no secret."""
    try:
        place = base64.urlsafe_b64decode(token.encode() + b"==")[:8]
    except (ValueError, UnicodeEncodeError):
        place = b""
    revision = int.from_bytes(place)
    if revision > _REVISION_MAX or _token(tenant, revision) != token:
        raise InvalidInput.of("page_token", "is not a token that this list gave")
    return revision


def _seal(tenant: str, place: bytes) -> bytes:
    digest = hashlib.blake2b(place, digest_size=8, key=tenant.encode(), person=b"lattices")
    return digest.digest()
