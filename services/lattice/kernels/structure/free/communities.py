"""The boxes that a free lattice falls into so that modularity is largest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.free.axes import Axis, axes_of


@dataclass(frozen=True)
class Boxes:
    """Into how many parts each axis is cut, as equal as may be, and the modularity of the boxes."""

    parts: tuple[int, ...]
    modularity: float

    @property
    def count(self) -> int:
        return math.prod(self.parts)

    def labels(self, geometry: Geometry, sites: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which box sites are in, of shape (n, axes)."""
        label = np.zeros(len(sites), np.int64)
        for column, (length, parts) in enumerate(zip(geometry.shape, self.parts, strict=True)):
            label = label * parts + _part_of(sites[:, column], length, parts)
        return label


def _part_of(at: NDArray[np.int64], length: int, parts: int) -> NDArray[np.int64]:
    """Which part of an axis sites are in: p begins at p * length / parts, rounded up."""
    # What 64 bits do not hold is multiplied by Python.
    exact = at if (length - 1) * parts < 1 << 63 else at.astype(np.object_)
    numbers: NDArray[np.int64] = (exact * parts // length).astype(np.int64, copy=False)
    return numbers


@dataclass(frozen=True)
class _Cut:
    """What an axis in so many parts adds to modularity: sums over its parts."""

    kept_edges: int
    squares: float
    """Of the sizes."""
    crossed: float
    """Of sizes times degrees."""
    degrees: float
    """Of the squares of degrees."""


def best_boxes(geometry: Geometry) -> Boxes:
    """The best of all ways to cut each axis evenly that changing one axis at a time finds.

    The modularity of boxes is a sum of products over axes, whatever the size of the lattice: O(1)
    for each way that is tried.
    """
    axes = axes_of(geometry)
    parts = [_first_guess(geometry, axis) for axis in axes]
    best = _modularity(geometry, axes, parts)
    step_count = [max(1, part // 2) for part in parts]
    while any(step_count):
        improved = False
        for place, axis in enumerate(axes):
            for change in (-step_count[place], step_count[place]):
                tried = list(parts)
                tried[place] = min(max(1, parts[place] + change), axis.length)
                value = _modularity(geometry, axes, tried)
                if value > best + 1e-15:
                    parts, best, improved = tried, value, True
        if not improved:
            step_count = [step // 2 for step in step_count]
    return Boxes(tuple(parts), best)


def _first_guess(geometry: Geometry, axis: Axis) -> int:
    """Boxes of about as many sites along each axis as balance cuts and chance: N^(1 / (d + 1))."""
    axes = sum(length > 1 for length in geometry.shape)
    side = max(1.0, float(geometry.sites) ** (1 / (axes + 1)))
    return int(min(axis.length, max(1, round(axis.length / side))))


def _modularity(geometry: Geometry, axes: Sequence[Axis], parts: Sequence[int]) -> float:
    cuts = [_cut(axis, count) for axis, count in zip(axes, parts, strict=True)]
    edges = geometry.edges
    if not edges:
        return 0.0
    sites = geometry.sites
    inside = sum(
        sites // axis.length * cut.kept_edges for axis, cut in zip(axes, cuts, strict=True)
    )
    squares = 0.0
    for i in range(len(cuts)):
        for j in range(len(cuts)):
            product = 1.0
            for k, cut in enumerate(cuts):
                if k in (i, j):
                    product *= cut.degrees if i == j else cut.crossed
                else:
                    product *= cut.squares
            squares += product
    return inside / edges - squares / float(2 * edges) ** 2


def _cut(axis: Axis, parts: int) -> _Cut:
    """Parts have one of two sizes, and those at the ends of a path a degree less at the end."""
    length = axis.length
    small, larger = divmod(length, parts)
    sizes = {small + 1: larger, small: parts - larger}
    cut_edges = (parts if parts > 1 else 0) if axis.ring else parts - 1
    squares = sum(float(size) ** 2 * count for size, count in sizes.items())
    full = 2.0 if length > 1 else 0.0
    degrees, crossed = full * full * squares, full * squares
    if not axis.ring and length > 1:
        for size, ends in _end_sizes(length, parts):
            degrees += (full * size - ends) ** 2 - (full * size) ** 2
            crossed -= ends * size
    return _Cut(axis.edge_count - cut_edges, squares, crossed, degrees)


def _end_sizes(length: int, parts: int) -> list[tuple[int, int]]:
    """The first part and the last, with how many ends of the path each has."""
    if parts == 1:
        return [(length, 2)]
    first = -(-length // parts)
    last = length - -(-(parts - 1) * length // parts)
    return [(first, 1), (last, 1)]
