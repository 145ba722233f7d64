"""Puts the chunks of an array away while the next ones come."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

Put = Callable[[int, memoryview], Awaitable[bytes]]
"""Keeps the numbers of a chunk, and answers its digest."""

AT_ONCE = 3


class ChunkWriter:
    """So many chunks are put away at once; whoever adds one more waits.

    Inside its block what cannot be put away is raised by the next `add`, or at the end.
    """

    def __init__(self, put: Put) -> None:
        self._put = put
        self._room = asyncio.Semaphore(AT_ONCE)
        self._digests: dict[int, bytes] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            for task in self._under_way:
                task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def add(self, ordinal: int, data: memoryview) -> None:
        """Put a chunk away; its bytes are not changed any more."""
        await self._room.acquire()
        self._raise_failure()
        task = asyncio.create_task(self._put_away(ordinal, data))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def digests(self) -> dict[int, bytes]:
        """The digests of all chunks, once all are put away."""
        await asyncio.gather(*self._under_way)
        self._raise_failure()
        return self._digests

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _put_away(self, ordinal: int, data: memoryview) -> None:
        try:
            self._digests[ordinal] = await self._put(ordinal, data)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._failure = self._failure or error
        finally:
            self._room.release()
