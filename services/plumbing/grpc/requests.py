"""The messages of one call, each read when there is room for it. Knows no rpc.

gRPC hands a message over when all of it has come, and tells nobody before how large it is.
So room for the largest that the rpc takes is reserved before a message is asked for, and what
it turns out not to need is given back at once. Until it is asked for, HTTP/2 keeps all but
`UNREAD_BYTES_MAX` of it with its sender.

gRPC knows of a single limit for all rpcs. What has not come within `MOMENT_S` may be larger than
its rpc takes, so room for the largest of all is reserved then, or the call gives way soon:
without room is what the network brings in that time. Whoever sent what is larger, or kept others
waiting so, has that room reserved at once for some seconds.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import grpc.aio
from cachetools import TTLCache

from girih.status_details import MESSAGE_TOO_LARGE
from services.plumbing.budget import Budget
from services.plumbing.errors import InvalidInput, ResourceExhausted, Unavailable

Request = TypeVar("Request")

UNREAD_BYTES_MAX: Final = 2**14
"""What may come of a call before it is asked for."""

INLINE_BYTES_MAX: Final = 2**18 + 2**12
"""What is larger is parsed in a thread: its items are counted before, which may take 0.2 s when
all is done to make them many. A piece of 256 KiB, as arrays are sent in, is not larger with what
stands around it."""

OVERSIZE_BYTES: Final = 2**19
"""So much beyond the largest message is received all the same, to be refused by name. What is
larger is refused by gRPC, which knows no names."""

WAIT_S: Final = 5.0
"""How long a call waits for room."""

IDLE_S: Final = 1.0
"""How long a stream may be silent while others wait for its room."""

MESSAGE_S: Final = 10.0
"""How long the message of a call that has a single one may take while others wait."""

MOMENT_S: Final = 0.02
"""A small message, which is there as a rule when it is asked for, takes no longer."""

LOOKS_MAX: Final = 5
"""How often, a moment apart, room for the largest is looked for in vain before a call gives way.
A message that is there when the event loop was held up for a moment is read between two."""

DISTRUST_S: Final = 10.0
"""How long all messages of an owner may be the largest, once one was larger than its rpc takes."""

DISTRUSTED_MAX: Final = 4_096

CHECK_S: Final = 0.1
"""While calls wait, how often it is looked for those that must give way."""

DISCARD_S_MAX: Final = 1.0
DISCARD_BYTES_MAX: Final = 2**27
"""How long a stream that is refused is read on, and how much of it."""

SILENCE_S: Final = 0.05
"""Who writes nothing for so long, twice in a row, has stopped, or waits for an answer. Once may be
the event loop, which was held up."""


class MessageTooLarge(InvalidInput):
    """A message is larger than its rpc takes. Never retry unchanged."""

    reason = MESSAGE_TOO_LARGE


class ServerFull(ResourceExhausted):
    """The calls being served hold as much as this process gives them, or are as many."""

    reason = "SERVER_FULL"


class CallIdle(Unavailable):
    """The next message did not come while others waited for its room."""

    reason = "CALL_IDLE"


@dataclass(eq=False, slots=True)
class Reservation:
    """What a message holds, or may hold as soon as it has come."""

    owner: str
    byte_count: int


class RequestMemory:
    """What all calls of a process may hold together of what is sent to them.

    Each call holds for an owner; `Budget` says how much of it one owner gets.
    """

    def __init__(self, bytes_max: int, message_bytes_max: int) -> None:
        """`message_bytes_max` is that of the rpc which takes most."""
        self._budget = Budget(bytes_max)
        self._message_bytes_max = message_bytes_max
        self._largest = message_bytes_max + OVERSIZE_BYTES
        self._awaited: dict[_Awaited, None] = {}
        """The longest awaited first."""
        self._unbounded: dict[_Awaited, int] = {}
        """Of these, whose message may be larger than what it has reserved, and how often room
        for that was looked for."""
        self._distrusted: TTLCache[str, None] = TTLCache(DISTRUSTED_MAX, DISTRUST_S)
        self._next_check: asyncio.TimerHandle | None = None
        """There is one while anybody waits."""
        self._next_extension: asyncio.TimerHandle | None = None
        """There is one while any is unbounded."""

    @property
    def bytes_held(self) -> int:
        """By messages, and by calls whose message is under way."""
        return self._budget.lent

    @property
    def is_waited_for(self) -> bool:
        return self._budget.waiting > 0

    async def reserve(self, owner: str, bytes_max: int, *, is_first: bool = True) -> Reservation:
        """Room for a message of an rpc that takes `bytes_max`. Raises `ServerFull`.

        The first message of a call, which is there as a rule, comes before later ones of the
        owner's streams, which may be none yet.
        """
        is_small = bytes_max < self._message_bytes_max and owner not in self._distrusted
        wanted = bytes_max if is_small else self._largest
        reserved = self._budget.take_now(wanted, owner)
        if reserved is not None:
            return Reservation(owner, reserved)
        if self._next_check is None:
            self._check_later()
        try:
            async with asyncio.timeout(WAIT_S):
                rank = 0.0 if is_first else 1.0
                return Reservation(owner, await self._budget.take(wanted, owner, rank))
        except TimeoutError:
            raise ServerFull("the requests being served are too large together") from None

    def reserve_now(self, owner: str) -> Reservation | None:
        """Room for the largest message of all, if it is there."""
        reserved = self._budget.take_now(self._largest, owner)
        return None if reserved is None else Reservation(owner, reserved)

    def shrink(self, reservation: Reservation, byte_count: int) -> None:
        """Give back all but `byte_count` of what is reserved, if it is more."""
        unneeded = reservation.byte_count - byte_count
        if unneeded > 0:
            reservation.byte_count = byte_count
            self._budget.give_back(unneeded, reservation.owner)

    def distrust(self, owner: str) -> None:
        """Reserve the largest for whatever the owner sends, for some seconds."""
        self._distrusted[owner] = None

    async def awaited(
        self,
        message: Awaitable[Any],
        reservation: Reservation,
        silent_s_max: float,
    ) -> Any:  # noqa: ANN401
        """The message, once it has come.

        Raises `CallIdle` when that takes longer than `silent_s_max` and others wait for its room,
        or longer than some moments without room for what may become of it.
        """
        try:
            async with asyncio.timeout(None) as timeout:
                since_s = asyncio.get_running_loop().time()
                awaited = _Awaited(reservation, since_s, silent_s_max, timeout)
                self._awaited[awaited] = None
                if reservation.byte_count < self._largest:
                    self._unbounded[awaited] = 0
                    if self._next_extension is None:
                        self._extend_later()
                try:
                    return await message
                finally:
                    del self._awaited[awaited]
                    self._unbounded.pop(awaited, None)
        except TimeoutError:
            raise CallIdle("no message came, and others wait for its room") from None

    def _extend_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._next_extension = loop.call_later(MOMENT_S, self._extend)

    def _extend(self) -> None:
        """Reserve the largest for what has been awaited for a moment, or make it give way."""
        self._next_extension = None
        now_s = asyncio.get_running_loop().time()
        for awaited, look_count in list(self._unbounded.items()):
            if now_s - awaited.since_s < MOMENT_S:
                break
            reservation = awaited.reservation
            more = self._largest - reservation.byte_count
            if self._budget.take_beside(more, reservation.owner):
                reservation.byte_count += more
                del self._unbounded[awaited]
            elif look_count < LOOKS_MAX:
                self.distrust(reservation.owner)
                self._unbounded[awaited] = look_count + 1
            else:
                awaited.timeout.reschedule(now_s)
                del self._unbounded[awaited]
        if self._unbounded:
            self._extend_later()

    def _check_later(self) -> None:
        self._next_check = asyncio.get_running_loop().call_later(CHECK_S, self._check)

    def _check(self) -> None:
        """Make silent calls give way, and look again while anybody waits."""
        self._next_check = None
        for owner, count in self._budget.waiting_of().items():
            self._end_silent(owner, count)
        if self.is_waited_for:
            self._check_later()

    def _end_silent(self, owner: str, count: int) -> None:
        """Make up to `count` calls give way that have been silent for too long, streams first.

        Of the owner's own, unless that holds nothing: then of any.
        """
        now_s = asyncio.get_running_loop().time()
        is_own_wanted = self._budget.lent_to(owner) > 0
        silent = [
            one
            for one in self._awaited
            if one.must_give_way(now_s) and (one.reservation.owner == owner or not is_own_wanted)
        ]
        silent.sort(key=attrgetter("silent_s_max"))
        for one in silent[:count]:
            one.timeout.reschedule(now_s)


class Requests(Generic[Request]):
    """The messages of one call, and the room they hold.

    Iterating gives back a message's room when the next one is asked for.
    """

    def __init__(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        memory: RequestMemory,
        owner: str,
        parse: Callable[[bytes], Request],
        bytes_max: int,
    ) -> None:
        """A message may have up to `bytes_max`."""
        self._context = context
        self._memory = memory
        self._owner = owner
        self._parse = parse
        self._bytes_max = bytes_max
        self._held: deque[Reservation] = deque()
        self._is_first = True
        self._reading: asyncio.Task[Any] | None = None
        """Of a stream: the message that was asked for and has not come. What is newest of all that
        is held is for it."""

    async def only(self) -> Request:
        """The single message of the call; raises `InvalidInput` when there is none."""
        data = await self._read(self._context.read, MESSAGE_S)
        if data is None:
            raise InvalidInput("the call must have a message")
        return await self._parsed(data)

    def __aiter__(self) -> AsyncIterator[Request]:
        return self

    async def __anext__(self) -> Request:
        self.close()
        data = await self._read(self._next, IDLE_S)
        if data is None:
            raise StopAsyncIteration
        return await self._parsed(data)

    async def unsettled(self) -> AsyncGenerator[Request | MessageTooLarge, None]:
        """For several messages at a time: each holds its room until `settle` is called for it.

        In the place of one that is too large comes the refusal of it.
        """
        while True:
            try:
                data = await self._read(self._next, IDLE_S)
            except MessageTooLarge as refusal:
                yield refusal
                continue
            if data is None:
                return
            request = await self._parsed(data)
            del data
            yield request
            del request

    def settle(self) -> None:
        """The oldest message that holds room is not needed any more."""
        self._memory.shrink(self._held.popleft(), 0)

    def close(self) -> None:
        """None is needed any more."""
        while self._held:
            self.settle()

    async def discard_rest(self) -> None:
        """Throw away what is on its way, until its sender has stopped, for a moment at most.

        For a stream that is refused: a client of grpc.aio loses the status of a call that ends
        while it writes, and reports an internal error.
        """
        while len(self._held) > (self._reading is not None):
            self.settle()
        held = self._memory.reserve_now(self._owner)
        if held is None:
            # What HTTP/2 takes unasked arrives all the same.
            await asyncio.sleep(SILENCE_S)
            return
        self._held.append(held)
        left = DISCARD_BYTES_MAX
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_S_MAX):
                while left > 0 and not self._memory.is_waited_for:
                    message = await self._next_in_time()
                    if message is grpc.aio.EOF:
                        break
                    left -= len(message)
                    del message  # it may be large

    async def _next_in_time(self) -> Any:  # noqa: ANN401
        """The next message; raises TimeoutError when its sender is silent."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                return await self._next()
        async with asyncio.timeout(SILENCE_S):
            return await self._next()

    async def _next(self) -> Any:  # noqa: ANN401
        """The next message of a stream, as gRPC has it.

        It is read on when whoever awaits it is cancelled, and is there for who asks next. What gRPC
        brings for a read that was cut off is lost.
        """
        if self._reading is None:
            self._reading = asyncio.create_task(self._context.read(), name="read message")
            self._reading.add_done_callback(_look_at)
        message = await asyncio.shield(self._reading)
        self._reading = None
        return message

    async def _parsed(self, data: bytes) -> Request:
        if len(data) <= INLINE_BYTES_MAX:
            return self._parse(data)
        return await asyncio.to_thread(self._parse, data)

    async def _read(self, read: Callable[[], Awaitable[Any]], silent_s_max: float) -> bytes | None:
        """The next message, None behind the last.

        Raises `ServerFull`, `CallIdle` and `MessageTooLarge`.
        """
        memory = self._memory
        held = await memory.reserve(self._owner, self._bytes_max, is_first=self._is_first)
        self._is_first = False
        # Held for as long as gRPC may bring one: if this is left, until the call has ended.
        self._held.append(held)
        message: Any = await memory.awaited(read(), held, silent_s_max)
        if message is grpc.aio.EOF:
            memory.shrink(self._held.pop(), 0)
            return None
        byte_count = len(message)
        if byte_count > self._bytes_max:
            del message  # the error would hold it
            memory.shrink(held, 0)
            memory.distrust(self._owner)
            raise MessageTooLarge(
                f"a message of this rpc must be at most {self._bytes_max:,} bytes",
                byte_count=byte_count,
                byte_count_max=self._bytes_max,
            )
        memory.shrink(held, byte_count)
        data: bytes = message
        return data


def _look_at(reading: "asyncio.Task[Any]") -> None:
    """What it ends with when its call has ended concerns nobody."""
    if not reading.cancelled():
        reading.exception()


@dataclass(frozen=True, eq=False, slots=True)
class _Awaited:
    """A message that is to come."""

    reservation: Reservation
    since_s: float
    silent_s_max: float
    timeout: asyncio.Timeout

    def must_give_way(self, now_s: float) -> bool:
        """Whether it has been silent for too long, and has not been ended yet."""
        is_ended = self.timeout.when() is not None
        return not is_ended and now_s - self.since_s >= self.silent_s_max
