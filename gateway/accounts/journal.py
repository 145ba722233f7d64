"""The log of accounts in the event store. Knows its rpcs, and no rule of accounts.

All of it lies in the log of one tenant of our own, which no user's token can name.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import grpc
import grpc.aio

from gateway.accounts.events import (
    DamagedRecord,
    Event,
    Recorded,
    from_json,
    to_json,
)
from gateway.own_calls import AWAY, EventsRefused, EventsUnavailable
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from services.plumbing.logging import get_logger

TENANT: Final = "girih-accounts"
"""Whose log holds the accounts. Tokens of users cannot name a tenant that begins so."""

ABSENT: Final = -1
"""The revision of a stream that has no events."""

PATIENCE_S: Final = 5.0
"""How long an answer of the event store is waited for."""

_SCHEMA_VERSION = 1
_APPEND_ATTEMPTS = 3
_APPEND_PAUSE_S = 0.1
_BACKWARDS_S = 60.0

_log = get_logger("accounts")


class StreamChanged(Exception):
    """A stream is not as it was when this was decided: read again, decide again."""


class FollowingEnded(Exception):
    """The event store has ended a call that followed the log: go on from where it ended."""

    def __init__(self, message: str, *, must_start_anew: bool) -> None:
        super().__init__(message)
        self.must_start_anew = must_start_anew
        """The log was restored to an earlier state: what was read of it is not what it holds."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be recorded, and in which stream."""

    stream: str
    recorded_event: Event


class Journal:
    """The log of accounts."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """`channel` carries `own_bearer`."""
        self._stub = EventStoreServiceStub(channel)

    async def read(self, stream: str, *, after_revision: int = ABSENT) -> list[Recorded]:
        """What a stream holds after a revision; raises EventsUnavailable."""
        request = pb.ReadRequest(stream=stream, from_revision=after_revision + 1)
        return await self._read(request)

    async def last(self, stream: str) -> Recorded | None:
        """The last record of a stream, None when it has none; raises EventsUnavailable."""
        request = pb.ReadRequest(stream=stream, direction=pb.DIRECTION_BACKWARDS, limit=1)
        found = await self._read(request)
        return found[0] if found else None

    async def backwards(self) -> AsyncGenerator[Recorded]:
        """All records, the last first, those that are damaged told as unknown.

        Raises EventsUnavailable.
        """
        request = pb.ReadRequest(direction=pb.DIRECTION_BACKWARDS)
        async with aclosing(self._batches(request, _BACKWARDS_S)) as batches:
            async for batch in batches:
                for one in batch:
                    yield _recorded_or_unknown(one)

    async def follow(self, after_position: int) -> AsyncGenerator[Sequence[Recorded]]:
        """All records behind a position and then those that come, damaged ones as unknown.

        Ends only by raising EventsUnavailable or FollowingEnded.
        """
        request = pb.ReadRequest(from_position=after_position + 1, follow=True)
        with _own_call():
            call = self._stub.Read(request)
        try:
            async for response in call:
                yield [_recorded_or_unknown(one) for one in response.events]
        except grpc.aio.AioRpcError as error:
            raise _why_ended(from_rpc_error(error)) from error
        finally:
            call.cancel()
        raise FollowingEnded("the event store has said all", must_start_anew=False)

    async def append(
        self, changes: Sequence[Change], expected: Mapping[str, int]
    ) -> list[Recorded]:
        """Record all changes or none, if every stream is at the revision expected of it.

        Raises StreamChanged, and EventsUnavailable when it is not known whether the changes
        were recorded.
        """
        request = pb.AppendRequest(
            events=[_event(change) for change in changes],
            preconditions=[_precondition(*pair) for pair in expected.items()],
        )
        response = await self._append(request)
        return [
            Recorded(placement.position, placement.revision, change.recorded_event)
            for placement, change in zip(response.placements, changes, strict=True)
        ]

    async def _append(self, request: pb.AppendRequest) -> pb.AppendResponse:
        """Repeated while the outcome is unknown: the ids make that harmless."""
        for attempt in range(1, _APPEND_ATTEMPTS + 1):
            try:
                return await self._append_once(request)
            except EventsUnavailable:
                if attempt == _APPEND_ATTEMPTS or _remaining_s() < _APPEND_PAUSE_S:
                    raise
                await asyncio.sleep(_APPEND_PAUSE_S)
        raise AssertionError("the last attempt answers or raises")

    async def _append_once(self, request: pb.AppendRequest) -> pb.AppendResponse:
        timeout_s = _remaining_s()
        with _own_call(), _refusals_named():
            response: pb.AppendResponse = await self._stub.Append(request, timeout=timeout_s)
        return response

    async def _read(self, request: pb.ReadRequest) -> list[Recorded]:
        async with aclosing(self._batches(request, _remaining_s())) as batches:
            return [_recorded(one) async for batch in batches for one in batch]

    async def _batches(
        self, request: pb.ReadRequest, timeout_s: float
    ) -> AsyncGenerator[Sequence[pb.RecordedEvent]]:
        with _own_call():
            call = self._stub.Read(request, timeout=timeout_s)
        try:
            with _refusals_named():
                async for response in call:
                    yield response.events
        finally:
            call.cancel()


@contextmanager
def _own_call() -> Iterator[None]:
    """Calls begun inside are the gateway's own, caused by the call being served."""
    call = correlation.current()
    with correlation.bind(Call(call.correlation_id, call.causation_id, TENANT)):
        yield


def _remaining_s() -> float:
    remaining_s = correlation.current().remaining_s()
    return PATIENCE_S if remaining_s is None else min(PATIENCE_S, remaining_s)


def _event(change: Change) -> pb.Event:
    return pb.Event(
        id=str(uuid4()),
        stream=change.stream,
        type=change.recorded_event.type,
        schema_version=_SCHEMA_VERSION,
        json=to_json(change.recorded_event),
    )


def _precondition(stream: str, revision: int) -> pb.Precondition:
    if revision == ABSENT:
        return pb.Precondition(stream=stream, state=pb.Precondition.STATE_ABSENT)
    return pb.Precondition(stream=stream, revision=revision)


def _recorded(event: pb.RecordedEvent) -> Recorded:
    recorded_event = from_json(event.event.type, event.event.json)
    return Recorded(event.position, event.revision, recorded_event)


def _recorded_or_unknown(event: pb.RecordedEvent) -> Recorded:
    """For those who read everything, whom one damaged record must not keep from the rest."""
    try:
        return _recorded(event)
    except DamagedRecord as error:
        _log.error("a record is passed over", position=event.position, problem=str(error))
        return Recorded(event.position, event.revision, None)


@contextmanager
def _refusals_named() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _named(from_rpc_error(error)) from error


def _named(refusal: RemoteError) -> Exception:
    """What a refusal means to us. One that means nothing is a bug, ours or the store's."""
    if refusal.reason == "PRECONDITION_FAILED":
        return StreamChanged(refusal.message)
    if refusal.code in AWAY:
        return _away(refusal)
    return EventsRefused(f"{refusal.code.name} {refusal.message}")


def _why_ended(refusal: RemoteError) -> Exception:
    if refusal.reason == "BEYOND_END":
        return FollowingEnded(refusal.message, must_start_anew=True)
    # A call that follows lasts no longer than its token, or than the server allows.
    if refusal.reason == "TOKEN_EXPIRED" or refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return FollowingEnded(refusal.message, must_start_anew=False)
    return _away(refusal)


def _away(refusal: RemoteError) -> EventsUnavailable:
    return EventsUnavailable(
        "the event store cannot be reached", retry_after_s=refusal.retry_after_s or 1.0
    )
