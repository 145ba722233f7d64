"""The memory that a transform takes beside its array, counted as it is taken, and word to stop."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from services.lattice.kernels.slices import Cancel, Cancelled

Array = NDArray[Any]

BUFFER_BYTES = 1 << 18
"""Of what is moved at a time."""
BLOCK = 1 << 15
"""Numbers that are computed with at a time: as doubles they fill a buffer."""


class Scratch:
    """Hands out auxiliary memory. `peak_bytes` is the most that was held at once."""

    def __init__(self, cancel: Cancel) -> None:
        self._cancel = cancel
        self.held_bytes = 0
        self.peak_bytes = 0

    def check(self) -> None:
        """Raise Cancelled once whoever waits has gone. Called for every block."""
        if self._cancel[0]:
            raise Cancelled

    @property
    def flag(self) -> Cancel:
        """For compiled code, which looks at it by itself."""
        return self._cancel

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Count memory that is taken elsewhere inside the block."""
        self.held_bytes += size_bytes
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        try:
            yield
        finally:
            self.held_bytes -= size_bytes

    @contextmanager
    def array(self, shape: Sequence[int], dtype: DTypeLike) -> Iterator[Array]:
        """An array, not filled, for as long as the block lasts.

        Counted twice: in a loop the last one lives on until the next one has its name.
        """
        with self.reserved(2 * prod(shape) * np.dtype(dtype).itemsize):
            yield np.empty(shape, dtype)

    def kept(self, shape: Sequence[int], dtype: DTypeLike) -> Array:
        """An array that is counted from now on: what a transform returns in place of its own."""
        made = np.empty(shape, dtype)
        self.held_bytes += made.nbytes
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        return made


def blocks(shape: Sequence[int], numbers_max: int) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most so many numbers that cover a shape, in C order. A number is the least."""
    trailing, axis = 1, len(shape) - 1
    while axis >= 0 and trailing * shape[axis] <= numbers_max:
        trailing *= shape[axis]
        axis -= 1
    whole = (slice(None),) * (len(shape) - axis - 1)
    if axis < 0:
        yield whole
        return
    rows = max(1, numbers_max // trailing)
    for outer in product(*map(range, shape[:axis])):
        places = tuple(slice(at, at + 1) for at in outer)
        for begin in range(0, shape[axis], rows):
            yield (*places, slice(begin, begin + rows), *whole)


def by_axis(array: Array, axis: int) -> Array:
    """The array as (before, along, behind) an axis; not copied."""
    shape = array.shape
    return array.reshape(prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :]))


def lines(array: Array, axis: int, numbers_max: int = BLOCK) -> Iterator[Array]:
    """All lines along an axis, some at a time: views of shape (before, along, behind).

    A line is whole, however long it is.
    """
    view = by_axis(array, axis)
    before, along, behind = view.shape
    for outer, inner in blocks((before, behind), max(1, numbers_max // along)):
        yield view[outer, :, inner]


def flat_blocks(array: Array, numbers_max: int = BLOCK) -> Iterator[Array]:
    """All numbers in C order, some at a time: views."""
    flat = array.reshape(-1)
    for begin in range(0, flat.size, numbers_max):
        yield flat[begin : begin + numbers_max]
