"""Spins of Ising and Potts on any lattice: one after the other, or cluster by cluster."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.simulations.spins import measure_spins, turn_clusters, turn_in_order
from services.lattice.simulations.models import Ising, Potts
from services.lattice.simulations.simulation import Arrays, Setup, graph_of, start_units

_BUDGET = 1 << 22
"""Clusters are turned in one go until so many spins are."""


class GraphSpins:
    """Spins on the graph of a lattice. Those of Ising are state 0, down, and 1, up."""

    def __init__(self, model: Ising | Potts, setup: Setup) -> None:
        self._model, self._setup = model, setup
        self._graph = graph_of(setup.spec)
        self._is_ising = isinstance(model, Ising)
        self._states = 2 if isinstance(model, Ising) else model.states
        # A pair of Ising that breaks costs 2, one of Potts 1.
        temperature = model.temperature / 2 if self._is_ising else model.temperature
        degree_max = int(self._graph.degrees.max(initial=0))
        self._chances = np.exp(-np.arange(degree_max + 1) / temperature)
        self._join = -math.expm1(-1 / temperature)
        self._stack = np.empty(self._graph.count if model.is_wolff else 0, np.int32)
        self._cluster = np.zeros(1, np.int64)
        self._spins = self._start()

    def advance(self, step: int, count: int) -> int:
        graph, seed = self._graph, self._setup.seed
        if self._model.is_wolff:
            return turn_clusters(
                graph.offsets,
                graph.neighbours,
                self._spins,
                self._states,
                self._join,
                seed,
                step,
                count,
                _BUDGET,
                self._stack,
                self._cluster,
            )
        for now in range(step, step + count):
            turn_in_order(
                graph.offsets,
                graph.neighbours,
                self._spins,
                self._states,
                self._chances,
                seed,
                now,
                0,
                graph.count,
            )
        return count

    def observe(self) -> Sequence[float]:
        graph, counts = self._graph, np.zeros(self._states, np.int64)
        same = measure_spins(graph.offsets, graph.neighbours, self._spins, counts)
        cluster = (float(self._cluster[0]),) if self._model.is_wolff else ()
        if self._is_ising:
            edges = len(graph.neighbours) // 2
            energy = (edges - 2 * same) / graph.count
            magnetisation = (int(counts[1]) - int(counts[0])) / graph.count
            return energy, magnetisation, abs(magnetisation), *cluster
        most = int(counts.max()) / graph.count
        order = (self._states * most - 1) / (self._states - 1)
        return -same / graph.count, order, *cluster

    def arrays(self) -> Arrays:
        return {"spins": self._spins, "cluster": self._cluster}

    def restore(self, arrays: Arrays) -> None:
        self._spins[...] = arrays["spins"]
        self._cluster[...] = arrays["cluster"]

    def result(self) -> NDArray[np.generic]:
        shape = self._setup.spec.geometry.shape
        if self._is_ising:
            signed = 2 * self._spins.astype(np.int16) - 1
            return self._graph.spread(signed, 0).reshape(shape)
        return self._graph.spread(self._spins, 0).reshape(shape)

    def _start(self) -> NDArray[np.uint8]:
        setup, graph = self._setup, self._graph
        if "initial" in setup.inputs:
            initial = setup.inputs["initial"].reshape(-1)[graph.sites]
            if self._is_ising:
                return np.asarray(initial > 0).astype(np.uint8)
            clipped = np.clip(np.nan_to_num(initial), 0, self._states - 1)
            return np.asarray(clipped).astype(np.uint8)
        if self._model.is_ordered:
            return np.full(graph.count, 1 if self._is_ising else 0, np.uint8)
        return (start_units(setup, graph.count) * self._states).astype(np.uint8)
