"""Transforms of each number by itself, in place, a block at a time.

Whole numbers wrap around in what can be undone, and are computed in doubles, rounded half to even
and kept within their type in all else: what did not fit is counted. NaN stays NaN.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.transforms.scratch import Array, Scratch, flat_blocks

Doubles = NDArray[np.float64]


def multiply(array: Array, factor: int, scratch: Scratch) -> None:
    """Multiply whole numbers, around the end of their type."""
    _wrapping(np.multiply, array, factor, scratch)


def add_whole(array: Array, number: int, scratch: Scratch) -> None:
    """Add to whole numbers, around the end of their type."""
    _wrapping(np.add, array, number, scratch)


def inverse_factor(factor: int, bits: int) -> int:
    """What undoes multiplying whole numbers of so many bits by an odd factor."""
    return pow(factor, -1, 1 << bits)


def add(array: Array, number: float, scratch: Scratch) -> None:
    """Add to floating numbers, in their own type."""
    for part in flat_blocks(array):
        scratch.check()
        with np.errstate(over="ignore", invalid="ignore"):
            np.add(part, array.dtype.type(number), out=part)


def scale(array: Array, factor: float, offset: float, scratch: Scratch) -> int:
    """`factor` times each number, and `offset`."""

    def scaled(values: Doubles) -> None:
        np.multiply(values, factor, out=values)
        np.add(values, offset, out=values)

    return by_doubles(array, scaled, scratch)


def threshold(array: Array, level: float, below: float, above: float, scratch: Scratch) -> int:
    """`above` where a number is `level` or more, `below` where it is less."""

    def stepped(values: Doubles) -> None:
        is_above, is_below = values >= level, values < level
        values[is_above] = above
        values[is_below] = below

    return by_doubles(array, stepped, scratch)


def clip(array: Array, low: float, high: float, scratch: Scratch) -> int:
    """No number below `low` or above `high`."""
    return by_doubles(array, lambda values: np.clip(values, low, high, out=values), scratch)


def normalise(
    array: Array,
    low: float,
    high: float,
    scratch: Scratch,
    bounds: tuple[float, float] | None = None,
) -> int:
    """Spread numbers from `low` to `high`: the least finite one is `low`, the greatest `high`.

    Infinite ones become the nearer of both, and all are `low` where there is no other than one.
    `bounds` are the least and the greatest of a larger array that this is a part of.
    """
    least, greatest = bounds or finite_bounds(array, scratch) or (0.0, 0.0)
    spread = greatest - least
    factor = (high - low) / spread if spread > 0 else 0.0
    if not (isfinite(spread) and isfinite(factor)):
        return _normalise_by_shares(array, (low, high), (least, greatest), scratch)

    def spread_out(values: Doubles) -> None:
        np.subtract(values, least, out=values)
        if spread > 0:
            np.multiply(values, factor, out=values)
            np.add(values, low, out=values)
            np.clip(values, low, high, out=values)
        else:
            values[~np.isnan(values)] = low

    return by_doubles(array, spread_out, scratch)


def _normalise_by_shares(
    array: Array, to: tuple[float, float], bounds: tuple[float, float], scratch: Scratch
) -> int:
    """The same where lengths are beyond doubles: of numbers far apart, or hardly apart at all."""
    (low, high), (least, greatest) = to, bounds
    # Halves of the greatest doubles can be subtracted; of the least ones there is no half.
    part = 1.0 if isfinite(greatest - least) else 0.5
    begin, length = least * part, greatest * part - least * part

    def spread_out(values: Doubles) -> None:
        np.multiply(values, part, out=values)
        np.subtract(values, begin, out=values)
        np.divide(values, length, out=values)
        np.clip(values, 0.0, 1.0, out=values)
        values[...] = low * (1.0 - values) + high * values

    return by_doubles(array, spread_out, scratch)


def convert(array: Array, dtype: np.dtype[Any], scratch: Scratch) -> tuple[Array, int]:
    """The numbers as those of another type, and how many did not fit it."""
    made, lost = scratch.kept(array.shape, dtype), 0
    is_exact = array.dtype.kind != "f" and dtype.kind != "f"
    for part, target in zip(flat_blocks(array), flat_blocks(made), strict=True):
        scratch.check()
        with scratch.reserved(5 * 8 * part.size):
            if is_exact:
                lost += _converted_whole(part, target)
            else:
                lost += fitted(part.astype(np.float64), target)
    return made, lost


def by_doubles(array: Array, change: Callable[[Doubles], object], scratch: Scratch) -> int:
    """Change numbers in place as doubles; how many did not fit their type behind that."""
    lost = 0
    for part in flat_blocks(array):
        scratch.check()
        with scratch.reserved(5 * 8 * part.size), np.errstate(all="ignore"):
            values = part.astype(np.float64)
            change(values)
            lost += fitted(values, part)
    return lost


def fitted(values: Doubles, target: Array) -> int:
    """Put doubles into an array of any type; how many whole numbers do not fit it.

    They are rounded half to even first. Those beyond a type's bounds become these, and NaN
    becomes 0. Changes `values`; takes four times their bytes.
    """
    if target.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            target[...] = values
        return 0
    bounds = np.iinfo(target.dtype)
    np.rint(values, out=values)
    is_nan = np.isnan(values)
    # The greatest of 64 bits is no double: what is not below the next power of two is above it.
    is_above, is_below = values >= float(bounds.max) + 1.0, values < float(bounds.min)
    if bounds.max < 2**53:
        is_above = values > float(bounds.max)
    lost = int(is_nan.sum()) + int(is_above.sum()) + int(is_below.sum())
    if not lost:
        target[...] = values
        return 0
    values[is_nan | is_above | is_below] = 0.0
    target[...] = values
    target[is_above], target[is_below] = bounds.max, bounds.min
    return lost


def _converted_whole(part: Array, target: Array) -> int:
    bounds, own = np.iinfo(target.dtype), np.iinfo(part.dtype)
    low, high = max(bounds.min, own.min), min(bounds.max, own.max)
    lost = int((part < low).sum()) + int((part > high).sum())
    target[...] = np.clip(part, low, high)
    return lost


def _wrapping(operation: Any, array: Array, number: int, scratch: Scratch) -> None:  # noqa: ANN401
    unsigned = array.view(f"<u{array.itemsize}")
    operand = np.array(number % (1 << 8 * array.itemsize), unsigned.dtype)
    for part in flat_blocks(unsigned):
        scratch.check()
        operation(part, operand, out=part)


def finite_bounds(array: Array, scratch: Scratch) -> tuple[float, float] | None:
    """The least and the greatest finite number, if there is any."""
    low, high = np.inf, -np.inf
    for part in flat_blocks(array):
        scratch.check()
        with scratch.reserved(2 * 8 * part.size):
            finite = part[np.isfinite(part)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else None
