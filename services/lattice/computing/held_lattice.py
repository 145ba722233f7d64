"""A lattice in memory, laid out for the kernels. Knows neither where it came from nor who asks."""

from dataclasses import dataclass

from services.lattice.domain import Lattice, LatticeSpec
from services.lattice.kernels.grid import Grid, prepare


@dataclass(frozen=True, eq=False)
class HeldLattice:
    """A lattice in memory. `grid` is set when some of its sites are blocked."""

    lattice: Lattice
    spec: LatticeSpec
    grid: Grid | None

    @classmethod
    def of(cls, lattice: Lattice, spec: LatticeSpec) -> "HeldLattice":
        return cls(lattice, spec, None if spec.free else grid_of(spec))


def grid_of(spec: LatticeSpec) -> Grid:
    """The specified lattice as the kernels take it; its bitmap is not copied."""
    geometry = spec.geometry
    return prepare(
        geometry.shape,
        geometry.periodic,
        moore=geometry.moore,
        no_cutting=geometry.no_cutting,
        blocked=spec.blocked,
    )
