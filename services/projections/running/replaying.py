"""Does what somebody has asked of events that were put aside: applies them, or gives them up.

Done by whoever runs the projection, between stretches of its log, so that nobody else writes what
it holds. Knows no transport.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from girih.client import RecordedEvent
from girih.ids import Position, TenantId
from girih.projection import Projection
from services.plumbing.errors import DatabaseUnavailable
from services.plumbing.logging import get_logger
from services.plumbing.postgres.leases import LeaseLost
from services.projections.domain import Checkpoint
from services.projections.store import ProjectionStore

_EVENT_COUNT: Final = 100
"""Applied in one transaction, as long as none of them fails."""

EventAt = Callable[[TenantId, Position], Awaitable[RecordedEvent | None]]
"""The event at a position of a tenant's log; None where its payload is gone."""

_log = get_logger("projections")


class Replayer:
    """Settles the quarantine of one generation."""

    def __init__(
        self,
        store: ProjectionStore,
        projection: Projection,
        checkpoint: Checkpoint,
        event_at: EventAt,
    ) -> None:
        self._store = store
        self._projection = projection
        self._checkpoint = checkpoint
        self._event_at = event_at

    async def settle(self) -> None:
        """Do all that was asked until now. Raises LeaseLost, and what the log raises."""
        await self._store.discard_asked(self._checkpoint)
        for stream in await self._store.streams_to_replay(self._checkpoint):
            while await self._replay_some(stream):
                pass

    async def _replay_some(self, stream: str) -> bool:
        """Apply the next events of a stream; False when none is left, or one fails."""
        positions = await self._store.quarantined(self._checkpoint, stream, _EVENT_COUNT)
        if not positions:
            return False
        if await self._applied(positions) is None:
            return True
        for position in positions:
            error = await self._applied([position])
            if error is not None:
                problem = f"{type(error).__name__}: {error}"
                await self._store.keep_quarantined(self._checkpoint, stream, position, problem)
                _log.warning("an event stays aside", position=position, problem=problem)
                return False
        return True

    async def _applied(self, positions: Sequence[Position]) -> Exception | None:
        """What the projection raised, or that it took too long, which nothing else is to wait for;
        None when all of these are applied.
        """
        tenant = self._checkpoint.key.tenant
        looked_up = [await self._event_at(tenant, position) for position in positions]
        events = [event for event in looked_up if event is not None]
        try:
            async with self._store.transaction(self._checkpoint) as transaction:
                if events:
                    await self._projection.apply(events, transaction)
                await transaction.release(positions, len(events))
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - a projection may raise anything
            return error
        return None
