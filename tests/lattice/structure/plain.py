"""The plainest graph of a lattice: a matrix, and what linear algebra and searches say of it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.domain import LatticeSpec
from tests.lattice.kernels.reference import Plain, Site

Matrix = NDArray[np.float64]


class PlainGraph:
    """Vertices are the free sites in C order."""

    def __init__(self, requested: LatticeSpec) -> None:
        self.lattice = Plain.of(requested)
        self.sites: Sequence[Site] = self.lattice.free_sites()
        number = {site: n for n, site in enumerate(self.sites)}
        self.adjacency: Matrix = np.zeros((len(self.sites), len(self.sites)))
        for n, site in enumerate(self.sites):
            for near in self.lattice.neighbours(site):
                self.adjacency[n, number[near]] = 1.0
        self.degrees = self.adjacency.sum(axis=0)
        self.laplacian: Matrix = np.diag(self.degrees) - self.adjacency

    def distances(self) -> Matrix:
        """In steps, infinite where no path leads: layer after layer."""
        count = len(self.sites)
        distances = np.where(np.eye(count) > 0, 0.0, np.inf)
        reached = np.eye(count) > 0
        for step in range(1, count):
            onward = ((reached @ self.adjacency) > 0) & ~reached
            if not onward.any():
                break
            distances[onward] = step
            reached = reached | onward
        return distances

    def labels(self) -> NDArray[np.int64]:
        """The number of each vertex's component, by its first vertex."""
        firsts = np.isfinite(self.distances()).argmax(axis=1)
        return np.unique(firsts, return_inverse=True)[1]

    def betweenness(self) -> Matrix:
        """By counting the shortest paths between all pairs, through each vertex."""
        distances, count = self.distances(), len(self.sites)
        paths = np.eye(count)
        for s in range(count):
            for t in np.argsort(distances[s], kind="stable"):
                if 0 < distances[s, t] < math.inf:
                    before = (self.adjacency[t] > 0) & (distances[s] == distances[s, t] - 1)
                    paths[s, t] = paths[s, before].sum()
        totals = np.zeros(count)
        for v in range(count):
            through = distances[:, [v]] + distances[[v], :] == distances
            shares = np.where(
                through & np.isfinite(distances),
                paths[:, [v]] * paths[[v], :] / np.maximum(paths, 1),
                0,
            )
            shares[v, :] = shares[:, v] = 0
            np.fill_diagonal(shares, 0)
            totals[v] = shares.sum() / 2
        return totals

    def spread(self, values: NDArray[np.float64], blocked: float) -> list[float]:
        """Of all sites in C order."""
        everywhere = np.full(self.lattice.shape, float(blocked))
        for site, value in zip(self.sites, values, strict=True):
            everywhere[site] = value
        listed: list[float] = everywhere.reshape(-1).tolist()
        return listed
