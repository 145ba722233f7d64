"""Distances from the nearest of some sources to every site. Knows no goal and no bound."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import (
    EXHAUSTED,
    LENGTH,
    OPEN_LIST_FULL,
    SLICE_ENDED,
    STRIDE,
    WRAPS,
    GridArrays,
    Int,
    after_step,
    coordinate,
    is_blocked,
)
from services.lattice.kernels.buckets import WAITING, Buckets, pop, push
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.steps import Steps, list_steps, locate

NEVER = np.iinfo(np.int64).min
HEAD = 0
TAIL = 1


@kernel
def flood_straight(
    lattice: GridArrays,
    distances: NDArray[np.int32],
    queue: NDArray[np.uint32],
    ends: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with a breadth-first search along single axes.

    Parameters
    ----------
    distances : int32 array of shape (sites,)
        In steps, -1 where not reached. To begin, 0 at the sources and -1 elsewhere.
    queue : uint32 array of shape (sites,)
        To begin, the sources.
    ends : int64 array of shape (2,)
        How many of the queue were expanded, and how many are in it.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)
        What is reached is final, whatever the status.

    Notes
    -----
    Work is O(d) per expanded site.
    """
    first = ends[HEAD]
    while ends[HEAD] < ends[TAIL] and ends[HEAD] - first < budget:
        site = np.int64(queue[ends[HEAD]])
        ends[HEAD] += 1
        tail = ends[TAIL]
        rest = site
        for axis in range(lattice.axes.shape[0]):
            stride = lattice.axes[axis, STRIDE]
            at = coordinate(rest, lattice.inverse_strides[axis])
            rest -= at * stride
            for upward in range(2):
                near_at = after_step(
                    at, upward, lattice.axes[axis, LENGTH], lattice.axes[axis, WRAPS]
                )
                near = site + (near_at - at) * stride
                if near_at >= 0 and distances[near] < 0 and not is_blocked(lattice, near):
                    distances[near] = distances[site] + 1
                    queue[tail] = near
                    tail += 1
        ends[TAIL] = tail
    return (EXHAUSTED if ends[HEAD] == ends[TAIL] else SLICE_ENDED), ends[HEAD] - first


class Costs(NamedTuple):
    """What steps cost and need."""

    units: NDArray[np.int64]
    """Of shape (d + 1,): the cost by the number of axes moved on, in units."""
    tags: NDArray[np.int64]
    """Of shape (d + 1,): what it adds to a tally. See `lengths.tags`."""
    cutting: bool
    """A step needs only the site it leads to free, instead of the box it spans."""


class Reached(NamedTuple):
    """What is known of each site."""

    lengths: NDArray[np.int64]
    """Of shape (sites,), in units: final where it is 0 or more, otherwise the complement of the
    shortest so far; NEVER where not reached."""
    tallies: NDArray[np.int64]
    """Of shape (sites,): the same length as a tally. Means nothing where not reached."""


@kernel
def flood_diagonal(
    lattice: GridArrays,
    costs: Costs,
    reached: Reached,
    buckets: Buckets,
    bucket_shift: int,
    steps: Steps,
    at: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm on steps along several axes.

    Buckets are no wider than a step along one axis costs, which costs least, so no site of a
    bucket can shorten the way to another of it, and any order within is exact (Denardo and
    Fox 1979).

    Parameters
    ----------
    reached : Reached
        To begin, the complement of 0 and an empty tally at the sources, and NEVER elsewhere.
    buckets : Buckets
        To begin, the sources in bucket 0.
    bucket_shift : int
        Buckets are 2^bucket_shift units of length wide.
    steps, at
        Scratch; `at` has shape (d,).
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    Work is O(3^d d) per site.
    """
    lengths = reached.lengths
    expanded = 0
    while buckets.registers[WAITING] > 0:
        if buckets.registers[WAITING] + steps.sites.shape[0] > buckets.sites.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = pop(buckets)
        if lengths[site] >= 0:
            continue
        lengths[site] = ~lengths[site]
        expanded += 1
        locate(lattice, site, at)
        count = list_steps(lattice, costs.cutting, site, at, steps)
        for entry in range(1, count):
            shorten(lattice, costs, reached, buckets, bucket_shift, steps, entry, site)
    return EXHAUSTED, expanded


@inlined
def shorten(
    lattice: GridArrays,
    costs: Costs,
    reached: Reached,
    buckets: Buckets,
    bucket_shift: Int,
    steps: Steps,
    entry: Int,
    site: Int,
) -> None:
    """Go from a site along one of its steps, if no way there is known that is as short."""
    near = steps.sites[entry]
    kind = steps.kinds[entry]
    length = reached.lengths[site] + costs.units[kind]
    if reached.lengths[near] >= ~length or (costs.cutting and is_blocked(lattice, near)):
        return
    reached.lengths[near] = ~length
    reached.tallies[near] = reached.tallies[site] + costs.tags[kind]
    push(buckets, length >> bucket_shift, near)
