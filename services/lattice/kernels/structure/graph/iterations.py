"""Iterations on the graph of a lattice: centralities, heat, resistances and eigenvalues."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.slices import Cancel, Cancelled
from services.lattice.kernels.structure.graph.rows import Rows

Vector = NDArray[np.float64]


class NotConverged(Exception):
    """An iteration did not come to an end in the steps that it may take."""


def multiply(rows: Rows, vector: Vector) -> Vector:
    """The adjacency matrix times a vector."""
    product = np.empty(rows.count)
    add_neighbours(rows.offsets, rows.neighbours, vector, product)
    return product


def laplacian(rows: Rows, vector: Vector) -> Vector:
    """The Laplacian times a vector."""
    return rows.degrees * vector - multiply(rows, vector)


@kernel
def add_neighbours(
    offsets: NDArray[np.int64], neighbours: NDArray[np.int32], vector: Vector, product: Vector
) -> None:
    """Fill in `product` with the sum over each vertex's neighbours."""
    for vertex in range(product.shape[0]):
        total = 0.0
        for entry in range(offsets[vertex], offsets[vertex + 1]):
            total += vector[neighbours[entry]]
        product[vertex] = total


def pagerank(rows: Rows, damping: float, steps_max: int, cancel: Cancel) -> tuple[Vector, int]:
    """The ranks, and how many iterations they took: to 1e-13 in the sum of differences.

    What stands on vertices without neighbours goes to all alike.
    """
    degrees = rows.degrees
    inverse = np.divide(1.0, degrees, out=np.zeros(rows.count), where=degrees > 0)
    lone = degrees == 0
    ranks = np.full(rows.count, 1 / rows.count)
    for step in range(1, steps_max + 1):
        _check(cancel)
        lost = float(ranks[lone].sum())
        onward = damping * multiply(rows, ranks * inverse)
        onward += (1 - damping + damping * lost) / rows.count
        change = float(np.abs(onward - ranks).sum())
        ranks = onward
        if change < 1e-13:
            return ranks, step
    raise NotConverged


def katz(rows: Rows, damping: float, steps_max: int, cancel: Cancel) -> tuple[Vector, int]:
    """The solution of x = 1 + damping A x, by conjugate gradients."""
    return solve(
        lambda vector: vector - damping * multiply(rows, vector),
        np.ones(rows.count),
        steps_max,
        cancel,
    )


def eigenvector(rows: Rows, steps_max: int, cancel: Cancel) -> tuple[Vector, float, int]:
    """The eigenvector of the largest eigenvalue of the adjacency matrix, and that eigenvalue.

    Iterates with A + 1, which has the same vectors and no eigenvalue as large on the other side.
    """
    vector = np.full(rows.count, rows.count**-0.5)
    for step in range(1, steps_max + 1):
        _check(cancel)
        onward = multiply(rows, vector) + vector
        length = float(np.linalg.norm(onward))
        onward /= length
        change = float(np.abs(onward - vector).max())
        vector = onward
        if change < 1e-13:
            return vector, length - 1, step
    raise NotConverged


def solve(
    operator: Callable[[Vector], Vector],
    right: Vector,
    steps_max: int,
    cancel: Cancel,
    tolerance: float = 1e-12,
) -> tuple[Vector, int]:
    """Conjugate gradients for a symmetric operator that is positive on what `right` spans.

    To a residual of `tolerance` of the right side. Answers the solution and the steps taken.
    """
    solution, residual = np.zeros_like(right), right.copy()
    direction = residual.copy()
    square = float(residual @ residual)
    enough = tolerance**2 * square
    for step in range(steps_max):
        if square <= enough:
            return solution, step
        _check(cancel)
        image = operator(direction)
        share = square / float(direction @ image)
        solution += share * direction
        residual -= share * image
        before, square = square, float(residual @ residual)
        direction = residual + (square / before) * direction
    raise NotConverged


def resistance(rows: Rows, a: int, b: int, steps_max: int, cancel: Cancel) -> tuple[float, int]:
    """The resistance between two vertices that a path joins; each edge has one of 1."""
    right = np.zeros(rows.count)
    right[a], right[b] = 1.0, -1.0
    potential, steps = solve(lambda vector: laplacian(rows, vector), right, steps_max, cancel)
    return float(potential[a] - potential[b]), steps


def heat(rows: Rows, source: int, time: float, cancel: Cancel) -> tuple[Vector, int]:
    """How much of what is at one vertex at first is at each after a time; all of it stays.

    Sums Chebyshev polynomials of the Laplacian, whose factors are read off the exponential
    itself: to the rounding of doubles, in O(sqrt(time)) products and more.
    """
    half = float(rows.degrees.max(initial=1))
    factors = _chebyshev_factors(half * time)
    vector = np.zeros(rows.count)
    vector[source] = 1.0

    def shifted(one: Vector) -> Vector:
        return laplacian(rows, one) / half - one

    before, now = vector, shifted(vector)
    total = factors[0] * before + (factors[1] * now if len(factors) > 1 else 0.0)
    for factor in factors[2:]:
        _check(cancel)
        before, now = now, 2 * shifted(now) - before
        total += factor * now
    return np.maximum(total, 0.0), len(factors)


def heat_steps(degree_max: int, time: float) -> int:
    """How many products `heat` takes, about."""
    scaled = degree_max * time
    return int(60 + 9 * np.sqrt(scaled) + min(scaled, 60))


def _chebyshev_factors(scaled: float) -> Vector:
    """Of exp(-scaled (1 + x)) on [-1, 1], as far as they count: by its values at many points."""
    count = 1 << int(np.ceil(np.log2(heat_steps(1, scaled) + 8)))
    angles = np.pi * (np.arange(count) + 0.5) / count
    values = np.exp(-scaled * (1 + np.cos(angles)))
    mirrored = np.fft.rfft(np.concatenate((values, values[::-1])))[:count]
    turned = np.exp(-0.5j * np.pi * np.arange(count) / count)
    factors = (mirrored * turned).real / count
    factors[0] /= 2
    kept = np.flatnonzero(np.abs(factors) > 1e-17 * np.abs(factors).max())
    needed: Vector = factors[: int(kept[-1]) + 1]
    return needed


def least_eigenvalues(rows: Rows, count: int, steps_max: int, cancel: Cancel) -> tuple[Vector, int]:
    """The least eigenvalues of the Laplacian, rising, and how many products they took.

    Small graphs are solved as dense matrices. On others a subspace of some more vectors than
    wanted is multiplied by the inverse of the Laplacian and a little of the unit matrix, which
    conjugate gradients apply, until each eigenvalue wanted stands still.
    """
    if rows.count <= DENSE_MAX:
        return np.maximum(np.linalg.eigvalsh(_dense_laplacian(rows))[:count], 0.0), 0
    return _by_subspace(rows, count, steps_max, cancel)


DENSE_MAX = 1_500
_SHIFT = 1e-4


def _dense_laplacian(rows: Rows) -> NDArray[np.float64]:
    matrix = np.diag(rows.degrees.astype(np.float64))
    tails = np.repeat(np.arange(rows.count), rows.degrees)
    matrix[tails, rows.neighbours] = -1.0
    return matrix


def _by_subspace(rows: Rows, count: int, steps_max: int, cancel: Cancel) -> tuple[Vector, int]:
    rng = np.random.default_rng(1)
    block = rng.standard_normal((rows.count, count + 4))
    block, _ = np.linalg.qr(block)
    products, known = 0, np.full(count, np.inf)

    def shifted(vector: Vector) -> Vector:
        return laplacian(rows, vector) + _SHIFT * vector

    # Subspace iteration with the inverse: several vectors at once find equal eigenvalues, too.
    for _ in range(200):
        columns = []
        for column in block.T:
            solved, steps = solve(shifted, column, steps_max, cancel, tolerance=1e-10)
            products += steps
            columns.append(solved)
        block, _ = np.linalg.qr(np.stack(columns, axis=1))
        images = np.stack([laplacian(rows, column) for column in block.T], axis=1)
        values, turned = np.linalg.eigh(block.T @ images)
        block = block @ turned
        eigenvalues = np.maximum(values[:count], 0.0)
        if np.abs(eigenvalues - known).max() <= 1e-11 * max(1.0, float(eigenvalues.max())):
            return eigenvalues, products
        known = eigenvalues
    raise NotConverged


def _check(cancel: Cancel) -> None:
    if cancel[0]:
        raise Cancelled
