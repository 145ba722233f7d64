"""The logs of tenants, each read with a token for it alone, as users read theirs."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from girih.client import EventStoreClient, LogInfo, Query, RecordedEvent
from girih.ids import Position, TenantId
from services.plumbing.grpc.event_store import events_unavailable_named
from services.projections.domain import Checkpoint
from services.projections.running.log import FollowedLog, followed


class TenantLogs:
    """The logs of all tenants. Methods raise EventsUnavailable."""

    def __init__(self, events: EventStoreClient, token_of: Callable[[TenantId], str]) -> None:
        """`token_of` gives a token that may read the log of a tenant."""
        self._events = events
        self._token_of = token_of

    def follow(
        self, checkpoint: Checkpoint, queries: Sequence[Query]
    ) -> AbstractAsyncContextManager[FollowedLog]:
        """The log of a checkpoint's tenant, behind it."""
        return followed(self._of(checkpoint.key.tenant), checkpoint, queries)

    async def info(self, tenant: TenantId) -> LogInfo:
        """Where a log ends."""
        with events_unavailable_named():
            return await self._of(tenant).log()

    async def event_at(self, tenant: TenantId, position: Position) -> RecordedEvent | None:
        """The event at a position; None where there is none, or its payload is gone."""
        first = await self._first_from(tenant, position)
        return first if first is not None and first.position == position else None

    async def first_behind(self, tenant: TenantId, position: Position) -> RecordedEvent | None:
        """The first event behind a position whose payload is not gone."""
        return await self._first_from(tenant, Position(position + 1))

    async def _first_from(self, tenant: TenantId, position: Position) -> RecordedEvent | None:
        events = self._of(tenant).read(from_position=position, limit=1)
        with events_unavailable_named():
            async with aclosing(events):
                return await anext(events, None)

    def _of(self, tenant: TenantId) -> EventStoreClient:
        return self._events.acting(token=lambda: self._token_of(tenant))
