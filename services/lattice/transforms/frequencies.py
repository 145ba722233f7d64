"""Steps by frequencies."""

from dataclasses import dataclass
from math import log2, sqrt
from typing import ClassVar

from services.lattice.kernels.transforms import spectral
from services.lattice.kernels.transforms.scratch import Scratch
from services.lattice.transforms.neighbours import check_numbers_finite
from services.lattice.transforms.step import (
    OVERHEAD_BYTES,
    Cost,
    Fit,
    Invertibility,
    Step,
    Unfit,
    Value,
    check_finite,
    longest_line,
    looks_of,
)
from services.plumbing.errors import Violations

_DOUBLE = 8


class _Fourier(Step):
    fits_complex: ClassVar[bool] = True
    in_place: ClassVar[bool] = True
    is_inverse: ClassVar[bool]

    def check(self, fit: Fit, at: str, bad: Violations) -> None:  # noqa: ARG002
        if not fit.is_complex:
            raise Unfit(f"{self.name} needs complex numbers: say a field for the imaginary parts")

    def invertibility(self, fit: Fit) -> tuple[Invertibility, float]:
        error = 8 * fit.epsilon * (1 + log2(fit.sites)) * sqrt(fit.sites)
        return Invertibility.WITHIN_ERROR, error

    def cost(self, fit: Fit) -> Cost:
        aux = 4 * 2 * _DOUBLE * longest_line(fit)
        looks = looks_of(int(fit.sites * (5 * log2(2 * fit.sites) + 10 * fit.axes)))
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + aux, looks=looks)

    def apply(self, value: Value, scratch: Scratch) -> int:
        check_numbers_finite(value.array.view(value.array.real.dtype), self.name, scratch)
        spectral.fourier(value.array, scratch, inverse=self.is_inverse)
        return 0


@dataclass(frozen=True)
class Fourier(_Fourier):
    """The transform."""

    name: ClassVar[str] = "fourier"
    is_inverse: ClassVar[bool] = False


@dataclass(frozen=True)
class InverseFourier(_Fourier):
    """Its inverse."""

    name: ClassVar[str] = "inverse_fourier"
    is_inverse: ClassVar[bool] = True


@dataclass(frozen=True)
class DiffuseExactly(Step):
    """Diffusion for any time."""

    time: float
    name: ClassVar[str] = "diffuse_exactly"
    in_place: ClassVar[bool] = True

    def check(self, fit: Fit, at: str, bad: Violations) -> None:
        if fit.number_type.is_whole:
            raise Unfit(f"diffuse_exactly does not fit {fit.number_type.value}: convert it first")
        if check_finite(self.time, f"{at}.time", bad) and self.time < 0:
            bad.add(f"{at}.time", "must be 0 or more")

    def cost(self, fit: Fit) -> Cost:
        aux = 11 * _DOUBLE * longest_line(fit)
        looks = looks_of(int(fit.sites * fit.axes * (20 * log2(2 * max(fit.shape)) + 20)))
        return Cost(auxiliary_bytes=OVERHEAD_BYTES + aux, looks=looks)

    def apply(self, value: Value, scratch: Scratch) -> int:
        check_numbers_finite(value.array, self.name, scratch)
        spectral.diffuse_exactly(value.array, value.periodic, self.time, scratch)
        return 0
