"""Heat on a free lattice: kernels along each axis, and the resistances that they add up to."""

import math

import numpy as np
from numpy.typing import NDArray

from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.free.axes import Axis, axes_of
from services.lattice.kernels.structure.free.quadrature import inverse_by_exponentials

MODES_MAX = 1_000_000


def heat_along(
    axis: Axis, time: float, source: int, sites: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How much of what is at one site of an axis at first is at others after a time.

    On a long axis only what heat can reach is looked at: the rest of it is less than rounding.
    """
    reach = int(2 * time + 14 * math.sqrt(2 * time) + 60)
    if axis.ring:
        offsets = np.minimum((sites - source) % axis.length, (source - sites) % axis.length)
        if 2 * reach + 1 < axis.length:
            near = heat_along(Axis(2 * reach + 1, ring=True), time, 0, np.minimum(offsets, reach))
            return np.where(offsets <= reach, near, 0.0)
        return _by_modes(axis, time, 0, offsets)
    first = max(0, source - reach)
    last = min(axis.length - 1, source + reach)
    inside = (sites >= first) & (sites <= last)
    length = last - first + 1
    near = _by_modes(
        Axis(length, ring=False), time, source - first, np.clip(sites - first, 0, length - 1)
    )
    return np.where(inside, near, 0.0)


def _by_modes(
    axis: Axis, time: float, source: int, sites: NDArray[np.int64]
) -> NDArray[np.float64]:
    """By all modes of the axis, some of them at a time: O(length) for each site."""
    sums = np.zeros(len(sites))
    at_once = max(1, (1 << 20) // max(1, len(sites)))
    for first in range(0, axis.length, at_once):
        modes = np.arange(first, min(first + at_once, axis.length))
        if axis.ring:
            # Frequencies as they are, not in pairs: cosines of the offset.
            values = 4 * np.sin(np.pi * modes / axis.length) ** 2
            shapes = np.cos(2 * np.pi * modes * (sites - source)[:, None] / axis.length)
            sums += shapes @ np.exp(-time * values) / axis.length
        else:
            values = 4 * np.sin(np.pi * modes / (2 * axis.length)) ** 2
            weights = np.where(modes == 0, 1.0, 2.0) / axis.length
            at_source = np.cos(np.pi * modes * (source + 0.5) / axis.length)
            shapes = np.cos(np.pi * modes * (sites[:, None] + 0.5) / axis.length)
            sums += shapes @ (np.exp(-time * values) * weights * at_source)
    return sums


def heat_work(geometry: Geometry, time: float, count: int) -> int:
    """The cosines that `heat` takes for so many sites along each axis."""
    reach = int(2 * time + 14 * math.sqrt(2 * time) + 60)
    return sum(
        min(axis.length, 2 * reach + 1) * min(count, axis.length) for axis in axes_of(geometry)
    )


def resistance(geometry: Geometry, a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """The resistance between two sites where each edge has one of 1.

    It is the integral over all times of heat that stays at both, less twice what comes from
    one to the other: a sum of some 200 products of what happens along each axis.
    """
    if a == b:
        return 0.0
    axes = axes_of(geometry)
    least = min(float(axis.eigenvalues(2)[1]) for axis in axes if axis.length > 1)
    times, weights = inverse_by_exponentials(least, 4.0 * len(axes))
    stays_a, stays_b, moves = (np.ones(len(times)) for _ in range(3))
    for axis, at, to in zip(axes, a, b, strict=True):
        stays_a *= _kernel_over_time(axis, at, at, times)
        stays_b *= _kernel_over_time(axis, to, to, times)
        moves *= _kernel_over_time(axis, at, to, times)
    return float((weights * (stays_a + stays_b - 2 * moves)).sum())


def _kernel_over_time(
    axis: Axis, a: int, b: int, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    sums = np.zeros(len(times))
    at_once = 1 << 14
    for first in range(0, axis.length, at_once):
        modes = np.arange(first, min(first + at_once, axis.length))
        if axis.ring:
            values = 4 * np.sin(np.pi * modes / axis.length) ** 2
            shapes = np.cos(2 * np.pi * modes * (a - b) / axis.length) / axis.length
        else:
            values = 4 * np.sin(np.pi * modes / (2 * axis.length)) ** 2
            weights = np.where(modes == 0, 1.0, 2.0) / axis.length
            shapes = weights * np.cos(np.pi * modes * (a + 0.5) / axis.length)
            shapes = shapes * np.cos(np.pi * modes * (b + 0.5) / axis.length)
        sums += np.exp(-np.outer(times, values)) @ shapes
    return sums
