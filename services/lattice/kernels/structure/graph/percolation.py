"""Percolation in one sweep: sites are opened one after the other (Newman and Ziff 2001)."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, Cancelled, run_slices
from services.lattice.kernels.structure.graph.trees import root_of
from services.lattice.kernels.weighted.ways import Ways, list_ways

_NEVER = -1


def spanning_thresholds(
    grid: Grid, axis: int, runs: int, seed: int, cancel: Cancel
) -> NDArray[np.int64]:
    """How many sites were open when a cluster first had sites on both faces of an axis.

    Of shape (runs,). In each run the sites of a lattice without blocked ones are opened in an
    order drawn from the seed. Raises `Cancelled`. O(sites) a run.
    """
    ways, thresholds = Ways.on(grid), np.empty(runs, np.int64)
    rng = np.random.default_rng(seed)
    faces = np.zeros(grid.shape, np.uint8)
    along = np.moveaxis(faces, axis, 0)
    first, last = along[:1], along[-1:]
    first |= 1
    last |= 2
    for run in range(runs):
        order = rng.permutation(grid.sites).astype(np.int64)
        parents, touched = np.full(grid.sites, _NEVER, np.int32), faces.reshape(-1).copy()
        state = np.zeros(2, np.int64)

        def go_on(budget: int) -> tuple[int, int]:
            return open_sites(ways, order, parents, touched, state, budget)  # noqa: B023 - at once

        run_slices(go_on, len(ways.steps.sites), cancel)
        thresholds[run] = state[OPENED]
    return thresholds


OPENED = 0


@kernel
def open_sites(
    ways: Ways,
    order: NDArray[np.int64],
    parents: NDArray[np.int32],
    touched: NDArray[np.uint8],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to open sites until one cluster touches both faces.

    `parents` has -1 where a site is closed; `touched` has the bits of the faces that it, or the
    cluster whose root it is, lies on; `state` how many are open.
    """
    opened = 0
    while state[OPENED] < order.shape[0]:
        if opened == budget:
            return SLICE_ENDED, opened
        site = order[state[OPENED]]
        state[OPENED] += 1
        opened += 1
        parents[site] = site
        for entry in range(1, list_ways(ways, site)):
            near = ways.steps.sites[entry]
            if parents[near] >= 0:
                a, b = root_of(parents, site), root_of(parents, near)
                if a != b:
                    parents[max(a, b)] = min(a, b)
                    touched[min(a, b)] |= touched[max(a, b)]
        if touched[root_of(parents, site)] == 3:
            return EXHAUSTED, opened
    return EXHAUSTED, opened


def spanning_probabilities(
    thresholds: NDArray[np.int64], sites: int, shares: NDArray[np.float64], cancel: Cancel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each share of open sites, the probability of spanning and its standard error.

    With each site open by itself the number of open ones is binomial; a run spans when it is
    no less than the run's threshold. The error is that of the mean over runs. Raises `Cancelled`.
    O(runs + sites^(1/2)) a share, and as much memory for all of them.
    """
    means, errors = np.empty(len(shares)), np.empty(len(shares))
    for place, share in enumerate(shares):
        if cancel[0]:
            raise Cancelled
        values = _at_least(thresholds, sites, float(share))
        means[place] = values.mean()
        errors[place] = values.std(ddof=1) / np.sqrt(len(thresholds))
    return means, errors


def _at_least(thresholds: NDArray[np.int64], sites: int, share: float) -> NDArray[np.float64]:
    """The probability that so many of all sites, or more, are open: for each threshold."""
    if share in (0.0, 1.0):
        return np.where(thresholds <= share * sites, 1.0, 0.0)
    # Beyond 12 deviations nothing is left that a double could tell.
    spread = 12 * np.sqrt(sites * share * (1 - share)) + 12
    first = max(0, int(sites * share - spread))
    last = min(sites, int(sites * share + spread))
    steps = np.arange(first, last)
    ratios = np.log((sites - steps) / (steps + 1) * (share / (1 - share)))
    logs = np.concatenate(([0.0], np.cumsum(ratios)))
    masses = np.exp(logs - logs.max())
    masses /= masses.sum()
    tails = np.concatenate((np.cumsum(masses[::-1])[::-1], [0.0]))
    shares: NDArray[np.float64] = tails[np.clip(thresholds - first, 0, len(tails) - 1)]
    return shares
