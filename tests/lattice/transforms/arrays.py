"""Random arrays, and chains of transforms that fit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from services.lattice.arrays.number_type import NumberType
from services.lattice.kernels.transforms.edges import Edge, Edges
from services.lattice.kernels.transforms.scratch import Scratch
from services.lattice.transforms import moving, numbers
from services.lattice.transforms.step import Fit, Step

WHOLE = ("uint8", "uint16", "int16", "int32", "int64")
FLOATING = ("float32", "float64")

MODES = {
    Edge.NEAREST: "nearest",
    Edge.WRAP: "grid-wrap",
    Edge.REFLECT: "reflect",
    Edge.FILL: "grid-constant",
}
"""What scipy.ndimage calls them."""


@dataclass(frozen=True)
class Case:
    """An array, and what its axes are."""

    array: np.ndarray
    rings: tuple[bool, ...]
    rng: np.random.Generator

    @property
    def axes(self) -> int:
        return self.array.ndim

    @property
    def fit(self) -> Fit:
        return fit_of(self.array, self.rings)


@st.composite
def cases(draw: Any, dtypes: Sequence[str] = WHOLE + FLOATING, axes_max: int = 4) -> Case:
    """Small arrays of any shape; their numbers come from a seed."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=axes_max)))
    rings = tuple(draw(st.booleans()) for _ in shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return Case(random_array(rng, shape, draw(st.sampled_from(dtypes))), rings, rng)


def random_array(rng: np.random.Generator, shape: Sequence[int], dtype: str) -> np.ndarray:
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 50, shape).astype(dtype)
    bounds = np.iinfo(dtype)
    return rng.integers(max(bounds.min, -200), min(bounds.max, 200), shape, dtype, endpoint=True)


def fit_of(array: np.ndarray, rings: Sequence[bool]) -> Fit:
    return Fit(shape=array.shape, periodic=tuple(rings), number_type=NumberType(array.dtype.name))


def no_stop() -> Scratch:
    return Scratch(np.zeros(1, np.uint8))


def same_edges(case: Case) -> tuple[Edges, str]:
    """One edge for all axes, and what scipy.ndimage calls it."""
    edge = list(MODES)[case.rng.integers(len(MODES))]
    return Edges((edge,) * case.axes, 3.0), MODES[edge]


def reversible_steps(rng: np.random.Generator, fit: Fit, count: int) -> list[Step]:
    """Random steps that are exactly invertible."""
    return [_reversible_step(rng, fit) for _ in range(count)]


def _reversible_step(rng: np.random.Generator, fit: Fit) -> Step:
    shape, axes = fit.shape, fit.axes
    one, other = (int(axis) for axis in rng.choice(axes, 2, replace=axes == 1))
    steps: list[Step] = [
        moving.XorKey(rng.bytes(int(rng.integers(1, 40)))),
        moving.XorKey(b"", int(rng.integers(2**63))),
        moving.Reflect((one,)),
        moving.Translate(tuple(int(each) for each in rng.integers(-99, 99, axes))),
    ]
    if one != other:
        turns = int(rng.integers(-5, 5))
        is_square = shape[one] == shape[other]
        steps.append(moving.QuarterTurns(one, other, turns if is_square else 2 * turns))
        steps.append(moving.Shear(one, other, int(rng.integers(-9, 9))))
        if is_square:
            order = list(range(axes))
            order[one], order[other] = other, one
            steps.append(moving.Transpose(tuple(order)))
    if fit.number_type.is_whole:
        steps.append(numbers.MultiplyOdd(2 * int(rng.integers(-(2**62), 2**62)) + 1))
        steps.append(numbers.AddWhole(int(rng.integers(-(2**63), 2**63))))
    return steps[rng.integers(len(steps))]
