"""Where the steps from a site lead, on any lattice. Knows no order of visiting."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import (
    LENGTH,
    STRIDE,
    WRAPS,
    GridArrays,
    Int,
    after_step,
    is_blocked,
)
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.steps import DOWN, UP, Steps, allocate_steps, list_steps, locate


class Ways(NamedTuple):
    """A lattice, which steps there are on it, and scratch to list those from one site."""

    lattice: GridArrays
    diagonal: bool
    """Steps lead along several axes at once."""
    cutting: bool
    """They need only the site free that they lead to."""
    steps: Steps
    at: NDArray[np.int64]
    """Of shape (d,): the coordinates of the site whose steps are listed."""

    @classmethod
    def on(cls, grid: Grid) -> Self:
        """Those of a grid, with scratch of their own: for one thread."""
        axis_count = len(grid.kept)
        steps = allocate_steps(axis_count)
        at = np.empty(axis_count, np.int64)
        return cls(grid.arrays, grid.diagonal, not grid.no_cutting, steps, at)


@kernel
def list_ways(ways: Ways, site: int) -> int:
    """List the steps from a free site to free sites; answer where they end.

    They are the entries from 1 on of `ways.steps`; entry 0 is the site itself.
    """
    locate(ways.lattice, site, ways.at)
    if not ways.diagonal:
        return int(list_straight(ways, site))
    count = list_steps(ways.lattice, ways.cutting, site, ways.at, ways.steps)
    return int(keep_free(ways, count) if ways.cutting else count)


@inlined
def keep_free(ways: Ways, count: Int) -> Int:
    """Leave out the steps that lead to blocked sites."""
    steps, kept = ways.steps, 1
    for entry in range(1, count):
        if not is_blocked(ways.lattice, steps.sites[entry]):
            steps.sites[kept] = steps.sites[entry]
            steps.codes[kept] = steps.codes[entry]
            steps.kinds[kept] = steps.kinds[entry]
            kept += 1
    return kept


@inlined
def list_straight(ways: Ways, site: Int) -> Int:
    """List the steps along one axis; their codes are as those of steps along several."""
    axes, steps = ways.lattice.axes, ways.steps
    count = 1
    power = 1
    for axis in range(axes.shape[0]):
        for digit in range(DOWN, UP + 1):
            to = after_step(ways.at[axis], digit - DOWN, axes[axis, LENGTH], axes[axis, WRAPS])
            near = site + (to - ways.at[axis]) * axes[axis, STRIDE]
            if to >= 0 and not is_blocked(ways.lattice, near):
                steps.sites[count] = near
                steps.codes[count] = digit * power
                steps.kinds[count] = 1
                count += 1
        power *= 3
    return count


@inlined
def step_back(ways: Ways, site: Int, code: Int) -> Int:
    """The site that the step of this code came from. Fills in `ways.at` with it."""
    axes = ways.lattice.axes
    locate(ways.lattice, site, ways.at)
    came = site
    for axis in range(axes.shape[0]):
        digit = code % 3
        code //= 3
        if digit:
            # The step back from an upward one leads down, and the other way round.
            to = after_step(ways.at[axis], UP - digit, axes[axis, LENGTH], axes[axis, WRAPS])
            came += (to - ways.at[axis]) * axes[axis, STRIDE]
            ways.at[axis] = to
    return came
