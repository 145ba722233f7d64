"""Answers that take long to turn into JSON: one slice of one of them between two looks at
the connections, tenants taking turns.

A thread would not do: it keeps the interpreter for longer than a slice takes.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from gateway.http import errors
from services.plumbing.budget import Budget


class LargeAnswers:
    """The large answers of one gateway that are on their way."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max` is what they may hold as they came; those of one tenant half of it."""
        self._bytes = Budget(bytes_max, share=bytes_max // 2)
        self._turns = Budget(1, share=1)

    @contextmanager
    def held(self, tenant: str, size_bytes: int) -> Iterator[None]:
        """Hold an answer inside the block; raises HttpError when too many are held.

        Nothing waits here: what waits is in memory already.
        """
        taken = self._bytes.take_now(size_bytes, tenant)
        if taken is None:
            raise errors.too_busy()
        try:
            yield
        finally:
            self._bytes.give_back(taken, tenant)

    async def in_turns(self, tenant: str, slices: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Make and yield what `slices` has, none of it empty, whenever it is its turn."""
        while True:
            async with self._turns.borrowed(1, tenant):
                made = next(slices, None)
                # Still its turn: others make theirs after the next look at the connections.
                await asyncio.sleep(0)
            if made is None:
                return
            if made:
                yield made
