"""Lends so much of something at once, to owners in turns. Knows neither what nor to whom."""

import asyncio
from bisect import insort_right
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Waiter:
    owner: str
    amount: int
    rank: float
    granted: asyncio.Future[None]


class _FairQueue:
    """Who waits: owners come one after the other, and each one's waiters by their rank."""

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str, list[_Waiter]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def counts(self) -> dict[str, int]:
        """How many wait of each owner."""
        return {owner: len(waiters) for owner, waiters in self._by_owner.items()}

    def heads(self) -> list[_Waiter]:
        """The first waiter of each owner, the owner served longest ago first."""
        return [waiters[0] for waiters in self._by_owner.values()]

    def add(self, waiter: _Waiter) -> None:
        insort_right(self._by_owner.setdefault(waiter.owner, []), waiter, key=_rank)
        self._count += 1

    def take_out(self, waiter: _Waiter) -> bool:
        """Take out a waiter; answers whether it still waited.

        When it was its owner's first, the owner has had its turn and is the last to come again,
        also when it gave up: one that keeps asking for what is not there would else hold up
        all others for ever.
        """
        waiters = self._by_owner.get(waiter.owner, [])
        if waiter not in waiters:
            return False
        was_first = waiters[0] is waiter
        waiters.remove(waiter)
        self._count -= 1
        if not waiters:
            del self._by_owner[waiter.owner]
        elif was_first:
            self._by_owner.move_to_end(waiter.owner)
        return True


def _rank(waiter: _Waiter) -> float:
    return waiter.rank


class Budget:
    """So much at once, of which an owner that holds some already may have up to its share.

    Without a fixed share that is as much as then stays free for all others: one owner alone
    gets half, two a third each, and who comes next finds some (the dynamic threshold of
    Choudhury and Hahne, 1998).

    Owners who wait take turns, so that who asks often holds up nobody who asks rarely. What
    an owner asks for beyond its share waits until it holds nothing, and others pass. Not for
    use from several threads.
    """

    def __init__(self, most: int, *, share: int | None = None) -> None:
        self.most = most
        self.lent = 0
        self._share = share
        self._lent_to: Counter[str] = Counter()
        self._queue = _FairQueue()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def waiting_of(self) -> dict[str, int]:
        """How many wait of each owner, of those of whom any do."""
        return self._queue.counts()

    def lent_to(self, owner: str) -> int:
        return self._lent_to[owner]

    def can_take_now(self, amount: int, owner: str) -> bool:
        """Whether `take` would return at once."""
        amount = self._lendable(amount)
        return not self._queue and self._fits(amount) and self._in_share(amount, owner)

    def take_now(self, amount: int, owner: str) -> int | None:
        """What `take` would return at once, if it would."""
        amount = self._lendable(amount)
        if self._queue or not (self._fits(amount) and self._in_share(amount, owner)):
            return None
        self._lend_to(amount, owner)
        return amount

    def take_beside(self, amount: int, owner: str) -> bool:
        """Take that much more for an owner that holds some, ahead of all who wait; answers
        whether it was there.
        """
        if not (self._fits(amount) and self._in_share(amount, owner)):
            return False
        self._lend_to(amount, owner)
        return True

    async def take(self, amount: int, owner: str, rank: float = 0.0) -> int:
        """Wait for that much, or for all there is when that is less; returns which.

        Of one owner the lowest rank comes first, and of one rank who asked first.
        """
        granted = asyncio.get_running_loop().create_future()
        waiter = _Waiter(owner, self._lendable(amount), rank, granted)
        self._queue.add(waiter)
        self._lend()
        try:
            await granted
        except asyncio.CancelledError:
            if self._queue.take_out(waiter):
                self._lend()
            else:
                self.give_back(waiter.amount, owner)
            raise
        return waiter.amount

    def give_back(self, amount: int, owner: str) -> None:
        """Give back what `take` returned, all or some of it."""
        self.lent -= amount
        self._lent_to[owner] -= amount
        if not self._lent_to[owner]:
            del self._lent_to[owner]
        if self._queue:
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
        while (waiter := self._next()) is not None:
            self._queue.take_out(waiter)
            self._lend_to(waiter.amount, waiter.owner)
            if not waiter.granted.done():
                waiter.granted.set_result(None)

    def _lend_to(self, amount: int, owner: str) -> None:
        self.lent += amount
        self._lent_to[owner] += amount

    def _next(self) -> _Waiter | None:
        """The waiter to grant now. An owner beyond its share is passed, with all it asks for.

        One within its share keeps its place until its amount is there, or small amounts of
        others would keep a large one waiting for ever.
        """
        for waiter in self._queue.heads():
            if self._in_share(waiter.amount, waiter.owner):
                return waiter if self._fits(waiter.amount) else None
        return None

    def _lendable(self, amount: int) -> int:
        return min(amount, self.most)

    def _fits(self, amount: int) -> bool:
        return self.lent + amount <= self.most

    def _in_share(self, amount: int, owner: str) -> bool:
        held = self._lent_to[owner]
        left = self.most - self.lent - amount
        return held == 0 or held + amount <= (left if self._share is None else self._share)
