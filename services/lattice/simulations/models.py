"""What is simulated, as values that make sense on a lattice. Knows no array and no process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from services.lattice import domain
from services.lattice.arrays.number_type import NumberType
from services.lattice.domain import BLOCKABLE_SITES_MAX, LatticeSpec
from services.lattice.errors import WorkTooLarge
from services.lattice.geometry import Coordinates
from services.lattice.kernels.structure.graph.rows import bytes_of_rows
from services.lattice.simulations.rule import Rule
from services.plumbing.errors import Violations


class Model:
    """What all models have.

    `name` is that of the contract's oneof, `result_type` the type of the numbers that are left at
    the end, `inputs` the fields that it may start from.
    """

    name: ClassVar[str]
    result_type: ClassVar[NumberType]
    inputs: ClassVar[Sequence[str]] = ("initial",)

    @property
    def columns(self) -> Sequence[str]:
        """The observables."""
        raise NotImplementedError

    def check(self, spec: LatticeSpec, bad: Violations) -> None:
        """Add what does not make sense on a lattice to `bad`."""
        raise NotImplementedError

    def size_bytes(self, spec: LatticeSpec) -> int:
        """The memory that it takes, in bytes, at most."""
        raise NotImplementedError

    def updates(self, spec: LatticeSpec, /) -> int:
        """How many sites one step changes, or looks at, at most."""
        return spec.geometry.sites

    def _bad(self, name: str) -> str:
        return f"simulation.{self.name}.{name}"


@dataclass(frozen=True)
class _Spins(Model):
    temperature: float
    is_wolff: bool = False
    is_ordered: bool = False

    def check(self, spec: LatticeSpec, bad: Violations) -> None:
        check_free(spec, bad)

    def size_bytes(self, spec: LatticeSpec) -> int:
        return _graph_bytes(spec, 6)


@dataclass(frozen=True)
class Ising(_Spins):
    """Spins up and down."""

    name: ClassVar[str] = "ising"
    result_type: ClassVar[NumberType] = NumberType.INT16

    @property
    def columns(self) -> Sequence[str]:
        common = ("energy", "magnetisation", "magnetisation_abs")
        return (*common, "cluster_size") if self.is_wolff else common

    def is_multispin(self, spec: LatticeSpec) -> bool:
        """Whether 64 spins are turned at once."""
        geometry = spec.geometry
        is_even = all(length % 2 == 0 and length > 2 for length in geometry.shape)
        is_board = len(geometry.shape) in (2, 3) and all(geometry.periodic) and is_even
        return is_board and spec.free and not geometry.moore and not self.is_wolff

    def size_bytes(self, spec: LatticeSpec) -> int:
        if self.is_multispin(spec):
            rows = spec.geometry.sites // spec.geometry.shape[-1]
            return 4 * spec.geometry.sites + 40 * rows
        return super().size_bytes(spec)


@dataclass(frozen=True)
class Potts(_Spins):
    """Spins of several states."""

    states: int = 3
    name: ClassVar[str] = "potts"
    result_type: ClassVar[NumberType] = NumberType.UINT8

    @property
    def columns(self) -> Sequence[str]:
        return ("energy", "order", "cluster_size") if self.is_wolff else ("energy", "order")


@dataclass(frozen=True)
class CellularAutomaton(Model):
    """Cells that live and die by how many of their neighbours live."""

    rule: Rule
    density: float = 0.5
    name: ClassVar[str] = "cellular_automaton"
    result_type: ClassVar[NumberType] = NumberType.UINT8

    @property
    def columns(self) -> Sequence[str]:
        return ("population",)

    def check(self, spec: LatticeSpec, bad: Violations) -> None:
        check_free(spec, bad)

    def is_plane(self, spec: LatticeSpec) -> bool:
        """Whether 64 cells are computed at once."""
        geometry = spec.geometry
        is_wide = all(
            length > 2 or not ring
            for length, ring in zip(geometry.shape, geometry.periodic, strict=True)
        )
        is_plain = spec.free or not geometry.no_cutting
        return len(geometry.shape) == 2 and geometry.moore and is_wide and is_plain

    def size_bytes(self, spec: LatticeSpec) -> int:
        return 4 * spec.geometry.sites if self.is_plane(spec) else _graph_bytes(spec, 4)


@dataclass(frozen=True)
class Diffusion(Model):
    """What spreads from where there is more to where there is less."""

    diffusivity: float
    time_step: float
    name: ClassVar[str] = "diffusion"
    result_type: ClassVar[NumberType] = NumberType.FLOAT64
    inputs: ClassVar[Sequence[str]] = ("initial", "source")

    @property
    def columns(self) -> Sequence[str]:
        return ("total", "mean", "low", "high")

    def check(self, spec: LatticeSpec, bad: Violations) -> None:
        time_step_max = 1 / (2 * len(spec.geometry.shape) * self.diffusivity)
        if self.time_step > time_step_max:
            bad.add(
                self._bad("time_step"),
                f"must be at most {time_step_max:g}, not {self.time_step:g}: beyond that the "
                "steps do not converge",
            )
        check_free(spec, bad)

    def size_bytes(self, spec: LatticeSpec) -> int:
        rows = spec.geometry.sites // spec.geometry.shape[-1]
        return 42 * spec.geometry.sites + 8 * len(spec.geometry.shape) * rows


@dataclass(frozen=True)
class RandomWalks(Model):
    """Walkers that step to a neighbour at random."""

    walkers: int
    start: Coordinates
    target: Coordinates | None = None
    name: ClassVar[str] = "random_walks"
    result_type: ClassVar[NumberType] = NumberType.INT32
    inputs: ClassVar[Sequence[str]] = ()

    @property
    def columns(self) -> Sequence[str]:
        common = ("mean_squared_displacement", "returned", "mean_return")
        return common if self.target is None else (*common, "arrived", "mean_first_passage")

    def check(self, spec: LatticeSpec, bad: Violations) -> None:
        domain.check_free_site(spec, self.start, self._bad("start"), bad)
        if self.target is not None:
            domain.check_free_site(spec, self.target, self._bad("target"), bad)

    def size_bytes(self, spec: LatticeSpec) -> int:
        return self.walkers * (32 * len(spec.geometry.shape) + 48) + len(spec.blocked)

    def updates(self, _spec: LatticeSpec, /) -> int:
        return self.walkers


@dataclass(frozen=True)
class Sandpile(Model):
    """Grains that topple."""

    drop: Coordinates | None = None
    name: ClassVar[str] = "sandpile"
    result_type: ClassVar[NumberType] = NumberType.INT32

    @property
    def columns(self) -> Sequence[str]:
        return ("height", "topplings", "lost")

    def check(self, spec: LatticeSpec, bad: Violations) -> None:
        if self.drop is not None:
            domain.check_free_site(spec, self.drop, self._bad("drop"), bad)
        if all(spec.geometry.periodic) and spec.free:
            bad.add(
                "lattice_id",
                "must be of a lattice with an open axis or a blocked site: grains would never be "
                "lost, and the pile would topple for ever",
            )
        check_free(spec, bad)

    def size_bytes(self, spec: LatticeSpec) -> int:
        return _graph_bytes(spec, 24)

    def updates(self, spec: LatticeSpec, /) -> int:
        """About as many sites topple as a grain passes on its way out."""
        return max(spec.geometry.shape) ** 2


@dataclass(frozen=True)
class PercolationGrowth(Model):
    """A cluster that grows from one site; by invasion without a probability."""

    origin: Coordinates
    probability: float | None = None
    name: ClassVar[str] = "percolation_growth"
    result_type: ClassVar[NumberType] = NumberType.INT32
    inputs: ClassVar[Sequence[str]] = ()

    @property
    def columns(self) -> Sequence[str]:
        return ("size", "share", "is_growing")

    def check(self, spec: LatticeSpec, bad: Violations) -> None:
        domain.check_free_site(spec, self.origin, self._bad("origin"), bad)

    def size_bytes(self, spec: LatticeSpec) -> int:
        return _graph_bytes(spec, 40)

    def updates(self, spec: LatticeSpec, /) -> int:
        """A shell of Leath's has the surface of a ball; one site joins by invasion."""
        return 1 if self.probability is None else 2 * max(spec.geometry.shape)


AnyModel = (
    Ising | Potts | CellularAutomaton | Diffusion | RandomWalks | Sandpile | PercolationGrowth
)


def check_free(spec: LatticeSpec, bad: Violations) -> None:
    """Some site must not be blocked."""
    # Byte by byte the largest bitmap would take seconds, which every call would wait for.
    blocked_count = int.from_bytes(spec.blocked, "little").bit_count()
    if blocked_count == spec.geometry.sites:
        bad.add("lattice_id", "must be of a lattice with a site that is not blocked")


def neighbours_of(spec: LatticeSpec) -> int:
    """How many neighbours a site has on the free, unbounded lattice."""
    axes = len(spec.geometry.shape)
    return int(3**axes - 1) if spec.geometry.moore else 2 * axes


def _graph_bytes(spec: LatticeSpec, per_site: int) -> int:
    """With its graph laid out. Raises WorkTooLarge."""
    geometry = spec.geometry
    if geometry.sites > BLOCKABLE_SITES_MAX:
        raise WorkTooLarge(
            "the lattice has more sites than this model takes",
            estimate=geometry.sites,
            limit=BLOCKABLE_SITES_MAX,
        )
    return bytes_of_rows(geometry.sites, geometry.edges) + per_site * geometry.sites
