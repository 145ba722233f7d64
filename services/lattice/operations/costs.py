"""Costs of sites as a call brings them: what they must be."""

from collections.abc import Callable
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.held_lattice import HeldLattice, grid_of
from services.lattice.domain import BLOCKABLE_SITES_MAX, LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.weighted.costs import SiteCosts
from services.plumbing.errors import InvalidInput

_COST_MAX = 1e290
"""No path is so long that the sum of its costs is infinite."""
_SITES_AT_ONCE = 1 << 20


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
    check_cost_count(spec, field)
    expected = spec.geometry.sites * np.dtype(cost_type.value).itemsize
    if len(values) != expected:
        problem = f"must be {expected:,} bytes long, not {len(values):,}"
        raise InvalidInput.of(f"{field}.values", problem)
    costs = np.frombuffer(values, cost_type.value)
    check_numbers(spec, costs, f"{field}.values", lambda: None)
    return SiteCosts(costs, mean)


def check_cost_count(spec: LatticeSpec, field: str = "costs") -> None:
    """Raise InvalidInput where a lattice has more sites than may have costs."""
    if spec.geometry.sites > BLOCKABLE_SITES_MAX:
        raise InvalidInput.of(field, f"must be unset with more than {BLOCKABLE_SITES_MAX:,} sites")


def check_numbers(
    spec: LatticeSpec, costs: NDArray[np.generic], field: str, check: Callable[[], None]
) -> None:
    """Raise InvalidInput, naming `field` and the first site, where a free site has no cost.

    `costs` are of shape (sites,) in C order, of any type; looked at a MiB of sites at a time, with
    `check` called between two.
    """
    if costs.dtype.kind == "u":
        return  # Whole numbers without a sign are always right.
    blocked = np.frombuffer(spec.blocked, np.uint8)
    for first in range(0, len(costs), _SITES_AT_ONCE):
        check()
        numbers = costs[first : first + _SITES_AT_ONCE].astype(np.float64)
        wrong = ~((numbers >= 0) & (numbers <= _COST_MAX))
        if not spec.free:
            bits = blocked[first // 8 : (first + _SITES_AT_ONCE) // 8 + 1]
            wrong &= np.unpackbits(bits, count=len(wrong), bitorder="little") == 0
        if wrong.any():
            index = first + int(wrong.argmax())
            site = _site(spec.geometry, index)
            raise InvalidInput.of(
                field, f"must be 0 to {_COST_MAX:g}: at {site} it is {costs[index]}"
            )


def digest_of(costs: SiteCosts | None) -> str:
    """Of the field that costs come from, if they do."""
    return costs.digest if costs is not None else ""


def grid_with_costs(lattice: HeldLattice) -> Grid:
    """The lattice for kernels that need one, though no site is blocked."""
    return lattice.grid if lattice.grid is not None else grid_of(lattice.spec)


def unit_costs(spec: LatticeSpec) -> SiteCosts:
    """Costs with which a step costs its length."""
    return SiteCosts(np.ones(spec.geometry.sites, np.uint8), mean=False)


def _site(geometry: Geometry, index: int) -> list[int]:
    return [int(at) for at in np.unravel_index(index, geometry.shape)]
