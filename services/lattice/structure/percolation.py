"""Percolation: how probable it is that open sites lead across."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.lattice.computing.compute import Stop
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.domain import BLOCKABLE_SITES_MAX, Computation, LatticeSpec, Method
from services.lattice.errors import WorkTooLarge
from services.lattice.geometry import Geometry
from services.lattice.kernels.grid import prepare
from services.lattice.kernels.structure.graph.percolation import (
    spanning_probabilities,
    spanning_thresholds,
)
from services.lattice.operations.context import OperationContext
from services.lattice.structure.work import Clock, Work, computed
from services.plumbing.errors import Violations

_LOOKS_TO_BEGIN = 300
"""What a run takes besides its sites."""


@dataclass(frozen=True, kw_only=True)
class SweepQuery:
    """How often, from which seed, across which axis, and at which shares of open sites."""

    runs: int
    seed: int
    axis: int
    shares: Sequence[float]


@dataclass(frozen=True)
class Sweep:
    """The probabilities with their standard errors, and the mean share at which it happened."""

    probabilities: Sequence[float]
    errors: Sequence[float]
    threshold_mean: float
    threshold_error: float
    computation: Computation


def sweep_query(
    spec: LatticeSpec, runs: int, seed: int, axis: int, shares: Sequence[float]
) -> SweepQuery:
    """Check a query; raises InvalidInput naming every bad field."""
    bad = Violations()
    axes = len(spec.geometry.shape)
    if axis >= axes:
        bad.add("axis", f"must be 0 to {axes - 1}")
    bad.raise_if_any()
    return SweepQuery(runs=runs, seed=seed, axis=axis, shares=list(shares))


async def percolate(context: OperationContext, lattice: HeldLattice, query: SweepQuery) -> Sweep:
    """Open the sites of the lattice's shape in random orders. Raises WorkTooLarge."""
    geometry = lattice.spec.geometry
    if geometry.sites > BLOCKABLE_SITES_MAX:
        raise WorkTooLarge(
            "the lattice has more sites than are opened",
            estimate=geometry.sites,
            limit=BLOCKABLE_SITES_MAX,
        )
    sweep = await computed(context, _work(geometry, query), partial(_sweep, geometry, query))
    context.record(sweep.computation)
    return sweep


def _work(geometry: Geometry, query: SweepQuery) -> Work:
    per_run = _LOOKS_TO_BEGIN + 4 * (geometry.sites + 2 * geometry.edges)
    per_share = query.runs + 24 * math.isqrt(geometry.sites)
    return Work(
        looks=query.runs * per_run + len(query.shares) * per_share,
        size_bytes=32 * geometry.sites + 64 * query.runs + (1 << 20),
    )


def _sweep(geometry: Geometry, query: SweepQuery, stop: Stop) -> Sweep:
    clock = Clock()
    grid = prepare(
        geometry.shape,
        geometry.periodic,
        moore=geometry.moore,
        no_cutting=False,
        blocked=b"",
    )
    thresholds = spanning_thresholds(grid, query.axis, query.runs, query.seed, stop.flag)
    means, errors = spanning_probabilities(
        thresholds, geometry.sites, np.array(query.shares), stop.flag
    )
    shares = thresholds / geometry.sites
    return Sweep(
        probabilities=means.tolist(),
        errors=errors.tolist(),
        threshold_mean=float(shares.mean()),
        threshold_error=float(shares.std(ddof=1) / np.sqrt(query.runs)),
        computation=clock.computation(
            Method.NEWMAN_ZIFF,
            expanded=int(thresholds.sum()),
            held=22 * geometry.sites,
            exact=False,
        ),
    )
