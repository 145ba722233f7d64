"""Looks at the parts of an array, one after the other, in threads."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import ChunkPart
from services.lattice.computing.compute import Compute, Stop
from services.lattice.computing.estimate import Estimate

Parts = AsyncGenerator[tuple[ChunkPart, NDArray[np.generic]]]
Look = Callable[[ChunkPart, NDArray[np.generic]], Any]


async def look_at_each(compute: Compute, estimate: Estimate, parts: Parts, look: Look) -> None:
    """Let `look` see each part, of at most so much work; the parts are closed behind that.

    Raises ComputeBusy before the first; who has begun is not sent away between two. A call that
    is cancelled ends with the part that is looked at.
    """
    is_begun = False
    async with aclosing(parts):
        async for part, numbers in parts:
            await compute.run(estimate, partial(_look, look, part, numbers), admitted=is_begun)
            is_begun = True


def _look(look: Look, part: ChunkPart, numbers: NDArray[np.generic], stop: Stop) -> None:
    stop.check()
    look(part, numbers)
