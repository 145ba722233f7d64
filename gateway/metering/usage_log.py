"""Counted calls in the event store: a stream for each tenant and month.

They lie in a log of their own, so that whoever reads the log of accounts does not read
all of them. Knows nothing of limits.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.own_calls import OwnLogs, refusals_named
from girih.client import (
    ABSENT,
    Batch,
    Follower,
    GirihError,
    NewEvent,
    RecordedEvent,
)
from services.plumbing.logging import get_logger

_log = get_logger("gateway")

TENANT: Final = "girih-usage"
"""Whose log holds them. Tokens of users cannot name a tenant that begins so."""

COUNTED: Final = "usage.counted"
EVENT_COUNT_MAX: Final = 1_000
"""Counts that are appended at once."""

_SCHEMA_VERSION = 1
_PREFIX = "usage-"


@dataclass(frozen=True, slots=True)
class Counted:
    """Calls that one process has counted, and what it knew of all processes' then."""

    event_id: str
    calls: int
    through: int
    """The last revision of the stream that the process had read."""
    total: int
    """The calls counted up to that revision, all of them. With it a reader needs only the
    end of a stream, however long that is."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a tenant."""

    tenant: str
    month: str
    """For example 2026-11."""

    @property
    def stream(self) -> str:
        return f"{_PREFIX}{self.tenant}-{self.month}"

    @classmethod
    def of(cls, stream: str) -> "Month | None":
        """That of a stream, None for streams of something else."""
        tenant, separator, month = stream[:-8], stream[-8:-7], stream[-7:]
        if not tenant.startswith(_PREFIX) or separator != "-":
            return None
        return cls(tenant.removeprefix(_PREFIX), month)


class UsageLog:
    """The log of usage. All methods raise EventsUnavailable and EventsRefused."""

    def __init__(self, logs: OwnLogs) -> None:
        self._events = logs.of(TENANT)

    async def append(self, counts: Sequence[tuple[Month, Counted]]) -> list[int]:
        """Record all of them or none; answers their revisions. Safe to repeat."""
        events = [_new_event(*pair) for pair in counts]
        with refusals_named():
            placements = await self._events.append(events)
        return [placement.revision for placement in placements]

    async def last(self, month: Month) -> Counted | None:
        """What was counted last, None when nothing was."""
        with refusals_named():
            event = await self._events.last(month.stream)
        return None if event is None else _counted(event)

    async def after(self, month: Month, revision: int) -> list[tuple[int, Counted]]:
        """What was counted after a revision, with the revision of each."""
        events = self._events.read(month.stream, from_revision=revision + 1)
        with refusals_named():
            async with aclosing(events):
                return [(event.revision, _counted(event)) async for event in events]

    def follower(
        self, apply: Callable[[Month, int, Counted], None], on_start: Callable[[], None]
    ) -> Follower:
        """Applies each count that is recorded from a moment on, with its revision.

        `on_start` is called at that moment, and again when the log was replaced by an earlier
        state of it: what was recorded before does not come, and what was read may be no more.
        """

        def fold(batch: Batch) -> None:
            for event in batch:
                month = Month.of(event.stream)
                if month is not None:
                    apply(month, event.revision, _counted(event))

        async def start() -> int:
            head = await self._events.head()
            on_start()
            return head

        return Follower(self._events, fold, start=start, on_interrupted=_interrupted)


def _interrupted(error: GirihError) -> None:
    _log.warning("what other processes count is not followed now", problem=str(error))


def _new_event(month: Month, counted: Counted) -> NewEvent:
    payload = {"calls": counted.calls, "through": counted.through, "total": counted.total}
    return NewEvent(
        id=counted.event_id,
        stream=month.stream,
        type=COUNTED,
        schema_version=_SCHEMA_VERSION,
        json=orjson.dumps(payload).decode(),
    )


def _counted(event: RecordedEvent) -> Counted:
    try:
        payload: dict[str, Any] = orjson.loads(event.json or "")
        return Counted(event.id, payload["calls"], payload["through"], payload["total"])
    except (ValueError, KeyError, TypeError):
        _log.warning("a record of usage cannot be read and counts for nothing", event_id=event.id)
        return Counted(event.id, calls=0, through=ABSENT, total=0)
