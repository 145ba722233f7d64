"""The abelian sandpile on a lattice."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.simulations.sandpiles import GRAINS, LOST, TOPPLINGS, drop_grains
from services.lattice.simulations.models import Sandpile, neighbours_of
from services.lattice.simulations.simulation import Arrays, Setup, graph_of

_BUDGET = 1 << 22
"""Grains fall in one go until so many sites have toppled."""
_ANYWHERE = -1


class GraphSandpile:
    """Grains on the free sites of a lattice."""

    def __init__(self, model: Sandpile, setup: Setup) -> None:
        self._setup, self._graph = setup, graph_of(setup.spec)
        geometry = setup.spec.geometry
        self._limit, self._drop = neighbours_of(setup.spec), _ANYWHERE
        if model.drop is not None:
            self._drop = int(self._graph.numbers[geometry.index(model.drop)])
        self._stack = np.empty(self._graph.count, np.int32)
        self._heights = np.zeros(self._graph.count, np.int32)
        if "initial" in setup.inputs:
            initial = setup.inputs["initial"].reshape(-1)[self._graph.sites]
            self._heights[:] = np.clip(np.nan_to_num(initial), 0, self._limit - 1)
        self._sums = np.array([0, 0, self._heights.sum(dtype=np.int64)], np.int64)

    def advance(self, step: int, count: int) -> int:
        return drop_grains(
            self._graph.offsets,
            self._graph.neighbours,
            self._heights,
            self._limit,
            self._drop,
            self._setup.seed,
            step,
            count,
            _BUDGET,
            self._stack,
            self._sums,
        )

    def observe(self) -> Sequence[float]:
        sums = self._sums.tolist()
        return sums[GRAINS] / self._graph.count, float(sums[TOPPLINGS]), float(sums[LOST])

    def arrays(self) -> Arrays:
        return {"heights": self._heights, "sums": self._sums}

    def restore(self, arrays: Arrays) -> None:
        self._heights[...] = arrays["heights"]
        self._sums[...] = arrays["sums"]

    def result(self) -> NDArray[np.generic]:
        return self._graph.spread(self._heights, 0).reshape(self._setup.spec.geometry.shape)
