"""Centralities of the sites of a free lattice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.geometry import Geometry
from services.lattice.kernels.axes import Int
from services.lattice.kernels.compiled import inlined, kernel
from services.lattice.kernels.structure.free.axes import Axis, Check, axes_of
from services.lattice.kernels.structure.free.quadrature import (
    gauss_legendre,
    inverse_by_exponentials,
)

_TERMS_AT_ONCE = 1 << 24
"""So many are added in some tens of milliseconds."""


@dataclass(frozen=True, eq=False)
class ProductSum:
    """A number for each site: the sum over terms of weight times a factor for each axis."""

    weights: NDArray[np.float64]
    """Of shape (Q,)."""
    factors: Sequence[NDArray[np.float64]]
    """Of shape (length, Q) for each axis."""

    def at(self, sites: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of some sites, of shape (n, axes): shape (n,). O(n Q d)."""
        terms = np.broadcast_to(self.weights, (len(sites), len(self.weights))).copy()
        for axis, factor in enumerate(self.factors):
            terms *= factor[sites[:, axis]]
        sums: NDArray[np.float64] = terms.sum(axis=1)
        return sums

    def everywhere(self, check: Check, out: NDArray[np.float64]) -> None:
        """Add those of all sites to `out`, of shape (sites,) in C order: a matrix product."""
        *leading, last = self.factors
        rows = out.reshape(-1, len(last))
        at_once = max(1, (1 << 21) // len(self.weights))
        lengths = [len(factor) for factor in leading]
        for first in range(0, len(rows), at_once):
            check()
            places = np.arange(first, min(first + at_once, len(rows)))
            terms = np.broadcast_to(self.weights, (len(places), len(self.weights))).copy()
            if lengths:
                for factor, at in zip(leading, np.unravel_index(places, lengths), strict=True):
                    terms *= factor[at]
            rows[places] += terms @ last.T


def degree(geometry: Geometry, sites: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many neighbours sites have; `sites` has shape (n, axes)."""
    grown = np.ones(len(sites)) if geometry.moore else np.zeros(len(sites))
    for column, axis in enumerate(axes_of(geometry)):
        at = sites[:, column]
        more = np.full(len(sites), 2.0)
        if not axis.ring:
            more = (at > 0).astype(np.float64) + (at < axis.length - 1)
        grown = grown * (1 + more) if geometry.moore else grown + more
    return grown - 1 if geometry.moore else grown


def eccentricity(geometry: Geometry, sites: NDArray[np.int64]) -> NDArray[np.int64]:
    """The longest distances from sites, in steps."""
    axes = axes_of(geometry)
    each = [
        np.full(len(sites), axis.longest)
        if axis.ring
        else np.maximum(sites[:, column], axis.length - 1 - sites[:, column])
        for column, axis in enumerate(axes)
    ]
    longest: NDArray[np.int64] = np.max(each, axis=0) if geometry.moore else np.sum(each, axis=0)
    return longest


def closeness(geometry: Geometry, sites: NDArray[np.int64]) -> NDArray[np.float64]:
    """The number of other sites over the sum of the distances to them; 0 of a single site."""
    farness = np.zeros(len(sites))
    for column, axis in enumerate(axes_of(geometry)):
        at = sites[:, column].astype(np.float64)
        n = axis.length
        own = np.full(len(sites), float(n * n // 4))
        if not axis.ring:
            own = (at * (at + 1) + (n - 1 - at) * (n - at)) / 2
        farness += own * float(geometry.sites // n)
    if geometry.sites == 1:
        return np.zeros(len(sites))
    return float(geometry.sites - 1) / farness


def harmonic(geometry: Geometry) -> ProductSum:
    """The sum of the inverse distances to all other sites, less a constant: see `harmonic_less`.

    The sites at a distance k are the coefficient of z^k in a product over axes, and 1/k is the
    integral of z^(k-1).
    """
    nodes, weights = gauss_legendre(harmonic_nodes(geometry))
    factors = [_distance_polynomials(axis, nodes) for axis in axes_of(geometry)]
    return ProductSum(weights / nodes, factors)


def harmonic_less(geometry: Geometry) -> float:
    """What to take from the sum of `harmonic`: the site itself, at no distance."""
    nodes, weights = gauss_legendre(harmonic_nodes(geometry))
    return float((weights / nodes).sum())


def harmonic_nodes(geometry: Geometry) -> int:
    """How many nodes are exact: half of the longest distance, and one more."""
    return sum(axis.longest for axis in axes_of(geometry)) // 2 + 1


def _distance_polynomials(axis: Axis, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of z^distance over an axis, from each of its sites: of shape (length, Q)."""
    sums = np.empty((axis.length, len(z)))
    if axis.ring:
        below, above = axis.reach(0)
        sums[:] = 1 + _geometric(z, below) + _geometric(z, above)
        return sums
    for at in range(axis.length):
        below, above = axis.reach(at)
        sums[at] = 1 + _geometric(z, below) + _geometric(z, above)
    return sums


def _geometric(z: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """z + z^2 + ... + z^count. The nodes the other way round are 1 - z."""
    rest = z[::-1]
    total: NDArray[np.float64] = z * -np.expm1(count * np.log1p(-rest)) / rest
    return total


def betweenness(geometry: Geometry, check: Check) -> list[ProductSum]:
    """Sums that together are 2 * betweenness + 2 N - 1, over unordered pairs.

    The share of the shortest paths from s to t that pass v is a quotient of multinomials. The
    inverse of the denominator, C(A + B, A), is (A + B + 1) times the integral of
    x^A (1 - x)^B over [0, 1], so that the sum over all s and t is an integral of products over
    axes. The integrand is a polynomial: so many nodes are exact.
    """
    axes = axes_of(geometry)
    nodes, weights = gauss_legendre(betweenness_nodes(geometry))
    # Those of a square are alike.
    tables = {axis: share_tables(axis, nodes, check) for axis in set(axes)}
    shares = [tables[axis] for axis in axes]
    sums = [ProductSum(weights, [share for share, _ in shares])]
    for chosen in range(len(axes)):
        factors = [
            weighted if axis == chosen else share for axis, (share, weighted) in enumerate(shares)
        ]
        sums.append(ProductSum(weights, factors))
    return sums


def betweenness_nodes(geometry: Geometry) -> int:
    return sum(axis.longest for axis in axes_of(geometry)) // 2 + 1


def share_tables(
    axis: Axis, nodes: NDArray[np.float64], check: Check
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each site v of an axis and each node x, sums over the s and t that v lies between.

    Of C(a + b, a) x^a (1 - x)^b with a = |s - v| and b = |t - v|, and of the same times a + b;
    each of shape (length, Q). Where both ways around a ring are as long, half of the paths
    take each. The nodes the other way round are 1 - x. O(length^2 Q).
    """
    share, weighted = np.zeros((2, axis.length, len(nodes)))
    others = np.ascontiguousarray(nodes[::-1])
    row = np.zeros((2, len(nodes)))
    at_once = max(1, _TERMS_AT_ONCE // axis.length**2)
    for first in range(0, len(nodes), at_once):
        check()
        last = min(first + at_once, len(nodes))
        if axis.ring:
            add_ring_shares(nodes, others, axis.length, first, last, row)
        else:
            add_path_shares(nodes, others, first, last, share, weighted)
    if axis.ring:
        share[:], weighted[:] = row
    return share, weighted


@kernel
def add_path_shares(
    nodes: NDArray[np.float64],
    others: NDArray[np.float64],
    first: int,
    last: int,
    share: NDArray[np.float64],
    weighted: NDArray[np.float64],
) -> None:
    """Add the sums of `share_tables` of a path at some of its nodes: O(length^2) for each.

    From one site to the next the sums gain a row and lose a column. What has s below v and t above
    is one sum, and the other way round that of the site as far from the other end; s = t = v is
    in both.
    """
    length = share.shape[0]
    for q in range(first, last):
        x, y = nodes[q], others[q]
        total, total_weighted = add_line(y, 1.0, 0, length)
        for v in range(length):
            above = length - 1 - v
            share[v, q] += total - 1.0
            share[above, q] += total
            weighted[v, q] += total_weighted
            weighted[above, q] += total_weighted
            if above > 0:
                # One more site lies below, and one less above.
                row, row_weighted = add_line(y, x ** (v + 1), v + 1, above)
                column, column_weighted = add_line(x, y**above, above, v + 1)
                total += row - column
                total_weighted += row_weighted - column_weighted


@inlined
def add_line(ratio: float, start: float, fixed: Int, count: Int) -> tuple[float, float]:
    """The sums of C(a + b, a) x^a (1 - x)^b, and of that times a + b, with one of a and b fixed.

    The other goes from 0 to `count` - 1; `start` is the first term, `ratio` what is multiplied.
    """
    total, weighted = 0.0, 0.0
    term = start
    for other in range(count):
        total += term
        weighted += term * (fixed + other)
        term *= ratio * (fixed + other + 1) / (other + 1)
    return total, weighted


@kernel
def add_ring_shares(
    nodes: NDArray[np.float64],
    others: NDArray[np.float64],
    length: int,
    first: int,
    last: int,
    row: NDArray[np.float64],
) -> None:
    """Add the sums of `share_tables` of a ring to `row`, of shape (2, Q): all sites are alike."""
    half = length // 2
    for q in range(first, last):
        x, y = nodes[q], others[q]
        start = 1.0
        for a in range(half + 1):
            term = start
            for b in range(half + 1 - a):
                both = 1.0 if a + b == 0 else 2.0
                if 2 * (a + b) == length:
                    both = 1.0
                row[0, q] += both * term
                row[1, q] += both * term * (a + b)
                term *= y * (a + b + 1) / (b + 1)
            start *= x


def eigenvector(geometry: Geometry) -> ProductSum:
    """The eigenvector of the largest eigenvalue, of length 1 and positive."""
    factors = [
        np.full((axis.length, 1), axis.length**-0.5)
        if axis.ring
        else np.sqrt(2 / (axis.length + 1))
        * np.sin(np.pi * np.arange(1, axis.length + 1) / (axis.length + 1))[:, None]
        for axis in axes_of(geometry)
    ]
    return ProductSum(np.ones(1), factors)


def largest_adjacency_eigenvalue(geometry: Geometry) -> float:
    """Below the inverse of it Katz centrality exists."""
    return float(
        sum(
            2.0 if axis.ring else 2 * np.cos(np.pi / (axis.length + 1))
            for axis in axes_of(geometry)
        )
    )


def pagerank(geometry: Geometry, damping: float) -> ProductSum:
    """The rank of each site over its number of neighbours.

    With y the ranks over degrees, (D - damping A) y = (1 - damping) / N: and D - damping A is
    a sum of one matrix for each axis, so that its inverse is a sum of products of exponentials.
    """
    axes = axes_of(geometry)
    if geometry.sites == 1:
        # A site without neighbours has no rank over their number: all there is of one is zero.
        return ProductSum(np.zeros(1), [np.ones((1, 1)) for _ in axes])
    matrices = [np.diag(axis.adjacency().sum(axis=0)) - damping * axis.adjacency() for axis in axes]
    resolved = _resolvent(matrices)
    scale = (1 - damping) / float(geometry.sites)
    return ProductSum(resolved.weights * scale, resolved.factors)


def katz(geometry: Geometry, damping: float) -> ProductSum:
    """The solution of x = 1 + damping A x."""
    axes = axes_of(geometry)
    share = 1 / len(axes)
    return _resolvent([share * np.eye(axis.length) - damping * axis.adjacency() for axis in axes])


def _resolvent(matrices: Sequence[NDArray[np.float64]]) -> ProductSum:
    """The sum of matrices along their axes, inverted, times ones. O(length^3) for each."""
    spectra = [np.linalg.eigh(matrix) for matrix in matrices]
    least = sum(float(values[0]) for values, _ in spectra)
    largest = sum(float(values[-1]) for values, _ in spectra)
    times, weights = inverse_by_exponentials(least, largest)
    factors = []
    for values, vectors in spectra:
        ones = vectors.sum(axis=0)
        # The least eigenvalue may be negative on one axis: it is taken out of all exponentials.
        decays = np.exp(-np.outer(values - values[0], times))
        factors.append(vectors @ (ones[:, None] * decays))
    return ProductSum(weights * np.exp(-least * times), factors)
