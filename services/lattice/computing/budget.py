"""Lends so much of something at once, to owners in turns. Knows not what it lends, nor to whom."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Turn:
    owner: str
    amount: int
    lent: asyncio.Future[None]


class _Line:
    """Turns that wait: owners come one after the other, and each one's in order of asking."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[_Turn]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def heads(self) -> list[_Turn]:
        """The first turn of each owner, whoever was served longest ago first."""
        return [turns[0] for turns in self._of.values()]

    def join(self, turn: _Turn) -> None:
        self._of.setdefault(turn.owner, deque()).append(turn)
        self._count += 1

    def leave(self, turn: _Turn) -> bool:
        """Take a turn out of the line; answers whether it was still in it."""
        turns = self._of.get(turn.owner, deque())
        if turn not in turns:
            return False
        turns.remove(turn)
        self._count -= 1
        if not turns:
            del self._of[turn.owner]
        return True

    def served(self, turn: _Turn) -> None:
        """Take out a turn that had its way: its owner is the last to come again."""
        self.leave(turn)
        if turn.owner in self._of:
            self._of.move_to_end(turn.owner)


class Budget:
    """So much at once, of which an owner that holds some already may have up to its share.

    Owners who wait take turns, so that who asks often holds up nobody who asks rarely. What
    an owner asks for beyond its share waits until it holds nothing, and others pass. Not for
    use from several threads.
    """

    def __init__(self, most: int, *, share: int) -> None:
        self.most = most
        self.lent = 0
        self._share = share
        self._lent_to: Counter[str] = Counter()
        self._line = _Line()

    @property
    def waiting(self) -> int:
        return len(self._line)

    def has_room_for(self, amount: int, owner: str) -> bool:
        """Whether that much could be had without waiting."""
        amount = self._lendable(amount)
        return not self._line and self._fits(amount) and self._in_share(amount, owner)

    async def take(self, amount: int, owner: str) -> int:
        """Wait for that much, or for all there is when that is less, and tell which."""
        turn = _Turn(owner, self._lendable(amount), asyncio.get_running_loop().create_future())
        self._line.join(turn)
        self._lend()
        try:
            await turn.lent
        except asyncio.CancelledError:
            if self._line.leave(turn):
                self._lend()
            else:
                self.give_back(turn.amount, owner)
            raise
        return turn.amount

    def give_back(self, amount: int, owner: str) -> None:
        """Return what `take` told of, all or some of it."""
        self.lent -= amount
        self._lent_to[owner] -= amount
        if not self._lent_to[owner]:
            del self._lent_to[owner]
        self._lend()

    @asynccontextmanager
    async def borrowed(self, amount: int, owner: str) -> AsyncIterator[None]:
        """Hold that much inside the block."""
        amount = await self.take(amount, owner)
        try:
            yield
        finally:
            self.give_back(amount, owner)

    def _lend(self) -> None:
        while (turn := self._next()) is not None:
            self._line.served(turn)
            self.lent += turn.amount
            self._lent_to[turn.owner] += turn.amount
            if not turn.lent.done():
                turn.lent.set_result(None)

    def _next(self) -> _Turn | None:
        """Whose turn it is. Who is beyond its share is passed, with all that it asks for.

        Who is not keeps its place until there is room, or small turns of others would keep a
        large one waiting for ever.
        """
        for turn in self._line.heads():
            if self._in_share(turn.amount, turn.owner):
                return turn if self._fits(turn.amount) else None
        return None

    def _lendable(self, amount: int) -> int:
        return min(amount, self.most)

    def _fits(self, amount: int) -> bool:
        return self.lent + amount <= self.most

    def _in_share(self, amount: int, owner: str) -> bool:
        held = self._lent_to[owner]
        return held == 0 or held + amount <= self._share
