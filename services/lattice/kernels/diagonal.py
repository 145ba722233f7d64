"""Searches with steps along several axes at once (Moore), costing sqrt(axes moved on)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import (
    EXHAUSTED,
    LENGTH,
    OPEN_LIST_FULL,
    REACHED,
    SLICE_ENDED,
    WRAPS,
    GridArrays,
    Int,
    after_step,
    axis_distance,
    is_blocked,
)
from services.lattice.kernels.buckets import BUCKET, NONE, WAITING, Buckets, pop, push
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.steps import (
    DOWN,
    UP,
    Steps,
    list_steps,
    locate,
    opposite,
)
from services.lattice.kernels.straight import add_to_runs

NEVER = np.iinfo(np.int64).max
EXPANDED = 1


class Moves(NamedTuple):
    """What steps cost and need."""

    costs: NDArray[np.int64]
    """Of shape (d + 1,): the cost by the number of axes moved on, in units."""
    cutting: bool
    """A step needs only the site it leads to free, instead of the box it spans."""


class Labels(NamedTuple):
    """What is known of each site: from the top a stamp, what its length falls short of
    `longest`, and a bit that tells whether it was expanded. Greater is better, and an older
    stamp is worse than any.
    """

    values: NDArray[np.int64]
    """Of shape (sites,)."""
    seal: int
    """The stamp, in its place."""
    longest: int


class Target(NamedTuple):
    """The goal, and the best way to it."""

    at: NDArray[np.int64]
    """Of shape (d,): its coordinates."""
    site: int
    best: NDArray[np.int64]
    """Of shape (1,): the length of the shortest path known, in units, or NEVER."""


class Reach(NamedTuple):
    """How far it is from around a site to the goal."""

    at: NDArray[np.int64]
    """Of shape (d,): the site's coordinates."""
    distances: NDArray[np.int64]
    """Of shape (d, 3): the distance along each axis, after each digit of a step's code."""
    falling: NDArray[np.int64]
    """Of shape (d,): scratch."""


def allocate_reach(axis_count: int) -> Reach:
    return Reach(
        at=np.empty(axis_count, np.int64),
        distances=np.empty((axis_count, 3), np.int64),
        falling=np.empty(axis_count, np.int64),
    )


@kernel
def search_diagonal(
    lattice: GridArrays,
    moves: Moves,
    start_site: int,
    target: Target,
    labels: Labels,
    buckets: Buckets,
    bucket_shift: int,
    steps: Steps,
    reach: Reach,
    budget: int,
) -> tuple[int, int]:
    """Search a shortest path by A*, going on from where `buckets` says it stands.

    Lengths are whole numbers of a small unit, so that equal sums are equal in whatever order
    they were added. The bound is the free lattice's distance, which is consistent, so f never
    falls along a path. The open list is a ring of buckets by f; within a bucket sites come
    in any order and are expanded again when a shorter way to them is found, so the answer is
    exact for any bucket width.

    Parameters
    ----------
    start_site : int
        Where the search begins when the bucket of `buckets` is NONE.
    bucket_shift : int
        Buckets are 2^bucket_shift units of f wide. They cover twice the dearest step.
    steps, reach
        Scratch.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    Work is O(3^d d) per expansion.
    """
    registers = buckets.registers
    expanded = 0
    if registers[BUCKET] == NONE:
        registers[BUCKET] = 0
        labels.values[start_site] = labels.seal | labels.longest << 1
        target.best[0] = 0 if start_site == target.site else NEVER
        look_around(lattice, target.at, start_site, reach)
        registers[BUCKET] = octile(reach, 0, moves.costs) >> bucket_shift
        push(buckets, registers[BUCKET], start_site)
    while registers[WAITING] > 0:
        if registers[WAITING] + steps.sites.shape[0] > buckets.sites.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = pop(buckets)
        if registers[BUCKET] > target.best[0] >> bucket_shift:
            break
        if labels.values[site] & EXPANDED:
            continue
        labels.values[site] |= EXPANDED
        look_around(lattice, target.at, site, reach)
        length = labels.longest - ((labels.values[site] ^ labels.seal) >> 1)
        if length + octile(reach, 0, moves.costs) < target.best[0]:
            expanded += 1
            count = list_steps(lattice, moves.cutting, site, reach.at, steps)
            for entry in range(1, count):
                take_step(
                    lattice,
                    moves,
                    target,
                    labels,
                    buckets,
                    bucket_shift,
                    steps,
                    entry,
                    reach,
                    length,
                )
    return (EXHAUSTED if target.best[0] == NEVER else REACHED), expanded


@inlined
def take_step(
    lattice: GridArrays,
    moves: Moves,
    target: Target,
    labels: Labels,
    buckets: Buckets,
    bucket_shift: int,
    steps: Steps,
    entry: Int,
    reach: Reach,
    length: Int,
) -> None:
    """Go from a site of some length along one of its steps, if that is a shorter way there."""
    near = steps.sites[entry]
    near_length = length + moves.costs[steps.kinds[entry]]
    label = labels.seal | (labels.longest - near_length) << 1
    if label <= labels.values[near] or (moves.cutting and is_blocked(lattice, near)):
        return
    labels.values[near] = label
    if near == target.site:
        target.best[0] = near_length
        return
    total = near_length + octile(reach, steps.codes[entry], moves.costs)
    if total < target.best[0]:
        push(buckets, total >> bucket_shift, near)


@inlined
def look_around(
    lattice: GridArrays,
    goal: NDArray[np.int64],
    site: Int,
    reach: Reach,
) -> None:
    """Fill in how far it is from around a site."""
    locate(lattice, site, reach.at)
    for axis in range(lattice.axes.shape[0]):
        at = reach.at[axis]
        length = lattice.axes[axis, LENGTH]
        wraps = lattice.axes[axis, WRAPS]
        reach.distances[axis, 0] = axis_distance(at, goal[axis], length, wraps)
        for digit in range(DOWN, UP + 1):
            near_at = after_step(at, digit - DOWN, length, wraps)
            reach.distances[axis, digit] = axis_distance(near_at, goal[axis], length, wraps)


@inlined
def octile(reach: Reach, code: Int, costs: NDArray[np.int64]) -> Int:
    """The free lattice's distance to the goal from where the step `code` leads, in units.

    With the axis distances falling, a_1 >= a_2 >= ..., it is the sum of
    a_r * (cost(r) - cost(r - 1)): a_d steps along all axes, then a_(d-1) - a_d along all but
    one, and so on.
    """
    falling = reach.falling
    for axis in range(falling.shape[0]):
        distance = reach.distances[axis, code % 3]
        code //= 3
        place = axis
        while place > 0 and falling[place - 1] < distance:
            falling[place] = falling[place - 1]
            place -= 1
        falling[place] = distance
    bound = np.int64(0)
    for rank in range(falling.shape[0]):
        bound += falling[rank] * (costs[rank + 1] - costs[rank])
    return bound


@kernel
def trace_diagonal(
    lattice: GridArrays,
    moves: Moves,
    start_site: int,
    goal_site: int,
    values: NDArray[np.int64],
    steps: Steps,
    at: NDArray[np.int64],
    run_steps: NDArray[np.int64],
    run_counts: NDArray[np.int64],
) -> int:
    """Follow falling lengths back from the goal and tell the path as runs, the last first.

    Parameters
    ----------
    values : int64 array of shape (sites,)
        `Labels.values` as the search left them.
    steps, at
        Scratch; `at` has shape (d,).
    run_steps, run_counts : int64 arrays of the same shape (capacity,)
        Filled with each run's code and how often it is taken. Runs beyond the capacity are
        counted and not written.

    Returns
    -------
    int
        The number of runs.
    """
    site = goal_site
    run_count = 0
    last = 0
    while site != start_site:
        locate(lattice, site, at)
        count = list_steps(lattice, moves.cutting, site, at, steps)
        chosen = step_back(moves.costs, values, site, steps, count, opposite(last))
        code = opposite(steps.codes[chosen])
        run_count = add_to_runs(run_steps, run_counts, run_count, last, code, 1)
        last = code
        site = steps.sites[chosen]
    return run_count


@inlined
def step_back(
    costs: NDArray[np.int64],
    values: NDArray[np.int64],
    site: Int,
    steps: Steps,
    count: Int,
    preferred: Int,
) -> Int:
    """Which of a site's steps leads back: where the length and the step give the site's.

    The preferred code is chosen where it is one of them, so that runs are few.
    """
    chosen = 0
    for entry in range(1, count):
        label = values[steps.sites[entry]] | EXPANDED
        if label - 2 * costs[steps.kinds[entry]] != values[site] | EXPANDED:
            continue
        if chosen == 0 or steps.codes[entry] == preferred:
            chosen = entry
    return chosen
