"""A client of a stream that others follow, too: by a call of its own until it can join a hub.

A call of its own reads what the client lacks. As soon as a hub goes on from there the client joins
it, and it comes back to a call of its own when it falls behind what the hub still has. What it has
seen is an id, so the two never send an item twice and leave none out.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from typing import Final

from google.protobuf.message import Message

from gateway.contract.streams import StreamShape
from gateway.endpoints.open_streams import OpenStream
from gateway.endpoints.stream_encodings import StreamEncoding
from gateway.endpoints.upstream_call import UpstreamCall
from gateway.http.exchange import HttpExchange
from gateway.hubs.hub import Hub, Hubs, Member

_QUIET_S: Final = 0.05
"""So long after a response its client is taken to be at the live end."""

_QUIET_S_MAX: Final = 30.0
_STEADY_S: Final = 10.0
"""Who leaves a hub sooner waits twice as long before it looks for the next one."""

WriteParts = Callable[[int, Iterator[bytes]], Awaitable[None]]
"""Writes the parts of a response of so many bytes."""


class SharedStream:
    """One client, and what it has seen."""

    def __init__(
        self,
        shape: StreamShape,
        hubs: Hubs,
        encoding: StreamEncoding,
        stream: OpenStream,
        exchange: HttpExchange,
        request: Message,
        start: Callable[[Message], UpstreamCall],
        write_parts: WriteParts,
    ) -> None:
        self._shape = shape
        self._hubs = hubs
        self._encoding = encoding
        self._stream = stream
        self._exchange = exchange
        self._request = request
        self._start = start
        self._write_parts = write_parts
        self._next_id = _first_id(shape, request)
        """None while it is not known."""
        self._incarnation: str = getattr(request, shape.incarnation) if shape.incarnation else ""
        self._quiet_s = _QUIET_S
        self._key = exchange.tenant, encoding.headers[0], _without_place(shape, request)

    async def write_all(self, call: UpstreamCall, first: "asyncio.Future[bytes | None]") -> None:
        """Write the stream until it ends. `call` runs for as long as this does, unused at times.

        Raises HttpError, DecodeError, SlowReader and ClientGone.
        """
        self._hubs.follow(self._key)
        try:
            hub = await self._read(call, first)
            while hub is not None:
                call.cancel()
                await self._share(hub)
                again = self._stream.call = self._open(self._next_id, self._incarnation)
                with again.running(self._exchange):
                    await again.accepted()
                    hub = await self._read(again, asyncio.ensure_future(again.read()))
        finally:
            self._hubs.unfollow(self._key)

    async def _read(
        self, call: UpstreamCall, reading: "asyncio.Future[bytes | None]"
    ) -> Hub | None:
        """Write what a call brings, until there is a hub to join; None when it has ended."""
        try:
            while True:
                await asyncio.wait({reading}, timeout=self._quiet_s)
                if not reading.done() and (hub := self._hub(may_begin=True)) is not None:
                    return hub
                response = await reading
                if response is None:
                    return None
                await self._write_parts(len(response), self._parts(response))
                if (hub := self._hub(may_begin=False)) is not None:
                    return hub
                reading = asyncio.ensure_future(call.read())
        finally:
            reading.cancel()

    async def _share(self, hub: Hub) -> None:
        """Be written to by a hub, until it is closed or has gone on without this client."""
        assert self._next_id is not None, "it was compared with what the hub has"
        context = copy_context()
        principal = self._stream.principal
        member = self._stream.call = Member(
            _Sink(self._exchange, self._stream),
            self._next_id,
            principal.expires_at if principal is not None else 0.0,
            lambda next_id, incarnation: context.run(self._open, next_id, incarnation),
        )
        began_s = time.monotonic()
        is_first = not hub.member_count
        hub.join(member)
        if is_first:
            self._hubs.run(self._key, hub)
        try:
            with self._exchange.watching(on_gone=member.cancel):
                await self._take(hub, member)
        finally:
            hub.leave(member)
            self._next_id = member.next_id
            self._incarnation = hub.ring.incarnation or self._incarnation
        is_steady = time.monotonic() - began_s > _STEADY_S
        self._quiet_s = _QUIET_S if is_steady else min(2 * self._quiet_s, _QUIET_S_MAX)

    async def _take(self, hub: Hub, member: Member) -> None:
        while not hub.is_closed and member.next_id >= hub.ring.covered_from:
            if member.next_id >= hub.ring.end:
                await member.wait()
                continue
            text, next_id = hub.ring.take(member.next_id)
            with self._stream.writing():
                await self._exchange.write(text)
            member.next_id = next_id
            member.check()

    def _hub(self, *, may_begin: bool) -> Hub | None:
        if self._next_id is None:
            return None
        place = self._key, self._next_id, self._incarnation
        hub = self._hubs.covering(*place)
        if hub is None and may_begin:
            hub = self._hubs.begun(*place, self._encoding.pieces)
        return hub

    def _parts(self, response: bytes) -> Iterator[bytes]:
        for piece in self._encoding.pieces(response):
            yield piece.text
            self._next_id, self._incarnation = piece.last_id + 1, piece.incarnation

    def _open(self, next_id: int | None, incarnation: str) -> UpstreamCall:
        """A call that goes on from there; as the client has asked while nothing is known."""
        request = type(self._request)()
        request.CopyFrom(self._request)
        if next_id is not None:
            for name in self._shape.resume_clears:
                request.ClearField(name)
            setattr(request, self._shape.resumes_at, next_id)
        if incarnation:
            setattr(request, self._shape.incarnation, incarnation)
        return self._start(request)


class _Sink:
    """The client as its hub writes to it."""

    __slots__ = ("_exchange", "_stream")

    def __init__(self, exchange: HttpExchange, stream: OpenStream) -> None:
        self._exchange = exchange
        self._stream = stream

    @property
    def is_write_paused(self) -> bool:
        return self._exchange.is_write_paused

    async def write(self, text: bytes) -> None:
        self._stream.last_write_s = time.monotonic()
        await self._exchange.write(text)


def _first_id(shape: StreamShape, request: Message) -> int | None:
    """The id that the client asks for first, as far as the request tells."""
    if request.HasField(shape.resumes_at):
        first: int = getattr(request, shape.resumes_at)
        return first
    has_other = any(request.HasField(name) for name in shape.resume_clears)
    return None if has_other else 1


def _without_place(shape: StreamShape, request: Message) -> bytes:
    """What is asked for, wherever it begins."""
    shared = type(request)()
    shared.CopyFrom(request)
    for name in (shape.resumes_at, shape.incarnation, *shape.resume_clears):
        if name:
            shared.ClearField(name)
    return shared.SerializeToString(deterministic=True)
