"""Searches with steps along one axis (von Neumann), each of cost 1. Knows no Moore step."""

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

# A mark is a stamp of ten bits, then six that tell what is known of the site:
STAMP_SHIFT = 6
STAMP_MAX = 1023
KNOWN = 63
SOURCE = 20  # below it: settled, reached by step 2 * axis + upward
WAITING = 32  # plus the stack it waits in
# An entry of a stack is a site, then five bits: the step that reached it, or that it is settled.
ENTRY_SHIFT = 5
STEP = 31
SETTLED = 31

LAYER = 3
REGISTERS = 4


@njit(nogil=True, cache=True)
def search_straight(
    blocked: NDArray[np.uint8],
    axes: NDArray[np.int64],
    goal: NDArray[np.int64],
    marks: NDArray[np.uint16],
    stamp: int,
    stacks: NDArray[np.uint32],
    registers: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Search a shortest path by A*, going on from where `registers` says it stands.

    With the distance on the free lattice as its bound, a step raises a site's total f by 0, 1
    or 2 (by 1 only across the far side of an odd ring), so three stacks in a ring replace the
    heap: a 0-1 breadth-first search on detours. A site reached without a detour is settled at
    once, since its layer is the lowest there is, and is looked at first: ties go depth-first
    to the goal.

    Parameters
    ----------
    blocked, axes
        See `services.lattice.kernels.axes`. At most 2^25 sites.
    goal : int64 array of shape (d,)
        Its coordinates. Free.
    marks : uint16 array of shape (sites,)
        Settled sites and the step that reached each, valid where the upper bits are `stamp`.
    stamp : int
        This search's, 1 to 1023. No older search's mark may carry it.
    stacks : uint32 array of shape (3, capacity)
        The sites waiting, by f modulo 3.
    registers : int64 array of shape (4,)
        The size of each stack, and the f now looked at. To begin: `begin_straight`.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    Work is O(d) per expanded site, and no site is expanded twice.
    """
    axis_count = axes.shape[0]
    inverse = reciprocals(axes)
    goal_site = np.int64(0)
    for axis in range(axis_count):
        goal_site += goal[axis] * axes[axis, STRIDE]
    seal = np.int64(stamp) << STAMP_SHIFT
    room = stacks.shape[1] - 2 * axis_count
    layer = registers[LAYER]
    expanded = 0
    status = 0
    if is_settled(marks[goal_site], seal):
        return FOUND, 0
    while status == 0:
        slot = layer % 3
        if registers[slot] == 0:
            if registers[0] + registers[1] + registers[2] == 0:
                status = EXHAUSTED
            layer += 1
            continue
        if registers[0] > room or registers[1] > room or registers[2] > room:
            status = MORE_ROOM
            continue
        if expanded == budget:
            status = SLICE_ENDED
            continue
        registers[slot] -= 1
        entry = np.int64(stacks[slot, registers[slot]])
        site = entry >> ENTRY_SHIFT
        if entry & STEP != SETTLED:
            if is_settled(marks[site], seal):
                continue
            marks[site] = seal | (entry & STEP)
            if site == goal_site:
                status = FOUND
                continue
        expanded += 1
        rest = site
        farthest = 0
        first = 0
        for axis in range(axis_count):
            length = axes[axis, LENGTH]
            stride = axes[axis, STRIDE]
            wraps = axes[axis, WRAPS]
            at = coordinate(rest, inverse[axis])
            rest -= at * stride
            here = axis_distance(at, goal[axis], length, wraps)
            for upward in range(2):
                near_at = after_step(at, upward, length, wraps)
                near = site + (near_at - at) * stride
                if near_at < 0 or is_blocked(blocked, near):
                    continue
                rise = 1 + axis_distance(near_at, goal[axis], length, wraps) - here
                reached = 2 * axis + upward
                known = np.int64(marks[near]) ^ seal
                if rise == 0:
                    if known >= WAITING:
                        marks[near] = seal | reached
                        stacks[slot, registers[slot]] = near << ENTRY_SHIFT | SETTLED
                        if here > farthest:
                            farthest = here
                            first = registers[slot]
                        registers[slot] += 1
                        if near == goal_site:
                            status = FOUND
                elif known > KNOWN or (known >= WAITING and waits_longer(known, slot, rise)):
                    later = (layer + rise) % 3
                    marks[near] = seal | WAITING | later
                    stacks[later, registers[later]] = near << ENTRY_SHIFT | reached
                    registers[later] += 1
        if farthest:
            top = registers[slot] - 1
            stacks[slot, first], stacks[slot, top] = stacks[slot, top], stacks[slot, first]
    registers[LAYER] = layer
    return status, expanded


@njit(nogil=True, cache=True)
def is_settled(mark: int, seal: int) -> bool:
    return np.int64(mark) ^ seal < WAITING


@njit(nogil=True, cache=True)
def waits_longer(known: int, slot: int, rise: int) -> bool:
    """Whether a waiting site's layer is above the one that `rise` more than `slot` leads to."""
    return (known - WAITING - slot) % 3 > rise


@njit(nogil=True, cache=True)
def trace_straight(
    axes: NDArray[np.int64],
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
        the capacity are counted and not written: call once with none to learn how many.

    Returns
    -------
    int
        The number of runs.
    """
    inverse = reciprocals(axes)
    site = goal_site
    run_count = 0
    last = -1
    while True:
        step = np.int64(marks[site]) & KNOWN
        if step == SOURCE:
            return run_count
        if step != last:
            run_count += 1
            last = step
            if run_count <= run_steps.shape[0]:
                run_steps[run_count - 1] = step
                run_counts[run_count - 1] = 0
        if run_count <= run_steps.shape[0]:
            run_counts[run_count - 1] += 1
        axis = step >> 1
        length = axes[axis, LENGTH]
        stride = axes[axis, STRIDE]
        at = coordinate(site, inverse[axis]) % length
        before = after_step(at, 1 - (step & 1), length, axes[axis, WRAPS])
        site += (before - at) * stride
