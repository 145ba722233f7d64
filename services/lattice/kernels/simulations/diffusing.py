"""Diffusion, explicit in time, with sources and walls, on a box of any number of axes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import Untyped, inlined, kernel

NONE = -1


def rows_beside(shape: Sequence[int], periodic: Sequence[bool]) -> NDArray[np.int32]:
    """The rows beside each row along the last axis, NONE beyond an open boundary.

    Of shape (rows, 2 (axes - 1)). On a ring of two a row has one beside it, as without the ring.
    """
    outer = tuple(shape[:-1])
    numbers = np.arange(np.prod(outer, dtype=np.int64), dtype=np.int32).reshape(outer)
    near = []
    for axis, length in enumerate(outer):
        for by in (1, -1):
            beside = np.roll(numbers, by, axis)
            if not periodic[axis] or length <= 2:
                beside[(slice(None),) * axis + (0 if by == 1 else -1,)] = NONE
            near.append(beside.ravel())
    if not near:
        return np.empty((1, 0), np.int32)
    return np.ascontiguousarray(np.stack(near, axis=1))


@inlined
def _is_inside(beside: NDArray[np.int32]) -> Untyped:
    """A row of a box of three axes has all four beside it."""
    return beside[0] >= 0 and beside[1] >= 0 and beside[2] >= 0 and beside[3] >= 0


@inlined
def _diffuse_inside(
    values: NDArray[np.float64],
    beside: NDArray[np.int32],
    own: NDArray[np.float64],
    out: NDArray[np.float64],
    share: float,
    wraps: bool,
) -> None:
    """One step of such a row, in one pass: as fast as memory brings it."""
    a, b, c, d = values[beside[0]], values[beside[1]], values[beside[2]], values[beside[3]]
    last = own.shape[0] - 1
    for x in range(1, last):
        flows = (own[x - 1] + own[x + 1]) + (a[x] + b[x]) + (c[x] + d[x]) - 6.0 * own[x]
        out[x] = own[x] + share * flows
    low = own[last] if wraps else own[0]
    high = own[0] if wraps else own[last]
    flows = (low + own[1]) + (a[0] + b[0]) + (c[0] + d[0]) - 6.0 * own[0]
    out[0] = own[0] + share * flows
    flows = (own[last - 1] + high) + (a[last] + b[last]) + (c[last] + d[last]) - 6.0 * own[last]
    out[last] = own[last] + share * flows


@kernel
def diffuse_rows(  # noqa: C901 - a loop for each way that values flow
    values: NDArray[np.float64],
    after: NDArray[np.float64],
    near: NDArray[np.int32],
    ring: bool,
    share: float,
    gains: NDArray[np.float64],
    free: NDArray[np.uint8],
    first: int,
    last: int,
) -> None:
    """Write the rows from `first` to before `last` of one step into `after`; (rows, length).

    `share` is diffusivity times time step; `gains` (rows, length), or (0, 0) for none, what each
    site gains in a step; `free` (rows, length), or (0, 0) where all are, 1 where no wall is.
    About 1 ns a site of a box of three axes.
    """
    length = values.shape[1]
    has_walls, has_gains = free.shape[0] > 0, gains.shape[0] > 0
    wraps = ring and length > 2
    for row in range(first, last):
        own, out = values[row], after[row]
        if not has_walls and near.shape[1] == 4 and length > 2 and _is_inside(near[row]):
            _diffuse_inside(values, near[row], own, out, share, wraps)
            if has_gains:
                for x in range(length):
                    out[x] += gains[row, x]
            continue
        for x in range(length):
            out[x] = 0.0
        if has_walls:
            walls = free[row]
            for x in range(length - 1):
                flow = (own[x + 1] - own[x]) * walls[x] * walls[x + 1]
                out[x] += flow
                out[x + 1] -= flow
            if wraps:
                flow = (own[0] - own[length - 1]) * walls[0] * walls[length - 1]
                out[length - 1] += flow
                out[0] -= flow
            for side in range(near.shape[1]):
                if near[row, side] >= 0:
                    beside, beyond = values[near[row, side]], free[near[row, side]]
                    for x in range(length):
                        out[x] += (beside[x] - own[x]) * walls[x] * beyond[x]
        else:
            for x in range(1, length - 1):
                out[x] = (own[x - 1] - own[x]) + (own[x + 1] - own[x])
            if length > 1:
                out[0] = own[1] - own[0]
                out[length - 1] = own[length - 2] - own[length - 1]
            if wraps:
                out[0] += own[length - 1] - own[0]
                out[length - 1] += own[0] - own[length - 1]
            for side in range(near.shape[1]):
                if near[row, side] >= 0:
                    beside = values[near[row, side]]
                    for x in range(length):
                        out[x] += beside[x] - own[x]
        for x in range(length):
            out[x] = own[x] + share * out[x]
        if has_gains:
            for x in range(length):
                out[x] += gains[row, x]
