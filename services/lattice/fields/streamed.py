"""The messages of a stream whose bytes count. Knows nothing of what they are written to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from services.plumbing.errors import InvalidInput, ServiceError

Request = TypeVar("Request", bound=Any)
"""A message with the field `body`, a `google.api.HttpBody`."""

_UNHEARD_BYTES_MAX = 1 << 27
_UNHEARD_S_MAX = 1.0
"""How much more is taken of a call that is refused, and for how long."""


async def first_of(requests: AsyncIterator[Request]) -> Request:
    """The first message; raises InvalidInput where there is none."""
    first = await anext(requests, None)
    if first is None:
        raise InvalidInput.of("body", "must be sent")
    return first


async def pieces_of(first: Request, requests: AsyncIterator[Request]) -> AsyncIterator[bytes]:
    """The bytes of all messages."""
    yield first.body.data
    async for request in requests:
        yield request.body.data


@asynccontextmanager
async def heard_out(requests: AsyncIterator[Any]) -> AsyncIterator[None]:
    """Around a call that may be refused before all its messages have come.

    Clients of grpc.aio lose the status of a call that ends while they write, and report an
    internal error. So what is on its way is thrown away first, for a moment.
    """
    try:
        yield
    except ServiceError:
        left = _UNHEARD_BYTES_MAX
        with suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(_UNHEARD_S_MAX):
                async for request in requests:
                    left -= len(request.body.data)
                    if left < 0:
                        break
        raise
