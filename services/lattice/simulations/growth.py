"""A percolation cluster that grows from one site."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.simulations.growing import (
    EDGE,
    SIZE,
    TOUCHED,
    TOUCHED_COUNT,
    draw_keys,
    grow_shells,
    invade,
)
from services.lattice.simulations.models import PercolationGrowth
from services.lattice.simulations.simulation import Arrays, Setup, graph_of


class ClusterGrowth:
    """Shells of open sites, or the lowest site beside the cluster in each step."""

    def __init__(self, model: PercolationGrowth, setup: Setup) -> None:
        self._chance, self._setup, self._graph = model.probability, setup, graph_of(setup.spec)
        count = self._graph.count
        origin = int(self._graph.numbers[setup.spec.geometry.index(model.origin)])
        self._joined = np.zeros(count, np.int32)
        self._edge, self._scratch = np.zeros(count, np.int32), np.empty(count, np.int32)
        self._edge[0] = origin
        self._sums = np.array([0, 1, 1], np.int64)
        self._keys = np.empty(0, np.uint64)
        if self._chance is None:
            self._keys = np.empty(count, np.uint64)
            draw_keys(setup.seed, self._keys)
            self._joined[origin] = TOUCHED
            self._invade(-1, 1)
        else:
            self._joined[origin], self._sums[SIZE] = 1, 1

    def advance(self, step: int, count: int) -> int:
        if self._chance is None:
            self._invade(step, count)
        else:
            grow_shells(
                self._graph.offsets,
                self._graph.neighbours,
                self._joined,
                self._chance,
                self._setup.seed,
                step,
                count,
                self._edge,
                self._scratch,
                self._sums,
            )
        return count

    def observe(self) -> Sequence[float]:
        sums = self._sums.tolist()
        return float(sums[SIZE]), sums[SIZE] / sums[TOUCHED_COUNT], float(sums[EDGE] > 0)

    def arrays(self) -> Arrays:
        return {"joined": self._joined, "edge": self._edge, "sums": self._sums}

    def restore(self, arrays: Arrays) -> None:
        for name, array in self.arrays().items():
            array[...] = arrays[name]

    def result(self) -> NDArray[np.generic]:
        joined = np.maximum(self._joined, 0)
        return self._graph.spread(joined, 0).reshape(self._setup.spec.geometry.shape)

    def _invade(self, step: int, count: int) -> None:
        invade(
            self._graph.offsets,
            self._graph.neighbours,
            self._joined,
            self._keys,
            step,
            count,
            self._edge,
            self._sums,
        )
