"""Costs of sites as a call brings them: what they must be."""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.held_lattice import HeldLattice, grid_of
from services.lattice.domain import BLOCKABLE_SITES_MAX, LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.weighted.costs import SiteCosts
from services.plumbing.errors import Violations

_COST_MAX = 1e290
"""No path is so long that the sum of its costs is infinite."""


class CostType(Enum):
    """What numbers costs are told in, by their names in numpy."""

    UINT8 = "u1"
    UINT16 = "<u2"
    FLOAT32 = "<f4"
    FLOAT64 = "<f8"


def site_costs(
    spec: LatticeSpec, values: bytes, cost_type: CostType, *, mean: bool, field: str = "costs"
) -> SiteCosts:
    """Check that there is a cost for each site, and one that makes sense where it is free.

    The bytes are not copied. Raises InvalidInput naming the bad field.
    """
    bad = Violations()
    expected = spec.geometry.sites * np.dtype(cost_type.value).itemsize
    if spec.geometry.sites > BLOCKABLE_SITES_MAX:
        bad.add(field, f"must be unset with more than {BLOCKABLE_SITES_MAX:,} sites")
    elif len(values) != expected:
        bad.add(f"{field}.values", f"must be {expected:,} bytes long, not {len(values):,}")
    bad.raise_if_any()
    costs = np.frombuffer(values, cost_type.value)
    _check_numbers(spec, costs, f"{field}.values", bad)
    bad.raise_if_any()
    return SiteCosts(costs, mean)


def grid_with_costs(lattice: HeldLattice) -> Grid:
    """The lattice for kernels that need one, though no site is blocked."""
    return lattice.grid if lattice.grid is not None else grid_of(lattice.spec)


def unit_costs(spec: LatticeSpec) -> SiteCosts:
    """Costs with which a step costs its length."""
    return SiteCosts(np.ones(spec.geometry.sites, np.uint8), mean=False)


def _check_numbers(
    spec: LatticeSpec, costs: NDArray[np.generic], field: str, bad: Violations
) -> None:
    """Whole numbers without a sign are always right."""
    if costs.dtype.kind == "u":
        return
    wrong = ~((costs.astype(np.float64) >= 0) & (costs.astype(np.float64) <= _COST_MAX))
    if not spec.free:
        blocked = np.frombuffer(spec.blocked, np.uint8)
        wrong &= np.unpackbits(blocked, count=len(costs), bitorder="little") == 0
    if wrong.any():
        first = int(wrong.argmax())
        site = _site(spec.geometry, first)
        bad.add(field, f"must be 0 to {_COST_MAX:g}: at {site} it is {costs[first]}")


def _site(geometry: Geometry, index: int) -> list[int]:
    return [int(at) for at in np.unravel_index(index, geometry.shape)]
