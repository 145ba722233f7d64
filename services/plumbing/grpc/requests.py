"""The messages of one call, each read when there is room for it. Knows no rpc.

gRPC hands a message over when all of it has come, and tells nobody before how large it is.
So room for the largest is reserved before a message is asked for, and what it turns out not
to need is given back at once. Until it is asked for, HTTP/2 keeps all but `UNREAD_BYTES_MAX`
of it with its sender.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import grpc.aio

from girih.status_details import MESSAGE_TOO_LARGE
from services.plumbing.budget import Budget
from services.plumbing.errors import InvalidInput, ResourceExhausted, Unavailable

Request = TypeVar("Request")

UNREAD_BYTES_MAX: Final = 2**14
"""What may come of a call before it is asked for."""

OVERSIZE_BYTES: Final = 2**19
"""So much beyond the largest message is received all the same, to be refused by name. What is
larger is refused by gRPC, which knows no names."""

WAIT_S: Final = 5.0
"""How long a call waits for room."""

IDLE_S: Final = 1.0
"""How long a stream may be silent while others wait for its room."""

MESSAGE_S: Final = 10.0
"""How long the message of a call that has a single one may take while others wait."""

CHECK_S: Final = 0.1
"""While calls wait, how often it is looked for those that must give way."""


class MessageTooLarge(InvalidInput):
    """A message is larger than any that this process takes. Never retry unchanged."""

    reason = MESSAGE_TOO_LARGE


class ServerFull(ResourceExhausted):
    """The calls being served hold as much as this process gives them, or are as many."""

    reason = "SERVER_FULL"


class CallIdle(Unavailable):
    """The next message did not come while others waited for its room."""

    reason = "CALL_IDLE"


class RequestMemory:
    """What all calls of a process may hold together of what is sent to them.

    Each call holds for an owner; `Budget` says how much of it one owner gets.
    """

    def __init__(self, bytes_max: int, message_bytes_max: int) -> None:
        self.message_bytes_max = message_bytes_max
        self._budget = Budget(bytes_max)
        self._largest = message_bytes_max + OVERSIZE_BYTES
        self._awaited: dict[_Awaited, None] = {}
        """The longest awaited first."""
        self._next_check: asyncio.TimerHandle | None = None
        """There is one while anybody waits."""

    @property
    def bytes_held(self) -> int:
        """By messages, and by calls whose message is under way."""
        return self._budget.lent

    @property
    def is_waited_for(self) -> bool:
        return self._budget.waiting > 0

    async def reserve(self, owner: str, *, is_first: bool = True) -> int:
        """Room for the largest message there is; answers how much. Raises `ServerFull`.

        The first message of a call, which is there as a rule, comes before later ones of the
        owner's streams, which may be none yet.
        """
        reserved = self._budget.take_now(self._largest, owner)
        if reserved is not None:
            return reserved
        if self._next_check is None:
            self._check_later()
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._budget.take(self._largest, owner, 0.0 if is_first else 1.0)
        except TimeoutError:
            raise ServerFull("the requests being served are too large together") from None

    def release(self, owner: str, byte_count: int) -> None:
        """Give back so much of what was reserved."""
        self._budget.give_back(byte_count, owner)

    async def awaited(
        self,
        message: Awaitable[Any],
        owner: str,
        silent_s_max: float,
    ) -> Any:  # noqa: ANN401
        """The message, once it has come.

        Raises `CallIdle` when that takes longer than `silent_s_max` and others wait for its room.
        """
        try:
            async with asyncio.timeout(None) as timeout:
                since_s = asyncio.get_running_loop().time()
                awaited = _Awaited(owner, since_s, silent_s_max, timeout)
                self._awaited[awaited] = None
                try:
                    return await message
                finally:
                    del self._awaited[awaited]
        except TimeoutError:
            raise CallIdle("no message came, and others wait for its room") from None

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
            if one.must_give_way(now_s) and (one.owner == owner or not is_own_wanted)
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
    ) -> None:
        self._context = context
        self._memory = memory
        self._owner = owner
        self._parse = parse
        self._held: deque[int] = deque()
        self._is_first = True

    async def only(self) -> Request:
        """The single message of the call; raises `InvalidInput` when there is none."""
        data = await self._read(MESSAGE_S)
        if data is None:
            raise InvalidInput("the call must have a message")
        return self._parse(data)

    def __aiter__(self) -> AsyncIterator[Request]:
        return self

    async def __anext__(self) -> Request:
        self.close()
        data = await self._read(IDLE_S)
        if data is None:
            raise StopAsyncIteration
        return self._parse(data)

    async def unsettled(self) -> AsyncGenerator[Request, None]:
        """For several messages at a time: each holds its room until `settle` is called for it."""
        while (data := await self._read(IDLE_S)) is not None:
            request = self._parse(data)
            del data
            yield request
            del request

    def settle(self) -> None:
        """The oldest message that holds room is not needed any more."""
        self._memory.release(self._owner, self._held.popleft())

    def close(self) -> None:
        """None is needed any more."""
        while self._held:
            self.settle()

    async def _read(self, silent_s_max: float) -> bytes | None:
        """The next message, None behind the last.

        Raises `ServerFull`, `CallIdle` and `MessageTooLarge`.
        """
        memory = self._memory
        reserved = await memory.reserve(self._owner, is_first=self._is_first)
        self._is_first = False
        # Held for as long as gRPC may bring one: if this is left, until the call has ended.
        self._held.append(reserved)
        message: Any = await memory.awaited(self._context.read(), self._owner, silent_s_max)
        self._held.pop()
        if message is grpc.aio.EOF:
            memory.release(self._owner, reserved)
            return None
        byte_count = min(len(message), reserved)
        self._held.append(byte_count)
        memory.release(self._owner, reserved - byte_count)
        if len(message) > memory.message_bytes_max:
            raise MessageTooLarge(
                f"a message must be at most {memory.message_bytes_max:,} bytes",
                byte_count=len(message),
                byte_count_max=memory.message_bytes_max,
            )
        data: bytes = message
        return data


@dataclass(frozen=True, eq=False, slots=True)
class _Awaited:
    """A message that is to come."""

    owner: str
    since_s: float
    silent_s_max: float
    timeout: asyncio.Timeout

    def must_give_way(self, now_s: float) -> bool:
        """Whether it has been silent for too long, and has not been ended yet."""
        is_ended = self.timeout.when() is not None
        return not is_ended and now_s - self.since_s >= self.silent_s_max
