"""Components where each step can be told as steps along one axis: line by line, without a queue."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.fields.padded import NEW, OUTSIDE, Padding
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.structure.graph.trees import root_of

BLOCKED = -1


def raster_labels(grid: Grid, padding: Padding, cancel: Cancel) -> tuple[NDArray[np.int32], int]:
    """The number of each site's component, by first sites, and how many there are.

    Of shape (sites,), BLOCKED where blocked. Raises `Cancelled`. Two passes and one for rings.
    """
    parents = padding.laid_out(grid.blocked, cancel)
    state = np.array([padding.first, 0], np.int64)

    def join(budget: int) -> tuple[int, int]:
        return join_lines(parents, padding.strides, state, budget)

    run_slices(join, len(grid.kept), cancel)
    if padding.around.any():
        join_ends(parents, padding.strides, padding.around)
    count = number_roots(parents)
    labels = np.maximum(padding.inside(parents), BLOCKED).reshape(-1)
    return labels, count


PLACE = 0


@kernel
def join_lines(
    parents: NDArray[np.int32], strides: NDArray[np.int64], state: NDArray[np.int64], budget: int
) -> tuple[int, int]:
    """Go on to join each place to those before it along each axis.

    Parameters
    ----------
    parents : int32 array of shape (places,)
        To begin, as `Padding.laid_out` answers it. Then sets: no parent lies behind its place.
    state : int64 array of shape (2,)
        The next place to look at.
    """
    looked = 0
    while state[PLACE] < parents.shape[0]:
        if looked == budget:
            return SLICE_ENDED, looked
        place = state[PLACE]
        state[PLACE] += 1
        looked += 1
        if parents[place] != NEW:
            continue
        root = place
        for axis in range(strides.shape[0]):
            near = place - strides[axis]
            if parents[near] >= 0:
                root = joined(parents, root, root_of(parents, near), place)
        parents[place] = root
    return EXHAUSTED, looked


@inlined
def joined(parents: NDArray[np.int32], root: Int, other: Int, place: Int) -> Int:
    """The root of a place's set with another's. The place's own has no parent yet."""
    if root in (place, other):
        return other
    least = min(root, other)
    parents[max(root, other)] = least
    return least


@kernel
def join_ends(
    parents: NDArray[np.int32], strides: NDArray[np.int64], around: NDArray[np.int64]
) -> None:
    """Join the first sites of rings to the last."""
    for place in range(parents.shape[0]):
        if parents[place] < 0:
            continue
        for axis in range(strides.shape[0]):
            span = around[2 * axis]
            if span and parents[place - strides[axis]] == OUTSIDE and parents[place + span] >= 0:
                a, b = root_of(parents, place), root_of(parents, place + span)
                parents[max(a, b)] = min(a, b)


@kernel
def number_roots(parents: NDArray[np.int32]) -> int:
    """Write the number of its set over each place's parent: those before it have theirs."""
    count = 0
    for place in range(parents.shape[0]):
        if parents[place] == place:
            parents[place] = count
            count += 1
        elif parents[place] >= 0:
            parents[place] = parents[parents[place]]
    return count
