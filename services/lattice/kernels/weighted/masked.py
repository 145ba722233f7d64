"""The same on steps along several axes, with the steps from each place as bits."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, OPEN_LIST_FULL, REACHED, SLICE_ENDED
from services.lattice.kernels.bits import lowest_bit
from services.lattice.kernels.buckets import BUCKET, WAITING, Buckets, pop, push
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.weighted.straight import COST, LENGTH, Bounds, is_final, note_parent

_ONE = np.uint64(1)


@kernel
def search_masked(
    field: NDArray[np.float64],
    masks: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    shares: NDArray[np.float64],
    parents: NDArray[np.uint8],
    buckets: Buckets,
    bounds: Bounds,
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm, as `straight.search_costs` does.

    Parameters
    ----------
    field, parents, buckets, budget
        As there.
    masks, offsets
        As in `StepMasks` and `StepTable`, by the code of a step.
    shares : float64 array of shape (codes, 2)
        What a step costs: so much of the cost of the site that it leaves, and so much of that
        of the site that it leads to.
    """
    expanded = 0
    inverse_width = bounds.inverse_width
    while buckets.registers[WAITING] > 0:
        if buckets.registers[WAITING] + shares.shape[0] > buckets.sites.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        place = np.int64(pop(buckets))
        bucket = buckets.registers[BUCKET]
        length, cost = field[place, LENGTH], field[place, COST]
        if is_final(field, bounds, bucket):
            return REACHED, expanded
        if np.int64(length * inverse_width) < bucket:
            continue
        expanded += 1
        left = np.uint64(masks[np.uint64(place)])
        while left:
            code = lowest_bit(left)
            left &= left - _ONE
            near = place + offsets[code]
            near_length = length + shares[code, 0] * cost + shares[code, 1] * field[near, COST]
            if near_length < field[near, LENGTH] and near_length <= bounds.length_max:
                field[near, LENGTH] = near_length
                note_parent(parents, near, code)
                push(buckets, np.int64(near_length * inverse_width), near)
    return EXHAUSTED, expanded


@kernel
def trace_masked(
    offsets: NDArray[np.int64],
    parents: NDArray[np.uint8],
    place: int,
    codes: NDArray[np.int64],
) -> int:
    """Write the steps that came to a place, as `straight.trace_costs` does."""
    count = 0
    while parents[place] != 255:
        step = np.int64(parents[place])
        if count < codes.shape[0]:
            codes[count] = step
        count += 1
        place -= offsets[step]
    return count
