"""Steps whose numbers come of those around each site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from services.lattice.errors import UnstableStep
from services.lattice.kernels.transforms import distances, spectral, stencils, windows
from services.lattice.kernels.transforms.arithmetic import convert
from services.lattice.kernels.transforms.scratch import BLOCK, Array, Scratch
from services.lattice.kernels.warm import TRANSFORMS
from services.lattice.transforms.step import (
    OVERHEAD_BYTES,
    Cost,
    EdgeChoice,
    Fit,
    Reach,
    Step,
    Unfit,
    Value,
    check_count,
    check_finite,
    longest_line,
    looks_of,
)
from services.plumbing.errors import Violations

_DOUBLE = 8
_WINDOW_MAX = 4095
_DIRECT_MAX = 100
"""So many weights are summed one by one."""
_WEIGHTS_MAX = 1 << 16


@dataclass(frozen=True)
class Convolve(Step):
    """Weighted sums."""

    lengths: tuple[int, ...]
    weights: tuple[float, ...]
    edges: EdgeChoice
    name: ClassVar[str] = "convolve"

    @property
    def _is_direct(self) -> bool:
        return len(self.weights) <= _DIRECT_MAX

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        _check_window(fit, self.lengths, _WEIGHTS_MAX, at, bad)
        if prod(self.lengths) != len(self.weights):
            bad.add(f"{at}.weights", f"must be {prod(self.lengths)}, not {len(self.weights)}")
        if not np.isfinite(self.weights).all():
            bad.add(f"{at}.weights", "must be finite numbers")
        self.edges.check(fit, at, bad)

    def cost(self, fit: Fit) -> Cost:
        around = 2 * _padded_bytes(fit, self.lengths)
        if self._is_direct:
            aux = around + fit.size_bytes + 10 * _DOUBLE * BLOCK
            looks = looks_of(2 * fit.sites * len(self.weights) + 20 * fit.sites)
        else:
            modes = spectral.convolution_bytes(fit.shape, self.lengths)
            line = max(BLOCK, *(4 * (n + w) for n, w in zip(fit.shape, self.lengths, strict=True)))
            aux = around + fit.size_bytes + 2 * modes + 12 * _DOUBLE * line
            looks = looks_of(2 * modes * fit.axes)
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + aux, looks=looks)

    def reach(self, fit: Fit) -> Reach | None:
        if not self._is_direct:
            return None
        return Reach(_around(self.lengths), self.edges.rings(fit.periodic))

    def apply(self, value: Value, scratch: Scratch) -> int:
        check_numbers_finite(value.array, self.name, scratch)
        weights = np.array(self.weights).reshape(self.lengths)
        edges = self.edges.of(value.periodic)
        summed = windows.convolve if self._is_direct else spectral.convolve
        value.array, lost = summed(value.array, weights, edges, scratch)
        return lost


@dataclass(frozen=True)
class Median(Step):
    """The middle one of a window."""

    lengths: tuple[int, ...]
    edges: EdgeChoice
    name: ClassVar[str] = "median"
    fits_blocked: ClassVar[bool] = True

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        _check_window(fit, self.lengths, _WINDOW_MAX, at, bad)
        self.edges.check(fit, at, bad)

    def cost(self, fit: Fit) -> Cost:
        size = prod(self.lengths)
        block = 5 * _DOUBLE * max(4 * BLOCK, size)
        aux = 2 * _padded_bytes(fit, self.lengths) + fit.size_bytes + block
        looks = looks_of(fit.sites * (12 * size + 50))
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + aux, looks=looks)

    def reach(self, fit: Fit) -> Reach | None:
        return Reach(_around(self.lengths), self.edges.rings(fit.periodic))

    def apply(self, value: Value, scratch: Scratch) -> int:
        edges = self.edges.of(value.periodic)
        value.array = windows.median(value.array, self.lengths, edges, scratch)
        return 0


@dataclass(frozen=True)
class Spread(Step):
    """The least or the greatest number nearby."""

    radius: int
    moore: bool

    fits_blocked: ClassVar[bool] = True

    def cost(self, fit: Fit) -> Cost:
        aux = fit.size_bytes + 4 * _DOUBLE * longest_line(fit)
        looks = looks_of(4 * self.radius * fit.axes * fit.sites)
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + aux, looks=looks)

    def reach(self, fit: Fit) -> Reach | None:
        return Reach.around(fit, self.radius)


@dataclass(frozen=True)
class Erode(Spread):
    """The least."""

    name: ClassVar[str] = "erode"

    def apply(self, value: Value, scratch: Scratch) -> int:
        value.array = windows.erode(
            value.array, value.periodic, self.radius, scratch, moore=self.moore
        )
        return 0


@dataclass(frozen=True)
class Dilate(Spread):
    """The greatest."""

    name: ClassVar[str] = "dilate"

    def apply(self, value: Value, scratch: Scratch) -> int:
        value.array = windows.dilate(
            value.array, value.periodic, self.radius, scratch, moore=self.moore
        )
        return 0


@dataclass(frozen=True)
class DistanceTransform(Step):
    """How far the nearest 0 is."""

    euclidean: bool
    kinds: ClassVar[Sequence[str]] = (TRANSFORMS,)
    name: ClassVar[str] = "distance_transform"

    def cost(self, fit: Fit) -> Cost:
        line = longest_line(fit)
        aux = _DOUBLE * fit.sites + 24 * _DOUBLE * line
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + aux, looks=looks_of(40 * fit.axes * fit.sites))

    def apply(self, value: Value, scratch: Scratch) -> int:
        value.array, lost = distances.distances(
            value.array, value.periodic, scratch, euclidean=self.euclidean
        )
        return lost


class Floating(Step):
    """Computed with floating numbers: whole ones become doubles, and are rounded behind that."""

    kinds: ClassVar[Sequence[str]] = (TRANSFORMS,)

    def cost(self, fit: Fit) -> Cost:
        wide = _DOUBLE * (2 * fit.sites + 5 * BLOCK) if fit.number_type.is_whole else 0
        aux = OVERHEAD_BYTES + wide + self._auxiliary_bytes(fit)
        return Cost(auxiliary_bytes=aux, looks=self._looks(fit))

    def _auxiliary_bytes(self, fit: Fit) -> int:
        return stencils.summing_bytes(fit.shape, fit.periodic, _DOUBLE)

    def reach(self, fit: Fit) -> Reach | None:
        return Reach.around(fit, 1)

    def _looks(self, fit: Fit) -> int:
        return looks_of(6 * fit.axes * fit.sites)


@dataclass(frozen=True)
class Laplacian(Floating):
    """What neighbours are more."""

    name: ClassVar[str] = "laplacian"

    def apply(self, value: Value, scratch: Scratch) -> int:
        return _as_floating(
            value, lambda array: stencils.laplacian(array, value.periodic, scratch), scratch
        )


@dataclass(frozen=True)
class GradientMagnitude(Floating):
    """The length of the slope."""

    name: ClassVar[str] = "gradient_magnitude"

    def apply(self, value: Value, scratch: Scratch) -> int:
        return _as_floating(
            value,
            lambda array: stencils.gradient_magnitude(array, value.periodic, scratch),
            scratch,
        )

    def _auxiliary_bytes(self, fit: Fit) -> int:
        return _DOUBLE * (fit.sites + 8 * longest_line(fit))


@dataclass(frozen=True)
class Diffuse(Floating):
    """Explicit diffusion."""

    rate: float
    steps: int
    name: ClassVar[str] = "diffuse"

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if not check_finite(self.rate, f"{at}.rate", bad):
            return
        max_rate = 1 / (2 * fit.axes)
        if self.rate <= 0:
            bad.add(f"{at}.rate", "must be more than 0")
        elif self.rate > max_rate:
            raise UnstableStep(
                f"steps at a rate of {self.rate} do not converge on {fit.axes} axes",
                max_rate=max_rate,
            )

    def reach(self, fit: Fit) -> Reach | None:
        return Reach.around(fit, self.steps)

    def _looks(self, fit: Fit) -> int:
        return self.steps * looks_of(3 * fit.axes * fit.sites)

    def apply(self, value: Value, scratch: Scratch) -> int:
        return _as_floating(
            value,
            lambda array: stencils.diffuse(array, value.periodic, self.rate, self.steps, scratch),
            scratch,
        )


def _as_floating(value: Value, change: Callable[[Array], Array], scratch: Scratch) -> int:
    array = value.array
    if array.dtype.kind == "f":
        value.array = change(array)
        return 0
    wide, _ = convert(array, np.dtype(np.float64), scratch)
    value.array, lost = convert(change(wide), array.dtype, scratch)
    return lost


def _around(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """How far a window of odd lengths reaches from its middle."""
    return tuple(length // 2 for length in lengths)


def _check_window(
    fit: Fit, lengths: tuple[int, ...], sites_max: int, at: str, bad: Violations
) -> None:
    if not check_count(fit, lengths, f"{at}.lengths", bad):
        return
    for n, length in enumerate(lengths):
        if length % 2 == 0:
            bad.add(f"{at}.lengths[{n}]", "must be odd")
    if prod(lengths) > sites_max:
        bad.add(f"{at}.lengths", f"must make at most {sites_max:,} sites")


def _padded_bytes(fit: Fit, lengths: tuple[int, ...]) -> int:
    grown = (n + w - 1 for n, w in zip(fit.shape, lengths, strict=True))
    return fit.dtype.itemsize * prod(grown)


def check_numbers_finite(array: Array, name: str, scratch: Scratch) -> None:
    """Of NaN and infinity frequencies would make NaN everywhere, sums only nearby."""
    if array.dtype.kind != "f":
        return
    flat = array.reshape(-1)
    for begin in range(0, flat.size, BLOCK):
        scratch.check()
        if not np.isfinite(flat[begin : begin + BLOCK]).all():
            raise Unfit(f"{name} needs finite numbers")
