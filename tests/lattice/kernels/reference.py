"""The plainest correct answers, one dictionary and one heap: what the kernels must agree with."""

import heapq
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.domain import LatticeSpec
from services.lattice.kernels.grid import Grid, prepare

Site = tuple[int, ...]


class Plain:
    """A lattice as a boolean array of blocked sites, and its steps by definition."""

    def __init__(
        self, blocked: NDArray[np.bool_], periodic: Sequence[bool], moore: bool, no_cutting: bool
    ) -> None:
        self.blocked = blocked
        self.shape: Site = blocked.shape
        self.periodic = tuple(periodic)
        self.moore = moore
        self.no_cutting = no_cutting
        self.directions = [
            step
            for step in itertools.product((-1, 0, 1), repeat=len(self.shape))
            if any(step) and (moore or sum(map(abs, step)) == 1)
        ]
        self._neighbours = dict[Site, dict[Site, float]]()
        """Of sites that were asked for: who looks for the shortest asks again and again."""
        self._allowing = dict[Site, NDArray[np.bool_]]()

    def sites(self) -> Iterator[Site]:
        return itertools.product(*map(range, self.shape))

    def is_free(self, site: Site | None) -> bool:
        return site is not None and not self.blocked[site]

    def moved(self, site: Site, step: Site) -> Site | None:
        """Where a step leads; None beyond an open edge."""
        moved = []
        for at, by, length, wraps in zip(site, step, self.shape, self.periodic, strict=True):
            if not wraps and not 0 <= at + by < length:
                return None
            moved.append((at + by) % length)
        return tuple(moved)

    def allows(self, site: Site, step: Site) -> bool:
        return bool(self._allowed(step)[site])

    def _allowed(self, step: Site) -> NDArray[np.bool_]:
        """Whether a step is allowed, of each site, as an array of the lattice's shape: it leads to
        a free one, and without cutting corners so does all of it that moves on fewer axes."""
        if step not in self._allowing:
            allowed = self._leads_to_free(step)
            for axis, by in enumerate(step):
                if by and self.no_cutting:
                    allowed &= self._allowed((*step[:axis], 0, *step[axis + 1 :]))
            self._allowing[step] = allowed
        return self._allowing[step]

    def _leads_to_free(self, step: Site) -> NDArray[np.bool_]:
        free = ~self.blocked
        for axis, by in enumerate(step):
            if by:
                free = np.roll(free, -by, axis)
            if by and not self.periodic[axis]:
                # From one edge a step leads beyond it.
                free[(slice(None),) * axis + (-1 if by > 0 else 0,)] = False
        return free

    def neighbours(self, site: Site) -> dict[Site, float]:
        """Each neighbour and the cheapest step to it; a site is not its own neighbour."""
        if site not in self._neighbours:
            self._neighbours[site] = self._reached_from(site)
        return self._neighbours[site]

    def _reached_from(self, site: Site) -> dict[Site, float]:
        result: dict[Site, float] = {}
        for step in self.directions:
            near = self.moved(site, step) if self.allows(site, step) else None
            if near is not None and near != site:
                result[near] = min(result.get(near, math.inf), math.sqrt(sum(map(abs, step))))
        return result

    @classmethod
    def of(cls, requested: LatticeSpec) -> "Plain":
        """The lattice that somebody wants."""
        frame = requested.geometry
        bits = np.frombuffer(requested.blocked or bytes((frame.sites + 7) // 8), np.uint8)
        blocked = np.unpackbits(bits, count=frame.sites, bitorder="little").astype(bool)
        return cls(blocked.reshape(frame.shape), frame.periodic, frame.moore, frame.no_cutting)

    def free_sites(self) -> list[Site]:
        return [site for site in self.sites() if self.is_free(site)]

    def edges(self) -> int:
        return sum(len(self.neighbours(site)) for site in self.free_sites()) // 2

    def distances(self, sources: Sequence[Site]) -> dict[Site, float]:
        """Dijkstra's algorithm as in a textbook."""
        lengths = dict.fromkeys(sources, 0.0)
        heap = [(0.0, source) for source in sources]
        while heap:
            length, site = heapq.heappop(heap)
            if length > lengths[site]:
                continue
            for near, cost in self.neighbours(site).items():
                if length + cost < lengths.get(near, math.inf):
                    lengths[near] = length + cost
                    heapq.heappush(heap, (length + cost, near))
        return lengths

    def costly_distances(
        self,
        costs: NDArray[np.float64],
        sources: Sequence[Site],
        *,
        mean: bool,
    ) -> dict[Site, float]:
        """The same where a step costs what the site does that it leads to, or the mean of both."""
        lengths = dict.fromkeys(sources, 0.0)
        heap = [(0.0, source) for source in sources]
        while heap:
            length, site = heapq.heappop(heap)
            if length > lengths[site]:
                continue
            for near, root in self.neighbours(site).items():
                cost = (costs[site] + costs[near]) / 2 if mean else costs[near]
                if length + root * cost < lengths.get(near, math.inf):
                    lengths[near] = length + root * cost
                    heapq.heappush(heap, (lengths[near], near))
        return lengths


def random_lattice(rng: np.random.Generator, axis_count: int, sites_max: int) -> Plain:
    """A lattice of any kind, about `sites_max` sites at most, with any share of them blocked."""
    longest = max(2, round(sites_max ** (1 / axis_count)))
    shape = rng.integers(1, longest + 1, axis_count)
    return Plain(
        blocked=rng.random(shape) < rng.choice([0.0, 0.1, 0.3, 0.45, 0.6]),
        periodic=rng.random(axis_count) < rng.choice([0.0, 0.5, 1.0]),
        moore=bool(rng.random() < 0.7),
        no_cutting=bool(rng.random() < 0.5),
    )


def grid_of(lattice: Plain) -> Grid:
    """The same lattice as the kernels want it."""
    return prepare(
        lattice.shape,
        lattice.periodic,
        moore=lattice.moore,
        no_cutting=lattice.no_cutting,
        blocked=np.packbits(lattice.blocked, axis=None, bitorder="little"),
    )


def drawn(*rows: str) -> NDArray[np.bool_]:
    """Blocked sites from a drawing: `#` blocks."""
    return np.array([[site == "#" for site in row] for row in rows])
