"""Steps that read an array between its sites."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from services.lattice.kernels.transforms import sampling
from services.lattice.kernels.transforms.scratch import BLOCK, Scratch
from services.lattice.transforms.step import (
    OVERHEAD_BYTES,
    Cost,
    EdgeChoice,
    Fit,
    Step,
    Unfit,
    Value,
    check_count,
    check_finite,
    check_plane,
    longest_line,
    looks_of,
)
from services.plumbing.errors import Violations

_DOUBLE = 8
_SINGULAR = 1e-12
"""Of a determinant, relative to the product of the lengths of its rows."""


class _Sampled(Step):
    fits_blocked: ClassVar[bool] = True
    edges: EdgeChoice
    linear: bool

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if fit.is_blocked and self.linear:
            raise Unfit(f"{self.name} of blocked sites takes the nearest: none is half blocked")
        self.edges.check(fit, at, bad)

    def cost(self, fit: Fit) -> Cost:
        doubles = _DOUBLE * fit.sites if self.linear else 0
        block = _DOUBLE * 32 * longest_line(fit) + _DOUBLE * BLOCK * (4 * fit.axes + 24)
        corners = 2 ** min(fit.axes, 10) if self.linear else 1
        return Cost(
            auxiliary_bytes=OVERHEAD_BYTES + doubles + fit.size_bytes + block,
            looks=looks_of(fit.sites * (30 * corners + 20 * fit.axes)),
        )


@dataclass(frozen=True)
class Rotate(_Sampled):
    """Turn a plane by any angle."""

    row: int
    column: int
    degrees: float
    linear: bool
    edges: EdgeChoice
    name: ClassVar[str] = "rotate"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        super().check(fit, at, bad)
        check_plane(fit, self.row, self.column, at, bad)
        check_finite(self.degrees, f"{at}.degrees", bad)

    def apply(self, value: Value, scratch: Scratch) -> int:
        value.array, lost = sampling.rotate(
            value.array,
            (self.row, self.column),
            self.degrees,
            self.edges.of(value.periodic),
            scratch,
            linear=self.linear,
        )
        return lost


@dataclass(frozen=True)
class Resample(_Sampled):
    """Stretch along each axis."""

    factors: tuple[float, ...]
    origin: tuple[float, ...]
    linear: bool
    edges: EdgeChoice
    name: ClassVar[str] = "resample"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        super().check(fit, at, bad)
        check_count(fit, self.factors, f"{at}.factors", bad)
        if self.origin:
            check_count(fit, self.origin, f"{at}.origin", bad)
        for n, factor in enumerate(self.factors):
            if check_finite(factor, f"{at}.factors[{n}]", bad) and factor <= 0:
                bad.add(f"{at}.factors[{n}]", "must be more than 0")
        for n, begin in enumerate(self.origin):
            check_finite(begin, f"{at}.origin[{n}]", bad)
        _check_reach(fit, [1 / f if f > 0 else 0 for f in self.factors], self.origin, at, bad)

    def apply(self, value: Value, scratch: Scratch) -> int:
        value.array, lost = sampling.resample(
            value.array,
            self.factors,
            self.origin or (0.0,) * value.array.ndim,
            self.edges.of(value.periodic),
            scratch,
            linear=self.linear,
        )
        return lost


@dataclass(frozen=True)
class Affine(_Sampled):
    """Read where a matrix leads."""

    matrix: tuple[float, ...]
    offset: tuple[float, ...]
    linear: bool
    edges: EdgeChoice
    name: ClassVar[str] = "affine"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        super().check(fit, at, bad)
        if len(self.matrix) != fit.axes**2:
            bad.add(f"{at}.matrix", f"must have {fit.axes**2} values, not {len(self.matrix)}")
            return
        if self.offset:
            check_count(fit, self.offset, f"{at}.offset", bad)
        if not np.isfinite([*self.matrix, *self.offset]).all():
            bad.add(f"{at}.matrix", "must be finite numbers, as offset")
            return
        matrix = np.array(self.matrix).reshape(fit.axes, fit.axes)
        with np.errstate(all="ignore"):
            determinant = float(np.linalg.det(matrix))
            lengths = float(np.prod(np.linalg.norm(matrix, axis=1)))
            stretches = np.abs(matrix).sum(axis=1).tolist()
        if np.isfinite(lengths) and abs(determinant) <= _SINGULAR * lengths:
            bad.add(f"{at}.matrix", f"must not be singular: its determinant is {determinant:.3g}")
        _check_reach(fit, stretches, self.offset, at, bad)

    def apply(self, value: Value, scratch: Scratch) -> int:
        axes = value.array.ndim
        value.array, lost = sampling.affine(
            value.array,
            np.array(self.matrix).reshape(axes, axes),
            np.array(self.offset or (0.0,) * axes),
            self.edges.of(value.periodic),
            scratch,
            linear=self.linear,
        )
        return lost


def _check_reach(
    fit: Fit, stretches: list[float], origin: tuple[float, ...], at: str, bad: Violations
) -> None:
    """Places are told by whole numbers of 64 bits and fractions of doubles."""
    reach = max([*map(abs, origin), 0.0]) + max([*stretches, 0.0]) * max(fit.shape)
    if not reach < 2**52:
        bad.add(at, "must not lead further away than 2^52 sites")
