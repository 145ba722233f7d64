"""All simple paths between two sites up to a length, one after the other."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, REACHED, SLICE_ENDED, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.lengths import rounded_bound
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.heap import Heap, sift_in
from services.lattice.kernels.weighted.stepped import search_stepped
from services.lattice.kernels.weighted.ways import Ways, list_ways

UNTRIED = -1
"""Not even listed."""


class Walk(NamedTuple):
    """Where a search along one path after the other is."""

    sites: NDArray[np.int64]
    """Of shape (depth_max + 1,): the sites of the path so far."""
    lengths: NDArray[np.float64]
    """Of shape (depth_max + 1,): its length up to each."""
    nears: NDArray[np.int64]
    codes: NDArray[np.int64]
    kinds: NDArray[np.int64]
    """Each of shape (depth_max + 1, 3^d): the steps from each of its sites."""
    counts: NDArray[np.int64]
    """Of shape (depth_max + 1,): where they end."""
    left: NDArray[np.int64]
    """Of shape (depth_max + 1,): how many of them were not tried yet, or UNTRIED."""
    taken: NDArray[np.int64]
    """Of shape (depth_max + 1,): the code of the step that came to each."""
    depth: NDArray[np.int64]
    """Of shape (1,): the place of the last site; -1 when all is done."""


@dataclass(frozen=True, eq=False)
class SimplePath:
    """A path: its steps, of shape (n, axes), and how long it is."""

    steps: NDArray[np.int8]
    length: float
    sites_expanded: int


class SimplePathSearch:
    """Finds each path that visits no site twice and is not too long, in the order of its steps.

    No path is begun that cannot end in time: the shortest way from each site to the goal is
    known beforehand. So each takes O(steps) sites, as far as the goal is not walled in.
    """

    def __init__(
        self,
        grid: Grid,
        costs: SiteCosts,
        start: int,
        goal: int,
        length_max: float,
        steps_max: int,
        cancel: Cancel,
    ) -> None:
        """Between free sites by their C-order indices. Raises `Cancelled`. O(sites log sites)."""
        self.grid = grid
        self._ways = Ways.on(grid)
        self._costs = costs.as_floats
        self._shares = _shares(grid, costs)
        self._goal = goal
        self._length_max = rounded_bound(length_max)
        self._rest = _lengths_to(grid, costs, goal, self._length_max, cancel)
        self._walk = _begun(self._ways, start, steps_max)

    @property
    def bytes_held(self) -> int:
        return self._rest.nbytes + sum(array.nbytes for array in self._walk)

    def next(self, cancel: Cancel) -> SimplePath | None:
        """The next path; None when there is no more. Raises `Cancelled`."""

        def go_on(budget: int) -> tuple[int, int]:
            return next_path(
                self._ways,
                self._costs,
                self._shares,
                self._rest,
                self._goal,
                self._length_max,
                self._walk,
                budget,
            )

        status, expanded = run_slices(go_on, 2 * len(self._ways.steps.sites), cancel)
        if status == EXHAUSTED:
            return None
        depth = int(self._walk.depth[0])
        codes = self._walk.taken[1 : depth + 1]
        vectors = np.zeros((depth, len(self.grid.shape)), np.int8)
        digits = codes[:, None] // 3 ** np.arange(len(self.grid.kept)) % 3
        vectors[:, self.grid.kept] = np.array([0, -1, 1], np.int8)[digits]
        return SimplePath(vectors, float(self._walk.lengths[depth]), expanded)


def bytes_to_walk(axis_count: int, steps_max: int, *, moore: bool) -> int:
    """The bytes that a path and what is left to try along it take."""
    return 24 * (steps_max + 1) * ((3**axis_count if moore else 2 * axis_count + 1) + 2)


def _begun(ways: Ways, start: int, steps_max: int) -> Walk:
    degree = 2 * len(ways.at) + 1
    rows, width = steps_max + 1, len(ways.steps.sites) if ways.diagonal else degree
    walk = Walk(
        sites=np.zeros(rows, np.int64),
        lengths=np.zeros(rows),
        nears=np.zeros((rows, width), np.int64),
        codes=np.zeros((rows, width), np.int64),
        kinds=np.zeros((rows, width), np.int64),
        counts=np.zeros(rows, np.int64),
        left=np.full(rows, UNTRIED),
        taken=np.zeros(rows, np.int64),
        depth=np.zeros(1, np.int64),
    )
    walk.sites[0] = start
    return walk


def _shares(grid: Grid, costs: SiteCosts) -> NDArray[np.float64]:
    """What a step costs, as in `stepped.search_stepped`, means of both ends included."""
    split = np.array([0.5, 0.5] if costs.mean else [0.0, 1.0])
    shares: NDArray[np.float64] = np.sqrt(np.arange(len(grid.kept) + 1))[:, None] * split
    return shares


def _lengths_to(
    grid: Grid, costs: SiteCosts, goal: int, length_max: float, cancel: Cancel
) -> NDArray[np.float64]:
    """How long the shortest way from each site to the goal is: steps are taken backwards."""
    ways, heap = Ways.on(grid), Heap.empty(3 ** len(grid.kept) + 256)
    lengths = np.full(grid.sites, np.inf)
    lengths[goal] = 0.0
    sift_in(heap, 0.0, goal)
    shares = np.ascontiguousarray(_shares(grid, costs)[:, ::-1])
    paid, nobody = costs.as_floats, np.zeros(0, np.uint16)

    def go_on(budget: int) -> tuple[int, int]:
        return search_stepped(ways, paid, shares, lengths, nobody, heap, -1, length_max, budget)

    def enlarge() -> None:
        nonlocal heap
        heap = heap.enlarged()

    run_slices(go_on, len(ways.steps.sites), cancel, enlarge)
    return lengths


@kernel
def next_path(
    ways: Ways,
    costs: NDArray[np.float64],
    shares: NDArray[np.float64],
    rest: NDArray[np.float64],
    goal: int,
    length_max: float,
    walk: Walk,
    budget: int,
) -> tuple[int, int]:
    """Go on to the next path: depth first, the steps of each site in their order.

    Parameters
    ----------
    costs, shares
        As in `stepped.search_stepped`.
    rest : float64 array of shape (sites,)
        How far it is to the goal from each site, at least.
    walk : Walk
        Kept from call to call. After REACHED it is the path.
    budget : int
        How many steps to try before returning SLICE_ENDED, >= 1.
    """
    tried = 0
    while walk.depth[0] >= 0:
        depth = walk.depth[0]
        site = walk.sites[depth]
        if site == goal and walk.left[depth] == UNTRIED:
            walk.left[depth] = 0
            return REACHED, tried
        if walk.left[depth] == UNTRIED:
            list_onward(ways, walk, site, depth)
        if walk.left[depth] == 0 or depth + 1 == walk.sites.shape[0]:
            walk.left[depth] = UNTRIED
            walk.depth[0] -= 1
            continue
        if tried == budget:
            return SLICE_ENDED, tried
        tried += 1
        entry = walk.counts[depth] - walk.left[depth]
        walk.left[depth] -= 1
        near, kind = walk.nears[depth, entry], walk.kinds[depth, entry]
        step = shares[kind, 0] * costs[site] + shares[kind, 1] * costs[near]
        length = walk.lengths[depth] + step
        if length + rest[near] <= length_max and not is_on(walk, near, depth):
            go_there(walk, depth, entry, length)
    return EXHAUSTED, tried


@inlined
def list_onward(ways: Ways, walk: Walk, site: Int, depth: Int) -> None:
    """Note the steps from the last site of the path: none was tried."""
    count = list_ways(ways, site)
    for entry in range(1, count):
        walk.nears[depth, entry] = ways.steps.sites[entry]
        walk.codes[depth, entry] = ways.steps.codes[entry]
        walk.kinds[depth, entry] = ways.steps.kinds[entry]
    walk.counts[depth] = count
    walk.left[depth] = count - 1


@inlined
def go_there(walk: Walk, depth: Int, entry: Int, length: float) -> None:
    """Take one of the steps that are noted."""
    walk.sites[depth + 1] = walk.nears[depth, entry]
    walk.lengths[depth + 1] = length
    walk.taken[depth + 1] = walk.codes[depth, entry]
    walk.left[depth + 1] = UNTRIED
    walk.depth[0] = depth + 1


@kernel
def is_on(walk: Walk, site: int, depth: int) -> bool:
    """Whether a site is on the path so far."""
    for place in range(depth + 1):  # noqa: SIM110 - the compiler has no generators
        if walk.sites[place] == site:
            return True
    return False
