"""Transforms beside NumPy, SciPy, scikit-image and JAX on the CPU, and beside how fast memory is
copied.

python -m bench.transforms [--rounds 5] [--seed 1]

Each contender makes the same numbers of an array of its own, which is checked. A kernel that looks
at every number once and writes every number once can be no faster than a copy: `of copy` tells what
share of that it reaches, of as many copies as it takes steps. JAX takes all cores, the others one,
and gives back arrays of numpy; without it it is left out.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.ndimage as nd
from numpy.typing import NDArray

from services.lattice.kernels.transforms import permuting, sampling, spectral, stencils, windows
from services.lattice.kernels.transforms.edges import Edge, Edges
from services.lattice.kernels.transforms.scratch import Scratch

Array = NDArray[Any]
COPY_SHARE_LEAST = 0.9
"""Of the Laplacian and of diffusion, on 200^3."""


@dataclass(frozen=True)
class Job:
    """A transform, and everybody who can do it: ours is first."""

    name: str
    array: Array
    contenders: dict[str, Callable[[Array], Array]]
    """They may change what they are given."""
    copies: int = 1
    of_copy: bool = False


def main(arguments: argparse.Namespace) -> int:
    stencils.warm()
    holds = True
    for job in jobs(np.random.default_rng(arguments.seed)):
        holds &= contest(job, arguments.rounds)
    return 0 if holds else 1


def jobs(rng: np.random.Generator) -> Iterator[Job]:
    cube, plane = rng.normal(size=(200, 200, 200)), rng.normal(size=(2000, 2000))
    small = rng.normal(size=(100, 100, 100))
    yield Job(
        "Laplacian, 200^3 doubles",
        cube,
        {
            "girih": lambda a: stencils.laplacian(a, _OPEN, _scratch()),
            "scipy": lambda a: nd.laplace(a, mode="nearest"),
            "numpy": _laplacian_of_numpy,
            **_by_jax(_laplacian_of_jax),
        },
        of_copy=True,
    )
    yield Job(
        "10 steps of diffusion, 200^3 doubles",
        cube,
        {
            "girih": lambda a: stencils.diffuse(a, _OPEN, 0.1, 10, _scratch()),
            "numpy": _diffused_by_numpy,
            **_by_jax(_diffused_by_jax),
        },
        copies=10,
        of_copy=True,
    )
    yield Job("diffusion for a time of 50, 100^3 doubles", small, {"girih": _exactly})
    edges = Edges((Edge.NEAREST,) * 3)
    weights = rng.normal(size=(3, 3, 3))
    yield Job(
        "27 weights, 100^3 doubles",
        small,
        {
            "girih": lambda a: windows.convolve(a, weights, edges, _scratch())[0],
            "scipy": lambda a: nd.convolve(a, weights, mode="nearest"),
            **_by_jax(lambda jax, a: _convolved_by_jax(jax, a, weights)),
        },
    )
    yield Job("a quarter turn in place, 2000^2 doubles", plane, {"girih": _turned, "numpy": _rot90})
    contenders: dict[str, Callable[[Array], Array]] = {
        "girih": _rotated,
        "scipy": lambda a: nd.rotate(a, 30, reshape=False, order=1, mode="nearest"),
    }
    if (skimage := _skimage()) is not None:
        contenders["scikit-image"] = lambda a: skimage.rotate(a, 30, order=1, mode="edge")
    yield Job("a turn by 30 degrees, 2000^2 doubles", plane, contenders)


def contest(job: Job, rounds: int) -> bool:
    """Time everybody by turns, compare what comes out, and print it."""
    target, results = np.empty_like(job.array), {}

    def copied(array: Array) -> Array:
        for _ in range(job.copies):
            np.copyto(target, array)
        return target

    contenders = {"copy": copied, **job.contenders}
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, make in contenders.items():
            own = job.array.copy()
            seconds, results[name] = _timed(lambda make=make, own=own: make(own))  # type: ignore[misc]
            took[name].append(seconds)
    ours = results["girih"]
    print(f"\n{job.name}")
    for name, rounds_s in took.items():
        median = statistics.median(rounds_s)
        share = statistics.median(took["copy"]) / median
        alike = "" if name == "copy" or np.allclose(results[name], ours, atol=1e-6) else " DIFFERS"
        print(f"  {name:14} {1e3 * median:9.1f} ms  {share:5.2f} of copy{alike}")
    if not job.of_copy:
        return True
    share = statistics.median(took["copy"]) / statistics.median(took["girih"])
    holds = share >= COPY_SHARE_LEAST
    print(f"  limit: {COPY_SHARE_LEAST} of copy, {'holds' if holds else 'MISSED'}")
    return holds


_OPEN = (False, False, False)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began_s = time.perf_counter()
    made = work()
    return time.perf_counter() - began_s, made


def _scratch() -> Scratch:
    return Scratch(np.zeros(1, np.uint8))


def _exactly(array: Array) -> Array:
    spectral.diffuse_exactly(array, _OPEN, 50.0, _scratch())
    return array


def _turned(array: Array) -> Array:
    permuting.quarter_turns(array, 0, 1, 1, _scratch())
    return array


def _rot90(array: Array) -> Array:
    return np.ascontiguousarray(np.rot90(array))


def _rotated(array: Array) -> Array:
    edges = Edges((Edge.NEAREST,) * 2)
    return sampling.rotate(array, (0, 1), 30.0, edges, _scratch(), linear=True)[0]


def _laplacian_of_numpy(array: Array) -> Array:
    around = np.pad(array, 1, mode="edge")
    sums = -2 * array.ndim * array
    for axis in range(array.ndim):
        for begin in (0, 2):
            place = [slice(1, -1)] * array.ndim
            place[axis] = slice(begin, begin + array.shape[axis])
            sums += around[tuple(place)]
    return sums


def _diffused_by_numpy(array: Array) -> Array:
    for _ in range(10):
        array = array + 0.1 * _laplacian_of_numpy(array)
    return array


def _by_jax(make: Callable[[Any, Any], Any]) -> dict[str, Callable[[Array], Array]]:
    """JAX as a contender, where it is installed: it compiles in the first round, which the median
    leaves out."""
    try:
        jax = importlib.import_module("jax")
    except ImportError:
        return {}
    jax.config.update("jax_enable_x64", True)
    compiled = jax.jit(lambda array: make(jax, array))
    return {"JAX": lambda array: np.asarray(compiled(array))}


def _laplacian_of_jax(jax: Any, array: Any) -> Any:  # noqa: ANN401 - arrays of JAX
    around = jax.numpy.pad(array, 1, mode="edge")
    sums = -2 * array.ndim * array
    for axis in range(array.ndim):
        for begin in (0, 2):
            place = [slice(1, -1)] * array.ndim
            place[axis] = slice(begin, begin + array.shape[axis])
            sums += around[tuple(place)]
    return sums


def _diffused_by_jax(jax: Any, array: Any) -> Any:  # noqa: ANN401 - arrays of JAX
    def step(_number: int, before: Any) -> Any:  # noqa: ANN401 - an array of JAX
        return before + 0.1 * _laplacian_of_jax(jax, before)

    return jax.lax.fori_loop(0, 10, step, array)


def _convolved_by_jax(jax: Any, array: Any, weights: Array) -> Any:  # noqa: ANN401
    around = jax.numpy.pad(array, 1, mode="edge")
    return jax.scipy.signal.convolve(around, weights, mode="valid", method="direct")


def _skimage() -> Any:  # noqa: ANN401 - a module that may not be there
    try:
        return importlib.import_module("skimage.transform")
    except ImportError:
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    sys.exit(main(parser.parse_args()))
