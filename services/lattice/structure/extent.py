"""How far sites are apart, in steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, LatticeSpec, Method, Site, check_free_site
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.free.axes import Axis, axes_of
from services.lattice.kernels.structure.graph.searches import sum_distances
from services.lattice.operations.context import OperationContext
from services.lattice.structure.work import Clock, Work, computed, graph_of, graph_work
from services.plumbing.errors import Violations


@dataclass(frozen=True)
class Extent:
    """Of all sites, or the eccentricities of some."""

    diameter: int
    radius: int
    mean_distance: float
    eccentricities: Sequence[int]
    computation: Computation


def extent_query(spec: LatticeSpec, sites: Sequence[Sequence[int]]) -> list[Site]:
    """Check that sites are free; raises InvalidInput naming every bad field."""
    bad = Violations()
    for n, site in enumerate(sites):
        check_free_site(spec, site, f"sites[{n}]", bad)
    bad.raise_if_any()
    return [tuple(site) for site in sites]


async def measure_extent(
    context: OperationContext, lattice: HeldLattice, sites: Sequence[Site]
) -> Extent:
    """Measure it: by formula on a free lattice. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if lattice.grid is None:
        # Only the mean of the longest of several distances is a sum.
        looks = sum(geometry.shape) if geometry.moore and not sites else len(geometry.shape)
        measure = partial(_by_formula, geometry, sites)
        extent = await computed(context, Work(looks=looks, kinds=()), measure)
    else:
        searches = len(sites) or lattice.lattice.vertices
        work = graph_work(lattice, searches * lattice.looks_max, bytes_per_site=48)
        extent = await computed(context, work, partial(_by_search, lattice, sites))
    context.record(extent.computation)
    return extent


def _by_formula(geometry: Geometry, sites: Sequence[Site], stop: Stop) -> Extent:
    clock = Clock()
    axes = axes_of(geometry)
    total = max if geometry.moore else sum
    if sites:
        each = [
            total(axis.eccentricity(at) for axis, at in zip(axes, site, strict=True))
            for site in sites
        ]
        return Extent(0, 0, 0.0, each, clock.computation(Method.CLOSED_FORM))
    mean = _mean_of_longest(geometry, stop) if geometry.moore else _mean_of_sums(geometry)
    return Extent(
        diameter=total(axis.longest for axis in axes),
        radius=total(axis.length // 2 for axis in axes),
        mean_distance=mean,
        eccentricities=[],
        computation=clock.computation(Method.CLOSED_FORM),
    )


def _mean_of_sums(geometry: Geometry) -> float:
    sites = geometry.sites
    if sites == 1:
        return 0.0
    total = sum((sites // axis.length) ** 2 * axis.distance_sum for axis in axes_of(geometry))
    return float(Fraction(total, sites * (sites - 1)))


def _mean_of_longest(geometry: Geometry, stop: Stop) -> float:
    """By how many ordered pairs are no further apart than each distance."""
    axes, sites = axes_of(geometry), geometry.sites
    if sites == 1:
        return 0.0
    total = 0
    for distance in range(max(axis.longest for axis in axes)):
        stop.check()
        within = 1
        for axis in axes:
            within *= _pairs_within(axis, distance)
        total += sites * sites - within
    return float(Fraction(total, sites * (sites - 1)))


def _pairs_within(axis: Axis, distance: int) -> int:
    n = axis.length
    if axis.ring:
        return n * min(n, 2 * distance + 1)
    reach = min(distance, n - 1)
    return n + 2 * n * reach - reach * (reach + 1)


def _by_search(lattice: HeldLattice, sites: Sequence[Site], stop: Stop) -> Extent:
    clock = Clock()
    rows = graph_of(lattice, stop)
    sources = np.arange(rows.count)
    if sites:
        indices = [lattice.spec.geometry.index(site) for site in sites]
        sources = rows.numbers[indices].astype(np.int64)
    sums = sum_distances(rows, sources, stop.flag)
    computation = clock.computation(
        Method.BREADTH_FIRST, expanded=int(sums.reached.sum()), held=rows.bytes_held
    )
    if sites:
        return Extent(0, 0, 0.0, sums.longest.tolist(), computation)
    pairs = int((sums.reached - 1).sum())
    return Extent(
        diameter=int(sums.longest.max(initial=0)),
        radius=int(sums.longest.min()) if rows.count else 0,
        mean_distance=int(sums.farness.sum()) / pairs if pairs else 0.0,
        eccentricities=[],
        computation=computation,
    )
