"""A lattice as arrays for the kernels, and steps along one axis: what they do innermost."""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import inlined

Int: TypeAlias = Any
"""A whole number. The compiler takes int64, whatever Python and numpy call it."""

LENGTH = 0
STRIDE = 1
WRAPS = 2

# What a search answers when it returns.
REACHED = 1
EXHAUSTED = 2
SLICE_ENDED = 3  # the budget of expansions is used up: call again to go on
OPEN_LIST_FULL = 4  # the next expansion might not fit the open list: enlarge it, call again


class GridArrays(NamedTuple):
    """At most 2^25 sites in C order, some of them blocked."""

    blocked: NDArray[np.uint8]
    """One bit per site, the least significant bit of a byte first. A set bit blocks."""
    axes: NDArray[np.int64]
    """Of shape (d, 3), d <= 10: each axis's length, its stride in sites, and 1 for a ring.

    An axis of one site is left out, and a ring of two is told as open: it joins them once.
    """
    inverse_strides: NDArray[np.float64]
    """Of shape (d,)."""


@inlined
def is_blocked(lattice: GridArrays, site: Int) -> bool:
    """The bit of a site, the lowest of a byte first."""
    return bool(lattice.blocked[site >> 3] >> (site & 7) & 1)


@inlined
def after_step(at: Int, upward: Int, length: Int, wraps: Int) -> Int:
    """The coordinate a step along an axis leads to, or -1 where none leads."""
    if upward:
        if at + 1 < length:
            return at + 1
        return 0 if wraps else -1
    if at > 0:
        return at - 1
    return length - 1 if wraps else -1


@inlined
def axis_distance(a: Int, b: Int, length: Int, wraps: Int) -> Int:
    """How many steps along an axis lead from one coordinate to another, at least."""
    straight = abs(a - b)
    if wraps and straight > length - straight:
        return length - straight
    return straight


@inlined
def coordinate(rest: Int, inverse_stride: float) -> int:
    """`rest // stride` by one multiplication.

    Exact below 2^51 sites: the half keeps the product away from whole numbers by more than
    its rounding.
    """
    return int((rest + 0.5) * inverse_stride)


@inlined
def index_of(axes: NDArray[np.int64], at: NDArray[np.int64]) -> Int:
    """The C-order index of a site."""
    site = np.int64(0)
    for axis in range(axes.shape[0]):
        site += at[axis] * axes[axis, STRIDE]
    return site
