"""Sites in groups: colours that no two neighbours share, and communities."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, LatticeSpec, Method
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.free.axes import axes_of
from services.lattice.kernels.structure.free.communities import best_boxes
from services.lattice.kernels.structure.graph import colours
from services.lattice.kernels.structure.graph.communities import louvain, modularity
from services.lattice.operations.context import OperationContext
from services.lattice.operations.sites import Selection
from services.lattice.structure.work import (
    VALUES_PER_ANSWER,
    Clock,
    Work,
    graph_of,
    graph_work,
    has_formula,
    sites_of,
    streamed,
)

BLOCKED = -1
_LOUVAIN_PASSES = 100


@dataclass(frozen=True, eq=False)
class GroupsPart:
    """The groups of some sites, BLOCKED where blocked; how many there are, and how good."""

    first_index: int
    groups: NDArray[np.int64]
    count: int
    modularity: float
    computation: Computation | None


async def find_colouring(
    context: OperationContext, lattice: HeldLattice, selected: Selection
) -> AsyncGenerator[GroupsPart]:
    """Yield colours of sites. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if lattice.grid is None and (by_sites := _coordinate_colours(geometry)) is not None:
        colour, count = by_sites
        work = Work(
            looks=selected.count * len(geometry.shape), size_bytes=40 * selected.count, kinds=()
        )
        find = partial(_by_sites, lattice.spec, selected, colour, count)
    else:
        work = graph_work(lattice, 2 * lattice.looks_max, bytes_per_site=24)
        find = partial(_coloured, lattice, selected)
    async with aclosing(streamed(context, work, 8 * selected.count, find)) as parts:
        async for part in parts:
            yield part


async def find_communities(
    context: OperationContext, lattice: HeldLattice, selected: Selection, seed: int
) -> AsyncGenerator[GroupsPart]:
    """Yield communities of sites. Raises WorkTooLarge."""
    if has_formula(lattice):
        looks = selected.count * len(lattice.spec.geometry.shape)
        work = Work(looks=looks, size_bytes=40 * selected.count, kinds=())
        find = partial(_boxes, lattice.spec, selected)
    else:
        looks = _LOUVAIN_PASSES * lattice.looks_max
        degree = len(lattice.spec.geometry.shape) * (9 if lattice.spec.geometry.moore else 2)
        work = graph_work(lattice, looks, bytes_per_site=64 + 80 * degree)
        find = partial(_louvain, lattice, selected, seed)
    async with aclosing(streamed(context, work, 8 * selected.count, find)) as parts:
        async for part in parts:
            yield part


Groups = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""The groups of sites, of shape (n, axes)."""


def _coordinate_colours(geometry: Geometry) -> tuple[Groups, int] | None:
    """A colouring with as few colours as there may be, and how many; None where none is known.

    A step along one axis changes one summand, by less than there are colours: so the sum is
    another (Sabidussi 1957).
    """
    axes = [axis for axis in axes_of(geometry) if axis.length > 1]
    odd = any(axis.ring and axis.length % 2 for axis in axes)
    if geometry.moore and odd:
        return None
    if geometry.moore:
        # A box of two sites along each axis is a clique, and has all the colours.
        wide = [column for column, length in enumerate(geometry.shape) if length > 1]
        return lambda sites: _binary(sites[:, wide] % 2), 2 ** len(axes)
    count = 1 + bool(axes) + odd

    def colour(sites: NDArray[np.int64]) -> NDArray[np.int64]:
        total = np.zeros(len(sites), np.int64)
        for column, axis in enumerate(axes_of(geometry)):
            at = sites[:, column]
            # Of an odd ring the last site has a colour of its own.
            is_last = axis.ring and axis.length % 2 == 1
            total += np.where(is_last & (at == axis.length - 1), 2, at % 2)
        return total % max(1, count)

    return colour, count


def _binary(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    weights = 1 << np.arange(bits.shape[1])
    numbers: NDArray[np.int64] = bits @ weights
    return numbers


def _by_sites(
    spec: LatticeSpec, selected: Selection, groups: Groups, count: int, stop: Stop
) -> list[GroupsPart]:
    clock = Clock()
    parts = []
    for part in selected.parts(VALUES_PER_ANSWER):
        stop.check()
        labels = groups(sites_of(spec, selected, part))
        parts.append(GroupsPart(part.start, labels, count, 0.0, None))
    return _begun(parts, clock.computation(Method.CLOSED_FORM, held=8 * selected.count))


def _coloured(lattice: HeldLattice, selected: Selection, stop: Stop) -> list[GroupsPart]:
    """Two colours where they are enough; else those of coordinates, or the first that fits."""
    clock = Clock()
    geometry = lattice.spec.geometry
    rows = graph_of(lattice, stop)
    two = colours.two_colours(rows, stop.flag)
    by_sites = _coordinate_colours(geometry)
    if two is not None:
        colouring, method, least = two.astype(np.int64), Method.BREADTH_FIRST, True
    elif by_sites is not None and not geometry.moore:
        sites = np.stack(np.unravel_index(rows.sites, geometry.shape), axis=1)
        colouring, method, least = by_sites[0](sites), Method.CLOSED_FORM, True
    else:
        colouring = colours.greedy(rows, stop.flag).astype(np.int64)
        method, least = Method.GREEDY, False
    count = int(colouring.max(initial=-1)) + 1
    # With two of them, and each in use, there is an edge.
    computation = clock.computation(method, expanded=rows.count, held=rows.bytes_held, exact=least)
    return _spread(lattice, selected, rows.spread(colouring, BLOCKED), count, 0.0, computation)


def _louvain(lattice: HeldLattice, selected: Selection, seed: int, stop: Stop) -> list[GroupsPart]:
    clock = Clock()
    rows = graph_of(lattice, stop)
    labels = louvain(rows, seed, stop.flag)
    computation = clock.computation(
        Method.LOUVAIN, expanded=rows.count, held=rows.bytes_held, exact=False
    )
    count = int(labels.max(initial=-1)) + 1
    groups = rows.spread(labels.astype(np.int64), BLOCKED)
    return _spread(lattice, selected, groups, count, modularity(rows, labels), computation)


def _boxes(spec: LatticeSpec, selected: Selection, stop: Stop) -> list[GroupsPart]:
    clock = Clock()
    boxes = best_boxes(spec.geometry)
    parts = []
    for part in selected.parts(VALUES_PER_ANSWER):
        stop.check()
        labels = boxes.labels(spec.geometry, sites_of(spec, selected, part))
        parts.append(GroupsPart(part.start, labels, boxes.count, boxes.modularity, None))
    return _begun(
        parts, clock.computation(Method.CLOSED_FORM, held=8 * selected.count, exact=False)
    )


def _spread(
    lattice: HeldLattice,
    selected: Selection,
    groups: NDArray[np.generic],
    count: int,
    quality: float,
    computation: Computation,
) -> list[GroupsPart]:
    parts = []
    for part in selected.parts(VALUES_PER_ANSWER):
        labels = groups[selected.indices(lattice.spec.geometry, part)].astype(np.int64)
        parts.append(GroupsPart(part.start, labels, count, quality, None))
    return _begun(parts, computation)


def _begun(parts: list[GroupsPart], computation: Computation) -> list[GroupsPart]:
    first = parts[0]
    return [
        GroupsPart(first.first_index, first.groups, first.count, first.modularity, computation),
        *parts[1:],
    ]
