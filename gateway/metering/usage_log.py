"""Counted calls in the event store: a stream for each tenant and month.

They lie in a log of their own, so that whoever reads the log of accounts does not read
all of them. Knows the rpcs, and nothing of limits.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
import orjson

from gateway.own_calls import as_gateway
from girih.events.v1 import events_pb2 as pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from services.plumbing.logging import get_logger

_log = get_logger("gateway")

TENANT: Final = "girih-usage"
"""Whose log holds them. Tokens of users cannot name a tenant that begins so."""

COUNTED: Final = "usage.counted"
EVENT_COUNT_MAX: Final = 1_000
"""Counts that are appended at once."""

ABSENT: Final = -1
"""The revision of a stream that has no events."""

_SCHEMA_VERSION = 1
_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 30.0


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
        return f"usage-{self.tenant}-{self.month}"


class UsageLog:
    """The log of usage. All methods raise EventsUnavailable and EventsRefused."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        """`channel` carries `own_bearer`."""
        self._stub = EventStoreServiceStub(channel)

    async def append(self, counts: Sequence[tuple[Month, Counted]]) -> list[int]:
        """Record all of them or none; answers their revisions. Safe to repeat."""
        request = pb.AppendRequest(events=[_event(*pair) for pair in counts])
        with as_gateway(TENANT):
            response = await self._stub.Append(request, timeout=_TIMEOUT_S)
        return [placement.revision for placement in response.placements]

    async def last(self, month: Month) -> Counted | None:
        """What was counted last, None when nothing was."""
        request = pb.ReadRequest(stream=month.stream, direction=pb.DIRECTION_BACKWARDS, limit=1)
        async with aclosing(self._read(request, _TIMEOUT_S)) as found:
            async for _, counted in found:
                return counted
        return None

    async def after(self, month: Month, revision: int) -> list[tuple[int, Counted]]:
        """What was counted after a revision, with the revision of each."""
        request = pb.ReadRequest(stream=month.stream, from_revision=revision + 1)
        async with aclosing(self._read(request, _READ_TIMEOUT_S)) as found:
            return [one async for one in found]

    async def _read(
        self, request: pb.ReadRequest, timeout_s: float
    ) -> AsyncGenerator[tuple[int, Counted]]:
        with as_gateway(TENANT):
            call = self._stub.Read(request, timeout=timeout_s)
        try:
            while True:
                with as_gateway(TENANT):
                    response = await call.read()
                if not isinstance(response, pb.ReadResponse):
                    return
                for event in response.events:
                    yield event.revision, _counted(event.event)
        finally:
            call.cancel()


def _event(month: Month, counted: Counted) -> pb.Event:
    payload = {"calls": counted.calls, "through": counted.through, "total": counted.total}
    return pb.Event(
        id=counted.event_id,
        stream=month.stream,
        type=COUNTED,
        schema_version=_SCHEMA_VERSION,
        json=orjson.dumps(payload).decode(),
    )


def _counted(event: pb.Event) -> Counted:
    try:
        payload: dict[str, Any] = orjson.loads(event.json)
        return Counted(event.id, payload["calls"], payload["through"], payload["total"])
    except (ValueError, KeyError, TypeError):
        _log.warning("a record of usage cannot be read and counts for nothing", event_id=event.id)
        return Counted(event.id, calls=0, through=ABSENT, total=0)
