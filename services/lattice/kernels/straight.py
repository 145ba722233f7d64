"""Searches with steps along one axis (von Neumann), each of cost 1. Knows no Moore step."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import (
    EXHAUSTED,
    LENGTH,
    OPEN_LIST_FULL,
    REACHED,
    SLICE_ENDED,
    STRIDE,
    WRAPS,
    GridArrays,
    Int,
    after_step,
    axis_distance,
    coordinate,
    index_of,
    is_blocked,
)
from services.lattice.kernels.compiled import inlined, kernel

# A mark is a stamp of ten bits, then six that tell what is known of the site:
STAMP_SHIFT = 6
STAMP_MAX = 1023
KNOWN = 63
SOURCE = 20  # below it: settled, reached by the step 2 * axis + upward
WAITING = 32  # plus the stack it waits in
# An entry of a stack is a site, then five bits: the step that reached it, or that it is settled.
ENTRY_SHIFT = 5
STEP = 31
SETTLED = 31

LAYER = 3


class Open(NamedTuple):
    """The sites waiting to be expanded."""

    stacks: NDArray[np.uint32]
    """Of shape (3, capacity), by f modulo 3."""
    registers: NDArray[np.int64]
    """Of shape (4,): the size of each stack, and the f now looked at."""


@kernel
def search_straight(
    lattice: GridArrays,
    goal: NDArray[np.int64],
    marks: NDArray[np.uint16],
    stamp: int,
    waiting: Open,
    budget: int,
) -> tuple[int, int]:
    """Search a shortest path by A*, going on from where `waiting` says it stands.

    With the distance on the free lattice as its bound, a step raises a path's total f by 0, 1
    or 2 (by 1 only across the far side of an odd ring), so three stacks in a ring replace the
    heap: a 0-1 breadth-first search on detours. A site reached without a detour is settled at
    once, since its layer is the lowest there is, and is looked at first: ties go depth-first
    to the goal.

    Parameters
    ----------
    goal : int64 array of shape (d,)
        Its coordinates. Free.
    marks : uint16 array of shape (sites,)
        Settled sites and the step that reached each, valid where the upper bits are `stamp`.
    stamp : int
        This search's, 1 to 1023. No older search's mark may carry it.
    waiting : Open
        To begin, the start in stack 0, both settled and marked as SOURCE.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    Work is O(d) per expanded site, and no site is expanded twice.
    """
    goal_site = index_of(lattice.axes, goal)
    seal = np.int64(stamp) << STAMP_SHIFT
    capacity = waiting.stacks.shape[1] - 2 * lattice.axes.shape[0]
    sizes = waiting.registers
    expanded = 0
    while not is_settled(marks[goal_site], seal):
        if sizes[sizes[LAYER] % 3] == 0:
            if sizes[0] + sizes[1] + sizes[2] == 0:
                return EXHAUSTED, expanded
            sizes[LAYER] += 1
            continue
        if max(sizes[0], sizes[1], sizes[2]) > capacity:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        site = take(marks, seal, waiting)
        if site >= 0:
            expand(lattice, goal, marks, seal, waiting, site)
            expanded += 1
    return REACHED, expanded


@inlined
def take(marks: NDArray[np.uint16], seal: Int, waiting: Open) -> Int:
    """Take the next site of the layer and settle it; -1 when it was settled since it waits."""
    slot = waiting.registers[LAYER] % 3
    waiting.registers[slot] -= 1
    entry = np.int64(waiting.stacks[slot, waiting.registers[slot]])
    site = entry >> ENTRY_SHIFT
    if entry & STEP == SETTLED:
        return site
    if is_settled(marks[site], seal):
        return -1
    marks[site] = seal | (entry & STEP)
    return site


@inlined
def expand(
    lattice: GridArrays,
    goal: NDArray[np.int64],
    marks: NDArray[np.uint16],
    seal: Int,
    waiting: Open,
    site: Int,
) -> None:
    """Look at a site's neighbours; leave on top the one along the axis farthest to go.

    Going along that axis keeps all axes open the longest, so fewer paths end before a wall.
    """
    slot = waiting.registers[LAYER] % 3
    top = waiting.registers[slot]
    rest = site
    farthest = 0
    first = top
    for axis in range(lattice.axes.shape[0]):
        length = lattice.axes[axis, LENGTH]
        stride = lattice.axes[axis, STRIDE]
        wraps = lattice.axes[axis, WRAPS]
        at = coordinate(rest, lattice.inverse_strides[axis])
        rest -= at * stride
        here = axis_distance(at, goal[axis], length, wraps)
        for upward in range(2):
            near_at = after_step(at, upward, length, wraps)
            near = site + (near_at - at) * stride
            if near_at < 0 or is_blocked(lattice, near):
                continue
            known = np.int64(marks[near]) ^ seal
            if known < WAITING:
                continue
            step = 2 * axis + upward
            rise = 1 + axis_distance(near_at, goal[axis], length, wraps) - here
            if rise > 0:
                put_off(marks, seal, waiting, near, step, rise, known)
                continue
            marks[near] = seal | step
            waiting.stacks[slot, top] = near << ENTRY_SHIFT | SETTLED
            if here > farthest:
                farthest = here
                first = top
            top += 1
    waiting.registers[slot] = top
    if farthest:
        stack = waiting.stacks[slot]
        stack[first], stack[top - 1] = stack[top - 1], stack[first]


@inlined
def put_off(
    marks: NDArray[np.uint16],
    seal: Int,
    waiting: Open,
    site: Int,
    step: Int,
    rise: Int,
    known: Int,
) -> None:
    """Let a site wait for the layer `rise` above, unless it waits for one as low."""
    slot = waiting.registers[LAYER] % 3
    if known <= KNOWN and (known - WAITING - slot) % 3 <= rise:
        return
    slot = (slot + rise) % 3
    marks[site] = seal | WAITING | slot
    waiting.stacks[slot, waiting.registers[slot]] = site << ENTRY_SHIFT | step
    waiting.registers[slot] += 1


@inlined
def is_settled(mark: Int, seal: Int) -> bool:
    """Whether the search of this seal has the final distance of a site with this mark."""
    return bool(np.int64(mark) ^ seal < WAITING)


@kernel
def trace_straight(
    lattice: GridArrays,
    goal_site: int,
    marks: NDArray[np.uint16],
    run_steps: NDArray[np.int64],
    run_counts: NDArray[np.int64],
) -> int:
    """Follow the marks back from the goal and tell the path as runs, the last one first.

    Parameters
    ----------
    run_steps, run_counts : int64 arrays of the same shape (capacity,)
        Filled with each run's step, 2 * axis + upward, and how often it is taken. Runs beyond
        the capacity are counted and not written.

    Returns
    -------
    int
        The number of runs.
    """
    site = np.int64(goal_site)
    run_count = 0
    last: Int = -1
    while True:
        step = np.int64(marks[site]) & KNOWN
        if step == SOURCE:
            return run_count
        run_count = add_to_runs(run_steps, run_counts, run_count, last, step, 1)
        last = step
        length = lattice.axes[step >> 1, LENGTH]
        stride = lattice.axes[step >> 1, STRIDE]
        at = coordinate(site, lattice.inverse_strides[step >> 1]) % length
        before = after_step(at, 1 - (step & 1), length, lattice.axes[step >> 1, WRAPS])
        site += (before - at) * stride


@inlined
def add_to_runs(
    run_steps: NDArray[np.int64],
    run_counts: NDArray[np.int64],
    run_count: Int,
    last: Int,
    step: Int,
    times: Int,
) -> Int:
    """Lengthen the last run or begin another, if there is room; answer how many there are."""
    if step != last:
        run_count += 1
        if run_count <= run_steps.shape[0]:
            run_steps[run_count - 1] = step
            run_counts[run_count - 1] = 0
    if run_count <= run_steps.shape[0]:
        run_counts[run_count - 1] += times
    return run_count
