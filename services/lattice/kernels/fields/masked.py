"""Dijkstra's algorithm on two or three open axes, the steps from each site as a mask of bits.

A step has a bit by its ternary code: a digit for each axis, 0 down, 1 stays, 2 up. So the steps
that lead from one site where those of its neighbour lead are the same bits, shifted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels import lengths
from services.lattice.kernels.axes import EXHAUSTED, OPEN_LIST_FULL, SLICE_ENDED, WRAPS, Int
from services.lattice.kernels.bits import lowest_bit
from services.lattice.kernels.buckets import WAITING, Buckets, pop, push
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.fields.padded import Padding
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.slices import Cancel, Cancelled

_AXES_MAX = 3
_SHARE_MAX = 1.2
"""Where the layer around a lattice makes it larger than that, it takes too much memory."""

_AT_ONCE = 1 << 22
"""To so many places a step is added between two looks at whether somebody still waits."""

NEVER = np.iinfo(np.int64).min
CODE_BITS = 5
CODE = 31
STEPS_MAX = 27
_ONE = np.uint64(1)


class StepTable(NamedTuple):
    """What is the same of a step wherever it is taken: arrays of shape (3^d,), by its code."""

    offsets: NDArray[np.int64]
    """What it adds to a place."""
    units: NDArray[np.int64]
    tags: NDArray[np.int64]
    """What it adds to a length, in units, and to a tally: see `lengths`."""
    shifts: NDArray[np.int64]
    """By how many bits the steps of the site it came from lie above those of where it leads."""
    shared: NDArray[np.uint32]
    """The steps from where it leads that end beside the site it came from, or on it."""


@dataclass(frozen=True, eq=False)
class StepMasks:
    """The steps there are from each place of a padded lattice."""

    padding: Padding
    table: StepTable
    stay: int
    """The code of no step."""
    masks: NDArray[np.uint32]
    """Of shape (places,): 0 of one that is blocked or outside."""

    @classmethod
    def of(cls, grid: Grid, cancel: Cancel) -> Self | None:
        """Those of a grid, or None where there are none so simple. Raises `Cancelled`."""
        axis_count = len(grid.kept)
        if axis_count > _AXES_MAX or grid.axes[:, WRAPS].any():
            return None
        padding = Padding.of(grid)
        if padding is None or padding.size > _SHARE_MAX * grid.sites:
            return None
        steps = list(product((-1, 0, 1), repeat=axis_count))
        table = _table(grid, padding, steps)
        return cls(
            padding, table, steps.index((0,) * axis_count), _masks(grid, padding, steps, cancel)
        )


def _table(grid: Grid, padding: Padding, steps: Sequence[tuple[int, ...]]) -> StepTable:
    vectors = np.array(steps, np.int64)
    kinds = np.abs(vectors).sum(axis=1)
    # Of a step and one that follows, which together lead no further than a step.
    together = np.abs(vectors[:, None] + vectors[None]).max(axis=2) <= 1
    return StepTable(
        offsets=vectors @ padding.strides,
        units=grid.costs[kinds],
        tags=lengths.tags(len(grid.kept))[kinds],
        shifts=vectors @ 3 ** np.arange(len(grid.kept))[::-1],
        shared=(together << np.arange(len(steps))).sum(axis=1).astype(np.uint32),
    )


def _masks(
    grid: Grid, padding: Padding, steps: Sequence[tuple[int, ...]], cancel: Cancel
) -> NDArray[np.uint32]:
    """Where steps must not cut corners the box that each spans has to be free.

    A box is two sites long on some axes, and is told by its lowest corner; one that is long on
    an axis more is free where two are that lie beside each other.
    """
    margin = int(padding.strides.sum())
    free = padding.free(grid.blocked, margin, cancel)
    boxes = {(0,) * len(grid.kept): free}
    masks = np.zeros(padding.size, np.uint32)
    for code, step in enumerate(steps):
        if not any(step):
            continue
        if grid.no_cutting:
            box = _box(boxes, tuple(map(abs, step)), padding.strides)
            corner = np.minimum(step, 0) @ padding.strides
        else:
            box, corner = free, np.array(step) @ padding.strides
        for first in range(0, padding.size, _AT_ONCE):
            if cancel[0]:
                raise Cancelled
            some = masks[first : first + _AT_ONCE]
            add_step(box[margin + corner + first :], code, some)
    if not grid.no_cutting:
        masks *= free[margin:-margin]
    return masks


def _box(
    boxes: dict[tuple[int, ...], NDArray[np.uint8]],
    axes: tuple[int, ...],
    strides: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """1 where the box that is long on some axes is free, whose lowest corner lies there."""
    if axes not in boxes:
        axis = axes.index(1)
        shorter = _box(boxes, (*axes[:axis], 0, *axes[axis + 1 :]), strides)
        boxes[axes] = np.zeros_like(shorter)
        stride = int(strides[axis])
        np.bitwise_and(shorter[:-stride], shorter[stride:], out=boxes[axes][:-stride])
    return boxes[axes]


@kernel
def add_step(box: NDArray[np.uint8], code: int, masks: NDArray[np.uint32]) -> None:
    """Add a step to the masks of the places where `box`, which is as long or longer, is 1."""
    for place in range(masks.shape[0]):
        masks[place] |= np.uint32(box[place]) << np.uint32(code)


class Labels(NamedTuple):
    """What is known of each place."""

    values: NDArray[np.int64]
    """Of shape (places,): a length in units, then CODE_BITS of the step that came there: final
    where it is 0 or more, otherwise the complement of the best so far; NEVER where not reached."""
    tallies: NDArray[np.int64]
    """Of shape (places,): the same length as a tally. Means nothing where not reached."""


@kernel
def flood_masked(
    masks: NDArray[np.uint32],
    table: StepTable,
    labels: Labels,
    buckets: Buckets,
    bucket_shift: int,
    budget: int,
) -> tuple[int, int]:
    """Go on with Dijkstra's algorithm, on buckets as in `flood.flood_diagonal`.

    Steps are left out that lead from a site beside the one it was reached from: that has a step
    there too, which is as short.

    Parameters
    ----------
    masks, table
        As in `StepMasks`.
    labels : Labels
        To begin, the complement of the code of no step, and an empty tally, at the sources, and
        NEVER elsewhere.
    buckets : Buckets
        To begin, the sources in bucket 0.
    bucket_shift : int
        Buckets are 2^bucket_shift units of length wide.
    budget : int
        How many sites to expand before returning SLICE_ENDED, >= 1.

    Returns
    -------
    (status, sites expanded in this call)
    """
    expanded = 0
    while buckets.registers[WAITING] > 0:
        if buckets.registers[WAITING] + STEPS_MAX > buckets.sites.shape[0]:
            return OPEN_LIST_FULL, expanded
        if expanded == budget:
            return SLICE_ENDED, expanded
        place = pop(buckets)
        value = labels.values[np.uint64(place)]
        if value >= 0:
            continue
        value = ~value
        labels.values[np.uint64(place)] = value
        expanded += 1
        length, tally = value >> CODE_BITS, labels.tallies[np.uint64(place)]
        left = steps_left(masks, table, place, value & CODE)
        while left:
            code = lowest_bit(left)
            left &= left - _ONE
            near, near_length = np.uint64(place + table.offsets[code]), length + table.units[code]
            if labels.values[near] >= ~(near_length << CODE_BITS | CODE):
                continue
            labels.values[near] = ~(near_length << CODE_BITS | code)
            labels.tallies[near] = tally + table.tags[code]
            push(buckets, near_length >> bucket_shift, near)
    return EXHAUSTED, expanded


@inlined
def steps_left(masks: NDArray[np.uint32], table: StepTable, place: Int, came: Int) -> np.uint64:
    """The steps from a place that do not lead where the site before has a step, too."""
    before = np.uint64(masks[np.uint64(place - table.offsets[came])])
    shift = table.shifts[came]
    ahead = before >> np.uint64(shift) if shift >= 0 else before << np.uint64(-shift)
    if table.units[came] == 0:
        ahead = np.uint64(0)
    return np.uint64(masks[np.uint64(place)]) & ~(ahead & np.uint64(table.shared[came]))


class Scale(NamedTuple):
    """What lengths in units and tallies mean."""

    unit: float
    exact_length: float
    """In units. A longer one may be too long for a tally."""
    tally_bits: int
    roots: NDArray[np.float64]
    """Of shape (n, 2): each root in two parts."""


@kernel
def read_lengths(
    labels: Labels,
    scale: Scale,
    first_places: NDArray[np.int64],
    lengths_read: NDArray[np.float64],
) -> None:
    """Tell lengths, -1 where no path leads, in rows of places that follow each other.

    Parameters
    ----------
    first_places : int64 array of shape (n,)
    lengths_read : float64 array of shape (n, row length)
        Filled in, with the sums and in the order of `lengths.length_of_tallies`.
    """
    for row in range(first_places.shape[0]):
        for column in range(lengths_read.shape[1]):
            place = np.uint64(first_places[row] + column)
            value = labels.values[place]
            units = (value if value >= 0 else ~value) >> CODE_BITS
            # Of a source that nothing was expanded from, 0 is known as well.
            if value < 0 and units != 0:
                length = -1.0
            elif units > scale.exact_length:
                length = units / scale.unit
            else:
                length = sum_of_roots(labels.tallies[place], scale)
            lengths_read[row, column] = length


@inlined
def sum_of_roots(tally: Int, scale: Scale) -> float:
    high = 0.0
    low = 0.0
    mask = (np.int64(1) << scale.tally_bits) - 1
    for root in range(scale.roots.shape[0]):
        count = np.float64(tally & mask)
        high += count * scale.roots[root, 0]
        low += count * scale.roots[root, 1]
        tally >>= scale.tally_bits
    return high + low
