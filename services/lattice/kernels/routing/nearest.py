"""The k nearest sources of every site."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, OPEN_LIST_FULL, SLICE_ENDED, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.heap import Heap, sift_in, sift_out
from services.lattice.kernels.weighted.searches import shares_by_kind
from services.lattice.kernels.weighted.ways import Ways, list_ways

NOBODY = -1


class Ranks(NamedTuple):
    """The nearest sources of each site, the nearest first."""

    sources: NDArray[np.int32]
    """Of shape (sites, k): which source, by its place in the list; NOBODY beyond the last."""
    lengths: NDArray[np.float64]
    """Of shape (sites, k): how far it is; infinite beyond the last."""
    counts: NDArray[np.int32]
    """Of shape (sites,): how many are known."""


@dataclass(frozen=True, eq=False)
class NearestSources:
    """What was found, and what it took."""

    ranks: Ranks
    sites_expanded: int
    bytes_worked: int


def find_nearest(
    grid: Grid, costs: SiteCosts, sources: NDArray[np.int64], k: int, cancel: Cancel
) -> NearestSources:
    """Find the k nearest of some free sources for every site.

    Of sources that are equally far the one listed first comes first, unless sites cost nothing.
    Costs of mean ends are told as the halves they are paid in. Raises `Cancelled`.
    Work is O(k) searches with a heap.
    """
    halved = costs.mean and not grid.diagonal
    paid = costs.as_floats
    ranks = Ranks(
        np.full((grid.sites, k), NOBODY, np.int32),
        np.full((grid.sites, k), np.inf),
        np.zeros(grid.sites, np.int32),
    )
    ways, heap = Ways.on(grid), Heap.empty(len(sources) + 3 ** len(grid.kept) + 256)
    for place, source in enumerate(sources):
        begun = paid[source] / 2 if halved else 0.0
        sift_in(heap, begun, place * grid.sites + source)
    shares = shares_by_kind(grid, costs)

    def go_on(budget: int) -> tuple[int, int]:
        return rank_sources(ways, paid, shares, ranks, heap, budget)

    def enlarge() -> None:
        nonlocal heap
        heap = heap.enlarged()

    _, expanded = run_slices(go_on, len(ways.steps.sites), cancel, enlarge)
    if halved:
        np.subtract(ranks.lengths, paid[:, None] / 2, out=ranks.lengths)
    held = sum(array.nbytes for array in ranks) + heap.bytes_held
    return NearestSources(ranks, expanded, held)


def bytes_to_find_nearest(grid: Grid, k: int) -> int:
    """The most bytes that `find_nearest` takes: ranks, costs, and what waits."""
    return grid.sites * (12 * k + 12 + 32 * k)


@kernel
def rank_sources(
    ways: Ways,
    costs: NDArray[np.float64],
    shares: NDArray[np.float64],
    ranks: Ranks,
    heap: Heap,
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm from all sources at once, each site k times at most.

    Parameters
    ----------
    ways, costs, shares
        As in `stepped.search_stepped`.
    ranks : Ranks
        To begin, nothing is known.
    heap : Heap
        To begin, the sources. An item is a source's place times the sites, and a site.
    """
    sites = ranks.sources.shape[0]
    expanded = 0
    while heap.size[0] > 0:
        if heap.size[0] + ways.steps.sites.shape[0] > heap.keys.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        length, item = heap.keys[0], sift_out(heap)
        source, site = item // sites, item % sites
        if not is_wanted(ranks, site, source):
            continue
        rank = ranks.counts[site]
        ranks.sources[site, rank] = source
        ranks.lengths[site, rank] = length
        ranks.counts[site] = rank + 1
        expanded += 1
        for entry in range(1, list_ways(ways, site)):
            near, kind = ways.steps.sites[entry], ways.steps.kinds[entry]
            if is_wanted(ranks, near, source):
                step = shares[kind, 0] * costs[site] + shares[kind, 1] * costs[near]
                sift_in(heap, length + step, source * sites + near)
    return EXHAUSTED, expanded


@inlined
def is_wanted(ranks: Ranks, site: Int, source: Int) -> bool:
    """Whether a source may be one of the nearest of a site that are not known yet."""
    count = ranks.counts[site]
    if count == ranks.sources.shape[1]:
        return False
    for rank in range(count):  # noqa: SIM110 - the compiler has no generators
        if ranks.sources[site, rank] == source:
            return False
    return True
