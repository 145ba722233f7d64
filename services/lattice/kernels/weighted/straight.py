"""Dijkstra's algorithm with site costs, on steps along one axis of a padded lattice."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, OPEN_LIST_FULL, REACHED, SLICE_ENDED, Int
from services.lattice.kernels.buckets import BUCKET, WAITING, Buckets, pop, push
from services.lattice.kernels.compiled import inlined, kernel

BLOCKED = -np.inf
"""Less than any length, whatever such a site costs."""
OUTSIDE = -2.0

LENGTH = 0
COST = 1


class Bounds(NamedTuple):
    """When a search has what is asked for."""

    goal: int
    """The place whose length is wanted, -1 for all."""
    length_max: float
    """What is further away is not looked at."""
    inverse_width: float
    """Of the buckets."""


@kernel
def search_costs(
    field: NDArray[np.float64],
    offsets: NDArray[np.int64],
    around: NDArray[np.int64],
    parents: NDArray[np.uint8],
    buckets: Buckets,
    bounds: Bounds,
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm. A step costs what the site it leads to does.

    Buckets may be wider than the least cost: a site whose length falls again waits again, so
    that the lengths are right whatever the order in a bucket. Where they are not, no site is
    expanded twice (Denardo and Fox 1979).

    Parameters
    ----------
    field : float64 array of shape (places, 2)
        A length and a cost of each: side by side, since they are looked at together. To begin,
        the sources' lengths, infinite elsewhere; BLOCKED, or OUTSIDE of the lattice.
    offsets, around
        As in `Padding`.
    parents : uint8 array of shape (places,) or (0,)
        The step that came to each place that was reached, if wanted.
    buckets : Buckets
        To begin, the sources.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)
        REACHED when the goal's length is final.
    """
    expanded = 0
    inverse_width = bounds.inverse_width
    while buckets.registers[WAITING] > 0:
        if buckets.registers[WAITING] + offsets.shape[0] > buckets.sites.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        place = np.int64(pop(buckets))
        bucket = buckets.registers[BUCKET]
        length = field[place, LENGTH]
        if is_final(field, bounds, bucket):
            return REACHED, expanded
        if np.int64(length * inverse_width) < bucket:
            continue
        expanded += 1
        for step in range(offsets.shape[0]):
            near = place + offsets[step]
            known = field[near, LENGTH]
            if known == OUTSIDE and around[step] != 0:
                near = place + around[step]
                known = field[near, LENGTH]
            near_length = length + field[near, COST]
            if near_length < known and near_length <= bounds.length_max:
                field[near, LENGTH] = near_length
                note_parent(parents, near, step)
                push(buckets, np.int64(near_length * inverse_width), near)
    return EXHAUSTED, expanded


@inlined
def is_final(field: NDArray[np.float64], bounds: Bounds, bucket: Int) -> bool:
    """Whether the goal's length is: nothing waits that could shorten it."""
    if bounds.goal < 0 or field[bounds.goal, LENGTH] == np.inf:
        return False
    return bool(bucket > np.int64(field[bounds.goal, LENGTH] * bounds.inverse_width))


@inlined
def note_parent(parents: NDArray[np.uint8], place: Int, step: Int) -> None:
    """Keep by which step a place was reached, if that is wanted."""
    if parents.shape[0] > 0:
        parents[place] = step


@kernel
def trace_costs(
    field: NDArray[np.float64],
    offsets: NDArray[np.int64],
    around: NDArray[np.int64],
    parents: NDArray[np.uint8],
    place: int,
    codes: NDArray[np.int64],
) -> int:
    """Write the steps that came to a place, the last first; answer how many there are.

    Those beyond `codes` are counted only. Sources have no step: `parents` has 255 of them.
    """
    count = 0
    while parents[place] != 255:
        step = np.int64(parents[place])
        if count < codes.shape[0]:
            codes[count] = step
        count += 1
        came = place - offsets[step]
        if field[came, LENGTH] == OUTSIDE:
            came = place - around[step]
        place = came
    return count
