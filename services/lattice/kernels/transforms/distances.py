"""How far each site is from the nearest that is 0."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.slices import Cancel, Cancelled
from services.lattice.kernels.transforms.arithmetic import fitted
from services.lattice.kernels.transforms.scratch import (
    Array,
    Scratch,
    by_axis,
    flat_blocks,
    lines,
)

Doubles = NDArray[np.float64]


def distances(
    array: Array, rings: Sequence[bool], scratch: Scratch, *, euclidean: bool
) -> tuple[Array, int]:
    """The distance of each site from the nearest 0, itself included; around rings, too.

    Euclidean ones are the roots of exact whole numbers, the others count steps along axes. They
    are infinite where nothing is 0. How many did not fit the array's type, too; NaN is not 0.
    """
    squares = scratch.kept(array.shape, np.float64)
    squares[...] = np.inf
    for part, target in zip(flat_blocks(array), flat_blocks(squares), strict=True):
        scratch.check()
        with scratch.reserved(part.size):
            target[part == 0] = 0.0
    for axis, ring in enumerate(rings):
        if euclidean:
            _envelopes(squares, axis, ring=ring, scratch=scratch)
        else:
            _steps(squares, axis, ring=ring, scratch=scratch)
    if euclidean:
        np.sqrt(squares, out=squares)
    return _fitted(squares, array, scratch)


def warm() -> None:
    """Compile it."""
    scratch = Scratch(np.zeros(1, np.uint8))
    distances(np.zeros((2, 2)), (False, True), scratch, euclidean=True)


def _fitted(squares: Doubles, array: Array, scratch: Scratch) -> tuple[Array, int]:
    if array.dtype == squares.dtype:
        return squares, 0
    lost = 0
    for part, target in zip(flat_blocks(squares), flat_blocks(array), strict=True):
        with scratch.reserved(4 * 8 * part.size):
            lost += fitted(part, target)
    return array, lost


def _steps(squares: Doubles, axis: int, *, ring: bool, scratch: Scratch) -> None:
    """Let each line know what is near along it: from both sides, and twice around a ring."""
    length = squares.shape[axis]
    count = np.arange((2 if ring else 1) * length, dtype=np.float64)[:, np.newaxis]
    for part in lines(squares, axis):
        scratch.check()
        with scratch.reserved(14 * part.nbytes + 2 * count.nbytes):
            line = np.concatenate((part, part), axis=1) if ring else part
            ahead = np.minimum.accumulate(line - count, axis=1) + count
            back = np.minimum.accumulate(line[:, ::-1] - count, axis=1)[:, :] + count
            both = (ahead[:, -length:], back[:, ::-1][:, :length])
            part[...] = np.minimum(*both)


def _envelopes(squares: Doubles, axis: int, *, ring: bool, scratch: Scratch) -> None:
    """Let each line have the least of the parabolas that stand on its numbers."""
    length = squares.shape[axis]
    copies = 3 if ring else 1
    view = by_axis(squares, axis)
    with (
        scratch.array((length,), np.float64) as line,
        scratch.array((copies * length,), np.int64) as feet,
        scratch.array((copies * length + 1,), np.float64) as bounds,
    ):
        if not _envelope_lines(view, copies, line, feet, bounds, scratch.flag):
            raise Cancelled


@kernel
def _envelope_lines(
    view: Doubles,
    copies: int,
    line: Doubles,
    feet: NDArray[np.int64],
    bounds: Doubles,
    cancel: Cancel,
) -> bool:
    """Replace each line along axis 1 of `view` by its lower envelope, in place.

    As Felzenszwalb and Huttenlocher do: O(length) a line. `line`, `feet` and `bounds` are scratch.
    False when it was told to stop.
    """
    before, length, behind = view.shape
    first = -length if copies == 3 else 0
    for outer in range(before):
        for inner in range(behind):
            if cancel[0]:
                return False
            for k in range(length):
                line[k] = view[outer, k, inner]
            count = _envelope(line, first, copies * length, feet, bounds)
            nearest = 0
            for k in range(length if count else 0):
                while nearest + 1 < count and bounds[nearest + 1] < k:
                    nearest += 1
                offset = k - feet[nearest]
                view[outer, k, inner] = offset * offset + line[feet[nearest] % length]
    return True


@inlined
def _envelope(
    line: Doubles, first: int, copies_length: int, feet: NDArray[np.int64], bounds: Doubles
) -> int:
    """Where the parabolas stand that the envelope is made of, and from where each is the lowest.

    How many these are.
    """
    length, count = line.size, 0
    for q in range(first, first + copies_length):
        if line[q % length] == np.inf:
            continue
        begin = -np.inf
        while count:
            p = feet[count - 1]
            rise = (line[q % length] + q * q) - (line[p % length] + p * p)
            begin = rise / (2.0 * (q - p))
            if begin > bounds[count - 1]:
                break
            count -= 1
            begin = -np.inf
        feet[count], bounds[count] = q, begin
        count += 1
    return count
