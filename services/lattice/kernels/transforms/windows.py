"""What a window around each site makes of its numbers."""

from collections.abc import Callable, Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from services.lattice.kernels.transforms.arithmetic import fitted
from services.lattice.kernels.transforms.edges import Edges, padded
from services.lattice.kernels.transforms.scratch import BLOCK, Array, Scratch, blocks, lines


def convolve(
    array: Array, weights: NDArray[np.float64], edges: Edges, scratch: Scratch
) -> tuple[Array, int]:
    """Sum the numbers around each site, each times a weight: the first weight is for the last
    number. In doubles, in C order of the weights. How many sums did not fit, too.

    Work is O(sites * weights).
    """
    reaches = [length // 2 for length in weights.shape]
    around = padded(array, reaches, edges, scratch)
    made, lost = scratch.kept(array.shape, array.dtype), 0
    turned = weights[(slice(None, None, -1),) * weights.ndim]
    for place in blocks(array.shape, BLOCK):
        part = made[place]
        with scratch.array(part.shape, np.float64) as sums, scratch.reserved(6 * sums.nbytes):
            sums[...] = 0.0
            for offsets in product(*map(range, weights.shape)):
                weight = turned[offsets]
                if weight:
                    scratch.check()
                    with np.errstate(all="ignore"):
                        np.add(sums, weight * around[_moved(place, offsets, array.shape)], out=sums)
            lost += fitted(sums, part)
    return made, lost


def median(array: Array, lengths: Sequence[int], edges: Edges, scratch: Scratch) -> Array:
    """The middle one of the numbers in a window of odd lengths; NaN where one is NaN.

    Work is O(sites * window).
    """
    around = padded(array, [length // 2 for length in lengths], edges, scratch)
    windows = sliding_window_view(around, tuple(lengths))
    made, size = scratch.kept(array.shape, array.dtype), prod(lengths)
    for place in blocks(array.shape, max(1, 4 * BLOCK // size)):
        scratch.check()
        part = made[place]
        with scratch.array((*part.shape, size), array.dtype) as numbers:
            numbers[...] = windows[place].reshape(numbers.shape)
            with scratch.reserved(3 * numbers.nbytes):
                middle = np.partition(numbers, size // 2, axis=-1)[..., size // 2]
                if array.dtype.kind == "f":
                    middle = np.where(np.isnan(numbers).any(axis=-1), np.nan, middle)
                part[...] = middle
    return made


def erode(
    array: Array, rings: Sequence[bool], radius: int, scratch: Scratch, *, moore: bool
) -> Array:
    """The least of the numbers at most `radius` steps away, of the lattice alone. NaN spreads."""
    return _spread(array, rings, radius, np.minimum, scratch, moore=moore)


def dilate(
    array: Array, rings: Sequence[bool], radius: int, scratch: Scratch, *, moore: bool
) -> Array:
    """The greatest of them."""
    return _spread(array, rings, radius, np.maximum, scratch, moore=moore)


def _spread(
    array: Array,
    rings: Sequence[bool],
    radius: int,
    choose: Callable[..., Array],
    scratch: Scratch,
    *,
    moore: bool,
) -> Array:
    """Choose among neighbours, `radius` times. Steps along one axis after the other are those of
    a box; those of a diamond all begin from the same numbers."""
    before, behind = array, scratch.kept(array.shape, array.dtype)
    for _ in range(radius):
        behind[...] = before
        for axis, ring in enumerate(rings):
            # The numbers of a line as they were: in a box, behind the steps along other axes.
            origin = behind if moore else before
            for part, chosen in zip(lines(origin, axis), lines(behind, axis), strict=True):
                scratch.check()
                with scratch.array(part.shape, part.dtype) as own:
                    own[...] = part
                    _choose_along(own, chosen, choose, ring=ring)
        before, behind = behind, before
    return before


def _choose_along(own: Array, chosen: Array, choose: Callable[..., Array], *, ring: bool) -> None:
    choose(chosen[:, 1:], own[:, :-1], out=chosen[:, 1:])
    choose(chosen[:, :-1], own[:, 1:], out=chosen[:, :-1])
    if ring:
        choose(chosen[:, 0], own[:, -1], out=chosen[:, 0])
        choose(chosen[:, -1], own[:, 0], out=chosen[:, -1])


def _moved(
    place: Sequence[slice], offsets: Sequence[int], shape: Sequence[int]
) -> tuple[slice, ...]:
    """Where a block lies in the padded array, moved by the offsets of a weight."""
    moved = []
    for part, offset, length in zip(place, offsets, shape, strict=True):
        begin, end, _ = part.indices(length)
        moved.append(slice(begin + offset, end + offset))
    return tuple(moved)
