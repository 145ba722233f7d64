"""Compares two arrays: how many numbers differ, by how much, and in which boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop

BYTES_PER_SITE = 24
"""Of a comparison: a byte of each site, and blocks as doubles."""
LOOKS_PER_SITE = 4
REGIONS_DEFAULT = 64
_BLOCK = 1 << 18
_DENSE = 0.5
"""A box with so great a share of differing sites is not cut any more."""

Box = tuple[slice, ...]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A box with sites that differ."""

    origin: tuple[int, ...]
    shape: tuple[int, ...]
    differing: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two arrays differ. `greatest` is None where no two numbers differ by one."""

    sites: int
    differing: int
    greatest: float | None
    regions: Sequence[Region]


def compare(one: NDArray[Any], other: NDArray[Any], regions_max: int, stop: Stop) -> Difference:
    """Compare arrays of one shape: bit by bit where they are of one type, else as doubles."""
    mask = np.empty(one.shape, np.bool_)
    greatest: float | None = None
    flat = (one.reshape(-1), other.reshape(-1), mask.reshape(-1))
    for begin in range(0, one.size, _BLOCK):
        stop.check()
        a, b, target = (each[begin : begin + _BLOCK] for each in flat)
        distance = _compared(a, b, target)
        if distance is not None:
            greatest = distance if greatest is None else max(greatest, distance)
    regions = _regions(mask, regions_max, stop)
    return Difference(
        sites=one.size,
        differing=sum(region.differing for region in regions),
        greatest=greatest,
        regions=regions,
    )


def _compared(a: NDArray[Any], b: NDArray[Any], differs: Mask) -> float | None:
    """Fill `differs`; the greatest difference of numbers that there is."""
    if a.dtype == b.dtype:
        bits = f"u{a.itemsize}"
        np.not_equal(a.view(bits), b.view(bits), out=differs)
    else:
        np.not_equal(a.astype(np.float64), b.astype(np.float64), out=differs)
    if not differs.any():
        return None
    with np.errstate(all="ignore"):
        apart = np.abs(a[differs].astype(np.float64) - b[differs].astype(np.float64))
    apart = apart[~np.isnan(apart)]
    return float(apart.max()) if apart.size else None


def _regions(mask: Mask, regions_max: int, stop: Stop) -> Sequence[Region]:
    """Boxes that have all that is set, and do not overlap; the fullest are not cut further."""
    whole = _tight(mask, tuple(slice(0, length) for length in mask.shape))
    waiting: list[Box] = [whole] if whole else []
    done: list[Box] = []
    while waiting:
        stop.check()
        box = waiting.pop(0)
        room = regions_max - len(done) - len(waiting)
        halves = _cut(mask, box) if room > 1 else None
        if halves is None:
            done.append(box)
        else:
            waiting += halves
    return [_region(mask, box) for box in sorted(done, key=_origin)]


def _cut(mask: Mask, box: Box) -> Sequence[Box] | None:
    """Two smaller boxes that have all that is set in one; None where that would tell no more.

    At the widest gap along any axis, or else in the middle of the longest.
    """
    part = mask[box]
    if part.size == 1 or np.count_nonzero(part) >= _DENSE * part.size:
        return None
    axis, at = _widest_gap(part)
    begin = box[axis].start
    halves = []
    for piece in (slice(begin, begin + at), slice(begin + at, box[axis].stop)):
        tight = _tight(mask, (*box[:axis], piece, *box[axis + 1 :]))
        if tight is not None:
            halves.append(tight)
    return halves


def _widest_gap(part: Mask) -> tuple[int, int]:
    best = (0, int(np.argmax(part.shape)), max(part.shape) // 2)
    for axis in range(part.ndim):
        others = tuple(each for each in range(part.ndim) if each != axis)
        full = np.flatnonzero(part.any(axis=others))
        if len(full) < 2:
            continue
        gaps = np.diff(full) - 1
        widest = int(np.argmax(gaps))
        if gaps[widest] > best[0]:
            best = (int(gaps[widest]), axis, int(full[widest + 1]))
    return best[1], best[2]


def _tight(mask: Mask, box: Box) -> Box | None:
    """The smallest box inside that has all that is set in it; None where nothing is."""
    part = mask[box]
    tight = []
    for axis in range(part.ndim):
        others = tuple(each for each in range(part.ndim) if each != axis)
        full = np.flatnonzero(part.any(axis=others))
        if not len(full):
            return None
        begin = box[axis].start
        tight.append(slice(begin + int(full[0]), begin + int(full[-1]) + 1))
    return tuple(tight)


def _origin(box: Box) -> tuple[int, ...]:
    return tuple(part.start for part in box)


def _region(mask: Mask, box: Box) -> Region:
    return Region(
        origin=_origin(box),
        shape=tuple(part.stop - part.start for part in box),
        differing=int(np.count_nonzero(mask[box])),
    )


def estimate_bytes(shape: Sequence[int]) -> int:
    """What a comparison takes beside both arrays."""
    return prod(shape) + BYTES_PER_SITE * min(prod(shape), _BLOCK)
