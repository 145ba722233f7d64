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

    @property
    def looks_max(self) -> int:
        """What is looked at when every free site is expanded once: its neighbours, and with
        Moore neighbourhoods each along every axis.

        Where a step must not cut corners the neighbours are as many as the steps there are,
        which were counted when the lattice was created. Elsewhere blocked ones count too.
        """
        geometry = self.spec.geometry
        if not geometry.moore:
            return geometry.sites + 2 * geometry.edges
        steps = 2 * (self.lattice.edges if geometry.no_cutting else geometry.edges)
        return len(geometry.shape) * (geometry.sites + steps)

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
