"""One call of a service for all clients that follow the same: each item read and encoded once.

A hub begins at the live end. Whoever has seen everything up to there joins it, and is written to
by it for as long as it takes what it is sent. Who is a little behind takes what it lacks from the
ring by itself; who is behind the ring leaves. Ids say what each has seen: so every item reaches
every client once and in order, wherever it comes from. Knows no HTTP beyond bytes, and no gRPC.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.hubs.ring import Piece, Ring, RingBytes
from services.plumbing.logging import get_logger

SPACING_S: Final = 0.02
"""Between two rounds of writing: what comes meanwhile is one part for each client."""

_TURN_COUNT: Final = 64
"""Clients written to in one turn of the event loop: a millisecond or two, between which others
have theirs."""

_STEADY_S: Final = 1.0
"""A call that ends sooner, with nothing sent, is not begun again."""

_log = get_logger("hubs")


class Upstream(Protocol):
    """A call that brings items."""

    async def accepted(self) -> bool:
        """Whether the service has taken it on, once it has or has ended it; raises HttpError."""

    async def read(self) -> bytes | None:
        """The next response; raises HttpError."""

    def end(self, error: HttpError) -> None:
        """End it soon, with this error."""


class Sink(Protocol):
    """Where a client is written to."""

    @property
    def is_write_paused(self) -> bool:
        """The client has not taken what was written."""

    async def write(self, text: bytes) -> None:
        """Returns at once while that is not so."""


class Member:
    """A client of a hub. Its task waits, or takes what it lacks, and never both."""

    def __init__(
        self,
        sink: Sink,
        next_id: int,
        expires_at: float,
        open_call: Callable[[int, str], Upstream],
    ) -> None:
        """`open_call` begins a call as this client, at an id of an incarnation."""
        self.sink = sink
        self.next_id = next_id
        """It was sent everything before."""
        self.expires_at = expires_at
        """Until then it may be sent anything."""
        self.open_call = open_call
        self.end_reason: HttpError | None = None
        self._is_gone = False
        self._waiting: asyncio.Future[None] | None = None

    @property
    def is_waiting(self) -> bool:
        """Nothing is written to it by its own task."""
        return self._waiting is not None

    async def wait(self) -> None:
        """Until its task has something to do. Raises what it is to end with."""
        self.check()
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None
        self.check()

    def wake(self) -> None:
        """Have its task look by itself."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def end(self, error: HttpError) -> None:
        """End it soon, with this error, unless another one came first."""
        self.end_reason = self.end_reason or error
        self.wake()

    def cancel(self) -> None:
        """The client has gone."""
        self._is_gone = True
        if self._waiting is not None:
            self._waiting.cancel()

    def check(self) -> None:
        """Raise what its task is to end with."""
        if self.end_reason is not None:
            raise self.end_reason
        if self._is_gone:
            raise asyncio.CancelledError


class Hub:
    """One stream, and all who share it."""

    def __init__(
        self,
        first_id: int,
        incarnation: str,
        encode: Callable[[bytes], Iterable[Piece]],
        response_bytes_max: int,
        together: RingBytes,
    ) -> None:
        """A response of more than `response_bytes_max` ends it: each client reads that alone."""
        self.ring = Ring(first_id, incarnation, together)
        self.is_closed = False
        self._encode = encode
        self._response_bytes_max = response_bytes_max
        self._members: dict[Member, None] = {}
        self._lender: Member | None = None
        """Whose call it is that brings the items."""
        self._call: Upstream | None = None
        self._is_handed_over = False
        self._has_more = asyncio.Event()

    @property
    def member_count(self) -> int:
        return len(self._members)

    def join(self, member: Member) -> None:
        self._members[member] = None

    def leave(self, member: Member) -> None:
        """Whose call it is takes it along: another one's follows, or none."""
        self._members.pop(member, None)
        if self._call is not None and (member is self._lender or not self._members):
            self._is_handed_over = True
            self._call.end(errors.shutting_down())

    async def run(self) -> None:
        """Read and write until nobody is there, or no call can be had; then it is closed."""
        writing = asyncio.create_task(self._write_on(), name="write to the clients of a hub")
        try:
            while self._members and await self._read_on():
                pass
        except DecodeError:
            pass  # each client is told by itself
        except Exception as error:  # noqa: BLE001 - a bug, and clients can do without
            _log.error("a hub failed unexpectedly", exc_info=error)
        finally:
            self.is_closed = True
            writing.cancel()
            self.ring.clear()
            for member in self._members:
                member.wake()

    async def _read_on(self) -> bool:
        """Read by the call of one of the clients until it ends; whether another one may follow."""
        # Not by the one whose call has just ended, and by the token that lasts longest.
        others = [one for one in self._members if one is not self._lender]
        self._lender = max(others or self._members, key=lambda one: one.expires_at)
        call = self._call = self._lender.open_call(self.ring.end, self.ring.incarnation)
        began_s, first_end = time.monotonic(), self.ring.end
        self._is_handed_over = False
        try:
            await call.accepted()
            while (response := await call.read()) is not None:
                if len(response) > self._response_bytes_max:
                    return False
                for piece in self._encode(response):
                    self.ring.add(piece)
                self._has_more.set()
                del response
        except HttpError:
            is_steady = time.monotonic() - began_s > _STEADY_S
            return self._is_handed_over or is_steady or self.ring.end > first_end
        finally:
            self._call = None
            call.end(errors.shutting_down())
        return False

    async def _write_on(self) -> None:
        written = self.ring.end
        while True:
            await self._has_more.wait()
            self._has_more.clear()
            began_s = time.monotonic()
            while written < self.ring.end:
                written = await self._write(max(written, self.ring.covered_from))
            await asyncio.sleep(max(0.0, began_s + SPACING_S - time.monotonic()))

    async def _write(self, first_id: int) -> int:
        """Write what is next to all who wait for it; the others look by themselves."""
        text, next_id = self.ring.take(first_id)
        for number, member in enumerate(tuple(self._members)):
            sink = member.sink
            if member.next_id >= next_id:
                continue
            if member.next_id == first_id and member.is_waiting and not sink.is_write_paused:
                member.next_id = next_id
                # Returns at once, so nobody else writes meanwhile.
                await sink.write(text)
            else:
                member.wake()
            if number % _TURN_COUNT == _TURN_COUNT - 1:
                await asyncio.sleep(0)
        return next_id


class Hubs:
    """The hubs of one kind of stream, by what is followed."""

    def __init__(
        self,
        response_bytes_max: int,
        together: RingBytes,
    ) -> None:
        self._response_bytes_max = response_bytes_max
        self._together = together
        self._tasks: set[asyncio.Task[None]] = set()
        self._hubs: dict[object, Hub] = {}
        self._follower_counts: dict[object, int] = {}

    def follow(self, key: object) -> None:
        """There is one more who would share a hub."""
        self._follower_counts[key] = self._follower_counts.get(key, 0) + 1

    def unfollow(self, key: object) -> None:
        """There is one less."""
        left = self._follower_counts[key] - 1
        if left:
            self._follower_counts[key] = left
        else:
            del self._follower_counts[key]

    def covering(self, key: object, next_id: int, incarnation: str) -> Hub | None:
        """The hub that who has seen so much can join."""
        hub = self._hubs.get(key)
        if hub is None or hub.is_closed or not hub.ring.covers(next_id, incarnation):
            return None
        return hub

    def begun(
        self,
        key: object,
        next_id: int,
        incarnation: str,
        encode: Callable[[bytes], Iterable[Piece]],
    ) -> Hub | None:
        """A hub that begins there; None where there is one, or nobody to share it with."""
        if key in self._hubs or self._follower_counts.get(key, 0) < 2:
            return None
        hub = Hub(next_id, incarnation, encode, self._response_bytes_max, self._together)
        self._hubs[key] = hub
        return hub

    def run(self, key: object, hub: Hub) -> None:
        """Have a hub work that has its first member."""
        task = asyncio.create_task(self._run(key, hub), name="hub")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, key: object, hub: Hub) -> None:
        try:
            await hub.run()
        finally:
            if self._hubs.get(key) is hub:
                del self._hubs[key]
