"""Joins the components of slabs where they meet. Forgets a plane when it has seen both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.errors import WorkTooLarge
from services.lattice.kernels.structure.graph.borders import (
    Border,
    Sets,
    join_planes,
    roots_of,
)
from services.lattice.structure.clustering import (
    AxisCounts,
    Bits,
    Closed,
    ComponentRows,
    Sizes,
    SlabComponents,
    SlabNumbers,
    as_flags,
    axis_counts_of,
    largest_of,
)
from services.lattice.structure.slabs import Slabs

JOINED_BYTES_MAX = 1 << 28
"""Of what is kept of components that touch several slabs."""


@dataclass(frozen=True)
class Whole:
    """All components of a lattice: counted, and the largest one by one."""

    count: int
    sites: int
    axes: AxisCounts
    largest: ComponentRows
    labels: Sizes
    """The numbers of the largest."""
    size_bytes: int


class Joining:
    """Joins the components of slabs that come in their order. For one thread."""

    def __init__(self, slabs: Slabs, components_max: int) -> None:
        self._slabs = slabs
        self._components_max = components_max
        self._axes = len(slabs.shape)
        self._sets = Sets.of(0, self._axes)
        self._open: list[ComponentRows] = []
        self._closed: list[Closed] = []
        self._first: Border | None = None
        self._last: Border | None = None
        self._held_bytes = 0

    def add(self, slab: SlabComponents) -> None:
        """Join the next slab to those before it. Raises WorkTooLarge when too much is kept."""
        base = len(self._sets.parents)
        self._sets = self._sets.with_more(len(slab.open.sizes))
        self._sets.wraps[base:] = as_flags(slab.open.wraps, self._axes)
        low, high = (
            border._replace(components=border.components + np.int32(base))
            for border in (slab.low, slab.high)
        )
        if self._last is None:
            self._first = low
        else:
            join_planes(self._sets, self._last, low, np.zeros(self._axes, np.int32))
        self._last = high
        self._open.append(slab.open)
        self._closed.append(slab.closed)
        self._held_bytes += slab.open.size_bytes + slab.closed.largest.size_bytes
        self._check(self._held_bytes + 2 * self._sets.size_bytes + 2 * high.size_bytes)

    def finished(self) -> Whole:
        """All of them, once every slab was added."""
        assert self._first is not None, "there is a slab"
        assert self._last is not None, "there is a slab"
        if self._slabs.is_ring:
            step = np.zeros(self._axes, np.int32)
            step[self._slabs.axis] = 1
            join_planes(self._sets, self._last, self._first, step)
        joined, slab_of = self._joined()
        counts = _added([each.axes for each in self._closed], joined, self._axes)
        closed_before = np.cumsum([0, *(each.count for each in self._closed)])
        candidates = [joined, *(each.largest for each in self._closed)]
        slabs = [slab_of]
        slabs += [np.full(len(each.largest.sizes), n) for n, each in enumerate(self._closed)]
        every, slab = _together(candidates), np.concatenate(slabs)
        # Before it come the closed ones of earlier slabs, those of its own, and the joined ones.
        labels = closed_before[slab] + every.closed_before
        labels = labels + np.searchsorted(np.sort(joined.firsts), every.firsts)
        which = largest_of(every, self._components_max)
        return Whole(
            count=int(closed_before[-1]) + len(joined.sizes),
            sites=int(joined.sizes.sum()) + sum(each.sites for each in self._closed),
            axes=counts,
            largest=every.chosen(which),
            labels=labels[which],
            size_bytes=self._held_bytes + self._sets.size_bytes,
        )

    def numbers(self) -> list[SlabNumbers]:
        """What each slab is to call its components, in their order; behind `finished`."""
        joined, slab_of = self._joined()
        closed_before = np.cumsum([0, *(each.count for each in self._closed)])
        order = np.sort(joined.firsts)
        labels = closed_before[slab_of] + joined.closed_before
        labels += np.searchsorted(order, joined.firsts)
        roots = roots_of(self._sets)
        of_parts = labels[np.searchsorted(np.unique(roots), roots)].astype(np.int32)
        begins = np.array([*self._slabs.begins, self._slabs.shape[self._slabs.axis]])
        bounds = np.searchsorted(order, begins * self._slabs.plane)
        ends = np.cumsum([len(each.sizes) for each in self._open])
        return [
            SlabNumbers(
                closed_before=int(closed_before[n]),
                joined_before=int(bounds[n]),
                joined=order[bounds[n] : bounds[n + 1]],
                open=own,
            )
            for n, own in enumerate(np.split(of_parts, ends[:-1]))
        ]

    def _joined(self) -> tuple[ComponentRows, NDArray[np.int64]]:
        """The components that touch several slabs, and the slab of each one's first site."""
        parts = _together(self._open)
        slab_of = np.repeat(np.arange(len(self._open)), [len(each.sizes) for each in self._open])
        roots = roots_of(self._sets)
        order = np.argsort(parts.firsts, kind="stable")
        # The part that has the first site of all comes first.
        distinct, first_of, own = np.unique(roots[order], return_index=True, return_inverse=True)
        sizes = np.zeros(len(distinct), np.int64)
        faces = np.zeros(len(distinct), np.uint32)
        np.add.at(sizes, own, parts.sizes[order])
        np.bitwise_or.at(faces, own, parts.faces[order])
        first = order[first_of]
        wraps = _as_bits(self._sets.wraps[distinct])
        joined = ComponentRows(sizes, parts.firsts[first], faces, wraps, parts.closed_before[first])
        return joined, slab_of[first]

    def _check(self, held_bytes: int) -> None:
        if held_bytes > JOINED_BYTES_MAX:
            raise WorkTooLarge(
                "the components that touch several slabs take more bytes of memory than they may",
                estimate=held_bytes,
                limit=JOINED_BYTES_MAX,
            )


def _added(counts: Sequence[AxisCounts], joined: ComponentRows, axes: int) -> AxisCounts:
    every = [*counts, axis_counts_of(joined, axes)]
    return AxisCounts(
        np.sum([each.spanning for each in every], axis=0),
        np.sum([each.wrapping for each in every], axis=0),
        np.max([each.largest_spanning for each in every], axis=0),
    )


def _together(parts: Sequence[ComponentRows]) -> ComponentRows:
    return ComponentRows(
        np.concatenate([each.sizes for each in parts]),
        np.concatenate([each.firsts for each in parts]),
        np.concatenate([each.faces for each in parts]),
        np.concatenate([each.wraps for each in parts]),
        np.concatenate([each.closed_before for each in parts]),
    )


def _as_bits(flags: NDArray[np.uint8]) -> Bits:
    weights = np.uint32(1) << np.arange(flags.shape[1], dtype=np.uint32)
    bits: Bits = (flags.astype(np.uint32) * weights).sum(axis=1, dtype=np.uint32)
    return bits
