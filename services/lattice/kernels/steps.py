"""The steps from a site along several axes at once (Moore): which there are and lead where."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import (
    LENGTH,
    STRIDE,
    WRAPS,
    GridArrays,
    Int,
    after_step,
    coordinate,
    is_blocked,
)
from services.lattice.kernels.compiled import inlined

# A step's code has one ternary digit per axis: 0 stays, 1 moves down, 2 moves up.
DOWN = 1
UP = 2


class Steps(NamedTuple):
    """Scratch for the steps from one site, each array of shape (3^d,)."""

    sites: NDArray[np.int64]
    """Where each leads."""
    codes: NDArray[np.int64]
    kinds: NDArray[np.int64]
    """On how many axes each moves."""
    allowed: NDArray[np.uint8]
    """By code, not by place as the others: what is known of the steps listed so far."""


def allocate_steps(axis_count: int) -> Steps:
    """Room for `3 ** axis_count` steps away from one site, that to itself included."""
    count = 3**axis_count
    return Steps(
        sites=np.empty(count, np.int64),
        codes=np.empty(count, np.int64),
        kinds=np.empty(count, np.int64),
        allowed=np.ones(count, np.uint8),
    )


@inlined
def locate(lattice: GridArrays, site: Int, at: NDArray[np.int64]) -> None:
    """Fill in a site's coordinates."""
    for axis in range(lattice.axes.shape[0]):
        at[axis] = coordinate(site, lattice.inverse_strides[axis])
        site -= at[axis] * lattice.axes[axis, STRIDE]


@inlined
def list_steps(
    lattice: GridArrays, cutting: bool, site: Int, at: NDArray[np.int64], steps: Steps
) -> int:
    """List where the steps from a site lead, and answer how many; entry 0 is the site itself.

    The steps along the axes 0..j are those along 0..j-1, each as it is, moved down and moved
    up. Without cutting a step is allowed when its site is free and every step with one of its
    axes left out is allowed: by induction the whole box is free. So nothing is built on a
    step that is not allowed. With cutting, blocked sites are listed too, being built on.
    `at` has the site's coordinates.
    """
    steps.sites[0] = site
    steps.codes[0] = 0
    steps.kinds[0] = 0
    count = 1
    power = 1
    for axis in range(lattice.axes.shape[0]):
        length = lattice.axes[axis, LENGTH]
        stride = lattice.axes[axis, STRIDE]
        base_count = count
        for digit in range(DOWN, UP + 1):
            near_at = after_step(at[axis], digit - DOWN, length, lattice.axes[axis, WRAPS])
            if near_at >= 0:
                offset = (near_at - at[axis]) * stride
                count = move_on(lattice, cutting, steps, base_count, count, offset, digit * power)
        power *= 3
    return count


@inlined
def move_on(
    lattice: GridArrays,
    cutting: bool,
    steps: Steps,
    base_count: Int,
    count: Int,
    offset: Int,
    move: Int,
) -> Int:
    """Add to a list its first `base_count` steps, moved along one more axis."""
    for base in range(base_count):
        site = steps.sites[base] + offset
        code = steps.codes[base] + move
        kind = steps.kinds[base]
        if not cutting:
            free = not is_blocked(lattice, site) and is_box_free(steps, base, move)
            steps.allowed[code] = free
            if not free:
                continue
        steps.sites[count] = site
        steps.codes[count] = code
        steps.kinds[count] = kind + 1
        count += 1
    return count


@inlined
def is_box_free(steps: Steps, base: Int, move: Int) -> bool:
    """Whether a step with each of its moves left out in turn, plus `move`, is allowed."""
    code = steps.codes[base]
    left = code
    power = 1
    while left:
        digit = left % 3
        if digit and not steps.allowed[code - digit * power + move]:
            return False
        left //= 3
        power *= 3
    return True


@inlined
def opposite(code: Int) -> Int:
    """The code of the step back."""
    back = 0
    power = 1
    while code:
        back += (3 - code % 3) % 3 * power
        code //= 3
        power *= 3
    return back
