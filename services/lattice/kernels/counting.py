"""Counts the free sites of a grid and the pairs of them that a step joins."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import LENGTH, STRIDE, WRAPS, Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, Cancelled

WORD_BITS = 64


def count_vertices(grid: Grid) -> int:
    """The number of free sites."""
    return grid.sites - int(np.bitwise_count(grid.blocked).sum(dtype=np.int64))


def count_edges(grid: Grid, cancel: Cancel) -> int:
    """The number of unordered pairs of free sites that a step joins. Raises `Cancelled`.

    Without cutting, a step along the axes K is a diagonal of a box of 2^|K| sites that are all
    free, and each such box has 2^(|K|-1) diagonals; so boxes are counted, for every K, 64 at
    a time, in (2^d - 1) * sites / 64 operations. With cutting, a site's neighbours are the
    free sites of the 3^d box around it, whose number is a sum along one axis after the other.
    """
    if grid.diagonal and not grid.no_cutting:
        return _count_cutting(grid, cancel)
    words = grid.sites // WORD_BITS + 2
    inside = np.zeros((len(grid.kept), words), np.uint64)
    for axis, row in zip(grid.axes, inside, strict=True):
        mark_inside(axis, grid.sites, row)
    return _count_boxes(grid, inside, _free_words(grid), 0, 1, cancel)


def bytes_to_count(grid: Grid) -> int:
    """The most bytes that `count_edges` takes."""
    if grid.diagonal and not grid.no_cutting:
        return 6 * grid.sites
    return (2 * len(grid.kept) + 1) * (grid.sites // 8 + 16)


def words_to_count(grid: Grid) -> int:
    """The numbers that `count_edges` writes, roughly."""
    axis_count = len(grid.kept)
    if grid.diagonal and not grid.no_cutting:
        return axis_count * grid.sites
    return (2**axis_count if grid.moore else axis_count) * (grid.sites // WORD_BITS + 2)


def _count_boxes(
    grid: Grid,
    inside: NDArray[np.uint64],
    boxes: NDArray[np.uint64],
    first_axis: int,
    diagonals: int,
    cancel: Cancel,
) -> int:
    edges = 0
    wider = np.empty_like(boxes)
    for axis in range(first_axis, len(grid.kept)):
        if cancel[0]:
            raise Cancelled
        widen_boxes(boxes, grid.axes[axis], inside[axis], wider)
        edges += diagonals * int(np.bitwise_count(wider).sum(dtype=np.int64))
        if grid.moore:
            edges += _count_boxes(grid, inside, wider, axis + 1, 2 * diagonals, cancel)
    return edges


def _free_words(grid: Grid) -> NDArray[np.uint64]:
    """One bit per site, set where it is free; a word more than needed, and nothing beyond."""
    words = np.zeros(grid.sites // WORD_BITS + 2, np.uint64)
    octets = words.view(np.uint8)
    octets[: len(grid.blocked)] = ~grid.blocked
    octets[grid.sites // 8] &= (1 << grid.sites % 8) - 1
    octets[grid.sites // 8 + 1 :] = 0
    return words


def _count_cutting(grid: Grid, cancel: Cancel) -> int:
    shape = tuple(int(length) for length in grid.axes[:, 0])
    bits = np.unpackbits(grid.blocked, count=grid.sites, bitorder="little")
    free = (bits == 0).reshape(shape)
    around = free.astype(np.uint16)
    for axis, wraps in enumerate(grid.axes[:, 2]):
        if cancel[0]:
            raise Cancelled
        around = _sum_of_three(around, axis, bool(wraps))
    pairs = int(around.sum(where=free, dtype=np.int64)) - int(free.sum())
    return pairs // 2


def _sum_of_three(counts: NDArray[np.uint16], axis: int, wraps: bool) -> NDArray[np.uint16]:
    source = np.moveaxis(counts, axis, 0)
    total = source.copy()
    total[1:] += source[:-1]
    total[:-1] += source[1:]
    if wraps:
        total[0] += source[-1]
        total[-1] += source[0]
    return np.moveaxis(total, 0, axis)


@kernel
def widen_boxes(
    boxes: NDArray[np.uint64],
    axis: NDArray[np.int64],
    inside: NDArray[np.uint64],
    wider: NDArray[np.uint64],
) -> None:
    """Find the boxes that are two sites long on one more axis.

    Parameters
    ----------
    boxes : uint64 array of shape (sites // 64 + 2,)
        One bit per site, set where a box with its lowest corner there is free. Zero beyond.
    axis : int64 array of shape (3,)
        Length, stride and whether it is a ring. No box is two sites long on it yet.
    inside : as `boxes`
        Set where a site is not the axis's last: see `mark_inside`.
    wider : as `boxes`
        Filled in. Not `boxes` itself.
    """
    length, stride, wraps = axis[LENGTH], axis[STRIDE], axis[WRAPS]
    for word in range(boxes.shape[0]):
        at = word * WORD_BITS
        above = read_bits(boxes, at + stride) & inside[word]
        if wraps:
            above |= read_bits(boxes, at - (length - 1) * stride) & ~inside[word]
        wider[word] = boxes[word] & above


@kernel
def mark_inside(axis: NDArray[np.int64], sites: int, inside: NDArray[np.uint64]) -> None:
    """Set the bits of the sites that are not the last of an axis. `inside` begins as zeros."""
    length, stride = axis[LENGTH], axis[STRIDE]
    for first in range(0, sites, length * stride):
        at = first
        end = first + (length - 1) * stride
        while at < end:
            taken = min(WORD_BITS - (at & 63), end - at)
            ones = ~np.uint64(0) >> np.uint64(WORD_BITS - taken)
            inside[at >> 6] |= ones << np.uint64(at & 63)
            at += taken


@inlined
def read_bits(words: NDArray[np.uint64], at: Int) -> np.uint64:
    """The 64 bits from bit `at` on; zeros outside the array."""
    word = at >> 6
    shift = np.uint64(at & 63)
    count = words.shape[0]
    low = words[word] if 0 <= word < count else np.uint64(0)
    if shift == np.uint64(0):
        return low >> shift
    high = words[word + 1] if -1 <= word < count - 1 else np.uint64(0)
    return low >> shift | high << (np.uint64(WORD_BITS) - shift)
