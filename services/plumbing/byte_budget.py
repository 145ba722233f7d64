"""So many bytes for all who hold some at once. Knows not who they are."""

import asyncio
from collections import OrderedDict, deque
from contextlib import suppress


class ByteBudget:
    """Gives out bytes in the order of asking. For one event loop.

    What is given out must be released, by whoever got it. Nobody gets more than the whole:
    who asks `acquire` for that waits for ever.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._free = bytes_max
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def bytes_held(self) -> int:
        return self.bytes_max - self._free

    def has(self, byte_count: int) -> bool:
        """Whether so much could be had without waiting, and without overtaking anybody."""
        return not self._waiting and byte_count <= self._free

    def try_acquire(self, byte_count: int) -> bool:
        """Take so much if it can be had now; answers whether it was."""
        is_free = self.has(byte_count)
        if is_free:
            self._free -= byte_count
        return is_free

    async def acquire(self, byte_count: int) -> None:
        """Return once so much is free, and the caller's. Cancelling it takes nothing."""
        if self.try_acquire(byte_count):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, byte_count))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(byte_count)
            else:
                # It may have been passed over already, as one that nobody waits for.
                with suppress(ValueError):
                    self._waiting.remove((turn, byte_count))
                self.release(0)
            raise

    def release(self, byte_count: int) -> None:
        """Give back so much, to those whose turn it is."""
        self._free += byte_count
        while self._waiting and self._waiting[0][1] <= self._free:
            turn, wanted = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)


class FairBudget:
    """Gives out bytes to several owners, so that none holds up the others. For one event loop.

    An owner may hold as much as stays free for all others: one alone half of it, two a third
    each, so that who comes next finds some (the dynamic threshold of Choudhury and Hahne,
    1998). Who holds nothing is given whatever is free. Owners who wait take turns, and what
    one owner asks for is given in the order of asking.
    """

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._free = bytes_max
        self._held: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[_Turn]] = OrderedDict()

    @property
    def bytes_held(self) -> int:
        return self.bytes_max - self._free

    @property
    def is_waited_for(self) -> bool:
        return bool(self._waiting)

    def holds(self, owner: str) -> int:
        """So much is the owner's."""
        return self._held.get(owner, 0)

    def try_acquire(self, owner: str, byte_count: int) -> bool:
        """Take so much if it can be had now, and nobody waits; answers whether it was."""
        is_had = not self._waiting and self._fits(owner, byte_count)
        if is_had:
            self._take(owner, byte_count)
        return is_had

    async def acquire(self, owner: str, byte_count: int) -> None:
        """Return once so much is the owner's. Cancelling it takes nothing.

        Who asks for more than the whole waits for ever.
        """
        if self.try_acquire(owner, byte_count):
            return
        turn = _Turn(byte_count)
        self._waiting.setdefault(owner, deque()).append(turn)
        self._give()
        try:
            await turn.granted
        except asyncio.CancelledError:
            if turn.granted.done() and not turn.granted.cancelled():
                self.release(owner, byte_count)
            else:
                self._leave(owner, turn)
            raise

    def release(self, owner: str, byte_count: int) -> None:
        """Give back so much of what the owner holds, to those whose turn it is."""
        if not byte_count:
            return
        self._free += byte_count
        self._held[owner] -= byte_count
        if not self._held[owner]:
            del self._held[owner]
        self._give()

    def _fits(self, owner: str, byte_count: int) -> bool:
        held = self._held.get(owner, 0)
        left = self._free - byte_count
        return left >= held + byte_count if held else left >= 0

    def _take(self, owner: str, byte_count: int) -> None:
        self._free -= byte_count
        self._held[owner] = self._held.get(owner, 0) + byte_count

    def _leave(self, owner: str, turn: "_Turn") -> None:
        """Others may have waited behind it for less."""
        turns = self._waiting.get(owner)
        if turns is None or turn not in turns:
            return
        turns.remove(turn)
        if not turns:
            del self._waiting[owner]
        self._give()

    def _give(self) -> None:
        """To one owner after the other, until none is left whose next turn fits."""
        passed_over = 0
        while passed_over < len(self._waiting):
            owner, turns = next(iter(self._waiting.items()))
            if self._fits(owner, turns[0].byte_count):
                passed_over = 0
                turn = turns.popleft()
                if not turn.granted.done():
                    self._take(owner, turn.byte_count)
                    turn.granted.set_result(None)
            else:
                passed_over += 1
            if turns:
                self._waiting.move_to_end(owner)
            else:
                del self._waiting[owner]


class _Turn:
    """Somebody who waits for so many bytes."""

    __slots__ = ("byte_count", "granted")

    def __init__(self, byte_count: int) -> None:
        self.byte_count = byte_count
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
