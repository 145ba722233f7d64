"""The least eigenvalues of the Laplacian, and how many spanning trees there are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import Computation, Method
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.free import axes as free
from services.lattice.kernels.structure.graph.clusters import clusters_of
from services.lattice.kernels.structure.graph.iterations import DENSE_MAX, least_eigenvalues
from services.lattice.kernels.structure.graph.trees import bandwidth, log_spanning_trees
from services.lattice.operations.context import OperationContext
from services.lattice.operations.costs import grid_with_costs
from services.lattice.structure.work import (
    STEPS_MAX,
    Clock,
    Work,
    computed,
    graph_of,
    graph_work,
    has_formula,
)
from services.plumbing.errors import InvalidInput

_ZERO = 1e-9
"""Eigenvalues below that are 0: one for each component."""
_SOLVES = 30
_STEPS = 300
"""A subspace is multiplied so often, in so many steps of conjugate gradients."""


@dataclass(frozen=True)
class Spectrum:
    """The least eigenvalues, rising, and the least above 0."""

    eigenvalues: Sequence[float]
    gap: float
    computation: Computation


@dataclass(frozen=True)
class TreeCount:
    """The natural logarithm of the number of forests of so many trees."""

    log_count: float
    trees: int
    computation: Computation


def spectrum_query(lattice: HeldLattice, k: int) -> int:
    """Check that there are so many; raises InvalidInput."""
    free_count = lattice.lattice.vertices
    if k > free_count:
        raise InvalidInput.of("k", f"must be at most the number of free sites, {free_count}")
    return k


async def find_spectrum(context: OperationContext, lattice: HeldLattice, k: int) -> Spectrum:
    """Find them. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if has_formula(lattice):
        work = Work(looks=20 * k * min(k, max(geometry.shape)) * len(geometry.shape), kinds=())
        spectrum = await computed(context, work, partial(_spectrum_by_formula, geometry, k))
    else:
        vertices = min(geometry.sites, DENSE_MAX)
        dense = lattice.lattice.vertices <= DENSE_MAX
        # A dense matrix takes some n^3 operations, many in the time of a look.
        looks = vertices**3 // 16 if dense else (k + 4) * _SOLVES * _STEPS * lattice.looks_max
        work = graph_work(lattice, looks, bytes_per_site=16 * (k + 8))
        spectrum = await computed(context, work, partial(_spectrum, lattice, k))
    context.record(spectrum.computation)
    return spectrum


def _spectrum_by_formula(geometry: Geometry, k: int, _stop: Stop) -> Spectrum:
    clock = Clock()
    values = free.least_eigenvalues(geometry, k)
    gap = free.spectral_gap(geometry)
    return Spectrum(values.tolist(), gap, clock.computation(Method.CLOSED_FORM, held=values.nbytes))


def _spectrum(lattice: HeldLattice, k: int, stop: Stop) -> Spectrum:
    clock = Clock()
    rows = graph_of(lattice, stop)
    values, products = least_eigenvalues(rows, k, STEPS_MAX, stop.flag)
    values = np.where(values < _ZERO, 0.0, values)
    above = values[values > 0]
    method = Method.SUBSPACE_ITERATION if products else Method.DENSE_EIGENVALUES
    computation = clock.computation(
        method, expanded=products * rows.count, held=rows.bytes_held, exact=False
    )
    return Spectrum(values.tolist(), float(above[0]) if len(above) else 0.0, computation)


async def count_trees(context: OperationContext, lattice: HeldLattice) -> TreeCount:
    """Count them. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if has_formula(lattice):
        terms = geometry.sites // max(geometry.shape)
        work = Work(looks=4 * terms, size_bytes=32 * min(terms, 1 << 40), kinds=())
        counted = await computed(context, work, partial(_trees_by_formula, geometry))
    else:
        width = _width(lattice)
        looks = 10 * lattice.looks_max + geometry.sites * width * width // 2
        work = graph_work(lattice, looks, bytes_per_site=8 * (width + 1) + 64)
        counted = await computed(context, work, partial(_trees, lattice))
    context.record(counted.computation)
    return counted


def _width(lattice: HeldLattice) -> int:
    """How far apart the numbers of two neighbours may be: less where sites are blocked."""
    geometry = lattice.spec.geometry
    strides = [math.prod(geometry.shape[axis + 1 :]) for axis in range(len(geometry.shape))]
    reach = [
        stride * (length - 1 if ring and length > 2 else min(1, length - 1))
        for stride, length, ring in zip(strides, geometry.shape, geometry.periodic, strict=True)
    ]
    return min(geometry.sites, sum(reach) if geometry.moore else max(reach))


def _trees_by_formula(geometry: Geometry, stop: Stop) -> TreeCount:
    clock = Clock()
    log_count = free.log_spanning_trees(geometry, stop.check)
    return TreeCount(log_count, 1, clock.computation(Method.CLOSED_FORM))


def _trees(lattice: HeldLattice, stop: Stop) -> TreeCount:
    clock = Clock()
    rows = graph_of(lattice, stop)
    clusters = clusters_of(grid_with_costs(lattice), stop.flag)
    labels = clusters.labels[rows.sites]
    log_count = log_spanning_trees(rows, labels, stop.flag)
    held = rows.bytes_held + 8 * rows.count * (bandwidth(rows) + 1)
    computation = clock.computation(Method.CHOLESKY, expanded=rows.count, held=held)
    return TreeCount(log_count, clusters.count, computation)
