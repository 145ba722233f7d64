"""The log of a tenant, read as users read it: followed through the client, in whole stretches.

What comes is buffered, within bounds, while what came before is being applied: so batches grow as
a projection falls behind.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

from girih.client import EventStoreClient, GirihError, Query, RecordedEvent, Subscription
from girih.ids import Position
from services.plumbing.logging import get_logger
from services.projections.domain import Checkpoint, Stretch

BUFFERED_COUNT_MAX: Final = 10_000
BUFFERED_BYTES_MAX: Final = 4 * 2**20
"""Of payloads. One batch of the server may go beyond either."""

_log = get_logger("projections")


class FollowedLog:
    """A log that is followed from a checkpoint on, inside `followed`."""

    def __init__(self, events: EventStoreClient, checkpoint: Checkpoint) -> None:
        self._events = events
        self._buffered: deque[RecordedEvent] = deque()
        self._buffered_bytes = 0
        self._position = checkpoint.position
        """Everything up to there was looked at by the server, and is buffered or taken."""
        self._incarnation = checkpoint.incarnation
        self._taken = checkpoint.position
        self._subscription: Subscription | None = None
        self._end_reported: Position | None = None
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()

    async def take(self, event_count_max: int) -> Stretch | None:
        """The next stretch, of up to so many events; waits until there is one. None when what was
        taken is all that the server knew of, once for each such end.

        Raises what ended the call: LogReplaced and BeyondEnd when the log is another, and what
        is refused for good.
        """
        while not self._buffered and self._position <= self._taken:
            if self._error is not None:
                raise self._error
            if self._is_at_end and self._end_reported != self._taken:
                self._end_reported = self._taken
                return None
            self._changed.clear()
            await self._changed.wait()
        count = min(event_count_max, len(self._buffered))
        events = [self._buffered.popleft() for _ in range(count)]
        self._buffered_bytes -= sum(map(_payload_bytes, events))
        self._has_room.set()
        self._taken = events[-1].position if self._buffered else self._position
        return Stretch(events=events, position=self._taken, incarnation=self._incarnation)

    async def end(self) -> Position:
        """Where the log ends now."""
        return await self._events.head()

    async def fill(self, subscription: Subscription) -> None:
        """Take what comes; the work of a task."""
        self._subscription = subscription
        try:
            async with aclosing(subscription.batches()) as batches:
                async for batch in batches:
                    await self._add(batch, subscription.incarnation)
        except GirihError as error:
            self._error = error
        finally:
            self._error = self._error or RuntimeError("the log is not followed any more")
            self._changed.set()

    def looked(self, subscription: Subscription) -> None:
        """There was nothing that is wanted up to its position, or all that there is has come."""
        position = subscription.position
        if position is not None and position > self._position:
            self._position, self._incarnation = position, subscription.incarnation
        self._changed.set()

    @property
    def _is_at_end(self) -> bool:
        return self._subscription is not None and self._subscription.is_caught_up

    async def _add(self, batch: Sequence[RecordedEvent], incarnation: str) -> None:
        self._buffered.extend(batch)
        self._buffered_bytes += sum(map(_payload_bytes, batch))
        self._position, self._incarnation = batch[-1].position, incarnation
        self._changed.set()
        while (
            len(self._buffered) >= BUFFERED_COUNT_MAX or self._buffered_bytes >= BUFFERED_BYTES_MAX
        ):
            self._has_room.clear()
            await self._has_room.wait()


@asynccontextmanager
async def followed(
    events: EventStoreClient, checkpoint: Checkpoint, queries: Sequence[Query]
) -> AsyncIterator[FollowedLog]:
    """The log behind a checkpoint, followed inside the block through the tenant's client."""
    log = FollowedLog(events, checkpoint)
    subscription = events.follow(
        filter=queries,
        from_position=checkpoint.position + 1,
        incarnation=checkpoint.incarnation,
        on_looked=lambda: log.looked(subscription),
        on_interrupted=lambda error: _log.debug("the log is not followed now", problem=str(error)),
    )
    filling = asyncio.create_task(log.fill(subscription), name="follow a log")
    try:
        yield log
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)


def _payload_bytes(event: RecordedEvent) -> int:
    return len(event.json or event.binary or b"")
