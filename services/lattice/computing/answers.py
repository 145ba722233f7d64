"""Paths and distances as they are answered, whatever computed them. Arrays, and no wire."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.domain import Computation, DistanceQuery, PathQuery, Region
from services.lattice.geometry import Geometry
from services.lattice.kernels.runs import expand

DISTANCES_PER_ANSWER = 65_536

_VARINT_BITS = 7


@dataclass(frozen=True, eq=False)
class Path:
    """A shortest path, or that there is none: then all else is zero or empty."""

    found: bool
    length: float
    steps: int
    run_steps: NDArray[np.int8]
    """Of shape (runs, axes): each run's step, -1, 0 or 1 per axis."""
    run_counts: NDArray[np.int64]
    """Of shape (runs,): how often each run's step is taken."""
    sites: NDArray[np.int64]
    """Of shape (listed, axes): the first sites, the start included."""
    message_bytes: int
    """The most bytes that it takes as a message."""

    @property
    def array_bytes(self) -> int:
        return self.run_steps.nbytes + self.run_counts.nbytes + self.sites.nbytes


@dataclass(frozen=True, eq=False)
class PathAnswer:
    """One path, and how it was computed."""

    path: Path
    computation: Computation


@dataclass(frozen=True, eq=False)
class PathsAnswer:
    """Some paths of a batch, from the query `first_query` on, computed together."""

    first_query: int
    paths: Sequence[Path]
    computation: Computation


@dataclass(frozen=True, eq=False)
class DistancesAnswer:
    """Some distances, from the place `first_index` of those asked for on."""

    first_index: int
    distances: NDArray[np.float64]
    """Of shape (DISTANCES_PER_ANSWER,) or less; -1 where no path leads."""
    computation: Computation | None


def free_path(geometry: Geometry, query: PathQuery, listed_max: int) -> Path:
    """A shortest path on a lattice without blocked sites, in closed form."""
    path = geometry.path(query.start, query.goal)
    axes = len(geometry.shape)
    run_steps = np.array([run.step for run in path.runs], np.int8).reshape(-1, axes)
    run_counts = np.array([run.count for run in path.runs], np.int64)
    return made_path(
        geometry, query, listed_max, (run_steps, run_counts), length=path.length, steps=path.steps
    )


def made_path(
    geometry: Geometry,
    query: PathQuery,
    listed_max: int,
    runs: tuple[NDArray[np.int8], NDArray[np.int64]],
    *,
    length: float,
    steps: int,
) -> Path:
    """A path told by its runs, with as many of its sites as asked for."""
    sites = expand(geometry.shape, geometry.periodic, query.start, *runs, listed_max)
    return Path(
        found=True,
        length=length,
        steps=steps,
        run_steps=runs[0],
        run_counts=runs[1],
        sites=sites,
        message_bytes=_message_bytes(geometry, len(runs[1]), len(sites)),
    )


def no_path(geometry: Geometry) -> Path:
    axes = len(geometry.shape)
    return Path(
        found=False,
        length=0.0,
        steps=0,
        run_steps=np.zeros((0, axes), np.int8),
        run_counts=np.zeros(0, np.int64),
        sites=np.zeros((0, axes), np.int64),
        message_bytes=_message_bytes(geometry, 0, 0),
    )


def places(query: DistanceQuery) -> Iterator[slice]:
    """The distances asked for, cut into what one answer tells."""
    for first in range(0, query.count, DISTANCES_PER_ANSWER):
        yield slice(first, min(first + DISTANCES_PER_ANSWER, query.count))


def sites_at(query: DistanceQuery, place: slice) -> NDArray[np.int64]:
    """The sites at these places of those asked for: int64 array of shape (axes, count)."""
    if query.targets is not None:
        return np.array(query.targets[place], np.int64).T
    assert query.region is not None
    return _sites_of(query.region, np.arange(place.start, place.stop))


def indices_of(geometry: Geometry, sites: NDArray[np.int64]) -> NDArray[np.int64]:
    """The C-order indices of sites of shape (axes, count). All must lie inside."""
    index = np.zeros(sites.shape[1], np.int64)
    for length, coordinates in zip(geometry.shape, sites, strict=True):
        index *= length
        index += coordinates
    return index


def free_distances(
    geometry: Geometry,
    sources: Sequence[Sequence[int]],
    sites: NDArray[np.int64],
    go_on: Callable[[], None],
) -> NDArray[np.float64]:
    """The distance of sites from the nearest source on a lattice without blocked sites.

    `sites` has the shape (axes, count). Works on one source after the other, so that the
    memory is that of a few such arrays, however many sources there are, and calls `go_on`
    before each, which may raise.
    """
    nearest = np.full(sites.shape[1], np.inf)
    for source in sources:
        go_on()
        np.minimum(nearest, _free_distance(geometry, source, sites), out=nearest)
    return nearest


def _free_distance(
    geometry: Geometry, source: Sequence[int], sites: NDArray[np.int64]
) -> NDArray[np.float64]:
    reach = np.abs(sites - np.array(source, np.int64)[:, None])
    for axis, length in enumerate(geometry.shape):
        if geometry.periodic[axis]:
            np.minimum(reach[axis], length - reach[axis], out=reach[axis])
    if not geometry.moore:
        steps: NDArray[np.int64] = reach.sum(axis=0)
        return steps.astype(np.float64)
    # With the axis distances rising, each rise beyond the one before is walked along all
    # the axes that still differ: a step along k of them costs sqrt(k).
    reach.sort(axis=0)
    rises = np.diff(reach, axis=0, prepend=0)
    costs = np.sqrt(np.arange(len(geometry.shape), 0, -1))
    lengths: NDArray[np.float64] = costs @ rises.astype(np.float64)
    return lengths


def _sites_of(region: Region, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    sites = np.empty((len(region.shape), len(indices)), np.int64)
    for axis in reversed(range(len(region.shape))):
        indices, sites[axis] = np.divmod(indices, region.shape[axis])
        sites[axis] += region.origin[axis]
    return sites


def _message_bytes(geometry: Geometry, run_count: int, site_count: int) -> int:
    """An upper bound: a tag and a length for every part, and every number at its widest."""
    widths = [_varint_bytes(length) for length in geometry.shape]
    run = 2 + 2 + len(widths) + 1 + _varint_bytes(geometry.sites)
    return 32 + run_count * run + site_count * (2 + 2 + sum(widths))


def _varint_bytes(number: int) -> int:
    return max(1, -(-number.bit_length() // _VARINT_BITS))
