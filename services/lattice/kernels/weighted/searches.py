"""Finds cheapest ways on a grid whose sites have costs: chooses the kernel, reads off answers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels import axes
from services.lattice.kernels.buckets import BUCKET, WAITING
from services.lattice.kernels.fields.distances import Distances, Sites, Values
from services.lattice.kernels.fields.masked import StepMasks
from services.lattice.kernels.fields.padded import Padding
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.runs import Path, runs_of
from services.lattice.kernels.slices import BucketQueue, Cancel, run_slices
from services.lattice.kernels.weighted import masked, stepped, straight
from services.lattice.kernels.weighted.costs import BucketWidth, SiteCosts, free_sites
from services.lattice.kernels.weighted.heap import Heap, sift_in
from services.lattice.kernels.weighted.ways import Ways

_NO_STEP = 255
_INITIAL_CAPACITY = 1 << 12
_LAYERS = 4
"""So many layers of sites wait at most, or the pool is doubled."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CostQuery:
    """From where, and how far."""

    sources: NDArray[np.int64]
    """Of shape (n,): free sites by their C-order indices, each once."""
    offsets: NDArray[np.float64]
    """Of shape (n,): what each costs already, 0 or more."""
    targets: NDArray[np.int64] | None = None
    """Free sites, whose lengths are wanted; without them those of all."""
    length_max: float = math.inf
    """What is further away counts as not reached."""
    traced: bool = False
    """The ways are wanted, not only how long they are."""


class CostSearch(ABC):
    """Dijkstra's algorithm from some sources, once."""

    def __init__(self, grid: Grid, costs: SiteCosts, query: CostQuery) -> None:
        self.grid = grid
        self.sites_expanded = 0
        self._costs = costs
        self._query = query
        # A mean of both ends is paid half at each, which on steps along one axis comes to half
        # of the first, all of those between, and half of the last.
        self._halved = costs.mean and not grid.diagonal
        begun = query.offsets
        if self._halved:
            begun = begun + costs.as_floats[query.sources] / 2
        self._begun: NDArray[np.float64] = begun
        self._length_max = query.length_max
        if self._halved:
            self._length_max += costs.range_on(grid)[1] / 2

    @property
    @abstractmethod
    def bytes_held(self) -> int:
        """The bytes of its arrays."""

    def run(self, cancel: Cancel, sites_max: int | None = None) -> None:
        """Search until what is asked for is known. Raises `Cancelled` or `TooManySites`."""

        def go_on(budget: int) -> tuple[int, int]:
            return (axes.REACHED, 0) if self._knows_targets() else self._go_on(budget)

        looks = 3 ** len(self.grid.kept) if self.grid.diagonal else 2 * len(self.grid.kept)
        _, self.sites_expanded = run_slices(
            go_on, looks, cancel, self._enlarge, sites_max=sites_max
        )

    def lengths(self, sites: Sites) -> NDArray[np.float64]:
        """How far sites are, infinite where no way leads or it is too long."""
        known = self._labels(sites)
        np.abs(known, out=known)
        if self._halved:
            known -= self._costs.as_floats[sites] / 2
        known[known > self._query.length_max] = np.inf
        return known

    def path(self, goal: int) -> Path:
        """The way to a site that was reached, from whichever source; its length is its cost."""
        length = float(self.lengths(np.array([goal]))[0])
        if length == math.inf:
            return Path.none(len(self.grid.shape), self.sites_expanded)
        codes = np.empty(_INITIAL_CAPACITY, np.int64)
        if (count := self._write_steps(goal, codes)) > len(codes):
            codes = np.empty(count, np.int64)
            self._write_steps(goal, codes)
        vectors, counts = runs_of(self._vectors(codes[:count][::-1]))
        path = Path.along(vectors, counts, sites_expanded=self.sites_expanded)
        return replace(path, length=length)

    def source_of(self, path: Path, goal: int) -> int:
        """The source that a path comes from: one step back from the goal after the other."""
        at = np.array(np.unravel_index(goal, self.grid.shape))
        at = (at - path.run_counts @ path.run_steps.astype(np.int64)) % np.array(self.grid.shape)
        return self.grid.index(at.tolist())

    @abstractmethod
    def _go_on(self, budget: int) -> tuple[int, int]: ...

    @abstractmethod
    def _enlarge(self) -> None: ...

    @abstractmethod
    def _labels(self, sites: Sites) -> NDArray[np.float64]:
        """A copy of what the kernel knows of sites: infinite, of either sign, where not reached."""

    @abstractmethod
    def _knows_targets(self) -> bool:
        """Whether all lengths that are wanted are final."""

    @abstractmethod
    def _write_steps(self, goal: int, codes: NDArray[np.int64]) -> int: ...

    @abstractmethod
    def _vectors(self, codes: NDArray[np.int64]) -> NDArray[np.int8]:
        """Steps along all axes, of shape (n, axes)."""


class _BucketSearch(CostSearch):
    """On a padded lattice, with buckets."""

    def __init__(
        self,
        grid: Grid,
        costs: SiteCosts,
        query: CostQuery,
        padding: Padding,
        width: BucketWidth,
        step_count: int,
    ) -> None:
        super().__init__(grid, costs, query)
        self._padding = padding
        self._places = padding.places(query.sources)
        self._field = _laid_out(grid, padding, costs)
        self._field[self._places, straight.LENGTH] = self._begun
        self._parents = np.full(padding.size if query.traced else 0, _NO_STEP, np.uint8)
        self._width = width.inverse
        buckets = (self._begun * width.inverse).astype(np.int64)
        spread = int(buckets.max() - buckets.min())
        waiting = _LAYERS * grid.sites // max(padding.shape)
        self._queue = BucketQueue(max(width.span, spread), step_count, capacity=waiting)
        self._queue.begin_with(self._places, buckets)
        targets = query.targets
        self._targets = None if targets is None else padding.places(targets)
        self._alone = targets is not None and len(targets) == 1

    @property
    def bytes_held(self) -> int:
        return self._field.nbytes + self._parents.nbytes + self._queue.bytes_held

    def _enlarge(self) -> None:
        self._queue.enlarge()

    def _labels(self, sites: Sites) -> NDArray[np.float64]:
        lengths = self._field[:, straight.LENGTH]
        if isinstance(sites, slice):
            return self._padding.inside(lengths).flatten()[sites]
        known: NDArray[np.float64] = lengths[self._padding.places(sites)]
        return known

    def _knows_targets(self) -> bool:
        # Of a single one the kernel itself knows.
        if self._targets is None or self._alone or not self._queue.buckets.registers[WAITING]:
            return False
        longest = self._field[self._targets, straight.LENGTH].max(initial=0.0)
        now = self._queue.buckets.registers[BUCKET]
        return bool(longest < np.inf and now > int(longest * self._width))

    def _bounds(self) -> straight.Bounds:
        goal = int(self._targets[0]) if self._targets is not None and self._alone else -1
        return straight.Bounds(goal, self._length_max, self._width)


class StraightCostSearch(_BucketSearch):
    """By steps along one axis."""

    def _go_on(self, budget: int) -> tuple[int, int]:
        return straight.search_costs(
            self._field,
            self._padding.offsets,
            self._padding.around,
            self._parents,
            self._queue.buckets,
            self._bounds(),
            budget,
        )

    def _write_steps(self, goal: int, codes: NDArray[np.int64]) -> int:
        return straight.trace_costs(
            self._field,
            self._padding.offsets,
            self._padding.around,
            self._parents,
            int(self._padding.places(np.array([goal]))[0]),
            codes,
        )

    def _vectors(self, codes: NDArray[np.int64]) -> NDArray[np.int8]:
        vectors = np.zeros((len(codes), len(self.grid.shape)), np.int8)
        kept = np.array(self.grid.kept)
        vectors[np.arange(len(codes)), kept[codes >> 1]] = 2 * (codes & 1) - 1
        return vectors


class MaskedCostSearch(_BucketSearch):
    """By steps along several axes, on two or three open ones."""

    def __init__(
        self,
        grid: Grid,
        costs: SiteCosts,
        query: CostQuery,
        steps: StepMasks,
        width: BucketWidth,
    ) -> None:
        super().__init__(grid, costs, query, steps.padding, width, len(steps.table.offsets))
        self._steps = steps
        digits = self._digits(np.arange(len(steps.table.offsets)))
        self._shares = _shares(np.abs(digits).sum(axis=1), mean=costs.mean)

    @property
    def bytes_held(self) -> int:
        return super().bytes_held + self._steps.masks.nbytes

    def _go_on(self, budget: int) -> tuple[int, int]:
        return masked.search_masked(
            self._field,
            self._steps.masks,
            self._steps.table.offsets,
            self._shares,
            self._parents,
            self._queue.buckets,
            self._bounds(),
            budget,
        )

    def _write_steps(self, goal: int, codes: NDArray[np.int64]) -> int:
        place = int(self._padding.places(np.array([goal]))[0])
        return masked.trace_masked(self._steps.table.offsets, self._parents, place, codes)

    def _vectors(self, codes: NDArray[np.int64]) -> NDArray[np.int8]:
        vectors = np.zeros((len(codes), len(self.grid.shape)), np.int8)
        vectors[:, self.grid.kept] = self._digits(codes)
        return vectors

    def _digits(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        powers = 3 ** np.arange(len(self.grid.kept))[::-1]
        digits: NDArray[np.int64] = codes[:, None] // powers % 3 - 1
        return digits


class SteppedCostSearch(CostSearch):
    """On any lattice and with any costs, with a heap."""

    def __init__(self, grid: Grid, costs: SiteCosts, query: CostQuery) -> None:
        super().__init__(grid, costs, query)
        self._ways = Ways.on(grid)
        self._shares = shares_by_kind(grid, costs)
        self._known = np.full(grid.sites, np.inf)
        self._known[query.sources] = self._begun
        self._parents = np.zeros(grid.sites if query.traced else 0, np.uint16)
        self._heap = Heap.empty(len(query.sources) + len(self._ways.steps.sites) + 256)
        for length, site in zip(self._begun, query.sources, strict=True):
            sift_in(self._heap, length, site)

    @property
    def bytes_held(self) -> int:
        return self._known.nbytes + self._parents.nbytes + self._heap.bytes_held

    def _go_on(self, budget: int) -> tuple[int, int]:
        targets = self._query.targets
        return stepped.search_stepped(
            self._ways,
            self._costs.as_floats,
            self._shares,
            self._known,
            self._parents,
            self._heap,
            int(targets[0]) if targets is not None and len(targets) == 1 else -1,
            self._length_max,
            budget,
        )

    def _enlarge(self) -> None:
        self._heap = self._heap.enlarged()

    def _labels(self, sites: Sites) -> NDArray[np.float64]:
        return np.array(self._known[sites])

    def _knows_targets(self) -> bool:
        if self._query.targets is None or not self._heap.size[0]:
            return False
        return bool(self._known[self._query.targets].max(initial=0.0) < self._heap.keys[0])

    def _write_steps(self, goal: int, codes: NDArray[np.int64]) -> int:
        return stepped.trace_stepped(self._ways, self._parents, goal, codes)

    def _vectors(self, codes: NDArray[np.int64]) -> NDArray[np.int8]:
        digits = codes[:, None] // 3 ** np.arange(len(self.grid.kept)) % 3
        vectors = np.zeros((len(codes), len(self.grid.shape)), np.int8)
        vectors[:, self.grid.kept] = np.array([0, -1, 1], np.int8)[digits]
        return vectors


@dataclass(frozen=True, eq=False)
class CostDistances(Distances):
    """Distances by site costs."""

    method = "dijkstra"
    search: CostSearch = field(kw_only=True)

    def at(self, sites: Sites) -> Values:
        lengths = self.search.lengths(sites)
        lengths[lengths == np.inf] = -1
        return lengths


def cost_search(grid: Grid, costs: SiteCosts, query: CostQuery, cancel: Cancel) -> CostSearch:
    """Make the search that is fastest with these costs on this grid. Raises `Cancelled`."""
    width = BucketWidth.of(*costs.range_on(grid), math.sqrt(max(1, len(grid.kept))))
    if width is None or _spread(query, width) > max(width.span, grid.sites):
        return SteppedCostSearch(grid, costs, query)
    if grid.diagonal:
        steps = StepMasks.of(grid, cancel)
        return (
            SteppedCostSearch(grid, costs, query)
            if steps is None
            else MaskedCostSearch(grid, costs, query, steps, width)
        )
    padding = Padding.of(grid)
    if padding is None:
        return SteppedCostSearch(grid, costs, query)
    return StraightCostSearch(grid, costs, query, padding, width, len(padding.offsets))


def _spread(query: CostQuery, width: BucketWidth) -> float:
    """Over about how many buckets the sources lie: a ring of so many is laid out and cleared."""
    return float(np.ptp(query.offsets)) * width.inverse


def find_cheapest(
    grid: Grid,
    costs: SiteCosts,
    start: Sequence[int],
    goal: Sequence[int],
    cancel: Cancel,
    sites_max: int | None = None,
) -> Path:
    """Find a cheapest path between two free sites. Raises `Cancelled` or `TooManySites`."""
    search = search_cheapest(grid, costs, start, goal, cancel, sites_max)
    return search.path(grid.index(goal))


def search_cheapest(
    grid: Grid,
    costs: SiteCosts,
    start: Sequence[int],
    goal: Sequence[int],
    cancel: Cancel,
    sites_max: int | None = None,
) -> CostSearch:
    """The search that finds such a path, once it has ended. Raises the same."""
    query = CostQuery(
        sources=np.array([grid.index(start)]),
        offsets=np.zeros(1),
        targets=np.array([grid.index(goal)]),
        traced=True,
    )
    search = cost_search(grid, costs, query, cancel)
    search.run(cancel, sites_max)
    return search


def measure_costs(
    grid: Grid,
    costs: SiteCosts,
    sources: Sequence[Sequence[int]],
    cancel: Cancel,
    targets: Sequence[Sequence[int]] | None = None,
    sites_max: int | None = None,
) -> CostDistances:
    """Find what it costs to come to each site from the cheapest source: as `measure` does."""
    origins = np.unique(np.array([grid.index(source) for source in sources], np.int64))
    query = CostQuery(
        sources=origins,
        offsets=np.zeros(len(origins)),
        targets=None if targets is None else _free(grid, targets),
    )
    search = cost_search(grid, costs, query, cancel)
    search.run(cancel, sites_max)
    return CostDistances(search.sites_expanded, search.bytes_held, search=search)


def bytes_to_search_costs(grid: Grid) -> int:
    """The most bytes that a search takes: places, what waits, and what is laid out."""
    return 60 * grid.sites + (8 << len(grid.kept))


def shares_by_kind(grid: Grid, costs: SiteCosts) -> NDArray[np.float64]:
    """As in `stepped.search_stepped`. Of half costs along one axis nothing is left to tell."""
    return _shares(np.arange(len(grid.kept) + 1), mean=costs.mean and grid.diagonal)


def _shares(kinds: NDArray[np.int64], *, mean: bool) -> NDArray[np.float64]:
    """What a step along so many axes costs, by the costs of the sites it leaves and comes to."""
    split = np.array([0.5, 0.5] if mean else [0.0, 1.0])
    shares: NDArray[np.float64] = np.sqrt(kinds)[:, None] * split
    return shares


def _laid_out(grid: Grid, padding: Padding, costs: SiteCosts) -> NDArray[np.float64]:
    places = np.full((padding.size, 2), straight.OUTSIDE)
    lengths, paid = (padding.inside(column) for column in places.T)
    # Products, since at random a mask is decided wrong every third time.
    signs = 2 * free_sites(grid).view(np.int8) - 1
    np.multiply(signs.reshape(padding.shape), -straight.BLOCKED, out=lengths)
    paid[...] = costs.values.reshape(padding.shape)
    return places


def _free(grid: Grid, sites: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    indices = np.array([grid.index(site) for site in sites], np.int64)
    free: NDArray[np.int64] = indices[free_sites(grid)[indices]]
    return free
