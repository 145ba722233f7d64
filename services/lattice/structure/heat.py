"""Heat that flows along edges, and resistances between sites."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, LatticeSpec, Method, Site, check_free_site
from services.lattice.errors import WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.free import diffusion
from services.lattice.kernels.structure.free.axes import axes_of
from services.lattice.kernels.structure.graph import iterations
from services.lattice.kernels.structure.graph.clusters import clusters_of
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import grid_with_costs
from services.lattice.operations.sites import Selection, selection
from services.lattice.structure.work import (
    STEPS_MAX,
    VALUES_PER_ANSWER,
    Clock,
    Work,
    computed,
    graph_of,
    graph_work,
    has_formula,
    sites_of,
    streamed,
)
from services.plumbing.errors import Violations

_TERMS = 300
"""So many times an axis's modes are summed for a resistance."""
_STEPS = 1_000
"""Conjugate gradients are estimated to take so many steps."""
_TIME_MAX = 1e300
"""Everything is alike long before; of more, products are infinite."""


@dataclass(frozen=True, kw_only=True)
class HeatQuery:
    """From where, how long, and of which sites to tell."""

    source: Site
    time: float
    selected: Selection


@dataclass(frozen=True, eq=False)
class HeatPart:
    """How much is at some sites."""

    first_index: int
    values: NDArray[np.float64]
    computation: Computation | None


@dataclass(frozen=True)
class Resistances:
    """In the order of the pairs; -1 where no path leads."""

    values: Sequence[float]
    computation: Computation


def heat_query(
    spec: LatticeSpec,
    source: Sequence[int],
    time: float,
    targets: Sequence[Sequence[int]],
    region: tuple[Sequence[int], Sequence[int]] | None,
) -> HeatQuery:
    """Check a query; raises InvalidInput naming every bad field."""
    bad = Violations()
    check_free_site(spec, source, "source", bad)
    selected = selection(spec.geometry, targets, region, bad)
    bad.raise_if_any()
    assert selected is not None
    return HeatQuery(source=tuple(source), time=min(time, _TIME_MAX), selected=selected)


def resistance_pairs(
    spec: LatticeSpec, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> list[tuple[Site, Site]]:
    """Check that sites are free; raises InvalidInput naming every bad field."""
    bad = Violations()
    for n, (start, goal) in enumerate(pairs):
        check_free_site(spec, start, f"pairs[{n}].start", bad)
        check_free_site(spec, goal, f"pairs[{n}].goal", bad)
    bad.raise_if_any()
    return [(tuple(start), tuple(goal)) for start, goal in pairs]


async def find_heat(
    context: OperationContext, lattice: HeldLattice, query: HeatQuery
) -> AsyncGenerator[HeatPart]:
    """Yield how much is at sites. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if has_formula(lattice):
        looks = diffusion.heat_work(geometry, query.time, query.selected.count)
        looks += query.selected.count * len(geometry.shape)
        work = Work(looks=looks, size_bytes=24 * query.selected.count + (1 << 25), kinds=())
        heat = partial(_heat_by_formula, geometry, query)
    else:
        degree_max = (3 if geometry.moore else 2) * 3 ** (len(geometry.shape) - 1)
        steps = iterations.heat_steps(degree_max, query.time)
        work = graph_work(lattice, steps * lattice.looks_max, bytes_per_site=64)
        heat = partial(_heat_on_graph, lattice, query)
    async with aclosing(streamed(context, work, 8 * query.selected.count, heat)) as parts:
        async for part in parts:
            yield part


def _heat_by_formula(geometry: Geometry, query: HeatQuery, stop: Stop) -> list[HeatPart]:
    clock = Clock()
    spec = LatticeSpec(geometry=geometry)
    parts = []
    for part in query.selected.parts(VALUES_PER_ANSWER):
        sites = sites_of(spec, query.selected, part)
        values = np.ones(len(sites))
        for column, axis in enumerate(axes_of(geometry)):
            stop.check()
            at, places = np.unique(sites[:, column], return_inverse=True)
            along = diffusion.heat_along(axis, query.time, query.source[column], at)
            values *= along[places]
        parts.append(HeatPart(part.start, np.maximum(values, 0.0), None))
    return _begun(parts, clock.computation(Method.CLOSED_FORM, held=8 * query.selected.count))


def _heat_on_graph(lattice: HeldLattice, query: HeatQuery, stop: Stop) -> list[HeatPart]:
    clock = Clock()
    geometry = lattice.spec.geometry
    rows = graph_of(lattice, stop)
    source = int(rows.numbers[geometry.index(query.source)])
    values, products = iterations.heat(rows, source, query.time, stop.flag)
    everywhere = rows.spread(values, 0.0).astype(np.float64)
    computation = clock.computation(
        Method.CHEBYSHEV, expanded=products * rows.count, held=rows.bytes_held, exact=False
    )
    parts = [
        HeatPart(part.start, everywhere[query.selected.indices(geometry, part)].copy(), None)
        for part in query.selected.parts(VALUES_PER_ANSWER)
    ]
    return _begun(parts, computation)


def _begun(parts: list[HeatPart], computation: Computation) -> list[HeatPart]:
    first = parts[0]
    return [HeatPart(first.first_index, first.values, computation), *parts[1:]]


async def find_resistances(
    context: OperationContext, lattice: HeldLattice, pairs: Sequence[tuple[Site, Site]]
) -> Resistances:
    """Find them. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if has_formula(lattice):
        if max(geometry.shape) > diffusion.MODES_MAX:
            raise WorkTooLarge(
                "an axis has more modes than are summed",
                estimate=max(geometry.shape),
                limit=diffusion.MODES_MAX,
            )
        looks = 3 * _TERMS * len(pairs) * sum(geometry.shape)
        work = Work(looks=looks, size_bytes=1 << 26, kinds=())
        resistances = await computed(context, work, partial(_resist_by_formula, geometry, pairs))
    else:
        looks = len(pairs) * _STEPS * lattice.looks_max
        work = graph_work(lattice, looks, bytes_per_site=80)
        resistances = await computed(context, work, partial(_resist_on_graph, lattice, pairs))
    context.record(resistances.computation)
    return resistances


def _resist_by_formula(
    geometry: Geometry, pairs: Sequence[tuple[Site, Site]], stop: Stop
) -> Resistances:
    clock = Clock()
    values = []
    for a, b in pairs:
        stop.check()
        values.append(diffusion.resistance(geometry, a, b))
    return Resistances(values, clock.computation(Method.CLOSED_FORM))


def _resist_on_graph(
    lattice: HeldLattice, pairs: Sequence[tuple[Site, Site]], stop: Stop
) -> Resistances:
    clock = Clock()
    geometry = lattice.spec.geometry
    rows = graph_of(lattice, stop)
    labels = clusters_of(grid_with_costs(lattice), stop.flag).labels
    values, products = [], 0
    for a, b in pairs:
        at, to = geometry.index(a), geometry.index(b)
        value, steps = (0.0 if at == to else -1.0), 0
        if at != to and labels[at] == labels[to]:
            ends = int(rows.numbers[at]), int(rows.numbers[to])
            value, steps = iterations.resistance(rows, *ends, STEPS_MAX, stop.flag)
        values.append(value)
        products += steps
    computation = clock.computation(
        Method.CONJUGATE_GRADIENT,
        expanded=products * rows.count,
        held=rows.bytes_held,
        exact=False,
    )
    return Resistances(values, computation)
