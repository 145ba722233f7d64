"""How long a call waits for its turn, and what it is told when that does not come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.lattice.errors import ComputeBusy
from services.plumbing import correlation

WAIT_S_MAX = 15.0
_SHARE = 0.5
"""Of the time that a call has left: the other half is for its answer."""


@asynccontextmanager
async def bounded_wait(busy: ComputeBusy) -> AsyncIterator[None]:
    """Around a wait: raises `busy` when it lasts half of the call's time, or 15 seconds.

    A caller that is told so can ask again; one whose deadline passes learns nothing.
    """
    call = correlation.bound()
    left_s = call.remaining_s() if call else None
    wait_s = WAIT_S_MAX if left_s is None else min(WAIT_S_MAX, _SHARE * left_s)
    timeout = asyncio.timeout(wait_s)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if timeout.expired():
            raise busy from None
        raise
