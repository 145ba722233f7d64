"""Steps along one axis and reading a bitmap: what every kernel does innermost.

A lattice is told to the kernels as

blocked : uint8 array of shape (bitmap bytes,)
    One bit per site in C order, the least significant bit first. A set bit blocks.
axes : int64 array of shape (d, 3), 0 <= d <= 10
    Per axis its length, its stride in sites, and 1 where it is a ring. An axis of one site
    is left out, and a ring of two sites is told as open, since it joins them once.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

LENGTH = 0
STRIDE = 1
WRAPS = 2

# What a search answers when it returns.
FOUND = 1
EXHAUSTED = 2
SLICE_ENDED = 3  # the budget of expansions is used up: call again to go on
MORE_ROOM = 4  # the next expansion might not fit the open list: enlarge it, call again


@njit(nogil=True, cache=True)
def is_blocked(blocked: NDArray[np.uint8], site: int) -> int:
    return (blocked[site >> 3] >> (site & 7)) & 1


@njit(nogil=True, cache=True)
def after_step(at: int, upward: int, length: int, wraps: int) -> int:
    """The coordinate a step along an axis leads to, or -1 where none leads."""
    if upward:
        if at + 1 < length:
            return at + 1
        return 0 if wraps else -1
    if at > 0:
        return at - 1
    return length - 1 if wraps else -1


@njit(nogil=True, cache=True)
def axis_distance(a: int, b: int, length: int, wraps: int) -> int:
    """How many steps along the axis lead from one coordinate to another, at least."""
    straight = abs(a - b)
    if wraps and straight > length - straight:
        return length - straight
    return straight


@njit(nogil=True, cache=True)
def reciprocals(axes: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 / stride per axis, for `coordinate`."""
    inverse = np.empty(axes.shape[0])
    for axis in range(axes.shape[0]):
        inverse[axis] = 1.0 / axes[axis, STRIDE]
    return inverse


@njit(nogil=True, cache=True)
def coordinate(rest: int, inverse_stride: float) -> int:
    """`rest // stride` by one multiplication.

    Exact below 2^51 sites: the half keeps the product away from whole numbers by more than
    its rounding.
    """
    return int((rest + 0.5) * inverse_stride)
