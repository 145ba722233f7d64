"""Steps of simulations, beside numpy and JAX on the CPU doing the same.

python -m bench.simulations [--seconds 2] [--small]

Ising by Metropolis in flips a nanosecond, Life in cells, Wolff in spins turned, explicit
diffusion as a share of the bandwidth that the same threads copy with, in turns. JAX takes all
threads, in single precision, which is its own; without it it is left out.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.domain import LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.simulations.models import AnyModel, CellularAutomaton, Diffusion, Ising
from services.lattice.simulations.rule import Rule
from services.lattice.simulations.running import Run, RunPlan
from services.lattice.simulations.threads import Threads

THREADS = len(os.sched_getaffinity(0))
CRITICAL = 2 / np.log(1 + np.sqrt(2))
LIFE = CellularAutomaton(Rule(frozenset({3}), frozenset({2, 3})))
_ENDLESS = 10**12


@dataclass(frozen=True)
class Pace:
    """How much was done in a second."""

    name: str
    per_s: float


def main(arguments: argparse.Namespace) -> int:
    seconds = arguments.seconds
    plane, cube = (512, 64) if arguments.small else (2_048, 200)
    paces = [
        *_ising((plane, plane), seconds),
        *_ising((cube, cube, cube), seconds, peers=False),
        *_life(2 * plane, seconds),
        *_wolff(plane, seconds),
    ]
    for pace in paces:
        print(f"{pace.name:60} {pace.per_s / 1e9:10.4f} /ns", flush=True)
    for threads in sorted({1, THREADS}):
        share = _diffusion((cube, cube, cube), threads, seconds)
        print(
            f"{f'diffusion {cube}^3, {threads} threads, of copying':60} {share:10.3f}", flush=True
        )
    return 0


def _ising(shape: tuple[int, ...], seconds: float, *, peers: bool = True) -> list[Pace]:
    name = f"Ising {'x'.join(map(str, shape))}, flips"
    paces = [
        Pace(
            f"{name}, girih, {threads} threads",
            _ours(_box(shape), Ising(CRITICAL), seconds, threads),
        )
        for threads in sorted({1, THREADS})
    ]
    if peers:
        paces.append(Pace(f"{name}, numpy", _numpy_ising(shape, seconds)))
        paces += _of_jax(name, lambda jax: _jax_ising(jax, shape, seconds))
    return paces


def _life(length: int, seconds: float) -> list[Pace]:
    name, spec = f"Life {length}^2, cells", _box((length, length), moore=True)
    paces = [
        Pace(f"{name}, girih, {threads} threads", _ours(spec, LIFE, seconds, threads))
        for threads in sorted({1, THREADS})
    ]
    paces.append(Pace(f"{name}, numpy", _numpy_life(length, seconds)))
    return [*paces, *_of_jax(name, lambda jax: _jax_life(jax, length, seconds))]


def _wolff(length: int, seconds: float) -> list[Pace]:
    plan = _plan(_box((length, length)), Ising(CRITICAL, is_wolff=True, is_ordered=True), every=1)
    run = Run(plan, Threads(1))
    began_s = time.perf_counter()
    rows = run.go_on(seconds).rows
    turned = rows[:, plan.model.columns.index("cluster_size") + 1].sum()
    # Each record measures all pairs: what that takes is told apart by a run without.
    took_s = time.perf_counter() - began_s
    return [Pace(f"Wolff {length}^2, spins turned, each cluster measured, girih", turned / took_s)]


def _ours(spec: LatticeSpec, model: AnyModel, seconds: float, threads: int) -> float:
    """Sites a second."""
    run = Run(_plan(spec, model), Threads(threads))
    run.go_on(0.2)
    return run.go_on(seconds).steps_per_s * spec.geometry.sites


def _diffusion(shape: tuple[int, ...], threads: int, seconds: float) -> float:
    """Bytes a second as a share of what copying does with as many threads, in turns."""
    spec, pool = _box(shape), Threads(threads)
    initial = np.random.default_rng(1).random(shape)
    run = Run(_plan(spec, Diffusion(1.0, 0.1), initial=initial), pool)
    source, target = initial.reshape(shape[0], -1), np.empty((shape[0], initial.size // shape[0]))

    def copy(first: int, last: int, _thread: int) -> None:
        target[first:last] = source[first:last]

    shares = []
    for _ in range(5):
        steps_per_s = run.go_on(seconds / 5).steps_per_s
        copies_per_s = _paced(lambda: pool.share(shape[0], copy), seconds / 5)
        shares.append(steps_per_s / copies_per_s)
    return float(np.median(shares))


def _numpy_ising(shape: tuple[int, ...], seconds: float) -> float:
    rng = np.random.default_rng(1)
    spins = rng.integers(0, 2, shape).astype(np.int8) * 2 - 1
    colour = np.indices(shape).sum(axis=0) % 2
    chances = np.exp(-2 * np.arange(-4, 5) / CRITICAL)

    def sweep() -> None:
        for parity in range(2):
            near = sum(np.roll(spins, by, axis) for axis in (0, 1) for by in (1, -1))
            turned = (rng.random(shape) < chances[spins * near + 4]) & (colour == parity)
            spins[turned] *= -1

    return _paced(sweep, seconds) * spins.size


def _numpy_life(length: int, seconds: float) -> float:
    cells = (np.random.default_rng(1).random((length, length)) < 0.5).astype(np.uint8)

    def step() -> None:
        nonlocal cells
        around = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
        near = sum(np.roll(np.roll(cells, a, 0), b, 1) for a, b in around)
        cells = ((near == 3) | ((near == 2) & (cells == 1))).astype(np.uint8)

    return _paced(step, seconds) * cells.size


def _of_jax(name: str, measure: Callable[[Any], float]) -> list[Pace]:
    """The pace of JAX, where it is installed."""
    try:
        jax = importlib.import_module("jax")
    except ImportError:
        return []
    return [Pace(f"{name}, JAX, {THREADS} threads", measure(jax))]


def _jax_ising(jax: Any, shape: tuple[int, ...], seconds: float) -> float:  # noqa: ANN401
    jnp = jax.numpy
    colour = jnp.indices(shape).sum(axis=0) % 2
    chances = jnp.exp(-2 * jnp.arange(-4, 5) / CRITICAL)

    @jax.jit  # type: ignore[untyped-decorator]
    def sweep(spins: Any, key: Any) -> tuple[Any, Any]:  # noqa: ANN401 - arrays of JAX
        for parity in range(2):
            key, own = jax.random.split(key)
            near = sum(jnp.roll(spins, by, axis) for axis in (0, 1) for by in (1, -1))
            turned = (jax.random.uniform(own, shape) < chances[spins * near + 4]) & (
                colour == parity
            )
            spins = jnp.where(turned, -spins, spins)
        return spins, key

    key = jax.random.PRNGKey(1)
    state = [jax.random.bernoulli(key, 0.5, shape).astype(jnp.int8) * 2 - 1, key]

    def step() -> None:
        state[:] = sweep(*state)
        state[0].block_until_ready()

    return _paced(step, seconds) * float(np.prod(shape))


def _jax_life(jax: Any, length: int, seconds: float) -> float:  # noqa: ANN401
    jnp = jax.numpy
    around = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]

    @jax.jit  # type: ignore[untyped-decorator]
    def generation(cells: Any) -> Any:  # noqa: ANN401 - an array of JAX
        near = sum(jnp.roll(jnp.roll(cells, a, 0), b, 1) for a, b in around)
        return ((near == 3) | ((near == 2) & (cells == 1))).astype(jnp.uint8)

    state = [jax.random.bernoulli(jax.random.PRNGKey(1), 0.5, (length, length)).astype(jnp.uint8)]

    def step() -> None:
        state[0] = generation(state[0]).block_until_ready()

    return _paced(step, seconds) * length**2


def _paced(step: Callable[[], object], seconds: float) -> float:
    """How often a second, over about so long."""
    step()
    count, began_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began_s) < seconds:
        step()
        count += 1
    return count / took_s


def _box(shape: tuple[int, ...], *, moore: bool = False) -> LatticeSpec:
    geometry = Geometry(shape, (True,) * len(shape), moore=moore, no_cutting=True)
    return LatticeSpec(geometry=geometry)


def _plan(
    spec: LatticeSpec, model: AnyModel, *, every: int = _ENDLESS, **inputs: NDArray[np.float64]
) -> RunPlan:
    return RunPlan(
        spec=spec,
        model=model,
        seed=1,
        steps=_ENDLESS,
        record_every=every,
        discard_steps=0,
        inputs=inputs,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each")
    parser.add_argument("--small", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main(_arguments()))
