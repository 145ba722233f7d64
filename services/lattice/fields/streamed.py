"""The messages of a stream whose bytes count. Knows nothing of what they are written to."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from services.plumbing.errors import InvalidInput
from services.plumbing.grpc.requests import CallIdle

Request = TypeVar("Request", bound=Any)
"""A message with the field `body`, a `google.api.HttpBody`."""

PACE_S: Final = 5.0
PACE_BYTES: Final = 1 << 20
"""So much comes in that time, which is less than anybody waits for room, or the call gives way."""


async def first_of(requests: AsyncIterator[Request]) -> Request:
    """The first message; raises InvalidInput where there is none."""
    first = await anext(requests, None)
    if first is None:
        raise InvalidInput.of("body", "must be sent")
    return first


async def pieces_of(
    first: Request, requests: AsyncIterator[Request], is_waited_for: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The bytes of all messages.

    What is to become of them holds room that others may wait for, as `is_waited_for` tells. Who
    sends slower than `PACE_BYTES` in `PACE_S` then gives way: raises CallIdle.
    """
    yield first.body.data
    pace = _Pace(is_waited_for)
    while (request := await pace.next(requests)) is not None:
        yield request.body.data


class _Pace:
    """How much comes while it is waited for, in one span of `PACE_S` after the other."""

    def __init__(self, is_waited_for: Callable[[], bool]) -> None:
        self._is_waited_for = is_waited_for
        self._begin()

    def _begin(self) -> None:
        self._left_s = PACE_S
        self._missing_bytes = PACE_BYTES

    async def next(self, requests: AsyncIterator[Request]) -> Request | None:
        # A task, since to ask anew for what was asked for already would lose it.
        asking = asyncio.create_task(_next_of(requests), name="next piece")
        try:
            while not asking.done():
                await self._wait(asking)
        finally:
            asking.cancel()
        request = asking.result()
        if request is not None:
            self._missing_bytes -= len(request.body.data)
            self._check()
        return request

    async def _wait(self, asking: "asyncio.Task[Request | None]") -> None:
        began_s = time.monotonic()
        await asyncio.wait([asking], timeout=max(0.0, self._left_s))
        self._left_s -= time.monotonic() - began_s
        if not asking.done():
            self._check()

    def _check(self) -> None:
        if self._left_s > 0:
            return
        if self._missing_bytes > 0 and self._is_waited_for():
            raise CallIdle("the bytes come slowly, and others wait for the room that they take")
        self._begin()


async def _next_of(requests: AsyncIterator[Request]) -> Request | None:
    return await anext(requests, None)
