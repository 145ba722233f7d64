"""Differences between neighbours along each axis, row by row.

Compiled code and the order of its sums are the same for any number of axes, so results are the
same bits on every path. A neighbour that there is none of takes no part; a ring of two is a path.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.slices import Cancel, Cancelled
from services.lattice.kernels.transforms.scratch import Array, Scratch, by_axis, lines


def laplacian(array: Array, rings: Sequence[bool], scratch: Scratch) -> Array:
    """For each site the sum of what its neighbours are more than it. Of floating numbers."""
    made = scratch.kept(array.shape, array.dtype)
    _spread(array, made, rings, array.dtype.type(0.0), is_step=False, scratch=scratch)
    return made


def diffuse(
    array: Array, rings: Sequence[bool], rate: float, steps: int, scratch: Scratch
) -> Array:
    """The numbers after so many steps, each adding `rate` times their Laplacian.

    Of floating numbers. The array itself is one of the two that take turns.
    """
    made = scratch.kept(array.shape, array.dtype)
    before, behind = array, made
    for _ in range(steps):
        _spread(before, behind, rings, array.dtype.type(rate), is_step=True, scratch=scratch)
        before, behind = behind, before
    return before


def gradient_magnitude(array: Array, rings: Sequence[bool], scratch: Scratch) -> Array:
    """The length of the vector of slopes along each axis: half of what both neighbours differ, or
    at an end what the only one does. Of floating numbers."""
    made = scratch.kept(array.shape, array.dtype)
    made[...] = 0
    for axis, ring in enumerate(rings):
        if array.shape[axis] == 1:
            continue
        for part, sums in zip(lines(array, axis), lines(made, axis), strict=True):
            scratch.check()
            with scratch.array(part.shape, array.dtype) as slopes, np.errstate(all="ignore"):
                _slopes(part, slopes, ring=ring and array.shape[axis] > 2)
                np.multiply(slopes, slopes, out=slopes)
                np.add(sums, slopes, out=sums)
    with np.errstate(invalid="ignore"):
        np.sqrt(made, out=made)
    return made


def warm() -> None:
    """Compile for every type of numbers."""
    for dtype in (np.float32, np.float64):
        values = np.zeros((3, 3), dtype)
        laplacian(values, (False, True), Scratch(np.zeros(1, np.uint8)))


def _slopes(part: Array, slopes: Array, *, ring: bool) -> None:
    half = part.dtype.type(0.5)
    np.subtract(part[:, 2:], part[:, :-2], out=slopes[:, 1:-1])
    np.multiply(slopes[:, 1:-1], half, out=slopes[:, 1:-1])
    if ring:
        slopes[:, 0] = (part[:, 1] - part[:, -1]) * half
        slopes[:, -1] = (part[:, 0] - part[:, -2]) * half
    else:
        slopes[:, 0] = part[:, 1] - part[:, 0]
        slopes[:, -1] = part[:, -1] - part[:, -2]


def _spread(
    values: Array,
    sums: Array,
    rings: Sequence[bool],
    rate: np.generic,
    *,
    is_step: bool,
    scratch: Scratch,
) -> None:
    lengths = np.array(values.shape, np.int64)
    strides = np.array([by_axis(values, axis).shape[2] for axis in range(values.ndim)], np.int64)
    closed = np.array(
        [ring and length > 2 for ring, length in zip(rings, values.shape, strict=True)], np.uint8
    )
    place = np.zeros(values.ndim, np.int64)
    done = _spread_rows(
        values.reshape(-1), sums.reshape(-1), lengths, strides, closed, place, rate, is_step,
        scratch.flag,
    )  # fmt: skip
    if not done:
        raise Cancelled


@kernel
def _spread_rows(
    values: Array,
    sums: Array,
    lengths: NDArray[np.int64],
    strides: NDArray[np.int64],
    closed: NDArray[np.uint8],
    place: NDArray[np.int64],
    rate: np.generic,
    is_step: bool,
    cancel: Cancel,
) -> bool:
    """Write the Laplacian of `values`, or what a step of diffusion makes of them, into `sums`.

    `place` begins as zeros: the coordinates of the row. False when it was told to stop.
    """
    axes = lengths.size
    length = lengths[axes - 1]
    for begin in range(0, values.size, length):
        if cancel[0]:
            return False
        own, row = values[begin : begin + length], sums[begin : begin + length]
        _spread_row(own, row, closed[axes - 1])
        for axis in range(axes - 2, -1, -1):
            low, high = _neighbours(
                begin, place[axis], lengths[axis] - 1, strides[axis], closed[axis]
            )
            _add_rows(values, begin, low, high, row)
        if is_step:
            for k in range(length):
                row[k] = own[k] + rate * row[k]
        _advance(place, lengths)
    return True


@inlined
def _neighbours(begin: int, at: int, last: int, stride: int, closed: int) -> tuple[int, int]:
    """Where the rows before and behind one begin; at itself where there is none."""
    low = high = begin
    if at > 0:
        low = begin - stride
    elif closed:
        low = begin + last * stride
    if at < last:
        high = begin + stride
    elif closed:
        high = begin - last * stride
    return low, high


@inlined
def _add_rows(values: Array, begin: int, low: int, high: int, row: Array) -> None:
    """Add what the rows before and behind are more than the one itself."""
    length = row.size
    own = values[begin : begin + length]
    if low != begin and high != begin:
        below, above = values[low : low + length], values[high : high + length]
        for k in range(length):
            row[k] += (below[k] - own[k]) + (above[k] - own[k])
    elif low != high:
        only = values[low + high - begin : low + high - begin + length]
        for k in range(length):
            row[k] += only[k] - own[k]


@inlined
def _advance(place: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """Go on to the next row in C order."""
    for axis in range(lengths.size - 2, -1, -1):
        place[axis] += 1
        if place[axis] < lengths[axis]:
            break
        place[axis] = 0


@inlined
def _spread_row(own: Array, row: Array, closed: int) -> None:
    """The part of the Laplacian along the row itself."""
    last = own.size - 1
    if last == 0:
        row[0] = 0
        return
    for k in range(1, last):
        row[k] = (own[k - 1] - own[k]) + (own[k + 1] - own[k])
    row[0] = own[1] - own[0]
    row[last] = own[last - 1] - own[last]
    if closed:
        row[0] = (own[last] - own[0]) + row[0]
        row[last] += own[0] - own[last]
