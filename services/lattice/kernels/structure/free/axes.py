"""One axis of a free lattice: a path or a ring, and what is known of it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.geometry import Geometry

Check = Callable[[], None]
"""Called now and then; may raise."""

_TERMS_AT_ONCE = 1 << 16
"""So many fit a cache, and are added in a moment."""


@dataclass(frozen=True)
class Axis:
    """`length` sites in a row, or around. A ring of two joins them once: it is a path."""

    length: int
    ring: bool

    @property
    def longest(self) -> int:
        """The longest distance along it."""
        return self.length // 2 if self.ring else self.length - 1

    @property
    def edge_count(self) -> int:
        return self.length if self.ring else self.length - 1

    @property
    def distance_sum(self) -> int:
        """Of all ordered pairs of its sites."""
        n = self.length
        return n * (n * n // 4) if self.ring else n * (n * n - 1) // 3

    @property
    def degrees(self) -> dict[int, int]:
        """How many of its sites have so many neighbours."""
        if self.length == 1:
            return {0: 1}
        if self.ring:
            return {2: self.length}
        ends = {1: 2}
        return ends | {2: self.length - 2} if self.length > 2 else ends

    def eccentricity(self, at: int) -> int:
        """The longest distance from one of its sites."""
        return self.longest if self.ring else max(at, self.length - 1 - at)

    def farness(self, at: int) -> int:
        """The sum of the distances from one of its sites."""
        n = self.length
        if self.ring:
            return n * n // 4
        return (at * (at + 1) + (n - 1 - at) * (n - at)) // 2

    def reach(self, at: int) -> tuple[int, int]:
        """How many sites lie on either side, those at the longest distance once."""
        if self.ring:
            return self.length // 2, (self.length - 1) // 2
        return at, self.length - 1 - at

    def eigenvalues(self, count: int) -> NDArray[np.float64]:
        """The least eigenvalues of its Laplacian, rising: of shape (min(count, length),)."""
        return self.eigenvalues_of(np.arange(min(count, self.length)))

    def eigenvalues_of(self, modes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Some of them, by their places in that order: of the shape of `modes`."""
        # A ring's come in pairs, but for 0 and the last of an even one.
        halves = 2 * ((modes + 1) // 2) if self.ring else modes
        values: NDArray[np.float64] = 4 * np.sin(np.pi * halves / (2 * self.length)) ** 2
        return values

    def modes(self) -> NDArray[np.float64]:
        """Its eigenvectors as columns, in the order of `eigenvalues`: (length, length). O(L^2)."""
        n = self.length
        at, mode = np.arange(n)[:, None], np.arange(n)[None, :]
        if not self.ring:
            vectors = np.cos(np.pi * mode * (at + 0.5) / n)
            scale = np.where(mode == 0, 1.0, 2.0)
        else:
            angle = 2 * np.pi * ((mode + 1) // 2) * at / n
            vectors = np.where(mode % 2 == 1, np.sin(angle), np.cos(angle))
            lone = (mode == 0) | ((n % 2 == 0) & (mode == n - 1))
            vectors = np.where(lone, np.cos(angle), vectors)
            scale = np.where(lone, 1.0, 2.0)
        normal: NDArray[np.float64] = vectors * np.sqrt(scale / n)
        return normal

    def adjacency(self) -> NDArray[np.float64]:
        """Of shape (length, length)."""
        n = self.length
        matrix = np.zeros((n, n))
        near = np.arange(n - 1)
        matrix[near, near + 1] = matrix[near + 1, near] = 1.0
        if self.ring:
            matrix[0, n - 1] = matrix[n - 1, 0] = 1.0
        return matrix


def axes_of(geometry: Geometry) -> Sequence[Axis]:
    """Its axes: a ring of two sites, or of one, is a path."""
    return [
        Axis(length, ring and length > 2)
        for length, ring in zip(geometry.shape, geometry.periodic, strict=True)
    ]


def degree_histogram(geometry: Geometry) -> dict[int, int]:
    """How many sites have so many neighbours, exactly; O(3^d)."""
    # Along several axes the neighbours of a site and itself are a box: degrees multiply.
    total = {1: 1} if geometry.moore else {0: 1}
    for axis in axes_of(geometry):
        grown: dict[int, int] = {}
        for degree, count in total.items():
            for more, times in axis.degrees.items():
                key = degree * (more + 1) if geometry.moore else degree + more
                grown[key] = grown.get(key, 0) + count * times
        total = grown
    return {degree - int(geometry.moore): count for degree, count in sorted(total.items())}


def log_product(mu: NDArray[np.float64], axis: Axis) -> NDArray[np.float64]:
    """The logarithm of the product of `mu` + eigenvalue over an axis's eigenvalues, mu > 0.

    With mu = 2 cosh(t) - 2 it is sinh(L t) 2 tanh(t / 2) of a path, and 4 sinh(L t / 2)^2 of a
    ring, so that it takes no longer on a longer axis.
    """
    t = 2 * np.arcsinh(np.sqrt(mu) / 2)
    length = axis.length
    if axis.ring:
        return 2 * _log_2_sinh(length * t / 2)
    return _log_2_sinh(length * t) + np.log(np.tanh(t / 2))


def _log_2_sinh(x: NDArray[np.float64]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = x + np.log(-np.expm1(-2 * x))
    return logs


def log_spanning_trees(geometry: Geometry, check: Check) -> float:
    """The natural logarithm of the number of spanning trees. O(N / the longest axis).

    By Kirchhoff's theorem the number is the product of the eigenvalues but 0, over the sites.
    """
    longest, *others = sorted(axes_of(geometry), key=lambda axis: -axis.length)
    # Of the longest axis alone the product of its eigenvalues but 0 is its length, or the square.
    own = (2 if longest.ring else 1) * math.log(longest.length)
    # A sum of all terms by `fsum` would hold the interpreter for as long as it takes.
    rest = math.fsum(
        float(log_product(mu, longest).sum()) for mu in _sums_of_eigenvalues(others, check)
    )
    return own + rest - math.log(geometry.sites)


def _sums_of_eigenvalues(axes: Sequence[Axis], check: Check) -> Iterator[NDArray[np.float64]]:
    """All sums of an eigenvalue of each axis but that of zeros, so many at a time."""
    lengths = [axis.length for axis in axes]
    count = math.prod(lengths)
    for first in range(1, count, _TERMS_AT_ONCE):
        check()
        places = np.arange(first, min(first + _TERMS_AT_ONCE, count))
        sums = np.zeros(len(places))
        for axis, modes in zip(axes, np.unravel_index(places, lengths), strict=True):
            sums += axis.eigenvalues_of(modes)
        yield sums


def least_eigenvalues(geometry: Geometry, count: int) -> NDArray[np.float64]:
    """The least eigenvalues of the Laplacian, rising, each as often as it occurs."""
    least = np.zeros(1)
    for axis in axes_of(geometry):
        sums = (least[:, None] + axis.eigenvalues(count)).reshape(-1)
        least = np.sort(sums)[:count]
    return least


def spectral_gap(geometry: Geometry) -> float:
    """The least eigenvalue above 0; 0 of a single site."""
    seconds = [axis.eigenvalues(2)[1] for axis in axes_of(geometry) if axis.length > 1]
    return float(min(seconds, default=0.0))
