"""What a step of a chain is, and what it is applied to. Knows no step in particular."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any, ClassVar, Self

import numpy as np

from services.lattice.arrays.number_type import NumberType
from services.lattice.kernels.transforms.edges import Edge, Edges
from services.lattice.kernels.transforms.scratch import BLOCK, BUFFER_BYTES, Array, Scratch
from services.plumbing.errors import Violations

OVERHEAD_BYTES = 1 << 17
"""What the interpreter takes beside arrays while a step runs, and numpy to convert numbers on
their way: reported with them."""
_NS_PER_LOOK = 10
"""`WorkLimit` counts with 100,000,000 looks a second."""


class Unfit(Exception):
    """A step does not fit what it is to be applied to; the message says why."""


class Invertibility(Enum):
    """Whether what was done can be undone from its result alone."""

    EXACT = "exact"
    WITHIN_ERROR = "within error"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a chain is applied to: all but the numbers."""

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    number_type: NumberType
    is_complex: bool = False
    is_blocked: bool = False
    """The numbers are which sites are blocked: 1 or 0."""

    @property
    def sites(self) -> int:
        return prod(self.shape)

    @property
    def axes(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        if self.is_complex:
            single = self.number_type is NumberType.FLOAT32
            return np.dtype(np.complex64 if single else np.complex128)
        return self.number_type.dtype

    @property
    def size_bytes(self) -> int:
        return self.sites * self.dtype.itemsize

    @property
    def epsilon(self) -> float:
        """How much rounding changes a floating number, relatively."""
        return float(np.finfo(self.number_type.value).eps)


@dataclass(kw_only=True)
class Value:
    """The numbers that a chain is applied to. Each step may put another array in their place."""

    array: Array
    periodic: Sequence[bool]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a step takes, at most."""

    auxiliary_bytes: int
    looks: int


@dataclass(frozen=True)
class Reach:
    """How far from a site a step looks at numbers, along each axis, and which axes go on around
    their ends for it."""

    lengths: tuple[int, ...]
    rings: tuple[bool, ...]

    @classmethod
    def none(cls, fit: Fit) -> Self:
        """Of what changes each number by itself."""
        return cls((0,) * fit.axes, fit.periodic)

    @classmethod
    def around(cls, fit: Fit, length: int) -> Self:
        """As far along every axis, around those that are periodic. A ring of two joins them once,
        as their path does."""
        rings = zip(fit.periodic, fit.shape, strict=True)
        return cls((length,) * fit.axes, tuple(ring and total > 2 for ring, total in rings))


class Step(ABC):
    """A step of a chain. Values: what exists makes sense for some field."""

    name: ClassVar[str]
    """As in the contract."""
    fits_blocked: ClassVar[bool] = False
    fits_complex: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    """It takes no second array."""
    kinds: ClassVar[Sequence[str]] = ()
    """The kinds of kernels that it needs compiled."""

    def fitted(self, fit: Fit, at: str, bad: Violations) -> Fit:
        """What there is behind it. Adds what makes no sense to `bad`; raises Unfit."""
        if fit.is_blocked and not self.fits_blocked:
            raise Unfit(f"{self.name} does not fit blocked sites")
        if fit.is_complex and not self.fits_complex:
            raise Unfit(f"{self.name} does not fit complex numbers")
        self.check(fit, at, bad)
        return fit

    def fitted_type(self, fit: Fit) -> NumberType:
        """The type of what it makes of numbers that it fits."""
        return fit.number_type

    def check(  # noqa: B027 - of some nothing can be wrong
        self, fit: Fit, at: str, bad: Violations
    ) -> None:
        """Add what makes no sense to `bad`, naming fields below `at`; raise Unfit."""

    def invertibility(self, fit: Fit) -> tuple[Invertibility, float]:  # noqa: ARG002
        """Whether it can be undone, and how much that may miss by: see the contract."""
        return Invertibility.NONE, 0.0

    def inverse(self, fit: Fit) -> "Step | None":  # noqa: ARG002
        """The step that undoes it exactly, if one does."""
        return None

    def reach(self, fit: Fit) -> Reach | None:  # noqa: ARG002
        """How far from a site it looks, so that a box of sites can be done without the rest; None
        where that is anywhere."""
        return None

    @abstractmethod
    def cost(self, fit: Fit) -> Cost:
        """What it takes, at most, before anything is taken."""

    @abstractmethod
    def apply(self, value: Value, scratch: Scratch) -> int:
        """Do it; how many numbers did not fit their type. Raises Unfit for numbers that do not
        fit, before any is changed."""


def moved_cost(fit: Fit, passes: int = 1) -> Cost:
    """Of what moves numbers through two buffers."""
    return Cost(
        auxiliary_bytes=OVERHEAD_BYTES + 4 * BUFFER_BYTES,
        looks=looks_of(passes * 4 * fit.sites),
    )


def looks_of(nanoseconds: int) -> int:
    """Time as the looks that it is worth; 1 at least."""
    return nanoseconds // _NS_PER_LOOK + 1


def longest_line(fit: Fit) -> int:
    """How many numbers are computed with at a time, of whole lines along any axis."""
    return max(BLOCK, *fit.shape)


def check_axis(fit: Fit, axis: int, at: str, bad: Violations) -> bool:
    """Whether there is such an axis."""
    if not 0 <= axis < fit.axes:
        bad.add(at, f"must be 0 to {fit.axes - 1}")
        return False
    return True


def check_plane(fit: Fit, row: int, column: int, at: str, bad: Violations) -> bool:
    """Whether these are two axes."""
    both = check_axis(fit, row, f"{at}.row_axis", bad)
    both = check_axis(fit, column, f"{at}.column_axis", bad) and both
    if both and row == column:
        bad.add(f"{at}.column_axis", "must be another axis than row_axis")
        return False
    return both


def check_count(fit: Fit, values: Sequence[object], at: str, bad: Violations) -> bool:
    """Whether there is one for each axis."""
    if len(values) != fit.axes:
        bad.add(at, f"must have {fit.axes} values, not {len(values)}")
    return len(values) == fit.axes


def check_finite(number: float, at: str, bad: Violations) -> bool:
    finite = bool(np.isfinite(number))
    if not finite:
        bad.add(at, "must be a finite number")
    return finite


def check_fill(fit: Fit, fill: float, at: str, bad: Violations) -> None:
    """Check that a number is one of the field."""
    if fit.is_blocked and fill not in (0.0, 1.0):
        bad.add(at, "must be 0 or 1 for blocked sites")
    elif fit.number_type.is_whole:
        bounds = np.iinfo(fit.number_type.value)
        if not (np.isfinite(fill) and fill == int(fill) and bounds.min <= fill <= bounds.max):
            bad.add(at, f"must be a number of the type {fit.number_type.value}")


@dataclass(frozen=True)
class EdgeChoice:
    """What lies beyond the lattice, as a caller says. None is as the lattice has it."""

    edge: Edge | None
    fill: float

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if self.edge is Edge.FILL:
            check_fill(fit, self.fill, f"{at}.fill", bad)

    def rings(self, periodic: Sequence[bool]) -> tuple[bool, ...]:
        """Which axes go on around their ends."""
        return tuple(edge is Edge.WRAP for edge in self.of(periodic).of)

    def of(self, periodic: Sequence[bool]) -> Edges:
        own = (Edge.WRAP if ring else Edge.NEAREST for ring in periodic)
        return Edges(tuple(self.edge or each for each in own), self.fill)
