"""The components of a slab, as a worker finds them.

Those that touch no other slab are whole, and are counted where they are found. Of others it tells
what there is in the planes that other slabs touch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.number_type import NumberType
from services.lattice.distributed.boxes import Box
from services.lattice.distributed.worker import cancel_flag
from services.lattice.fields.boxed import WorkerArrays, write_box
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.structure.graph.borders import Border
from services.lattice.kernels.structure.graph.clusters import BLOCKED, winding
from services.lattice.kernels.structure.graph.lines import (
    Runs,
    Tallies,
    labelled_runs,
    spread,
    tallied,
)
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace
from services.lattice.structure.slabs import SlabTask

Sizes = NDArray[np.int64]
Bits = NDArray[np.uint32]


@dataclass(frozen=True)
class ComponentRows:
    """Components; each array has one row of each."""

    sizes: Sizes
    firsts: Sizes
    """The first site of each by its C-order index in the lattice."""
    faces: Bits
    """Two bits an axis: it has a site on the lower face, and on the upper."""
    wraps: Bits
    """A bit an axis: it leads around."""
    closed_before: Sizes
    """How many closed ones of the same slab come before it."""

    def chosen(self, which: NDArray[np.generic]) -> "ComponentRows":
        """Some of them."""
        arrays = (self.sizes, self.firsts, self.faces, self.wraps, self.closed_before)
        return ComponentRows(*(array[which] for array in arrays))

    @property
    def size_bytes(self) -> int:
        return 32 * len(self.sizes)


@dataclass(frozen=True)
class AxisCounts:
    """Of components, one number for each axis."""

    spanning: Sizes
    wrapping: Sizes
    largest_spanning: Sizes


@dataclass(frozen=True)
class Closed:
    """The components that touch no other slab."""

    count: int
    sites: int
    axes: AxisCounts
    largest: ComponentRows


@dataclass(frozen=True)
class SlabComponents:
    """The components of a slab."""

    closed: Closed
    open: ComponentRows
    low: Border
    high: Border
    """The planes that other slabs touch; empty where none does."""


@dataclass(frozen=True)
class SlabNumbers:
    """Which numbers the components of a slab have in the whole lattice."""

    closed_before: int
    """Components that touch one slab, in those before it."""
    joined_before: int
    """Components that touch several slabs, and begin in those before it."""
    joined: Sizes
    """The first sites of those that begin in it, from the least."""
    open: NDArray[np.int32]
    """The numbers of its components that touch others, in their order."""


@dataclass(frozen=True)
class LabelTask:
    """A slab to label, and where to put its labels."""

    slab: SlabTask
    numbers: SlabNumbers
    storage: WorkerArrays
    place: ArrayPlace


LABEL_TYPE = NumberType.INT32


def label_slab(task: LabelTask) -> Mapping[int, bytes]:
    """Put away the number of each site's component, in a worker; the digests of the chunks by
    their ordinals. O(sites)."""
    slab, slabs = task.slab, task.slab.slabs
    labels = labels_of(slab, task.numbers)
    begin, shape = [0] * len(slabs.shape), list(slabs.shape)
    begin[slabs.axis], shape[slabs.axis] = slab.begin, slab.end - slab.begin
    layout, box = ArrayLayout.of(LABEL_TYPE, slabs.shape), Box(tuple(begin), tuple(shape))
    digests = task.storage.use(
        lambda arrays: write_box(arrays, task.place, layout, box, labels.reshape(shape))
    )
    return dict(digests)


def labels_of(slab: SlabTask, own: SlabNumbers) -> NDArray[np.int32]:
    """The number of each site's component, of shape (sites,); -1 where blocked. O(sites)."""
    grid, slabs, cancel = slab.grid, slab.slabs, cancel_flag()
    runs, numbers, count = labelled_runs(grid, cancel)
    firsts = tallied(grid, runs, numbers, count).firsts + slab.begin * slabs.plane
    is_open = np.zeros(count, np.bool_)
    for at, is_end in ((0, slab.is_first), (slab.end - slab.begin - 1, slab.is_last)):
        if not is_end or slabs.is_ring:
            is_open[numbers[_runs_of_plane(grid, runs, at, slabs.plane)]] = True
    is_closed = np.logical_not(is_open)
    labels = own.closed_before + own.joined_before + np.cumsum(is_closed) - is_closed
    labels += np.searchsorted(own.joined, firsts)
    labels[is_open] = own.open
    made = np.full(grid.sites, BLOCKED, LABEL_TYPE.dtype)
    spread(runs, labels.astype(np.int32)[numbers], made, cancel)
    return made


def cluster_slab(task: SlabTask) -> SlabComponents:
    """Find the components of a slab, in a worker. O(sites / 64 + runs), and O(sites) a ring."""
    grid, slabs = task.grid, task.slabs
    runs, numbers, count = labelled_runs(grid, cancel_flag())
    tallies = tallied(grid, runs, numbers, count)
    wraps, turns = _wound(grid, runs, numbers, count)
    last = task.end - task.begin - 1
    low, high = (_plane(grid, runs, numbers, turns, at, slabs.plane) for at in (0, last))
    faces = _faces(task, grid, tallies)
    is_open = np.zeros(count, np.bool_)
    for border, is_end, bit in ((low, task.is_first, 0), (high, task.is_last, 1)):
        if is_end:
            faces[border.components] |= np.uint32(1 << (2 * slabs.axis + bit))
        if not is_end or slabs.is_ring:
            is_open[border.components] = True
    is_closed = np.logical_not(is_open)
    rows = ComponentRows(
        sizes=tallies.sizes,
        firsts=tallies.firsts + task.begin * slabs.plane,
        faces=faces,
        wraps=wraps,
        closed_before=np.cumsum(is_closed, dtype=np.int64) - is_closed,
    )
    own = (np.cumsum(is_open) - 1).astype(np.int32)
    return SlabComponents(
        closed=_closed(rows.chosen(is_closed), len(slabs.shape), task.components_max),
        open=rows.chosen(is_open),
        low=_renumbered(low, own, is_kept=not task.is_first or slabs.is_ring),
        high=_renumbered(high, own, is_kept=not task.is_last or slabs.is_ring),
    )


def largest_of(rows: ComponentRows, most: int) -> NDArray[np.int64]:
    """Which are the largest; of equal ones the first."""
    chosen: NDArray[np.int64] = np.lexsort((rows.firsts, -rows.sizes))[:most]
    return chosen


def axis_counts_of(rows: ComponentRows, axes: int) -> AxisCounts:
    """How many lead across each axis and around it, and the largest across."""
    spanning = np.stack([is_spanning(rows, axis) for axis in range(axes)])
    wrapping = as_flags(rows.wraps, axes).T
    largest = [rows.sizes[each].max(initial=0) for each in spanning]
    return AxisCounts(
        spanning.sum(axis=1), wrapping.sum(axis=1, dtype=np.int64), np.array(largest, np.int64)
    )


def is_spanning(rows: ComponentRows, axis: int) -> NDArray[np.bool_]:
    """Which have sites on both faces of an axis."""
    both: NDArray[np.bool_] = (rows.faces >> np.uint32(2 * axis) & np.uint32(3)) == 3
    return both


def as_flags(bits: Bits, axes: int) -> NDArray[np.uint8]:
    """Of shape (components, axes)."""
    flags = bits[:, np.newaxis] >> np.arange(axes, dtype=np.uint32) & np.uint32(1)
    return flags.astype(np.uint8)


def _closed(rows: ComponentRows, axes: int, components_max: int) -> Closed:
    return Closed(
        count=len(rows.sizes),
        sites=int(rows.sizes.sum()),
        axes=axis_counts_of(rows, axes),
        largest=rows.chosen(largest_of(rows, components_max)),
    )


def _faces(task: SlabTask, grid: Grid, tallies: Tallies) -> Bits:
    """On which faces of the lattice each has sites, those of the axis that is cut apart."""
    faces = np.zeros(len(tallies.sizes), np.uint32)
    for place, axis in enumerate(reversed(grid.kept)):
        if axis != task.slabs.axis:
            faces |= (tallies.faces >> np.uint32(2 * place) & np.uint32(3)) << np.uint32(2 * axis)
    for axis, length in enumerate(task.slabs.shape):
        if length == 1:
            # An axis of one site has both faces at each.
            faces |= np.uint32(3 << 2 * axis)
    return faces


def _wound(
    grid: Grid, runs: Runs, numbers: NDArray[np.int32], count: int
) -> tuple[Bits, Callable[[slice], NDArray[np.int32]]]:
    """Which components lead around which rings, and how often the way to the beginning of each
    run does."""
    rings = [place for place in range(len(grid.kept)) if grid.axes[place, 2]]
    wraps = np.zeros(count, np.uint32)
    turns: dict[int, NDArray[np.int32]] = {}
    if rings:
        cancel = cancel_flag()
        labels = np.full(grid.sites, BLOCKED, np.int32)
        spread(runs, numbers, labels, cancel)
        for place in rings:
            axis = grid.kept[place]
            own, windings = winding(grid, labels, count, place, cancel)
            wraps |= own.astype(np.uint32) << np.uint32(axis)
            turns[axis] = windings

    def of_runs(which: slice) -> NDArray[np.int32]:
        starts = runs.starts[which]
        made = np.zeros((len(starts), len(grid.shape)), np.int32)
        for axis, windings in turns.items():
            made[:, axis] = windings[starts]
        return made

    return wraps, of_runs


def _plane(
    grid: Grid,
    runs: Runs,
    numbers: NDArray[np.int32],
    turns: Callable[[slice], NDArray[np.int32]],
    at: int,
    plane: int,
) -> Border:
    """The runs of a plane of a slab."""
    own, begin = _runs_of_plane(grid, runs, at, plane), np.int32(at * plane)
    return Border(runs.starts[own] - begin, runs.ends[own] - begin, numbers[own], turns(own))


def _runs_of_plane(grid: Grid, runs: Runs, at: int, plane: int) -> slice:
    lines = plane // int(grid.axes[-1, 0])
    return slice(int(runs.firsts[at * lines]), int(runs.firsts[(at + 1) * lines]))


def _renumbered(border: Border, numbers: NDArray[np.int32], *, is_kept: bool) -> Border:
    """With the numbers of those that are open; without any run unless it is touched."""
    own = slice(None) if is_kept else slice(0, 0)
    components = numbers[border.components[own]]
    return Border(border.starts[own], border.ends[own], components, border.turns[own])
