"""Distances from the nearest of some sources to every site. Knows no goal and no bound."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.lattice.kernels.axes import (
    EXHAUSTED,
    LENGTH,
    MORE_ROOM,
    SLICE_ENDED,
    STRIDE,
    WRAPS,
    after_step,
    coordinate,
    is_blocked,
    reciprocals,
)
from services.lattice.kernels.diagonal import BUCKET, WAITING, list_steps, pop, push

HEAD = 0
TAIL = 1


@njit(nogil=True, cache=True)
def flood_straight(
    blocked: NDArray[np.uint8],
    axes: NDArray[np.int64],
    distances: NDArray[np.int32],
    queue: NDArray[np.uint32],
    registers: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with a breadth-first search along single axes.

    Parameters
    ----------
    blocked, axes
        See `services.lattice.kernels.axes`.
    distances : int32 array of shape (sites,)
        In steps, -1 where not reached. To begin, 0 at the sources and -1 elsewhere.
    queue : uint32 array of shape (sites,)
        To begin, the sources.
    registers : int64 array of shape (2,)
        How many of the queue were expanded, and how many are in it.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)
        When the status is not EXHAUSTED, distances up to that of the queue's next are final.
    """
    axis_count = axes.shape[0]
    inverse = reciprocals(axes)
    head = registers[HEAD]
    tail = registers[TAIL]
    first = head
    while head < tail and head - first < budget:
        site = np.int64(queue[head])
        head += 1
        near_distance = distances[site] + 1
        rest = site
        for axis in range(axis_count):
            at = coordinate(rest, inverse[axis])
            rest -= at * axes[axis, STRIDE]
            for upward in range(2):
                near_at = after_step(at, upward, axes[axis, LENGTH], axes[axis, WRAPS])
                near = site + (near_at - at) * axes[axis, STRIDE]
                if near_at < 0 or distances[near] >= 0 or is_blocked(blocked, near):
                    continue
                distances[near] = near_distance
                queue[tail] = near
                tail += 1
    registers[HEAD] = head
    registers[TAIL] = tail
    return (EXHAUSTED if head == tail else SLICE_ENDED), head - first


@njit(nogil=True, cache=True)
def flood_diagonal(
    blocked: NDArray[np.uint8],
    axes: NDArray[np.int64],
    costs: NDArray[np.float64],
    cutting: bool,
    lengths: NDArray[np.float64],
    heads: NDArray[np.int64],
    pool_sites: NDArray[np.uint32],
    pool_next: NDArray[np.int32],
    registers: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm on steps along several axes.

    A bucket holds the lengths with the same whole part. No step costs less than 1, so no
    site of a bucket can shorten the way to another of it, and any order within is exact
    (Denardo and Fox 1979).

    Parameters
    ----------
    blocked, axes, cutting, heads, pool_sites, pool_next, registers, budget
        As in `search_diagonal`; `heads` has 8 entries. To begin, the sources are in bucket 0.
    costs : float64 array of shape (d + 1,)
        The cost of a step by the number of axes it moves on.
    lengths : float64 array of shape (sites,)
        Final where >= 0, otherwise the shortest so far, negated; -inf where not reached. To
        begin, -0.0 at the sources and -inf elsewhere.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    A length is rounded once per step: its relative error is below steps * 2^-53.
    """
    axis_count = axes.shape[0]
    code_count = 3**axis_count
    inverse = reciprocals(axes)
    at = np.empty(axis_count, np.int64)
    allowed = np.empty(code_count, np.uint8)
    near_sites = np.empty(code_count, np.int64)
    near_codes = np.empty(code_count, np.int64)
    near_kinds = np.empty(code_count, np.int64)
    expanded = 0
    while registers[WAITING] > 0:
        if registers[WAITING] + code_count > pool_sites.shape[0]:
            return MORE_ROOM, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = pop(heads, pool_sites, pool_next, registers)
        length = -lengths[site]
        # A positive zero tells a settled source from one that waits.
        if np.signbit(length):
            continue
        lengths[site] = length
        expanded += 1
        rest = site
        for axis in range(axis_count):
            at[axis] = coordinate(rest, inverse[axis])
            rest -= at[axis] * axes[axis, STRIDE]
        count = list_steps(
            blocked, axes, cutting, site, at, allowed, near_sites, near_codes, near_kinds
        )
        for entry in range(1, count):
            near = near_sites[entry]
            near_length = length + costs[near_kinds[entry]]
            if lengths[near] >= -near_length or (cutting and is_blocked(blocked, near)):
                continue
            lengths[near] = -near_length
            push(heads, pool_sites, pool_next, registers, np.int64(near_length), near)
    return EXHAUSTED, expanded
