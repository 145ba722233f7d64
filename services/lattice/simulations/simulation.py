"""What every simulation does, and what it is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.lattice.computing.held_lattice import grid_of
from services.lattice.domain import LatticeSpec
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.simulations.random import START, draw_units
from services.lattice.kernels.structure.graph.rows import Rows, rows_of
from services.lattice.simulations.threads import Threads

Arrays = Mapping[str, NDArray[Any]]

_GO = np.zeros(1, np.uint8)


@dataclass(frozen=True)
class Setup:
    """What a simulation is begun with. `inputs` have the lattice's shape."""

    spec: LatticeSpec
    seed: int
    threads: Threads
    inputs: Arrays = field(default_factory=dict)


class Simulation(Protocol):
    """A state that goes on step by step.

    What step n does depends on the seed, on n and on the state before it, and on nothing else.
    """

    def advance(self, step: int, count: int) -> int:
        """Take up to `count` steps, of which `step` is the first, counted from 0; how many."""

    def observe(self) -> Sequence[float]:
        """The model's observables, in its order."""

    def arrays(self) -> Arrays:
        """All of the state. What is given back to `restore` makes the same state of another."""

    def restore(self, arrays: Arrays) -> None:
        """Become what was saved."""

    def result(self) -> NDArray[np.generic]:
        """What is left at the end, in the lattice's shape."""


def graph_of(spec: LatticeSpec) -> Rows:
    """The graph of a lattice's free sites."""
    grid = grid_of(spec)
    return rows_of(grid, count_edges(grid, _GO), _GO)


def start_units(setup: Setup, count: int) -> NDArray[np.float64]:
    """Random numbers of [0, 1) that a simulation starts from."""
    drawn = np.empty(count)
    draw_units(setup.seed, 0, START, 0, drawn)
    return drawn


def free_mask(spec: LatticeSpec) -> NDArray[np.bool_]:
    """Of the lattice's shape: where no site is blocked."""
    shape, sites = spec.geometry.shape, spec.geometry.sites
    if spec.free:
        return np.ones(shape, np.bool_)
    bits = np.unpackbits(np.frombuffer(spec.blocked, np.uint8), count=sites, bitorder="little")
    return np.asarray(bits == 0).reshape(shape)
