"""Cellular automata: 64 cells of a plane at a time, or any lattice a cell at a time."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.simulations.automata import SCRATCH_ROWS, step_graph, step_plane
from services.lattice.simulations.models import CellularAutomaton
from services.lattice.simulations.simulation import (
    Arrays,
    Setup,
    free_mask,
    graph_of,
    start_units,
)

_WORDS_PER_PART = 1 << 12
_VERTICES_PER_PART = 1 << 16
"""A part of less is not worth a thread's while."""


class PlaneAutomaton:
    """Cells of a lattice of two axes with Moore neighbourhoods."""

    def __init__(self, model: CellularAutomaton, setup: Setup) -> None:
        geometry = setup.spec.geometry
        self._shape, self._threads = geometry.shape, setup.threads
        self._born, self._kept = model.rule.masks()
        words = -(-self._shape[1] // 64)
        self._last_bits = self._shape[1] - 64 * (words - 1)
        self._rings = np.array(geometry.periodic, np.uint8)
        self._free = np.empty((0, 0), np.uint64)
        if not setup.spec.free:
            self._free = _packed(free_mask(setup.spec))
        self._cells = _packed(_start(model, setup))
        self._after = np.empty_like(self._cells)
        scratches = range(setup.threads.count)
        self._scratches = [np.empty((SCRATCH_ROWS, words), np.uint64) for _ in scratches]
        rows = max(1, _WORDS_PER_PART // words)
        self._rows_per_part, self._parts = rows, -(-self._shape[0] // rows)

    def advance(self, step: int, count: int) -> int:
        for _ in range(step, step + count):
            self._threads.share(self._parts, self._step)
            self._cells, self._after = self._after, self._cells
        return count

    def observe(self) -> Sequence[float]:
        return (float(np.bitwise_count(self._cells).sum()),)

    def arrays(self) -> Arrays:
        return {"cells": self._cells}

    def restore(self, arrays: Arrays) -> None:
        self._cells[...] = arrays["cells"]

    def result(self) -> NDArray[np.generic]:
        rows = self._cells.view(np.uint8)
        return np.unpackbits(rows, axis=1, count=self._shape[1], bitorder="little")

    def _step(self, first: int, last: int, thread: int) -> None:
        rows = self._rows_per_part
        step_plane(
            self._cells,
            self._after,
            self._free,
            self._last_bits,
            self._rings,
            self._born,
            self._kept,
            first * rows,
            min(last * rows, self._shape[0]),
            self._scratches[thread],
        )


class GraphAutomaton:
    """Cells of any lattice."""

    def __init__(self, model: CellularAutomaton, setup: Setup) -> None:
        self._graph, self._shape = graph_of(setup.spec), setup.spec.geometry.shape
        self._threads = setup.threads
        degrees = int(self._graph.degrees.max(initial=0)) + 1
        counts = range(degrees)
        self._rule = np.array(
            [[n in model.rule.born for n in counts], [n in model.rule.kept for n in counts]],
            np.uint8,
        )
        self._cells = _start(model, setup).reshape(-1)[self._graph.sites].astype(np.uint8)
        self._after = np.empty_like(self._cells)
        self._parts = max(1, math.ceil(self._graph.count / _VERTICES_PER_PART))

    def advance(self, step: int, count: int) -> int:
        for _ in range(step, step + count):
            self._threads.share(self._parts, self._step)
            self._cells, self._after = self._after, self._cells
        return count

    def observe(self) -> Sequence[float]:
        return (float(self._cells.sum(dtype=np.int64)),)

    def arrays(self) -> Arrays:
        return {"cells": self._cells}

    def restore(self, arrays: Arrays) -> None:
        self._cells[...] = arrays["cells"]

    def result(self) -> NDArray[np.generic]:
        return self._graph.spread(self._cells, 0).reshape(self._shape)

    def _step(self, first: int, last: int, _thread: int) -> None:
        graph = self._graph
        step_graph(
            graph.offsets,
            graph.neighbours,
            self._cells,
            self._after,
            self._rule,
            first * _VERTICES_PER_PART,
            min(last * _VERTICES_PER_PART, graph.count),
        )


def _start(model: CellularAutomaton, setup: Setup) -> NDArray[np.bool_]:
    """Which cells live at first, in the lattice's shape."""
    shape = setup.spec.geometry.shape
    if "initial" in setup.inputs:
        living = setup.inputs["initial"] != 0
    else:
        units = start_units(setup, setup.spec.geometry.sites)
        living = (units < model.density).reshape(shape)
    return np.asarray(living & free_mask(setup.spec))


def _packed(cells: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Rows of bits as words, the lowest bit first."""
    rows, length = cells.shape
    packed = np.zeros((rows, -(-length // 64) * 8), np.uint8)
    bits = np.packbits(cells, axis=1, bitorder="little")
    packed[:, : bits.shape[1]] = bits
    return packed.view("<u8").astype(np.uint64, copy=False)
