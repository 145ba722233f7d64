"""Turns the runs of a path into its sites."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def expand(
    shape: Sequence[int],
    periodic: Sequence[bool],
    start: Sequence[int],
    run_steps: NDArray[np.int8],
    run_counts: NDArray[np.int64],
    limit: int,
) -> NDArray[np.int64]:
    """The first sites of a path from `start` on, at most `limit`: int64, of shape (n, axes).

    `run_steps` has shape (runs, axes), `run_counts` (runs,). Costs what it returns.
    """
    ends = np.cumsum(run_counts)
    counts = np.minimum(run_counts, np.maximum(limit - 1 - (ends - run_counts), 0))
    steps = np.repeat(run_steps.astype(np.int64), counts, axis=0)
    moved = np.zeros((min(limit, 1) + len(steps), len(shape)), np.int64)
    np.cumsum(steps, axis=0, out=moved[1:])
    for axis, (length, wraps) in enumerate(zip(shape, periodic, strict=True)):
        moved[:, axis] = _placed(start[axis], moved[:, axis], length, wraps)
    return moved


def _placed(at: int, moved: NDArray[np.int64], length: int, wraps: bool) -> NDArray[np.int64]:
    if not wraps:
        return at + moved
    # Below zero by one round first, so that no sum exceeds 64 bits on the longest ring.
    placed = (at - length) + moved % length
    return np.where(placed < 0, placed + length, placed)
