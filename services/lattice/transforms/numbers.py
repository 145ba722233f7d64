"""Steps that change each number by itself."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import ClassVar

from services.lattice.arrays.number_type import NumberType
from services.lattice.kernels.transforms import arithmetic
from services.lattice.kernels.transforms.scratch import BLOCK, Scratch
from services.lattice.transforms.step import (
    OVERHEAD_BYTES,
    Cost,
    Fit,
    Invertibility,
    Reach,
    Step,
    Unfit,
    Value,
    check_finite,
    looks_of,
)
from services.plumbing.errors import Violations

_DOUBLES = 8 * BLOCK


class _Number(Step):
    in_place: ClassVar[bool] = True

    def cost(self, fit: Fit) -> Cost:
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + 5 * _DOUBLES, looks=looks_of(10 * fit.sites))

    def reach(self, fit: Fit) -> Reach | None:
        return Reach.none(fit)


@dataclass(frozen=True)
class MultiplyOdd(_Number):
    """Multiply whole numbers around the end of their type."""

    factor: int
    name: ClassVar[str] = "multiply_odd"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if not fit.number_type.is_whole:
            raise Unfit(f"multiply_odd does not fit {fit.number_type.value}: scale does")
        if self.factor % 2 == 0:
            bad.add(f"{at}.factor", f"must be odd: {self.factor} has no inverse")

    def invertibility(self, fit: Fit) -> tuple[Invertibility, float]:  # noqa: ARG002
        return Invertibility.EXACT, 0.0

    def inverse(self, fit: Fit) -> Step:
        bits = 8 * fit.number_type.size_bytes
        inverse = arithmetic.inverse_factor(self.factor, bits)
        # As a signed number of 64 bits, which the contract can tell.
        return replace(self, factor=inverse - (1 << 64) if inverse >> 63 else inverse)

    def apply(self, value: Value, scratch: Scratch) -> int:
        arithmetic.multiply(value.array, self.factor, scratch)
        return 0


@dataclass(frozen=True)
class AddWhole(_Number):
    """Add to whole numbers around the end of their type."""

    number: int
    name: ClassVar[str] = "add"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:  # noqa: ARG002
        if not fit.number_type.is_whole:
            raise Unfit(f"add of a whole number does not fit {fit.number_type.value}: say number")

    def invertibility(self, fit: Fit) -> tuple[Invertibility, float]:  # noqa: ARG002
        return Invertibility.EXACT, 0.0

    def inverse(self, fit: Fit) -> Step:  # noqa: ARG002
        # The least of all has no opposite, and is its own around the end of 64 bits.
        return replace(self, number=-self.number if self.number != -(1 << 63) else self.number)

    def apply(self, value: Value, scratch: Scratch) -> int:
        arithmetic.add_whole(value.array, self.number, scratch)
        return 0


@dataclass(frozen=True)
class Add(_Number):
    """Add to floating numbers."""

    number: float
    name: ClassVar[str] = "add"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if fit.number_type.is_whole:
            raise Unfit(f"add of a number does not fit {fit.number_type.value}: say whole")
        check_finite(self.number, f"{at}.number", bad)

    def invertibility(self, fit: Fit) -> tuple[Invertibility, float]:
        return Invertibility.WITHIN_ERROR, 2 * fit.epsilon

    def apply(self, value: Value, scratch: Scratch) -> int:
        arithmetic.add(value.array, self.number, scratch)
        return 0


@dataclass(frozen=True)
class Scale(_Number):
    """A factor and an offset."""

    factor: float
    offset: float
    name: ClassVar[str] = "scale"
    fits_complex: ClassVar[bool] = True

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        check_finite(self.factor, f"{at}.factor", bad)
        check_finite(self.offset, f"{at}.offset", bad)
        if fit.is_complex and self.offset:
            bad.add(f"{at}.offset", "must be 0 for complex numbers")

    def invertibility(self, fit: Fit) -> tuple[Invertibility, float]:
        if fit.number_type.is_whole or not self.factor:
            return Invertibility.NONE, 0.0
        error = 4 * fit.epsilon * (1 + 1 / abs(self.factor))
        return (Invertibility.WITHIN_ERROR, error) if isfinite(error) else (Invertibility.NONE, 0.0)

    def apply(self, value: Value, scratch: Scratch) -> int:
        array = value.array
        if array.dtype.kind == "c":
            array = array.view(array.real.dtype)
        return arithmetic.scale(array, self.factor, self.offset, scratch)


@dataclass(frozen=True)
class Normalise(_Number):
    """Spread numbers between two bounds."""

    low: float
    high: float
    bounds: tuple[float, float] | None = None
    """The least and the greatest of all numbers, where those are known that are but a part."""
    name: ClassVar[str] = "normalise"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:  # noqa: ARG002
        low = check_finite(self.low, f"{at}.low", bad)
        if check_finite(self.high, f"{at}.high", bad) and low and self.low >= self.high:
            bad.add(f"{at}.high", f"must be more than low, {self.low}")

    def apply(self, value: Value, scratch: Scratch) -> int:
        return arithmetic.normalise(value.array, self.low, self.high, scratch, self.bounds)


@dataclass(frozen=True)
class Threshold(_Number):
    """Two numbers of all."""

    level: float
    below: float
    above: float
    name: ClassVar[str] = "threshold"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:  # noqa: ARG002
        for field in ("level", "below", "above"):
            check_finite(getattr(self, field), f"{at}.{field}", bad)

    def apply(self, value: Value, scratch: Scratch) -> int:
        return arithmetic.threshold(value.array, self.level, self.below, self.above, scratch)


@dataclass(frozen=True)
class Clip(_Number):
    """Bounds."""

    low: float | None
    high: float | None
    name: ClassVar[str] = "clip"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:  # noqa: ARG002
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        if not bounds:
            bad.add(at, "must have low or high")
        for field, bound in (("low", self.low), ("high", self.high)):
            if bound is not None:
                check_finite(bound, f"{at}.{field}", bad)
        if len(bounds) == 2 and bounds[0] > bounds[1]:
            bad.add(f"{at}.high", f"must be {bounds[0]} or more, as low is")

    def apply(self, value: Value, scratch: Scratch) -> int:
        low = float("-inf") if self.low is None else self.low
        high = float("inf") if self.high is None else self.high
        return arithmetic.clip(value.array, low, high, scratch)


@dataclass(frozen=True)
class Convert(Step):
    """Another type of numbers."""

    number_type: NumberType
    name: ClassVar[str] = "convert"

    def fitted(self, fit: Fit, at: str, bad: Violations) -> Fit:
        return replace(super().fitted(fit, at, bad), number_type=self.number_type)

    def fitted_type(self, fit: Fit) -> NumberType:  # noqa: ARG002
        return self.number_type

    def cost(self, fit: Fit) -> Cost:
        made = fit.sites * self.number_type.size_bytes
        return Cost(
            auxiliary_bytes=OVERHEAD_BYTES + 5 * _DOUBLES + made, looks=looks_of(10 * fit.sites)
        )

    def reach(self, fit: Fit) -> Reach | None:
        return Reach.none(fit)

    def apply(self, value: Value, scratch: Scratch) -> int:
        value.array, lost = arithmetic.convert(value.array, self.number_type.dtype, scratch)
        return lost
