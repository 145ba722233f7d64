"""What sites cost, and which search suits that."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.grid import Grid

_RING_MAX = 1 << 12
"""Buckets: a step that costs most fits into so many."""
_DEPTH_MAX = 16.0
"""Of the steps that cost least so many lead through one bucket, at most."""
_NARROWER = 1.001
"""By so much buckets are narrower than the least cost, that rounding makes no difference."""


@dataclass(frozen=True, eq=False)
class SiteCosts:
    """What each site costs: finite and 0 or more where a site is free."""

    values: NDArray[Any]
    """Of shape (sites,) in C order, of any type of numbers."""
    mean: bool
    """A step costs the mean of both its sites, not what the one costs that it leads to."""
    digest: str = ""
    """Of the field that they come from, if they do."""

    @cached_property
    def as_floats(self) -> NDArray[np.float64]:
        """The same as doubles, 0 where a cost is no number: nobody goes there."""
        return np.nan_to_num(self.values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)

    def range_on(self, grid: Grid) -> tuple[float, float]:
        """The least and the largest cost of free sites; (1, 1) where there are none."""
        free = free_sites(grid)
        if not free.any():
            return 1.0, 1.0
        costs = np.where(free, self.values, self.values[free.argmax()])
        return float(costs.min()), float(costs.max())


@dataclass(frozen=True)
class BucketWidth:
    """How costs are put into buckets."""

    inverse: float
    """By what a length is multiplied to tell its bucket."""
    span: int
    """The most buckets that a step, or the lengths of the sources, lead on."""

    @classmethod
    def of(cls, least: float, largest: float, longest_share: float) -> "BucketWidth | None":
        """That for steps from `least` to `longest_share * largest`; None where a heap is better.

        It is the least cost, so that no site is expanded twice, or somewhat more where the
        buckets would be too many.
        """
        longest = longest_share * largest
        if least <= 0 or longest / least > _RING_MAX * _DEPTH_MAX:
            return None
        width = max(least / _NARROWER, longest / _RING_MAX)
        return cls(1 / width, int(longest / width) + 2)


def free_sites(grid: Grid) -> NDArray[np.bool_]:
    """Of shape (sites,): which are not blocked."""
    bits = np.unpackbits(~grid.blocked, count=grid.sites, bitorder="little")
    return bits.view(np.bool_)
