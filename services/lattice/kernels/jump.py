"""Jump point search on two open axes, by rows of bits. Knows no other lattice.

After Harabor and Grastien (2011), with the pruning of their 2012 paper for steps that may not
cut corners, and with straight jumps read 64 sites at a time as in their paper of 2014.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import EXHAUSTED, OPEN_LIST_FULL, REACHED, SLICE_ENDED, Int
from services.lattice.kernels.bits import highest_bit, lowest_bit
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.diagonal import Labels, Moves
from services.lattice.kernels.straight import add_to_runs

# Directions: straight ones, then diagonals as 4 + 2 * (row rises) + (column rises).
ROW_STEPS = (-1, 1, 0, 0, -1, -1, 1, 1)
COLUMN_STEPS = (0, 0, -1, 1, -1, 1, -1, 1)
ALONG_ROWS = 2
DIAGONALS = 4
DIRECTIONS = 8

# Below the length, a label tells whether the site was expanded and how it was reached.
LENGTH_SHIFT = 4
EXPANDED = 8
DIRECTION = 7

FRESH = -1

# The heap and the labels take as long as reading so many words.
WORDS_PER_SITE = 32

ALL = ~np.uint64(0)
ONE = np.uint64(1)


class Lines(NamedTuple):
    """The sites along rows or along columns.

    All coordinates here begin at 1, and 0 tells that there is none.
    """

    bits: NDArray[np.uint64]
    """A guard word, `words` for each line, and another guard.

    A line has one bit per site, set where it is free, from bit 1 on. What is around the lattice
    is blocked: the first and the last line, every line's first bit and its last ones. So no
    scan needs to look where it is; it ends there.
    """
    words: int
    words_read: NDArray[np.int64]
    """Of shape (1,): how many were read so far, which tells the work done."""


class Plane(NamedTuple):
    """A lattice of two open axes. Its rows and columns count the words read together."""

    rows: Lines
    columns: Lines
    column_count: int
    moore: bool
    """Diagonal steps are allowed."""


class Heap(NamedTuple):
    """The sites waiting to be expanded."""

    entries: NDArray[np.int64]
    """Of shape (capacity, 2): lower bounds of the whole path's length, and sites."""
    size: NDArray[np.int64]
    """Of shape (1,)."""


@kernel
def search_jumping(
    plane: Plane,
    moves: Moves,
    start_site: int,
    goal_site: int,
    labels: Labels,
    heap: Heap,
    budget: int,
) -> tuple[int, int]:
    """Search a shortest path, going on from where `heap` says it stands.

    Of all paths of the same length only one is followed, the one whose diagonal steps come
    first (without diagonals, its steps along columns); so only sites where that one may
    turn enter the heap.

    Parameters
    ----------
    labels : Labels
        With four bits below the length: see the constants above.
    heap : Heap
        To begin, its size is FRESH.
    budget : int
        How many words to read before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)

    Notes
    -----
    An expansion costs up to min(rows, columns) straight jumps, each of length / 64 words.
    """
    goal_row = goal_site // plane.column_count
    goal_column = goal_site - goal_row * plane.column_count
    expanded = 0
    enough = plane.rows.words_read[0] + budget
    if heap.size[0] == FRESH:
        heap.size[0] = 0
        labels.values[start_site] = labels.seal | labels.longest << LENGTH_SHIFT
        sift_in(heap, 0, start_site)
    while heap.size[0] > 0:
        if heap.size[0] + DIRECTIONS > heap.entries.shape[0]:
            return OPEN_LIST_FULL, expanded
        if plane.rows.words_read[0] >= enough:
            return SLICE_ENDED, expanded
        site = sift_out(heap)
        if site == goal_site:
            return REACHED, expanded
        if labels.values[site] & EXPANDED:
            continue
        expanded += 1
        plane.rows.words_read[0] += WORDS_PER_SITE
        onward = (1 << (DIRECTIONS if plane.moore else DIAGONALS)) - 1
        if site != start_site:
            onward = directions_onward(plane, moves.cutting, site, labels.values[site] & DIRECTION)
        labels.values[site] |= EXPANDED
        for direction in range(DIRECTIONS):
            if onward >> direction & 1 and (plane.moore or direction < DIAGONALS):
                go(plane, moves, site, direction, goal_row, goal_column, labels, heap)
    return EXHAUSTED, expanded


@inlined
def go(
    plane: Plane,
    moves: Moves,
    site: Int,
    direction: Int,
    goal_row: Int,
    goal_column: Int,
    labels: Labels,
    heap: Heap,
) -> None:
    """Jump in a direction; put where that ends on the heap if it is a shorter way there."""
    row = site // plane.column_count
    column = site - row * plane.column_count
    count = jump(
        plane, moves.cutting, row + 1, column + 1, direction, goal_row + 1, goal_column + 1
    )
    if count == 0:
        return
    row += count * ROW_STEPS[direction]
    column += count * COLUMN_STEPS[direction]
    near = row * plane.column_count + column
    short = labels.values[site] >> LENGTH_SHIFT
    short -= count * moves.costs[1 + (direction >= DIAGONALS)]
    if short <= labels.values[near] >> LENGTH_SHIFT:
        return
    labels.values[near] = short << LENGTH_SHIFT | direction
    length = labels.longest - (short ^ labels.seal >> LENGTH_SHIFT)
    bound = octile(abs(row - goal_row), abs(column - goal_column), moves.costs)
    sift_in(heap, length + bound, near)


@inlined
def jump(
    plane: Plane,
    cutting: bool,
    row: Int,
    column: Int,
    direction: Int,
    goal_row: Int,
    goal_column: Int,
) -> Int:
    """How many steps in a direction lead to where a jump ends; 0 for nowhere."""
    if direction >= DIAGONALS:
        return jump_diagonally(plane, cutting, row, column, direction, goal_row, goal_column)
    if not plane.moore and direction < ALONG_ROWS:
        return jump_over_rows(plane, row, column, direction, goal_row, goal_column)
    if direction >= ALONG_ROWS:
        goal_at = goal_column if row == goal_row else 0
        end = jump_straight(plane.rows, cutting, row, column, direction == 3, goal_at)
        return abs(end - column) if end else 0
    goal_at = goal_row if column == goal_column else 0
    end = jump_straight(plane.columns, cutting, column, row, direction == 1, goal_at)
    return abs(end - row) if end else 0


@inlined
def jump_straight(
    lines: Lines, cutting: bool, line: Int, at: Int, rising: bool, goal_at: Int
) -> Int:
    """Where a jump along a line from `at` ends: the first forced turn or the goal; 0 for none.

    `goal_at` is the goal's place on this line, 0 when it is on another.
    """
    first = at + 1 if rising else at - 1
    word = first >> 6
    window = ALL << np.uint64(first & 63) if rising else ALL >> np.uint64(63 - (first & 63))
    while True:
        place = 1 + line * lines.words + word
        here = lines.bits[place]
        ends = ~here
        ends |= turns(lines.bits, place - lines.words, rising, cutting)
        ends |= turns(lines.bits, place + lines.words, rising, cutting)
        if goal_at and goal_at >> 6 == word:
            ends |= ONE << np.uint64(goal_at & 63)
        ends &= window
        if ends:
            lines.words_read[0] += abs(word - (first >> 6)) + 1
            bit = lowest_bit(ends) if rising else highest_bit(ends)
            return word << 6 | bit if here >> np.uint64(bit) & ONE else 0
        word += 1 if rising else -1
        window = ALL


@inlined
def turns(bits: NDArray[np.uint64], place: Int, rising: bool, cutting: bool) -> np.uint64:
    """Where a jump along the neighbouring line must stop, because a turn to here is forced.

    Without cutting: where this line becomes free, seen in the jump's direction. The site
    is reached no shorter way, for the one diagonal past the blocked site is not allowed.
    With cutting: one site before that, from where the diagonal leads past the corner.
    """
    if rising == cutting:
        shifted = bits[place] >> ONE | bits[place + 1] << np.uint64(63)
    else:
        shifted = bits[place] << ONE | bits[place - 1] >> np.uint64(63)
    return np.uint64(~bits[place] & shifted if cutting else bits[place] & ~shifted)


@inlined
def jump_diagonally(
    plane: Plane,
    cutting: bool,
    row: Int,
    column: Int,
    direction: Int,
    goal_row: Int,
    goal_column: Int,
) -> Int:
    """How many diagonal steps lead to where a jump ends; 0 for nowhere.

    It ends at the goal, at a forced turn, and where a straight jump onwards ends somewhere.
    """
    row_step = ROW_STEPS[direction]
    column_step = COLUMN_STEPS[direction]
    count = 0
    while may_step(plane.rows, cutting, row, column, row_step, column_step):
        row += row_step
        column += column_step
        count += 1
        if row == goal_row and column == goal_column:
            return count
        if cutting and (
            turns_past(plane.rows, row, column, row_step, column_step)
            or turns_past(plane.columns, column, row, column_step, row_step)
        ):
            return count
        goal_at = goal_column if row == goal_row else 0
        if jump_straight(plane.rows, cutting, row, column, column_step > 0, goal_at):
            return count
        goal_at = goal_row if column == goal_column else 0
        if jump_straight(plane.columns, cutting, column, row, row_step > 0, goal_at):
            return count
    return 0


@inlined
def jump_over_rows(
    plane: Plane, row: Int, column: Int, direction: Int, goal_row: Int, goal_column: Int
) -> Int:
    """How many steps along a column lead to where a jump ends; 0 for nowhere.

    Without diagonals. It ends at the goal, and where a jump along a row ends somewhere.
    """
    row_step = ROW_STEPS[direction]
    count = 1
    while is_free(plane.rows, row + count * row_step, column):
        line = row + count * row_step
        goal_at = goal_column if line == goal_row else 0
        if (
            goal_at == column
            or jump_straight(plane.rows, False, line, column, False, goal_at)
            or jump_straight(plane.rows, False, line, column, True, goal_at)
        ):
            return count
        count += 1
    return 0


@inlined
def is_free(lines: Lines, line: Int, at: Int) -> bool:
    word = lines.bits[1 + line * lines.words + (at >> 6)]
    return bool(word >> np.uint64(at & 63) & ONE)


@inlined
def may_step(
    rows: Lines, cutting: bool, row: Int, column: Int, row_step: Int, column_step: Int
) -> bool:
    """Whether the diagonal step from a free site is allowed."""
    if not is_free(rows, row + row_step, column + column_step):
        return False
    return cutting or (
        is_free(rows, row + row_step, column) and is_free(rows, row, column + column_step)
    )


@inlined
def turns_past(lines: Lines, line: Int, at: Int, line_step: Int, at_step: Int) -> bool:
    """Whether a turn is forced from a site reached diagonally, past a blocked one of its line.

    Only with cutting: the site before `at` is blocked and the one a line on from it is free.
    """
    return not is_free(lines, line, at - at_step) and is_free(lines, line + line_step, at - at_step)


@inlined
def directions_onward(plane: Plane, cutting: bool, site: Int, direction: Int) -> Int:
    """The directions worth going from a site reached by a direction, as a set of 8 bits.

    Natural ones lead where no path around the site is as short; forced ones where such a
    path is blocked.
    """
    row = site // plane.column_count + 1
    column = site % plane.column_count + 1
    row_step = ROW_STEPS[direction]
    column_step = COLUMN_STEPS[direction]
    if not plane.moore and direction < ALONG_ROWS:
        return 1 << direction | 3 << ALONG_ROWS
    if direction < DIAGONALS:
        onward = 1 << direction
        for sign in (-1, 1):
            onward |= turns_aside(plane.rows, cutting, row, column, row_step, column_step, sign)
        return onward
    onward = 1 << direction | 1 << (row_step > 0) | 1 << (ALONG_ROWS + (column_step > 0))
    if cutting and turns_past(plane.rows, row, column, row_step, column_step):
        onward |= 1 << diagonal_of(row_step, -column_step)
    if cutting and turns_past(plane.columns, column, row, column_step, row_step):
        onward |= 1 << diagonal_of(-row_step, column_step)
    return onward


@inlined
def turns_aside(
    rows: Lines, cutting: bool, row: Int, column: Int, row_step: Int, column_step: Int, sign: Int
) -> Int:
    """The turns to one side that are forced from a site reached by a straight step."""
    side_row = sign * abs(column_step)
    side_column = sign * abs(row_step)
    row += side_row
    column += side_column
    turn = 1 << diagonal_of(row_step + side_row, column_step + side_column)
    beside = is_free(rows, row, column)
    if cutting:
        ahead = is_free(rows, row + row_step, column + column_step)
        return turn if ahead and not beside else 0
    if beside and not is_free(rows, row - row_step, column - column_step):
        return turn | 1 << (ALONG_ROWS * (side_row == 0) + (sign > 0))
    return 0


@inlined
def diagonal_of(row_step: Int, column_step: Int) -> Int:
    return DIAGONALS + 2 * (row_step > 0) + (column_step > 0)


@inlined
def octile(rows_apart: Int, columns_apart: Int, costs: NDArray[np.int64]) -> Int:
    """The distance of two sites of the free lattice, in units."""
    diagonal_count = min(rows_apart, columns_apart)
    straight_count = max(rows_apart, columns_apart) - diagonal_count
    return straight_count * costs[1] + diagonal_count * costs[2]


@inlined
def sift_in(heap: Heap, bound: Int, site: Int) -> None:
    """Put a site on the heap, least bound first, the latest first. There must be room."""
    entries = heap.entries
    place = heap.size[0]
    heap.size[0] += 1
    while place > 0:
        parent = (place - 1) >> 1
        if entries[parent, 0] < bound:
            break
        move(entries, parent, place)
        place = parent
    entries[place, 0] = bound
    entries[place, 1] = site


@inlined
def sift_out(heap: Heap) -> Int:
    """Take the site with the least bound from the heap. There must be one."""
    entries = heap.entries
    site = entries[0, 1]
    heap.size[0] -= 1
    size = heap.size[0]
    bound = entries[size, 0]
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and entries[child + 1, 0] < entries[child, 0]:
            child += 1
        if entries[child, 0] >= bound:
            break
        move(entries, child, place)
        place = child
    move(entries, size, place)
    return site


@inlined
def move(entries: NDArray[np.int64], place: Int, to: Int) -> None:
    entries[to, 0] = entries[place, 0]
    entries[to, 1] = entries[place, 1]


@kernel
def trace_jumps(
    column_count: int,
    costs: NDArray[np.int64],
    start_site: int,
    goal_site: int,
    values: NDArray[np.int64],
    run_steps: NDArray[np.int64],
    run_counts: NDArray[np.int64],
) -> int:
    """Follow the labels back from the goal and tell the path as runs, the last one first.

    From a site back along the direction it was reached by, the first site whose length and
    the steps between give the site's length is on a shortest path: nothing between is blocked.

    Parameters
    ----------
    values : int64 array of shape (sites,)
        `Labels.values` as the search left them.
    run_steps, run_counts : int64 arrays of the same shape (capacity,)
        Filled with each run's direction and how often it is taken. Runs beyond the capacity
        are counted and not written.

    Returns
    -------
    int
        The number of runs.
    """
    site = goal_site
    run_count = 0
    last = -1
    while site != start_site:
        direction = values[site] & DIRECTION
        back = ROW_STEPS[direction] * column_count + COLUMN_STEPS[direction]
        cost = costs[1 + (direction >= DIAGONALS)]
        short = values[site] >> LENGTH_SHIFT
        count = 1
        while values[site - count * back] >> LENGTH_SHIFT != short + count * cost:
            count += 1
        run_count = add_to_runs(run_steps, run_counts, run_count, last, direction, count)
        last = direction
        site -= count * back
    return run_count
