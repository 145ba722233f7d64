"""Outer-totalistic cellular automata: 64 cells of a plane at once, or any graph a cell at a time.

A rule is two numbers: bit n of `born` is set where n living neighbours give birth to a cell, and
bit n of `kept` where a living one survives with them.
"""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import inlined, kernel

LIFE_BORN, LIFE_KEPT = 1 << 3, 1 << 2 | 1 << 3
SCRATCH_ROWS = 6

_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_TOP = np.uint64(63)


@inlined
def _sum_row(
    cells: NDArray[np.uint64],
    row: int,
    last_bits: int,
    ring: bool,
    ones: NDArray[np.uint64],
    twos: NDArray[np.uint64],
) -> None:
    """Count each cell of a row and the two beside it, as two bits; 0 beyond the rows."""
    count = cells.shape[1]
    if row < 0:
        for word in range(count):
            ones[word] = _ZERO
            twos[word] = _ZERO
        return
    last, top = count - 1, np.uint64(last_bits - 1)
    before_first, behind_last = _ZERO, _ZERO
    if ring:
        before_first = (cells[row, last] >> top) & _ONE
        behind_last = (cells[row, 0] & _ONE) << top
    for word in range(count):
        centre = cells[row, word]
        low = before_first if word == 0 else cells[row, word - 1] >> _TOP
        high = behind_last if word == last else cells[row, word + 1] << _TOP
        left, right = (centre << _ONE) | low, (centre >> _ONE) | high
        differ = left ^ right
        ones[word] = differ ^ centre
        twos[word] = (left & right) | (differ & centre)


@inlined
def _having(total: int, t0: int, t1: int, t2: int, t3: int) -> int:
    """The cells whose sum of bits is `total`."""
    mask = t0 if total & 1 else ~t0
    mask &= t1 if total & 2 else ~t1
    mask &= t2 if total & 4 else ~t2
    return mask & (t3 if total & 8 else ~t3)


@kernel
def step_plane(
    cells: NDArray[np.uint64],
    after: NDArray[np.uint64],
    free: NDArray[np.uint64],
    last_bits: int,
    rings: NDArray[np.uint8],
    born: int,
    kept: int,
    first: int,
    last: int,
    scratch: NDArray[np.uint64],
) -> None:
    """Write the rows from `first` to before `last` of the next generation into `after`.

    Rows of cells are bits of words, the lowest first, of which the last has `last_bits`; `free`
    has the same form, or no row where no cell is blocked. `scratch` is of shape (SCRATCH_ROWS,
    words). Some 0.05 ns a cell.
    """
    rows, count = cells.shape
    is_life = born == LIFE_BORN and kept == LIFE_KEPT
    tail = _ALL >> np.uint64(64 - last_bits)
    ring = rings[1] != 0
    above, at, below = 0, 2, 4
    before = first - 1 if first > 0 else rows - 1 if rings[0] else -1
    _sum_row(cells, before, last_bits, ring, scratch[above], scratch[above + 1])
    _sum_row(cells, first, last_bits, ring, scratch[at], scratch[at + 1])
    for row in range(first, last):
        behind = row + 1 if row + 1 < rows else 0 if rings[0] else -1
        _sum_row(cells, behind, last_bits, ring, scratch[below], scratch[below + 1])
        a0, a1, b0, b1 = scratch[above], scratch[above + 1], scratch[at], scratch[at + 1]
        c0, c1, own, out = scratch[below], scratch[below + 1], cells[row], after[row]
        for word in range(count):
            differ = a0[word] ^ b0[word]
            t0 = differ ^ c0[word]
            carry = (a0[word] & b0[word]) | (differ & c0[word])
            differ = a1[word] ^ b1[word]
            odd = differ ^ c1[word]
            more = (a1[word] & b1[word]) | (differ & c1[word])
            t1, carry = odd ^ carry, odd & carry
            t2, t3 = more ^ carry, more & carry
            # The sums count the cell itself.
            if is_life:
                out[word] = ~t3 & ((t0 & t1 & ~t2) | (~t0 & ~t1 & t2 & own[word]))
            else:
                alive = _ZERO
                for total in range(10):
                    if total < 9 and (born >> total) & 1:
                        alive |= _having(total, t0, t1, t2, t3) & ~own[word]
                    if total > 0 and (kept >> (total - 1)) & 1:
                        alive |= _having(total, t0, t1, t2, t3) & own[word]
                out[word] = alive
        out[count - 1] &= tail
        if free.shape[0]:
            for word in range(count):
                out[word] &= free[row, word]
        above, at, below = at, below, above


@kernel
def step_graph(
    offsets: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    cells: NDArray[np.uint8],
    after: NDArray[np.uint8],
    rule: NDArray[np.uint8],
    first: int,
    last: int,
) -> None:
    """Write the next generation of the vertices from `first` to before `last` into `after`.

    `rule` has shape (2, degrees): whether a dead, or a living, cell lives next with so many
    living neighbours. 2 ns a neighbour.
    """
    for vertex in range(first, last):
        living = 0
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            living += cells[neighbours[entry]]
        after[vertex] = rule[cells[vertex], living]
