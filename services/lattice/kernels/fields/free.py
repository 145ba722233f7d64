"""Distances on a lattice without blocked sites, in closed form: whole arrays at a time."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.geometry import Geometry
from services.lattice.kernels.lengths import length_of_steps

Mesh = Sequence[NDArray[np.int64]]
"""The coordinates of some sites, an array an axis. Together they broadcast to one shape, so a
coordinate that many sites share, as those of a row do, may be there once."""

_NARROW = (np.int16, np.int32)


def free_distances(
    geometry: Geometry,
    sources: Sequence[Sequence[int]],
    sites: Mesh,
    check_stop: Callable[[], None],
) -> NDArray[Any]:
    """The distance of sites from the nearest source.

    Steps along one axis are answered in the narrowest of int16, int32 and float64 that holds
    the lattice's longest distance. Works on one source after the other, so that the memory is
    that of a few arrays of the sites, however many sources there are, and calls `check_stop`
    before each, which may raise.
    """
    distance = _octile if geometry.moore else _steps
    nearest: NDArray[Any] | None = None
    for source in sources:
        check_stop()
        one = distance(geometry, source, sites)
        nearest = one if nearest is None else np.minimum(nearest, one, out=nearest)
    assert nearest is not None
    return nearest.astype(np.float64) if nearest.dtype == np.int64 else nearest


def _steps(geometry: Geometry, source: Sequence[int], sites: Mesh) -> NDArray[Any]:
    kind = _number_type(sum(_longest(geometry)))
    first, *rest = (axis.astype(kind) for axis in _along_axes(geometry, source, sites))
    total: NDArray[Any] = first
    for axis in rest:
        total = total + axis
    return total


def _octile(geometry: Geometry, source: Sequence[int], sites: Mesh) -> NDArray[np.float64]:
    """The octile distance in any dimension.

    With the axis distances rising, each rise beyond the one before is walked along all the
    axes that still differ: a step along k of them costs sqrt(k).
    """
    # The multiples of the roots that are added up may be a few times as large.
    kind = np.int32 if max(_longest(geometry)) < 2**24 else np.int64
    offsets = np.stack(np.broadcast_arrays(*_along_axes(geometry, source, sites))).astype(kind)
    _sort_along_axes(offsets)
    rises = np.diff(offsets, axis=0, prepend=kind(0))
    lengths: NDArray[np.float64] = length_of_steps([np.zeros_like(rises[0]), *rises[::-1]])
    return lengths


def _along_axes(
    geometry: Geometry, source: Sequence[int], sites: Mesh
) -> Sequence[NDArray[np.int64]]:
    """How far sites are from a source along each axis."""
    distances = []
    axes = zip(geometry.shape, geometry.periodic, source, sites, strict=True)
    for length, wraps, at, coordinates in axes:
        distance = np.abs(coordinates - at)
        distances.append(np.minimum(distance, length - distance) if wraps else distance)
    return distances


def _longest(geometry: Geometry) -> Sequence[int]:
    """The longest distance along each axis."""
    axes = zip(geometry.shape, geometry.periodic, strict=True)
    return [length // 2 if wraps else length - 1 for length, wraps in axes]


def _number_type(longest: int) -> type[np.int16 | np.int32 | np.int64]:
    fitting = (kind for kind in _NARROW if longest <= np.iinfo(kind).max)
    return next(fitting, np.int64)


def _sort_along_axes(offsets: NDArray[Any]) -> None:
    """Sort the numbers of each site: whole rows at a time, which `numpy.sort` does not."""
    spare = np.empty_like(offsets[0])
    for end in range(len(offsets) - 1, 0, -1):
        for low, high in pairwise(offsets[: end + 1]):
            np.minimum(low, high, out=spare)
            np.maximum(low, high, out=high)
            low[:] = spare
