"""What is known of a free lattice without looking at a site; knows nothing of blocked ones.

Everything here is closed form over Python's integers, so that a lattice of 2^63 - 1 sites
costs what one of ten does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Coordinates = tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """The same step, taken `count` times, `count` >= 1."""

    step: Coordinates
    count: int


@dataclass(frozen=True)
class Geometry:
    """A lattice's shape and what a step on it is.

    A von Neumann step leads one site along one axis and costs 1. A Moore step leads at most
    one site along every axis and costs sqrt(k), k being the number of axes it moves on.
    `no_cutting` matters where sites are blocked: a step then needs every site of the box it
    spans free, and not only the one it leads to. Whoever makes one has checked that `shape`
    has 1 to 10 lengths of 1 or more and `periodic` as many entries.
    """

    shape: Coordinates
    periodic: tuple[bool, ...]
    moore: bool
    no_cutting: bool

    @property
    def sites(self) -> int:
        """The number of sites."""
        return math.prod(self.shape)

    @property
    def edges(self) -> int:
        """The number of unordered pairs of sites that a step joins, on the free lattice."""
        if self.moore:
            return (self._ordered_pairs_within_a_step() - self.sites) // 2
        return sum(
            self.sites // length * _edges_of_axis(length, wraps) for length, wraps in self._axes()
        )

    def index(self, site: Sequence[int]) -> int:
        """The C-order index of a site: the last axis varies fastest."""
        index = 0
        for at, length in zip(site, self.shape, strict=True):
            index = index * length + at
        return index

    def runs(self, start: Sequence[int], goal: Sequence[int]) -> list[Run]:
        """The runs of a shortest path on the free lattice, as many as axes at most.

        Where two ways around a ring are as long, the upward one is taken. On Moore
        neighbourhoods all axes that still differ are moved on at once, which is shortest
        because sqrt(k) grows by less with every k (the octile distance, in any dimension).
        """
        displacement = self._displacement(start, goal)
        return _moore_runs(displacement) if self.moore else _von_neumann_runs(displacement)

    def opposite_axes(self, start: Sequence[int], goal: Sequence[int]) -> int:
        """On how many rings both ways from start to goal are as long: each doubles the paths."""
        return sum(
            ring and length > 2 and 2 * abs(to - at) == length
            for at, to, (length, ring) in zip(start, goal, self._axes(), strict=True)
        )

    def ball(self, centre: Sequence[int], radius: int) -> int:
        """The number of sites at most `radius` steps along single axes from one; O(4^d).

        The sites by their distance along an axis are the coefficients of
        (1 + z - z^(a+1) - z^(b+1)) / (1 - z), with a sites below and b above. So the ball is
        read off the product of the numerators, over (1 - z)^(d+1).
        """
        terms = {0: 1}
        for at, (length, ring) in zip(centre, self._axes(), strict=True):
            below, above = (length // 2, (length - 1) // 2) if ring else (at, length - 1 - at)
            grown: dict[int, int] = {}
            for power, factor in terms.items():
                for more, sign in ((0, 1), (1, 1), (below + 1, -1), (above + 1, -1)):
                    if power + more <= radius:
                        grown[power + more] = grown.get(power + more, 0) + sign * factor
            terms = grown
        axis_count = len(self.shape)
        return sum(
            factor * math.comb(radius - power + axis_count, axis_count)
            for power, factor in terms.items()
        )

    def _displacement(self, start: Sequence[int], goal: Sequence[int]) -> Coordinates:
        return tuple(
            _shortest_way(length, wraps, to - at)
            for at, to, (length, wraps) in zip(start, goal, self._axes(), strict=True)
        )

    def _ordered_pairs_within_a_step(self) -> int:
        return math.prod(_pairs_of_axis(length, wraps) for length, wraps in self._axes())

    def _axes(self) -> list[tuple[int, bool]]:
        return list(zip(self.shape, self.periodic, strict=True))


def _edges_of_axis(length: int, wraps: bool) -> int:
    # A ring of two joins its sites once, and a ring of one joins nothing.
    return length if wraps and length > 2 else length - 1


def _pairs_of_axis(length: int, wraps: bool) -> int:
    return length + 2 * _edges_of_axis(length, wraps)


def _shortest_way(length: int, wraps: bool, by: int) -> int:
    if not wraps:
        return by
    up = by % length
    return up if 2 * up <= length else up - length


def _von_neumann_runs(displacement: Coordinates) -> list[Run]:
    runs = []
    for axis, by in enumerate(displacement):
        if by:
            step = [0] * len(displacement)
            step[axis] = 1 if by > 0 else -1
            runs.append(Run(tuple(step), abs(by)))
    return runs


def _moore_runs(displacement: Coordinates) -> list[Run]:
    runs = []
    taken = 0
    for reach in sorted({abs(by) for by in displacement} - {0}):
        step = tuple((by > 0) - (by < 0) if abs(by) >= reach else 0 for by in displacement)
        runs.append(Run(step, reach - taken))
        taken = reach
    return runs
