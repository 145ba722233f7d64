"""The registries of logs as this process knows them, each read from its log when it is needed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from cachetools import LRUCache

from girih.ids import Revision, TenantId
from services.events.domain import NO_REVISION, SCHEMAS
from services.events.schemas.registry import Change, Registry
from services.events.store import LogPage, PageRequest

BYTES_MAX: Final = 128 * 2**20
"""What registries of all logs hold together, as their schemas are written; compiled ones take
several times as much."""
_LOG_BYTES: Final = 512
_PAGE_ROWS: Final = 32
_RECORD_BYTES_MAX: Final = 2**18


class Pages(Protocol):
    """Who reads logs."""

    async def page(self, tenant: TenantId, request: PageRequest) -> LogPage:
        """The records of one page of a stream."""


ChangesOf = Callable[[Sequence[bytes]], Sequence[Change | None]]
"""What the records of a page say of schemas, one behind the other."""


class Registries:
    """The newest registry of each log that this process has seen.

    What is known may be out of date. That does no harm: an append names what it was checked by,
    and is refused and checked again when the log has other schemas by then.
    """

    def __init__(self, pages: Pages, changes_of: ChangesOf, bytes_max: int = BYTES_MAX) -> None:
        self._pages = pages
        self._changes_of = changes_of
        self._known: LRUCache[TenantId, Registry] = LRUCache(
            bytes_max, getsizeof=lambda registry: _LOG_BYTES + registry.byte_count
        )
        self.hit_count = 0
        self.miss_count = 0
        self._loading: dict[TenantId, asyncio.Task[Registry]] = {}

    async def known(self, tenant: TenantId) -> Registry:
        """The registry as it was read last, and read now if it never was."""
        registry = self._known.get(tenant)
        if registry is None:
            self.miss_count += 1
            return await self.newest(tenant)
        self.hit_count += 1
        return registry

    async def newest(self, tenant: TenantId) -> Registry:
        """The registry as it is now; several who ask at once share one reading."""
        if (running := self._loading.get(tenant)) is not None:
            # It may have begun before what this caller knows of was registered.
            await asyncio.wait([running])
        loading = self._loading.get(tenant)
        if loading is None:
            loading = asyncio.create_task(self._load(tenant), name="load schemas")
            self._loading[tenant] = loading
            loading.add_done_callback(lambda _: self._loading.pop(tenant, None))
        return await asyncio.shield(loading)

    async def _load(self, tenant: TenantId) -> Registry:
        registry = self._known.get(tenant, Registry())
        while True:
            page = await self._page(tenant, registry.revision)
            if registry.revision != NO_REVISION and page.incarnation != registry.incarnation:
                # Of another log, or of this one in another time.
                registry = Registry()
                continue
            registry = replace(registry, incarnation=page.incarnation)
            assert page.fields is not None, "registrations are smaller than that"
            for change in self._changes_of(page.fields):
                registry = registry.changed(change, Revision(registry.revision + 1))
            if page.record_count < _PAGE_ROWS:
                break
        if _LOG_BYTES + registry.byte_count <= self._known.maxsize:
            self._known[tenant] = registry
        return registry

    async def _page(self, tenant: TenantId, behind: Revision) -> LogPage:
        return await self._pages.page(
            tenant,
            PageRequest(
                stream=SCHEMAS,
                is_backwards=False,
                start=behind + 1,
                row_count_max=_PAGE_ROWS,
                record_bytes_max=_RECORD_BYTES_MAX,
                page_bytes_max=_PAGE_ROWS * _RECORD_BYTES_MAX,
            ),
        )
