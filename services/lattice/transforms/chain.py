"""A chain of steps: what fits, what it takes, doing it and undoing it. Reads and keeps nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from services.lattice.errors import TransformUnfit
from services.lattice.kernels.slices import Cancel
from services.lattice.kernels.transforms.scratch import Array, Scratch
from services.lattice.transforms.moving import XorBits, XorKey
from services.lattice.transforms.step import (
    OVERHEAD_BYTES,
    Fit,
    Invertibility,
    Step,
    Unfit,
    Value,
)
from services.plumbing.errors import Violations

COMPUTED_WITH = f"numpy {np.__version__}"
"""What results are computed with: another version may round otherwise."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a step was and took."""

    transform: str
    invertibility: Invertibility
    error_bound: float
    in_place: bool
    auxiliary_bytes: int
    auxiliary_bytes_max: int
    clamped_count: int


@dataclass(frozen=True)
class Chain:
    """Steps that fit each other, and what they are applied to."""

    steps: tuple[Step, ...]
    fits: tuple[Fit, ...]
    """Before each step, and behind the last."""

    @classmethod
    def of(cls, steps: Sequence[Step], fit: Fit) -> Self:
        """Check a chain. Raises InvalidInput naming every bad field, TransformUnfit for the first
        step that does not fit, and UnstableStep."""
        bad = Violations()
        fits = [fit]
        chosen = [_of_bits(step) if fit.is_blocked else step for step in steps]
        for number, step in enumerate(chosen):
            try:
                fits.append(step.fitted(fits[-1], f"transforms[{number}].{step.name}", bad))
            except Unfit as unfit:
                bad.raise_if_any()
                raise TransformUnfit(str(unfit), step=number, transform=step.name) from unfit
        bad.raise_if_any()
        return cls(tuple(chosen), tuple(fits))

    @property
    def size_bytes(self) -> int:
        """Of the numbers, where they are most."""
        return max(fit.size_bytes for fit in self.fits)

    @property
    def auxiliary_bytes_max(self) -> int:
        """Of all steps, beside the numbers."""
        return max(step.cost(fit).auxiliary_bytes for step, fit in self._fitted)

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds of kernels that it needs compiled."""
        return sorted({kind for step in self.steps for kind in step.kinds})

    @property
    def looks(self) -> int:
        """The time that it takes, as looks."""
        return sum(step.cost(fit).looks for step, fit in self._fitted)

    @property
    def invertibility(self) -> Invertibility:
        """That of the least invertible step."""
        return worst(step.invertibility(fit)[0] for step, fit in self._fitted)

    def inverse(self) -> "Chain | None":
        """The chain that brings every bit back, if one does."""
        inverses = [step.inverse(fit) for step, fit in self._fitted]
        backwards = [step for step in reversed(inverses) if step is not None]
        if len(backwards) < len(inverses):
            return None
        return Chain(tuple(backwards), tuple(reversed(self.fits)))

    def apply(self, array: Array, cancel: Cancel) -> tuple[Array, Sequence[Report]]:
        """Apply it to an array, which is lost. Raises TransformUnfit and Cancelled."""
        value, reports = Value(array=array, periodic=self.fits[0].periodic), []
        del array
        for number, (step, fit) in enumerate(self._fitted):
            scratch = Scratch(cancel)
            try:
                clamped_count = step.apply(value, scratch)
            except Unfit as unfit:
                raise TransformUnfit(str(unfit), step=number, transform=step.name) from unfit
            reports.append(_report(step, fit, scratch.peak_bytes, clamped_count))
        return value.array, reports

    @property
    def _fitted(self) -> Sequence[tuple[Step, Fit]]:
        return list(zip(self.steps, self.fits[:-1], strict=True))


_FROM_BEST = (Invertibility.EXACT, Invertibility.WITHIN_ERROR, Invertibility.NONE)


def worst(invertibilities: Iterable[Invertibility]) -> Invertibility:
    """The least of them; exact where there is none."""
    return max(invertibilities, key=_FROM_BEST.index, default=Invertibility.EXACT)


def _report(step: Step, fit: Fit, peak_bytes: int, clamped_count: int) -> Report:
    invertibility, error_bound = step.invertibility(fit)
    return Report(
        transform=step.name,
        invertibility=invertibility,
        error_bound=error_bound,
        in_place=step.in_place,
        auxiliary_bytes=OVERHEAD_BYTES + peak_bytes,
        auxiliary_bytes_max=step.cost(fit).auxiliary_bytes,
        clamped_count=clamped_count,
    )


def _of_bits(step: Step) -> Step:
    return XorBits(step) if isinstance(step, XorKey) else step
