"""Measures distances from the nearest of some sources, on a grid."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels import axes, lengths
from services.lattice.kernels.fields import flood, masked, padded
from services.lattice.kernels.fields.masked import Labels, StepMasks
from services.lattice.kernels.fields.padded import Padding
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import BucketQueue, Cancel, run_slices
from services.lattice.kernels.steps import allocate_steps

Sites = NDArray[np.int64] | slice
"""Sites by their C-order indices."""

Values: TypeAlias = NDArray[Any]
"""Distances as int16, int32 or float64: as narrow as all of one measuring allow."""


@dataclass(frozen=True, eq=False)
class Distances(ABC):
    """The distance of every site from the nearest source."""

    method: ClassVar[str]
    """The algorithm: "breadth_first" or "dijkstra"."""
    sites_expanded: int
    bytes_worked: int
    """The bytes it took, what is kept here included."""

    @abstractmethod
    def at(self, sites: Sites) -> Values:
        """The distances of some sites, -1 where no path leads: a copy, whole where all are."""


@dataclass(frozen=True, eq=False)
class StraightDistances(Distances):
    """Distances in steps along one axis."""

    method = "breadth_first"
    steps: NDArray[np.int32]
    """Of shape (sites,), -1 where no path leads."""

    def at(self, sites: Sites) -> Values:
        steps: Values = self.steps[sites].copy()
        return steps


@dataclass(frozen=True, eq=False)
class PaddedDistances(Distances):
    """Distances in steps along one axis, by places of a padded lattice."""

    method = "breadth_first"
    padding: Padding
    values: NDArray[np.int32]
    """Of shape (places,), as `padded.flood_padded` leaves them."""
    longest: int

    def at(self, sites: Sites) -> Values:
        if isinstance(sites, slice):
            steps: Values = self._steps[sites].copy()
            return steps
        return padded.narrowed(self.values[self.padding.places(sites)], self.longest)

    @cached_property
    def _steps(self) -> Values:
        return padded.narrowed(self.padding.inside(self.values), self.longest)


@dataclass(frozen=True, eq=False)
class DiagonalDistances(Distances):
    """Distances in steps along several axes."""

    method = "dijkstra"
    grid: Grid
    reached: flood.Reached

    def at(self, sites: Sites) -> Values:
        units = self.reached.lengths[sites]
        distances = lengths.length_of_tallies(self.reached.tallies[sites], len(self.grid.kept))
        # Longer ones may be too long for a tally.
        is_long = units > self.grid.exact_length * self.grid.costs[1]
        distances[is_long] = units[is_long] / self.grid.costs[1]
        # Of a source that nothing was expanded from, 0 is known as well.
        distances[(units < 0) & (units != ~0)] = -1
        return distances


@dataclass(frozen=True, eq=False)
class MaskedDistances(Distances):
    """Distances in steps along several axes, by places of a padded lattice."""

    method = "dijkstra"
    grid: Grid
    padding: Padding
    labels: Labels

    def at(self, sites: Sites) -> Values:
        if not isinstance(sites, slice):
            return self._read(self.padding.places(sites), 1)
        row_length = self.padding.shape[-1]
        first, end, _ = sites.indices(self.grid.sites)
        rows = np.arange(first // row_length, -(-end // row_length))
        read = self._read(self.padding.places(rows * row_length), row_length)
        return read[first - rows[0] * row_length :][: end - first]

    def _read(self, first_places: NDArray[np.int64], row_length: int) -> Values:
        axis_count, unit = len(self.grid.kept), float(self.grid.costs[1])
        scale = masked.Scale(
            unit,
            self.grid.exact_length * unit,
            lengths.tally_bits(axis_count),
            lengths.root_parts(axis_count),
        )
        read = np.empty((len(first_places), row_length))
        masked.read_lengths(self.labels, scale, first_places, read)
        return read.reshape(-1)


def measure(
    grid: Grid,
    sources: Sequence[Sequence[int]],
    cancel: Cancel,
    targets: Sequence[Sequence[int]] | None = None,
    sites_max: int | None = None,
) -> Distances:
    """Find the distance of every site from the nearest of some free sources.

    With targets it stops when theirs are known; other sites then may tell -1 or a length
    that is not the shortest. A blocked target has none. Raises `Cancelled`, or
    `TooManySites` when it has to expand more than `sites_max`.
    """
    origins = _indices(grid, sources)
    wanted = None if targets is None else _free(grid, _indices(grid, targets))
    if grid.diagonal:
        if (step_masks := StepMasks.of(grid, cancel)) is not None:
            return _measure_masked(grid, step_masks, origins, wanted, cancel, sites_max)
        return _measure_diagonal(grid, origins, wanted, cancel, sites_max)
    return _measure_straight(grid, origins, wanted, cancel, sites_max)


def unit_lengths(
    grid: Grid, source: int, target: int, cancel: Cancel
) -> tuple[NDArray[np.int64], int]:
    """How far each site is from one, in units of `Grid.costs`, and how many were expanded.

    By C-order indices: int64 array of shape (sites,), negative where nothing leads. What is
    further away than the target may tell less. Raises `Cancelled`.
    """
    origins, wanted = np.array([source]), np.array([target])
    if grid.diagonal:
        known = _measure_diagonal(grid, origins, wanted, cancel, None)
        return known.reached.lengths, known.sites_expanded
    steps = _measure_straight(grid, origins, wanted, cancel, None)
    # The cost of a step along one axis; a single site has none.
    return steps.at(slice(None)).astype(np.int64) * int(grid.costs[:2][-1]), steps.sites_expanded


def bytes_to_measure(grid: Grid) -> int:
    """The most bytes that `measure` takes."""
    if grid.diagonal:
        # With masks 20 of a place, of which there are a fifth more than sites at most.
        return grid.sites * (16 + 8 * 3)
    padding = Padding.of(grid)
    if padding is None:
        return grid.sites * 8
    # A bit becomes a byte for a while; later the distances are read out.
    return padding.size * 4 + grid.sites * (4 + 4)


def _measure_straight(
    grid: Grid,
    origins: NDArray[np.int64],
    wanted: NDArray[np.int64] | None,
    cancel: Cancel,
    sites_max: int | None,
) -> Distances:
    if (padding := Padding.of(grid)) is not None:
        return _measure_padded(grid, padding, origins, wanted, cancel, sites_max)
    values = np.full(grid.sites, -1, np.int32)
    values[origins] = 0
    queue = np.empty(grid.sites, np.uint32)
    queue[: len(origins)] = origins
    ends = np.array([0, len(origins)], np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        if wanted is not None and bool((values[wanted] >= 0).all()):
            return axes.EXHAUSTED, 0
        return flood.flood_straight(grid.arrays, values, queue, ends, budget)

    _, expanded = run_slices(go_on, 2 * len(grid.kept), cancel, sites_max=sites_max)
    return StraightDistances(expanded, values.nbytes + queue.nbytes, values)


def _measure_padded(
    grid: Grid,
    padding: Padding,
    origins: NDArray[np.int64],
    wanted: NDArray[np.int64] | None,
    cancel: Cancel,
    sites_max: int | None,
) -> Distances:
    values = padding.laid_out(grid.blocked, cancel)
    queue = np.empty(grid.sites + 1, np.uint32)
    queue[: len(origins)] = padding.places(origins)
    values[queue[: len(origins)]] = 0
    ends = np.array([0, len(origins)], np.int64)
    wanted_places = None if wanted is None else padding.places(wanted)

    def go_on(budget: int) -> tuple[int, int]:
        if wanted_places is not None and bool((values[wanted_places] >= 0).all()):
            return axes.EXHAUSTED, 0
        return padded.flood_padded(values, padding.offsets, padding.around, queue, ends, budget)

    _, expanded = run_slices(go_on, 2 * len(grid.kept), cancel, sites_max=sites_max)
    longest = int(values[queue[ends[padded.TAIL] - 1]])
    bytes_worked = values.nbytes + queue.nbytes
    return PaddedDistances(expanded, bytes_worked, padding, values, longest)


def _measure_masked(
    grid: Grid,
    steps: StepMasks,
    origins: NDArray[np.int64],
    wanted: NDArray[np.int64] | None,
    cancel: Cancel,
    sites_max: int | None,
) -> Distances:
    padding = steps.padding
    labels = Labels(
        padded.filled(padding.size, masked.NEVER, np.int64, cancel),
        np.zeros(padding.size, np.int64),
    )
    sources = padding.places(origins)
    labels.values[sources] = ~steps.stay
    queue = BucketQueue.on(grid)
    queue.begin_with(sources)
    wanted_places = None if wanted is None else padding.places(wanted)

    def go_on(budget: int) -> tuple[int, int]:
        if wanted_places is not None and bool((labels.values[wanted_places] >= 0).all()):
            return axes.EXHAUSTED, 0
        return masked.flood_masked(
            steps.masks, steps.table, labels, queue.buckets, queue.shift, budget
        )

    looks = 3 ** len(grid.kept)
    _, expanded = run_slices(go_on, looks, cancel, queue.enlarge, sites_max=sites_max)
    bytes_worked = labels.values.nbytes + labels.tallies.nbytes + steps.masks.nbytes
    return MaskedDistances(expanded, bytes_worked + queue.bytes_held, grid, padding, labels)


def _measure_diagonal(
    grid: Grid,
    origins: NDArray[np.int64],
    wanted: NDArray[np.int64] | None,
    cancel: Cancel,
    sites_max: int | None,
) -> DiagonalDistances:
    reached = flood.Reached(np.full(grid.sites, flood.NEVER), np.zeros(grid.sites, np.int64))
    reached.lengths[origins] = ~0
    costs = flood.Costs(grid.costs, lengths.tags(len(grid.kept)), not grid.no_cutting)
    queue = BucketQueue.on(grid)
    queue.begin_with(origins)
    steps, at = allocate_steps(len(grid.kept)), np.empty(len(grid.kept), np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        if wanted is not None and bool((reached.lengths[wanted] >= 0).all()):
            return axes.EXHAUSTED, 0
        return flood.flood_diagonal(
            grid.arrays, costs, reached, queue.buckets, queue.shift, steps, at, budget
        )

    looks = 3 ** len(grid.kept)
    _, expanded = run_slices(go_on, looks, cancel, queue.enlarge, sites_max=sites_max)
    bytes_kept = reached.lengths.nbytes + reached.tallies.nbytes
    return DiagonalDistances(expanded, bytes_kept + queue.bytes_held, grid, reached)


def _indices(grid: Grid, sites: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.unique(np.array([grid.index(site) for site in sites], np.int64))


def _free(grid: Grid, sites: NDArray[np.int64]) -> NDArray[np.int64]:
    blocked = np.bitwise_and(grid.blocked[sites >> 3] >> (sites & 7), 1)
    free: NDArray[np.int64] = sites[blocked == 0]
    return free
