"""Proper colourings: whether two colours are enough, and the first colour that fits."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, SLICE_ENDED
from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.slices import Cancel, run_slices
from services.lattice.kernels.structure.graph.rows import Rows

UNCOLOURED = -1


def greedy(rows: Rows, cancel: Cancel) -> NDArray[np.int16]:
    """The least colour that no neighbour has, in C order: as many as degrees and one at most."""
    colours = np.full(rows.count, UNCOLOURED, np.int16)
    done = np.zeros(1, np.int64)
    used = np.zeros(int(rows.degrees.max(initial=0)) + 2, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return colour_greedily(rows.offsets, rows.neighbours, colours, used, done, budget)

    run_slices(go_on, len(used), cancel)
    return colours


@kernel
def colour_greedily(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    colours: NDArray[np.int16],
    used: NDArray[np.int64],
    done: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to colour vertices in order.

    `used` has shape (degree + 2,) and is scratch: the last vertex that had a neighbour of each
    colour, and one more. `done` has shape (1,).
    """
    coloured = 0
    while done[0] < colours.shape[0]:
        if coloured == budget:
            return SLICE_ENDED, coloured
        vertex = done[0]
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            colour = colours[neighbours[entry]]
            if colour >= 0:
                used[colour] = vertex + 1
        colour = 0
        while used[colour] == vertex + 1:
            colour += 1
        colours[vertex] = colour
        done[0] += 1
        coloured += 1
    return EXHAUSTED, coloured


def two_colours(rows: Rows, cancel: Cancel) -> NDArray[np.int16] | None:
    """A colouring with two colours, or None where there is none: by breadth-first search."""
    colours = np.full(rows.count, UNCOLOURED, np.int16)
    queue, state = np.empty(rows.count, np.int32), np.zeros(4, np.int64)

    def go_on(budget: int) -> tuple[int, int]:
        return colour_by_turns(rows.offsets, rows.neighbours, colours, queue, state, budget)

    run_slices(go_on, max(1, int(rows.degrees.max(initial=1))), cancel)
    return None if state[CLASHES] else colours


HEAD = 0
TAIL = 1
NEXT = 2
CLASHES = 3


@kernel
def colour_by_turns(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    colours: NDArray[np.int16],
    queue: NDArray[np.int32],
    state: NDArray[np.int64],
    budget: int,
) -> tuple[int, int]:
    """Go on to give neighbours the other colour; count the edges where that is impossible."""
    expanded = 0
    while True:
        while state[HEAD] < state[TAIL]:
            if expanded == budget:
                return SLICE_ENDED, expanded
            vertex = queue[state[HEAD]]
            state[HEAD] += 1
            expanded += 1
            for entry in range(offsets[vertex], offsets[vertex + 1]):
                near = neighbours[entry]
                if colours[near] == UNCOLOURED:
                    colours[near] = 1 - colours[vertex]
                    queue[state[TAIL]] = near
                    state[TAIL] += 1
                elif colours[near] == colours[vertex]:
                    state[CLASHES] += 1
        while state[NEXT] < colours.shape[0] and colours[state[NEXT]] != UNCOLOURED:
            state[NEXT] += 1
        if state[NEXT] == colours.shape[0]:
            return EXHAUSTED, expanded
        colours[state[NEXT]] = 0
        queue[state[TAIL]] = state[NEXT]
        state[TAIL] += 1
