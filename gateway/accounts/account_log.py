"""The log of accounts in the event store. Knows how it is written, and no rule of accounts.

All of it lies in the log of one tenant of our own, which no user's token can name.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from gateway.accounts.state.events import AccountRecord, DamagedRecord, Event, from_json, to_json
from gateway.own_calls import OwnLogs, refusals_named
from girih.client import (
    ABSENT,
    Follower,
    GirihError,
    NewEvent,
    Precondition,
    PreconditionFailed,
    Query,
    RecordedEvent,
)
from services.plumbing.grpc.event_store import served_context
from services.plumbing.logging import get_logger

TENANT: Final = "girih-accounts"
"""Whose log holds the accounts. Tokens of users cannot name a tenant that begins so."""

_SCHEMA_VERSION = 1

_log = get_logger("accounts")


class StreamChanged(Exception):
    """A stream is not as it was when this was decided: read again, decide again."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be recorded, and in which stream."""

    stream: str
    event: Event
    tags: tuple[str, ...] = ()
    """What it is found by, beside its stream."""


class AccountLog:
    """The log of accounts. Methods raise EventsUnavailable and EventsRefused."""

    def __init__(self, logs: OwnLogs) -> None:
        self._events = logs.of(TENANT, served_context)
        self._unbounded = logs.of(TENANT)
        """For what no call that is served waits for."""

    async def read(self, stream: str, *, after_revision: int = ABSENT) -> list[AccountRecord]:
        """What a stream holds after a revision; raises DamagedRecord."""
        events = self._events.read(stream, from_revision=after_revision + 1)
        with refusals_named():
            async with aclosing(events):
                return [_record(event) async for event in events]

    async def last(self, stream: str) -> AccountRecord | None:
        """The last record of a stream, None when it has none; raises DamagedRecord."""
        with refusals_named():
            event = await self._events.last(stream)
        return None if event is None else _record(event)

    async def tagged(self, tag: str, limit: int) -> list[AccountRecord]:
        """The last `limit` records with a tag, the last first; raises DamagedRecord."""
        events = self._events.read(filter=Query(tags=(tag,)), backwards=True, limit=limit)
        with refusals_named():
            async with aclosing(events):
                return [_record(event) async for event in events]

    async def append(
        self, changes: Sequence[Change], expected: Mapping[str, int]
    ) -> list[AccountRecord]:
        """Record all changes or none, if every stream is at the revision expected of it.

        Raises StreamChanged, and EventsUnavailable when it is not known whether the changes
        were recorded.
        """
        events = [_new_event(change) for change in changes]
        preconditions = [Precondition.at(*pair) for pair in expected.items()]
        with refusals_named():
            try:
                placements = await self._events.append(events, preconditions)
            except PreconditionFailed as error:
                raise StreamChanged(error.message) from error
        return [
            AccountRecord(placement.position, change.stream, placement.revision, change.event)
            for placement, change in zip(placements, changes, strict=True)
        ]

    async def backwards(self) -> AsyncGenerator[AccountRecord]:
        """All records, the last first, damaged ones as unknown. Raises what the client does:
        for the start of a `follower`."""
        events = self._unbounded.read(backwards=True)
        async with aclosing(events):
            async for event in events:
                yield _record_or_unknown(event)

    def follower(
        self,
        apply: Callable[[Sequence[AccountRecord]], None],
        start: Callable[[], Awaitable[int]],
        on_interrupted: Callable[[GirihError], None],
    ) -> Follower:
        """Applies all records behind the position that `start` answers, and those to come,
        damaged ones as unknown."""

        def fold(batch: Sequence[RecordedEvent]) -> None:
            apply([_record_or_unknown(event) for event in batch])

        return Follower(self._unbounded, fold, start=start, on_interrupted=on_interrupted)


def _new_event(change: Change) -> NewEvent:
    return NewEvent(
        stream=change.stream,
        type=change.event.type,
        schema_version=_SCHEMA_VERSION,
        json=to_json(change.event),
        tags=change.tags,
    )


def _record(recorded: RecordedEvent) -> AccountRecord:
    event = from_json(recorded.type, recorded.json or "")
    return AccountRecord(recorded.position, recorded.stream, recorded.revision, event)


def _record_or_unknown(recorded: RecordedEvent) -> AccountRecord:
    """For those who read everything, whom one damaged record must not keep from the rest."""
    try:
        return _record(recorded)
    except DamagedRecord as error:
        _log.error("a record is passed over", position=recorded.position, problem=str(error))
        return AccountRecord(recorded.position, recorded.stream, recorded.revision, None)
