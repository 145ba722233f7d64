"""Searches with steps along several axes at once (Moore), costing sqrt(axes moved on)."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.lattice.kernels.axes import (
    EXHAUSTED,
    FOUND,
    LENGTH,
    MORE_ROOM,
    SLICE_ENDED,
    STRIDE,
    WRAPS,
    after_step,
    axis_distance,
    coordinate,
    is_blocked,
    reciprocals,
)

# A step's code has one ternary digit per axis: 0 stays, 1 moves down, 2 moves up.
DOWN = 1
UP = 2

WAITING = 0
POOL_TOP = 1
FREE = 2
BUCKET = 3
BEST = 4
REGISTERS = 5
NONE = -1
NEVER = np.iinfo(np.int64).max


@njit(nogil=True, cache=True)
def list_steps(
    blocked: NDArray[np.uint8],
    axes: NDArray[np.int64],
    cutting: bool,
    site: int,
    at: NDArray[np.int64],
    allowed: NDArray[np.uint8],
    near_sites: NDArray[np.int64],
    near_codes: NDArray[np.int64],
    near_kinds: NDArray[np.int64],
) -> int:
    """List where the steps from a site lead, and answer how many; entry 0 is the site itself.

    The steps along axes 0..j are those along 0..j-1, each as it is, moved down and moved up.
    Without cutting a step is allowed when its site is free and every step with one of its
    axes left out is allowed: by induction the whole box is free. So nothing is built on a
    step that is not allowed. With cutting, blocked sites are listed too, being built on.

    Parameters
    ----------
    at : int64 array of shape (d,)
        The coordinates of `site`.
    allowed : uint8 array of shape (3^d,)
        Scratch, by code.
    near_sites, near_codes, near_kinds : int64 arrays of shape (3^d,)
        Filled with each step's site, its code, and on how many axes it moves.
    """
    near_sites[0] = site
    near_codes[0] = 0
    near_kinds[0] = 0
    allowed[0] = 1
    count = 1
    power = 1
    for axis in range(axes.shape[0]):
        base_count = count
        for digit in range(DOWN, UP + 1):
            near_at = after_step(at[axis], digit - DOWN, axes[axis, LENGTH], axes[axis, WRAPS])
            if near_at < 0:
                continue
            offset = (near_at - at[axis]) * axes[axis, STRIDE]
            for base in range(base_count):
                near = near_sites[base] + offset
                code = near_codes[base] + digit * power
                if not cutting:
                    free = not is_blocked(blocked, near) and box_is_free(
                        near_codes[base], digit * power, near_kinds[base], allowed
                    )
                    allowed[code] = free
                    if not free:
                        continue
                near_sites[count] = near
                near_codes[count] = code
                near_kinds[count] = near_kinds[base] + 1
                count += 1
        power *= 3
    return count


@njit(nogil=True, cache=True)
def box_is_free(base: int, move: int, kind: int, allowed: NDArray[np.uint8]) -> bool:
    """Whether `base` with each of its `kind` moves left out in turn, plus `move`, is allowed."""
    left = base
    power = 1
    while kind > 0:
        digit = left % 3
        if digit:
            if not allowed[base - digit * power + move]:
                return False
            kind -= 1
        left //= 3
        power *= 3
    return True


@njit(nogil=True, cache=True)
def spread(
    axes: NDArray[np.int64],
    inverse: NDArray[np.float64],
    goal: NDArray[np.int64],
    site: int,
    at: NDArray[np.int64],
    reach: NDArray[np.int64],
) -> None:
    """Fill in a site's coordinates, and its axis distances to the goal after each digit."""
    rest = site
    for axis in range(axes.shape[0]):
        length = axes[axis, LENGTH]
        wraps = axes[axis, WRAPS]
        at[axis] = coordinate(rest, inverse[axis])
        rest -= at[axis] * axes[axis, STRIDE]
        reach[axis, 0] = axis_distance(at[axis], goal[axis], length, wraps)
        for digit in range(DOWN, UP + 1):
            near_at = after_step(at[axis], digit - DOWN, length, wraps)
            reach[axis, digit] = axis_distance(near_at, goal[axis], length, wraps)


@njit(nogil=True, cache=True)
def octile(
    reach: NDArray[np.int64],
    code: int,
    costs: NDArray[np.int64],
    falling: NDArray[np.int64],
) -> int:
    """The free lattice's distance to the goal, from where the step `code` leads.

    With the axis distances falling, a_1 >= a_2 >= ..., it is the sum of
    a_r * (cost(r) - cost(r - 1)): a_d steps along all axes, then a_(d-1) - a_d along all but
    one, and so on.
    """
    axis_count = reach.shape[0]
    for axis in range(axis_count):
        distance = reach[axis, code % 3]
        code //= 3
        place = axis
        while place > 0 and falling[place - 1] < distance:
            falling[place] = falling[place - 1]
            place -= 1
        falling[place] = distance
    bound = 0
    for rank in range(axis_count):
        bound += falling[rank] * (costs[rank + 1] - costs[rank])
    return bound


@njit(nogil=True, cache=True)
def push(
    heads: NDArray[np.int64],
    pool_sites: NDArray[np.uint32],
    pool_next: NDArray[np.int32],
    registers: NDArray[np.int64],
    bucket: int,
    site: int,
) -> None:
    """Add a site to a bucket; the buckets in use are never more than `heads` has."""
    slot = registers[FREE]
    if slot == NONE:
        slot = registers[POOL_TOP]
        registers[POOL_TOP] += 1
    else:
        registers[FREE] = pool_next[slot]
    ring = bucket & (heads.shape[0] - 1)
    pool_sites[slot] = site
    pool_next[slot] = heads[ring]
    heads[ring] = slot
    registers[WAITING] += 1


@njit(nogil=True, cache=True)
def pop(
    heads: NDArray[np.int64],
    pool_sites: NDArray[np.uint32],
    pool_next: NDArray[np.int32],
    registers: NDArray[np.int64],
) -> int:
    """Take the latest site from the lowest bucket that has one. There must be one."""
    mask = heads.shape[0] - 1
    while heads[registers[BUCKET] & mask] == NONE:
        registers[BUCKET] += 1
    ring = registers[BUCKET] & mask
    slot = heads[ring]
    heads[ring] = pool_next[slot]
    pool_next[slot] = registers[FREE]
    registers[FREE] = slot
    registers[WAITING] -= 1
    return np.int64(pool_sites[slot])


@njit(nogil=True, cache=True)
def search_diagonal(
    blocked: NDArray[np.uint8],
    axes: NDArray[np.int64],
    costs: NDArray[np.int64],
    cutting: bool,
    start_site: int,
    goal: NDArray[np.int64],
    labels: NDArray[np.int64],
    stamp: int,
    length_bits: int,
    heads: NDArray[np.int64],
    pool_sites: NDArray[np.uint32],
    pool_next: NDArray[np.int32],
    bucket_shift: int,
    registers: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Search a shortest path by A*, going on from where `registers` says it stands.

    Lengths are whole numbers of a small unit, so that equal sums are equal in whatever order
    they were added. The bound is the free lattice's distance, which is consistent, so f never
    falls along a path. The open list is a ring of buckets by f; within a bucket sites come
    in any order and are expanded again when a shorter way to them is found, so the answer is
    exact for any bucket width.

    Parameters
    ----------
    blocked, axes
        See `services.lattice.kernels.axes`. At most 2^25 sites.
    costs : int64 array of shape (d + 1,)
        The cost of a step by the number of axes it moves on, in units.
    cutting : bool
        A step needs only the site it leads to free, instead of the box it spans.
    start_site : int
        Its index. It begins the search where `registers` has a bucket of NONE.
    goal : int64 array of shape (d,)
        Its coordinates. Free.
    labels : int64 array of shape (sites,)
        From the top: stamp, what the length falls short of 2^length_bits - 1, and whether the
        site was expanded. Greater is better, and any older stamp is worst.
    heads : int64 array of shape (2^b,), pool_sites, pool_next : of shape (capacity,)
        The buckets, as lists in a shared pool.
    bucket_shift : int
        Buckets are 2^bucket_shift units wide. 2^b of them cover twice the dearest step.
    registers : int64 array of shape (5,)
        See the constants above. At the end registers[BEST] is the length found, in units.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    Work is O(3^d d) per expansion.
    """
    axis_count = axes.shape[0]
    code_count = 3**axis_count
    inverse = reciprocals(axes)
    at = np.empty(axis_count, np.int64)
    falling = np.empty(axis_count, np.int64)
    reach = np.empty((axis_count, 3), np.int64)
    allowed = np.empty(code_count, np.uint8)
    near_sites = np.empty(code_count, np.int64)
    near_codes = np.empty(code_count, np.int64)
    near_kinds = np.empty(code_count, np.int64)
    goal_site = np.int64(0)
    for axis in range(axis_count):
        goal_site += goal[axis] * axes[axis, STRIDE]
    longest = (np.int64(1) << length_bits) - 1
    seal = np.int64(stamp) << (length_bits + 1)
    expanded = 0
    if registers[BUCKET] == NONE:
        spread(axes, inverse, goal, start_site, at, reach)
        registers[BUCKET] = octile(reach, 0, costs, falling) >> bucket_shift
        registers[BEST] = 0 if start_site == goal_site else NEVER
        labels[start_site] = seal | longest << 1
        push(heads, pool_sites, pool_next, registers, registers[BUCKET], start_site)
    while registers[WAITING] > 0:
        if registers[WAITING] + code_count > pool_sites.shape[0]:
            return MORE_ROOM, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = pop(heads, pool_sites, pool_next, registers)
        if registers[BUCKET] > registers[BEST] >> bucket_shift:
            return FOUND, expanded
        if labels[site] & 1:
            continue
        labels[site] |= 1
        length = longest - ((labels[site] ^ seal) >> 1)
        spread(axes, inverse, goal, site, at, reach)
        if length + octile(reach, 0, costs, falling) >= registers[BEST]:
            continue
        expanded += 1
        count = list_steps(
            blocked, axes, cutting, site, at, allowed, near_sites, near_codes, near_kinds
        )
        for entry in range(1, count):
            near = near_sites[entry]
            near_length = length + costs[near_kinds[entry]]
            label = seal | (longest - near_length) << 1
            if label <= labels[near] or (cutting and is_blocked(blocked, near)):
                continue
            labels[near] = label
            if near == goal_site:
                registers[BEST] = near_length
                continue
            total = near_length + octile(reach, near_codes[entry], costs, falling)
            if total < registers[BEST]:
                push(heads, pool_sites, pool_next, registers, total >> bucket_shift, near)
    return (EXHAUSTED if registers[BEST] == NEVER else FOUND), expanded


@njit(nogil=True, cache=True)
def trace_diagonal(
    blocked: NDArray[np.uint8],
    axes: NDArray[np.int64],
    costs: NDArray[np.int64],
    cutting: bool,
    start_site: int,
    goal_site: int,
    labels: NDArray[np.int64],
    run_steps: NDArray[np.int64],
    run_counts: NDArray[np.int64],
) -> int:
    """Follow falling lengths back from the goal and tell the path as runs, the last first.

    A site's predecessor is any neighbour whose length and the step's cost give the site's;
    the one that goes on straight is preferred, so that runs are few.

    Parameters
    ----------
    run_steps, run_counts : int64 arrays of the same shape (capacity,)
        Filled with each run's code and how often it is taken. Runs beyond the capacity are
        counted and not written: call once with none to learn how many.

    Returns
    -------
    int
        The number of runs.
    """
    axis_count = axes.shape[0]
    code_count = 3**axis_count
    inverse = reciprocals(axes)
    at = np.empty(axis_count, np.int64)
    allowed = np.empty(code_count, np.uint8)
    near_sites = np.empty(code_count, np.int64)
    near_codes = np.empty(code_count, np.int64)
    near_kinds = np.empty(code_count, np.int64)
    site = goal_site
    run_count = 0
    last = -1
    while site != start_site:
        rest = site
        for axis in range(axis_count):
            at[axis] = coordinate(rest, inverse[axis])
            rest -= at[axis] * axes[axis, STRIDE]
        count = list_steps(
            blocked, axes, cutting, site, at, allowed, near_sites, near_codes, near_kinds
        )
        chosen = 0
        for entry in range(1, count):
            label = labels[near_sites[entry]] | 1
            if label - 2 * costs[near_kinds[entry]] != labels[site] | 1:
                continue
            if chosen == 0 or near_codes[entry] == last:
                chosen = entry
        if near_codes[chosen] != last:
            run_count += 1
            last = near_codes[chosen]
            if run_count <= run_steps.shape[0]:
                run_steps[run_count - 1] = reverse(last)
                run_counts[run_count - 1] = 0
        if run_count <= run_steps.shape[0]:
            run_counts[run_count - 1] += 1
        site = near_sites[chosen]
    return run_count


@njit(nogil=True, cache=True)
def reverse(code: int) -> int:
    """The code of the opposite step."""
    opposite = 0
    power = 1
    while code:
        digit = code % 3
        opposite += (3 - digit) % 3 * power
        code //= 3
        power *= 3
    return opposite
