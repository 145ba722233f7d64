"""Diffusion with sources and walls on a box."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.simulations.diffusing import diffuse_rows, rows_beside
from services.lattice.simulations.models import Diffusion
from services.lattice.simulations.simulation import Arrays, Setup, free_mask

_SITES_PER_PART = 1 << 15
"""A part of less is not worth a thread's while."""


class BoxDiffusion:
    """Explicit steps on a lattice of any number of axes."""

    def __init__(self, model: Diffusion, setup: Setup) -> None:
        geometry = setup.spec.geometry
        self._shape, self._threads = geometry.shape, setup.threads
        length = self._shape[-1]
        self._near = rows_beside(self._shape, geometry.periodic)
        self._ring = bool(geometry.periodic[-1])
        self._share = model.diffusivity * model.time_step
        self._free = np.empty((0, 0), np.uint8)
        self._is_free: NDArray[np.bool_] | None = None
        if not setup.spec.free:
            self._is_free = free_mask(setup.spec)
            self._free = self._is_free.reshape(-1, length).astype(np.uint8)
        self._gains = np.empty((0, 0))
        if "source" in setup.inputs:
            gains = setup.inputs["source"].astype(np.float64).reshape(-1, length)
            self._gains = gains * model.time_step
            if self._is_free is not None:
                self._gains[self._free == 0] = 0.0
        initial = setup.inputs.get("initial", np.zeros(self._shape))
        self._values = initial.astype(np.float64).reshape(-1, length)
        self._after = np.empty_like(self._values)
        self._rows_per_part = max(1, _SITES_PER_PART // length)
        self._parts = -(-len(self._values) // self._rows_per_part)

    def advance(self, step: int, count: int) -> int:
        for _ in range(step, step + count):
            self._threads.share(self._parts, self._step)
            self._values, self._after = self._after, self._values
        return count

    def observe(self) -> Sequence[float]:
        values = self._values.reshape(self._shape)
        seen = values if self._is_free is None else values[self._is_free]
        return float(seen.sum()), float(seen.mean()), float(seen.min()), float(seen.max())

    def arrays(self) -> Arrays:
        return {"values": self._values}

    def restore(self, arrays: Arrays) -> None:
        self._values[...] = arrays["values"]

    def result(self) -> NDArray[np.generic]:
        return self._values.reshape(self._shape)

    def _step(self, first: int, last: int, _thread: int) -> None:
        rows = self._rows_per_part
        diffuse_rows(
            self._values,
            self._after,
            self._near,
            self._ring,
            self._share,
            self._gains,
            self._free,
            first * rows,
            min(last * rows, len(self._values)),
        )
