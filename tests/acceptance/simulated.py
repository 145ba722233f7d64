"""Simulations against what is known exactly, at length.

    python -m tests.acceptance.simulated [--scale 1] [--seed 1]

Energies of the Ising model against Kaufman on 8 to 128 sites a side, magnetisation against Yang,
returns of walkers against Polya, thresholds of percolation, the sandpile, and Life. What has an
error must be within three of its own; exact values are exact. `--scale` makes all longer.
Prints a line each, and exits 1 when one is off.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.lattice.simulations.models import (
    CellularAutomaton,
    Ising,
    PercolationGrowth,
    Potts,
    RandomWalks,
    Sandpile,
)
from services.lattice.simulations.rule import Rule
from tests.lattice.simulations.runs import box, run

CRITICAL = 2 / np.log(1 + np.sqrt(2))
KAUFMAN = {
    (8, 2.0): -1.7456831702931999,
    (16, 2.0): -1.7455306689909191,
    (8, CRITICAL): -1.4915891074397063,
    (16, CRITICAL): -1.4530648528134766,
    (32, 2.5): -1.1072916609775112,
    (64, 2.2): -1.546479153081508,
    (128, 2.5): -1.1060792038039275,
}
_SIGMAS = 3.0


@dataclass(frozen=True)
class Comparison:
    """What was found, what is known, and by how much they may differ."""

    name: str
    measured: float
    known: float
    margin: float

    @property
    def holds(self) -> bool:
        return abs(self.measured - self.known) <= self.margin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    worst = 0
    for each in comparisons(arguments.scale, arguments.seed):
        mark = "" if each.holds else "  OFF"
        print(
            f"{each.name:44} {each.measured:14.8f}  known {each.known:14.8f}  "
            f"within {each.margin:.2g}{mark}",
            flush=True,
        )
        worst |= not each.holds
    return int(worst)


def comparisons(scale: float, seed: int) -> Iterator[Comparison]:
    for (length, temperature), exact in KAUFMAN.items():
        for is_wolff in (False, True):
            yield _energy(length, temperature, exact, is_wolff=is_wolff, scale=scale, seed=seed)
    yield _magnetisation(scale, seed)
    yield _potts(scale, seed)
    for axes, exact in ((3, 0.3405373295509991), (4, 0.1932016732249839), (5, 0.1351786098)):
        yield _returns(axes, exact, scale, seed)
    yield _threshold((2_000, 2_000), 0.59274605079210, 0.008, seed)
    yield _threshold((150, 150, 150), 0.3116077, 0.006, seed)
    grains = int(20_000 + 80_000 * scale)
    pile = run(box(64, 64), Sandpile(), grains, every=10, discard=15_000)
    yield Comparison("sandpile 64^2, mean height", pile.summary("height").mean, 17 / 8, 0.03)
    yield Comparison("Life, R-pentomino at 1103, cells", _pentomino(), 116, 0)


def _energy(
    length: int, temperature: float, exact: float, *, is_wolff: bool, scale: float, seed: int
) -> Comparison:
    whole, every = 20_000 if length <= 32 else 6_000, 1
    if is_wolff and length > 32:
        # Above its critical temperature a cluster has some fifty sites: hundreds are one sweep.
        whole, every = 100_000, 10
    # Whatever the scale: to come into equilibrium takes the same.
    discard = whole // 10
    steps = discard + int(scale * (whole - discard))
    model = Ising(temperature, is_wolff=is_wolff, is_ordered=True)
    done = run(
        box(length, length, ring=True), model, steps, seed=seed, every=every, discard=discard
    )
    summary = done.summary("energy")
    how = "Wolff" if is_wolff else "Metropolis"
    name = f"Ising {length}^2 at {temperature:.3f}, {how}, energy"
    return Comparison(name, summary.mean, exact, _SIGMAS * summary.error)


def _magnetisation(scale: float, seed: int) -> Comparison:
    steps = int(6_000 * scale)
    model = Ising(2.0, is_ordered=True)
    done = run(box(256, 256, ring=True), model, steps, seed=seed, every=1, discard=steps // 10)
    summary = done.summary("magnetisation_abs")
    # Of an endless lattice; this one is many correlation lengths wide.
    return Comparison(
        "Ising 256^2 at 2, magnetisation", summary.mean, 0.911319377877496, _SIGMAS * summary.error
    )


def _potts(scale: float, seed: int) -> Comparison:
    """At its critical temperature the energy of an endless lattice is -1 - 1 / sqrt q."""
    steps, critical = int(30_000 * scale), 1 / np.log(1 + np.sqrt(3))
    model = Potts(float(critical), is_wolff=True, is_ordered=True, states=3)
    done = run(box(128, 128, ring=True), model, steps, seed=seed, every=5, discard=steps // 5)
    summary = done.summary("energy")
    # A finite lattice has somewhat less, by its length to the power -1.2 or so.
    return Comparison(
        "Potts q = 3, 128^2 at Tc, energy",
        summary.mean,
        -1 - 1 / np.sqrt(3),
        _SIGMAS * summary.error + 0.02,
    )


def _returns(axes: int, exact: float, scale: float, seed: int) -> Comparison:
    walkers, steps = int(100_000 * scale), 4_000
    shape = (2**12,) * axes
    done = run(
        box(*shape, ring=True), RandomWalks(walkers, (2**11,) * axes), steps, seed=seed, threads=2
    )
    # Later ones are some n^(1 - axes / 2): the rest of a sum of returns.
    later = 2.0 * (axes / (2 * np.pi)) ** (axes / 2) * steps ** (1 - axes / 2) / (axes / 2 - 1)
    error = np.sqrt(exact * (1 - exact) / walkers)
    return Comparison(
        f"walks in {axes} dimensions, returned",
        done.last["returned"],
        exact,
        _SIGMAS * float(error) + float(later) * (1 - exact),
    )


def _threshold(shape: tuple[int, ...], exact: float, margin: float, seed: int) -> Comparison:
    middle = tuple(length // 2 for length in shape)
    steps = int(np.prod(shape)) // 10
    done = run(box(*shape, ring=True), PercolationGrowth(middle), steps, seed=seed)
    name = f"invasion of {shape[0]}^{len(shape)}, share taken in"
    return Comparison(name, done.last["share"], exact, margin)


def _pentomino() -> float:
    cells = np.zeros((1_200, 1_200), np.uint8)
    cells[600:603, 600:603] = [[0, 1, 1], [1, 1, 0], [0, 1, 0]]
    life = CellularAutomaton(Rule(frozenset({3}), frozenset({2, 3})))
    return run(box(1_200, 1_200, moore=True), life, 1_103, initial=cells).last["population"]


if __name__ == "__main__":
    sys.exit(main())
