"""Many random walkers, their returns and first passages."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.simulations.walking import NEVER, walk
from services.lattice.simulations.models import RandomWalks
from services.lattice.simulations.simulation import Arrays, Setup

_WALKERS_PER_PART = 1 << 10


class Walkers:
    """Walkers on a box of any size."""

    def __init__(self, model: RandomWalks, setup: Setup) -> None:
        geometry = setup.spec.geometry
        self._shape, self._count, self._setup = geometry.shape, model.walkers, setup
        self._lengths = np.array(geometry.shape, np.int64)
        self._rings = np.array(geometry.periodic, np.uint8)
        self._target = np.array(model.target or (), np.int64)
        self._blocked = np.frombuffer(setup.spec.blocked, np.uint8)
        self._places = np.tile(np.array(model.start, np.int64), (self._count, 1))
        self._moved = np.zeros_like(self._places)
        self._returned = np.full(self._count, NEVER, np.int64)
        self._arrived = np.full(self._count, NEVER, np.int64)
        if model.target == model.start:
            self._arrived[:] = 0
        self._parts = math.ceil(self._count / _WALKERS_PER_PART)

    def advance(self, step: int, count: int) -> int:
        def take(first: int, last: int, _thread: int) -> None:
            walk(
                self._places,
                self._moved,
                self._returned,
                self._arrived,
                self._lengths,
                self._rings,
                self._target,
                self._blocked,
                self._setup.seed,
                step,
                count,
                first * _WALKERS_PER_PART,
                min(last * _WALKERS_PER_PART, self._count),
            )

        self._setup.threads.share(self._parts, take)
        return count

    def observe(self) -> Sequence[float]:
        squares = (self._moved.astype(np.float64) ** 2).sum() / self._count
        seen = (float(squares), *_passage(self._returned))
        return (*seen, *_passage(self._arrived)) if len(self._target) else seen

    def arrays(self) -> Arrays:
        return {
            "places": self._places,
            "moved": self._moved,
            "returned": self._returned,
            "arrived": self._arrived,
        }

    def restore(self, arrays: Arrays) -> None:
        for name, array in self.arrays().items():
            array[...] = arrays[name]

    def result(self) -> NDArray[np.generic]:
        counts = np.zeros(self._shape, np.int32)
        np.add.at(counts, tuple(self._places.T), 1)
        return counts


def _passage(when: NDArray[np.int64]) -> tuple[float, float]:
    """The share of walkers that have been there, and the mean step of their first time."""
    been = when[when >= 0]
    return len(been) / len(when), float(been.mean()) if len(been) else math.nan
