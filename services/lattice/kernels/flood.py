"""Distances from the nearest of some sources to every site. Knows no goal and no bound."""

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


@kernel
def flood_diagonal(
    lattice: GridArrays,
    costs: NDArray[np.float64],
    cutting: bool,
    lengths: NDArray[np.float64],
    buckets: Buckets,
    steps: Steps,
    at: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm on steps along several axes.

    A bucket holds the lengths with the same whole part. No step costs less than 1, so no
    site of a bucket can shorten the way to another of it, and any order within is exact
    (Denardo and Fox 1979).

    Parameters
    ----------
    costs : float64 array of shape (d + 1,)
        The cost of a step by the number of axes it moves on.
    cutting : bool
        A step needs only the site it leads to free, instead of the box it spans.
    lengths : float64 array of shape (sites,)
        Final where the sign is plus, otherwise the shortest so far, negated; -inf where not
        reached. To begin, -0.0 at the sources and -inf elsewhere.
    buckets : Buckets
        To begin, the sources in bucket 0.
    steps, at
        Scratch; `at` has shape (d,).
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    Work is O(3^d d) per site. A length is rounded once per step: its relative error is below
    steps * 2^-53.
    """
    expanded = 0
    while buckets.registers[WAITING] > 0:
        if buckets.registers[WAITING] + steps.sites.shape[0] > buckets.sites.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = pop(buckets)
        if not np.signbit(lengths[site]):
            continue
        lengths[site] = -lengths[site]
        expanded += 1
        locate(lattice, site, at)
        count = list_steps(lattice, cutting, site, at, steps)
        for entry in range(1, count):
            length = lengths[site] + costs[steps.kinds[entry]]
            shorten(lattice, cutting, lengths, buckets, steps, entry, length)
    return EXHAUSTED, expanded


@inlined
def shorten(
    lattice: GridArrays,
    cutting: bool,
    lengths: NDArray[np.float64],
    buckets: Buckets,
    steps: Steps,
    entry: Int,
    length: float,
) -> None:
    """Note that a step leads to its site in a length, if no shorter way is known."""
    near = steps.sites[entry]
    if lengths[near] >= -length or (cutting and is_blocked(lattice, near)):
        return
    lengths[near] = -length
    push(buckets, int(length), near)
