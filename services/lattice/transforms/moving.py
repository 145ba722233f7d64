"""Steps that move bits and lose none, in place: each has an exact inverse."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from services.lattice.kernels.transforms import permuting
from services.lattice.kernels.transforms.scratch import BUFFER_BYTES, Scratch, flat_blocks
from services.lattice.transforms.step import (
    OVERHEAD_BYTES,
    Cost,
    Fit,
    Invertibility,
    Step,
    Unfit,
    Value,
    check_axis,
    check_count,
    check_fill,
    check_plane,
    looks_of,
    moved_cost,
)
from services.plumbing.errors import Violations


class Moving(Step):
    """Bits are moved, or changed alike: nothing is lost."""

    fits_blocked: ClassVar[bool] = True
    fits_complex: ClassVar[bool] = True
    in_place: ClassVar[bool] = True

    def invertibility(self, fit: Fit) -> tuple[Invertibility, float]:  # noqa: ARG002
        return Invertibility.EXACT, 0.0

    def cost(self, fit: Fit) -> Cost:
        return moved_cost(fit)


@dataclass(frozen=True)
class XorKey(Moving):
    """Exclusive or with a key, or with what a seed makes."""

    key: bytes
    seed: int | None = None
    name: ClassVar[str] = "xor_key"
    fits_complex: ClassVar[bool] = False

    def inverse(self, fit: Fit) -> Step:  # noqa: ARG002
        return self

    def cost(self, fit: Fit) -> Cost:
        looks = looks_of((1 if self.seed is None else 3) * fit.size_bytes)
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + 4 * BUFFER_BYTES, looks=looks)

    def apply(self, value: Value, scratch: Scratch) -> int:
        if self.seed is None:
            permuting.xor_key(value.array, self.key, scratch)
        else:
            permuting.xor_stream(value.array, self.seed, scratch)
        return 0


@dataclass(frozen=True)
class XorBits(Moving):
    """The same of blocked sites: of each byte only the lowest bit counts."""

    bytes_of: XorKey
    name: ClassVar[str] = "xor_key"

    def inverse(self, fit: Fit) -> Step:  # noqa: ARG002
        return self

    def cost(self, fit: Fit) -> Cost:
        return self.bytes_of.cost(fit)

    def apply(self, value: Value, scratch: Scratch) -> int:
        self.bytes_of.apply(value, scratch)
        for part in flat_blocks(value.array):
            np.bitwise_and(part, 1, out=part)
        return 0


@dataclass(frozen=True)
class QuarterTurns(Moving):
    """Turn a plane by quarters."""

    row: int
    column: int
    turns: int
    name: ClassVar[str] = "quarter_turns"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if not check_plane(fit, self.row, self.column, at, bad):
            return
        down, right = fit.shape[self.row], fit.shape[self.column]
        if self.turns % 2 and down != right:
            raise Unfit(
                f"a quarter turn does not fit axes of {down} and {right} sites: they must be equal"
            )

    def inverse(self, fit: Fit) -> Step:  # noqa: ARG002
        return replace(self, turns=-self.turns % 4)

    def cost(self, fit: Fit) -> Cost:
        return moved_cost(fit, passes=2)

    def apply(self, value: Value, scratch: Scratch) -> int:
        permuting.quarter_turns(value.array, self.row, self.column, self.turns, scratch)
        return 0


@dataclass(frozen=True)
class Reflect(Moving):
    """Turn axes around."""

    axes: tuple[int, ...]
    name: ClassVar[str] = "reflect"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        for n, axis in enumerate(self.axes):
            check_axis(fit, axis, f"{at}.axes[{n}]", bad)
            if axis in self.axes[:n]:
                bad.add(f"{at}.axes[{n}]", "must not be there twice")

    def inverse(self, fit: Fit) -> Step:  # noqa: ARG002
        return self

    def cost(self, fit: Fit) -> Cost:
        return moved_cost(fit, passes=len(self.axes))

    def apply(self, value: Value, scratch: Scratch) -> int:
        for axis in self.axes:
            permuting.reflect(value.array, axis, scratch)
        return 0


@dataclass(frozen=True)
class Translate(Moving):
    """Move everything around the end of each axis."""

    offset: tuple[int, ...]
    name: ClassVar[str] = "translate"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        check_count(fit, self.offset, f"{at}.offset", bad)

    def inverse(self, fit: Fit) -> Step:
        back = tuple(
            _opposite(each, length) for each, length in zip(self.offset, fit.shape, strict=True)
        )
        return replace(self, offset=back)

    def cost(self, fit: Fit) -> Cost:
        return moved_cost(fit, passes=2 * fit.axes)

    def apply(self, value: Value, scratch: Scratch) -> int:
        for axis, offset in enumerate(self.offset):
            permuting.translate(value.array, axis, offset, scratch)
        return 0


@dataclass(frozen=True)
class Shift(Step):
    """Move everything, and fill what is free then. What leaves is lost."""

    offset: tuple[int, ...]
    fill: float
    name: ClassVar[str] = "translate"
    fits_blocked: ClassVar[bool] = True
    fits_complex: ClassVar[bool] = True
    in_place: ClassVar[bool] = True

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        check_count(fit, self.offset, f"{at}.offset", bad)
        check_fill(fit, self.fill, f"{at}.fill", bad)

    def cost(self, fit: Fit) -> Cost:
        return moved_cost(fit, passes=2 * fit.axes)

    def apply(self, value: Value, scratch: Scratch) -> int:
        for axis, offset in enumerate(self.offset):
            permuting.shift(value.array, axis, offset, self.fill, scratch)
        return 0


@dataclass(frozen=True)
class Transpose(Moving):
    """Exchange axes of equal length."""

    axes: tuple[int, ...]
    name: ClassVar[str] = "transpose"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if sorted(self.axes) != list(range(fit.axes)):
            bad.add(f"{at}.axes", f"must be each of 0 to {fit.axes - 1} once")
            return
        behind = [fit.shape[axis] for axis in self.axes]
        if behind != list(fit.shape):
            raise Unfit(f"axes of {list(fit.shape)} sites would become those of {behind}")

    def inverse(self, fit: Fit) -> Step:
        return replace(self, axes=tuple(self.axes.index(axis) for axis in range(fit.axes)))

    def cost(self, fit: Fit) -> Cost:
        return moved_cost(fit, passes=2 * fit.axes)

    def apply(self, value: Value, scratch: Scratch) -> int:
        permuting.transpose(value.array, self.axes, scratch)
        return 0


@dataclass(frozen=True)
class Shear(Moving):
    """Move along an axis by multiples of the place along another."""

    axis: int
    by: int
    factor: int
    name: ClassVar[str] = "shear"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        both = check_axis(fit, self.axis, f"{at}.axis", bad)
        if check_axis(fit, self.by, f"{at}.by_axis", bad) and both and self.axis == self.by:
            bad.add(f"{at}.by_axis", "must be another axis than axis")

    def inverse(self, fit: Fit) -> Step:
        return replace(self, factor=_opposite(self.factor, fit.shape[self.axis]))

    def cost(self, fit: Fit) -> Cost:
        return moved_cost(fit, passes=4)

    def apply(self, value: Value, scratch: Scratch) -> int:
        permuting.shear(value.array, self.axis, self.by, self.factor, scratch)
        return 0


def _opposite(number: int, length: int) -> int:
    """What moves back around an axis, as near to 0 as `number` or nearer: the least number that
    the contract can tell has no opposite in it."""
    return -number if abs(number) < length else -number % length
