"""Differences between neighbours along each axis, row by row.

Compiled code and the order of its sums are the same for any number of axes, so results are the
same bits on every path. A neighbour that there is none of takes no part; a ring of two is a path.

Sums over neighbours change the array in place, from its first row to its last. A plane is all rows
of one coordinate along the first axis. The one that is changed and the one before it are kept as
they were: of what was changed already nothing else is asked for, but round a ring.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.memory import prefetched
from services.lattice.kernels.slices import Cancel, Cancelled
from services.lattice.kernels.transforms.scratch import Array, Scratch, lines

_AHEAD = 1024
"""How many numbers ahead memory is asked for the plane that comes next."""
_LINE = 8
"""Doubles that memory brings at once."""


def laplacian(array: Array, rings: Sequence[bool], scratch: Scratch) -> Array:
    """For each number the sum of what its neighbours are more, in place. Of floating numbers."""
    _Stencil(array, rings, scratch).run(0.0, is_step=False)
    return array


def diffuse(
    array: Array, rings: Sequence[bool], rate: float, steps: int, scratch: Scratch
) -> Array:
    """So many steps, each adding `rate` times the Laplacian, in place. Of floating numbers."""
    stencil = _Stencil(array, rings, scratch)
    for _ in range(steps):
        stencil.run(rate, is_step=True)
    return array


def summing_bytes(shape: Sequence[int], rings: Sequence[bool], itemsize: int) -> int:
    """What `laplacian` and `diffuse` take."""
    (planes, is_ring), *rest = _of_planes(shape, rings)
    return (min(planes, 2) + is_ring) * prod(length for length, _ in rest) * itemsize


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
        laplacian(np.zeros((3, 3), dtype), (False, True), Scratch(np.zeros(1, np.uint8)))


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


class _Stencil:
    """Sums over the neighbours in an array, and what is taken beside it."""

    def __init__(self, array: Array, rings: Sequence[bool], scratch: Scratch) -> None:
        axes = _of_planes(array.shape, rings)
        lengths = [length for length, _ in axes]
        self._array, self._flag = array.reshape(-1, copy=False), scratch.flag
        self._lengths = np.array(lengths, np.int64)
        self._strides = np.array([prod(lengths[axis + 1 :]) for axis in range(len(axes))], np.int64)
        self._closed = np.array([is_ring for _, is_ring in axes], np.uint8)
        plane = prod(lengths[1:])
        self._kept = scratch.kept((min(lengths[0], 2), plane), array.dtype)
        self._first = scratch.kept((plane if self._closed[0] else 0,), array.dtype)

    def run(self, rate: float, *, is_step: bool) -> None:
        """One step of diffusion, or the Laplacian itself. Raises Cancelled."""
        done = _change_planes(
            self._array, self._kept, self._first, self._lengths, self._strides, self._closed,
            np.zeros(self._lengths.size, np.int64), self._array.dtype.type(rate), is_step,
            self._flag,
        )  # fmt: skip
        if not done:
            raise Cancelled


def _of_planes(shape: Sequence[int], rings: Sequence[bool]) -> Sequence[tuple[int, bool]]:
    """How long each axis is, and whether its ends are neighbours. Two at least, of the same rows.

    Without those of one number before the last, which add nothing to the sums.
    """
    axes = [(length, ring and length > 2) for length, ring in zip(shape, rings, strict=True)]
    return [*([axis for axis in axes[:-1] if axis[0] > 1] or [(1, False)]), axes[-1]]


@kernel
def _change_planes(
    values: Array,
    kept: Array,
    first: Array,
    lengths: NDArray[np.int64],
    strides: NDArray[np.int64],
    closed: NDArray[np.uint8],
    place: NDArray[np.int64],
    rate: np.generic,
    is_step: bool,
    cancel: Cancel,
) -> bool:
    """Make of `values` their Laplacian, or what a step of diffusion makes of them.

    `kept` has room for two planes, if there are two, and `first` for one where the first axis is a
    ring. `place` begins as zeros: the coordinates of the row. False when it was told to stop.
    """
    _copy(values, first)
    for number in range(lengths[0]):
        place[0], now = number, kept[number % kept.shape[0]]
        before = kept[(number + 1) % kept.shape[0]]
        if not _change_plane(
            values, now, before, first, lengths, strides, closed, place, rate, is_step, cancel
        ):
            return False
    return True


@inlined
def _change_plane(
    values: Array,
    kept: Array,
    before: Array,
    first: Array,
    lengths: NDArray[np.int64],
    strides: NDArray[np.int64],
    closed: NDArray[np.uint8],
    place: NDArray[np.int64],
    rate: np.generic,
    is_step: bool,
    cancel: Cancel,
) -> bool:
    """Change the plane of `place`, and keep it as it was, as `before` is kept already."""
    axes, length, size = lengths.size, lengths[lengths.size - 1], strides[0]
    begin, last = place[0] * size, lengths[0] - 1
    plane, low, high = values[begin : begin + size], before, first
    if place[0] == 0 and closed[0]:
        low = values[last * size :]
    if place[0] < last:
        high = values[begin + size :]
    has_low, has_high = place[0] > 0 or closed[0] > 0, place[0] < last or closed[0] > 0
    for at in range(0, size, length):
        if cancel[0]:
            return False
        _bring(values, begin + size + at + _AHEAD, length)
        row, own = plane[at : at + length], kept[at : at + length]
        _copy(row, own)
        if axes == 2 and has_low and has_high:
            _change_in_plane(own, row, low[:length], high[:length], closed[1], rate, is_step)
        elif axes == 3 and has_low and has_high and 0 < place[1] < lengths[1] - 1:
            _change_in_space(
                own, row, kept[at - length : at], plane[at + length : at + 2 * length],
                low[at : at + length], high[at : at + length], closed[2], rate, is_step,
            )  # fmt: skip
        else:
            _spread_row(own, row, closed[axes - 1])
            for axis in range(axes - 2, 0, -1):
                _spread_axis(
                    row, kept, plane, at, place[axis], lengths[axis] - 1, strides[axis],
                    closed[axis],
                )  # fmt: skip
            _add_rows(own, row, low[at:], high[at:], has_low, has_high)
            for k in range(length):
                row[k] = _plain(own[k] + rate * row[k] if is_step else row[k], row)
        _advance(place, lengths)
    return True


@inlined
def _spread_axis(
    row: Array, kept: Array, plane: Array, at: int, here: int, last: int, stride: int, closed: int
) -> None:
    """The part of the Laplacian along an axis between the first one and the last."""
    low, high = kept, plane
    if here > 0:
        low = kept[at - stride :]
    elif closed:
        low = plane[at + last * stride :]
    if here < last:
        high = plane[at + stride :]
    elif closed:
        high = kept[at - last * stride :]
    own = kept[at : at + row.size]
    _add_rows(own, row, low, high, here > 0 or closed > 0, here < last or closed > 0)


@inlined
def _add_rows(
    own: Array, row: Array, low: Array, high: Array, has_low: bool, has_high: bool
) -> None:
    """Add what the rows before and behind are more than the one itself."""
    if has_low and has_high:
        for k in range(own.size):
            row[k] += (low[k] - own[k]) + (high[k] - own[k])
    elif has_low or has_high:
        only = low if has_low else high
        for k in range(own.size):
            row[k] += only[k] - own[k]


@inlined
def _copy(numbers: Array, room: Array) -> None:
    """As many as there is room for."""
    for k in range(room.size):
        room[k] = numbers[k]


@inlined
def _bring(values: Array, begin: int, length: int) -> None:
    """Have memory bring numbers: it loses its way from row to row and from page to page."""
    for k in range(0, length, _LINE):
        prefetched(values, begin + k)


@inlined
def _advance(place: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """Go on to the next row of a plane in C order."""
    for axis in range(lengths.size - 2, 0, -1):
        place[axis] += 1
        if place[axis] < lengths[axis]:
            break
        place[axis] = 0


@inlined
def _change_in_plane(
    own: Array, row: Array, low: Array, high: Array, closed: int, rate: np.generic, is_step: bool
) -> None:
    """All that becomes of a row between two others, in one pass: the same sums in their order."""
    last = own.size - 1
    _spread_ends(own, row, closed)
    for k in range(0, own.size, max(1, last)):
        row[k] += (low[k] - own[k]) + (high[k] - own[k])
        row[k] = _plain(own[k] + rate * row[k] if is_step else row[k], row)
    for k in range(1, last):
        at = own[k]
        more = ((own[k - 1] - at) + (own[k + 1] - at)) + ((low[k] - at) + (high[k] - at))
        row[k] = _plain(at + rate * more if is_step else more, row)


@inlined
def _change_in_space(
    own: Array,
    row: Array,
    left: Array,
    right: Array,
    low: Array,
    high: Array,
    closed: int,
    rate: np.generic,
    is_step: bool,
) -> None:
    """The same of a row among four others."""
    last = own.size - 1
    _spread_ends(own, row, closed)
    for k in range(0, own.size, max(1, last)):
        row[k] += (left[k] - own[k]) + (right[k] - own[k])
        row[k] += (low[k] - own[k]) + (high[k] - own[k])
        row[k] = _plain(own[k] + rate * row[k] if is_step else row[k], row)
    for k in range(1, last):
        at = own[k]
        near = ((own[k - 1] - at) + (own[k + 1] - at)) + ((left[k] - at) + (right[k] - at))
        more = near + ((low[k] - at) + (high[k] - at))
        row[k] = _plain(at + rate * more if is_step else more, row)


@inlined
def _plain(number: np.generic, row: Array) -> np.generic:
    """One NaN for all: which one a sum of two is depends on how it was compiled."""
    return number if number == number else row.dtype.type(np.nan)


@inlined
def _spread_row(own: Array, row: Array, closed: int) -> None:
    """The part of the Laplacian along the row itself."""
    for k in range(1, own.size - 1):
        row[k] = (own[k - 1] - own[k]) + (own[k + 1] - own[k])
    _spread_ends(own, row, closed)


@inlined
def _spread_ends(own: Array, row: Array, closed: int) -> None:
    """The part along the row itself of its first number and its last."""
    last = own.size - 1
    if last == 0:
        row[0] = 0
        return
    row[0] = own[1] - own[0]
    row[last] = own[last - 1] - own[last]
    if closed:
        row[0] = (own[last] - own[0]) + row[0]
        row[last] += own[0] - own[last]
