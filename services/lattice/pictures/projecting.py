"""From the numbers of an array to those of a picture: two axes, and what lies along the others.

Parts come in C order, each of a box of the array; no more than the picture is in memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import ChunkPart
from services.lattice.arrays.region import Region

Numbers = NDArray[np.generic]


class Projection(Enum):
    """What is shown of the axes that a picture does not have."""

    SLICE = "slice"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    SUM = "sum"


@dataclass(frozen=True, kw_only=True)
class _Reduction:
    """How numbers become one."""

    along: Callable[..., Any]
    """Of an array, along some of its axes."""
    merge: Callable[..., Any]
    """Of what is there with what comes."""
    begin: float


_REDUCTIONS = {
    Projection.SLICE: _Reduction(along=np.sum, merge=np.add, begin=0.0),
    Projection.MIN: _Reduction(along=np.min, merge=np.minimum, begin=np.inf),
    Projection.MAX: _Reduction(along=np.max, merge=np.maximum, begin=-np.inf),
    Projection.MEAN: _Reduction(along=np.sum, merge=np.add, begin=0.0),
    Projection.SUM: _Reduction(along=np.sum, merge=np.add, begin=0.0),
}


class Projector:
    """Collects the numbers of a picture from the parts of a region.

    `region` is all that is looked at; `row_axis` is None for an array of one axis, which is a
    row.
    """

    def __init__(
        self, region: Region, row_axis: int | None, column_axis: int, projection: Projection
    ) -> None:
        self._axes = (row_axis, column_axis)
        self._others = tuple(
            axis for axis in range(len(region.shape)) if axis not in (row_axis, column_axis)
        )
        self._reduction = _REDUCTIONS[projection]
        rows = 1 if row_axis is None else region.shape[row_axis]
        columns = region.shape[column_axis]
        self._numbers = np.full((rows, columns), self._reduction.begin, np.float64)
        along = region.sites // (rows * columns)
        self._divisor = along if projection is Projection.MEAN else 1

    def add(self, part: ChunkPart, numbers: Numbers) -> None:
        """Add the numbers of a part; not kept."""
        values = numbers.astype(np.float64)
        reduced = self._reduction.along(values, axis=self._others) if self._others else values
        row_axis, column_axis = self._axes
        if row_axis is None:
            reduced = reduced.reshape(1, -1)
        elif row_axis > column_axis:
            reduced = reduced.T
        place = self._place(part)
        self._numbers[place] = self._reduction.merge(self._numbers[place], reduced)

    def numbers(self) -> NDArray[np.float64]:
        """Those of the picture, once all parts were added: an array of rows."""
        return self._numbers / self._divisor if self._divisor > 1 else self._numbers

    def _place(self, part: ChunkPart) -> tuple[slice, slice]:
        row_axis, column_axis = self._axes
        rows = slice(0, 1) if row_axis is None else _extent(part, row_axis)
        return rows, _extent(part, column_axis)


def _extent(part: ChunkPart, axis: int) -> slice:
    return slice(part.begin[axis], part.begin[axis] + part.shape[axis])


def blocked_numbers(bitmap: bytes, begin: int, count: int, shape: Sequence[int]) -> Numbers:
    """Some bits of a bitmap, from one on, as numbers 0 and 1; zeros beyond its end."""
    first, last = begin // 8, -(-(begin + count) // 8)
    packed = np.frombuffer(bitmap, np.uint8)[first:last]
    bits = np.unpackbits(packed, bitorder="little")[begin - 8 * first :][:count]
    whole = np.zeros(int(np.prod(shape)), np.uint8)
    whole[: len(bits)] = bits
    return whole.reshape(shape)
