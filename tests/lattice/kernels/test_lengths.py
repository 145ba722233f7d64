"""Lengths: that searches compare them as they are, and that they are told alike everywhere."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lattice.kernels import lengths
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.grid import Grid
from services.lattice.kernels.runs import Path
from services.lattice.kernels.searches import DiagonalSearch, JumpSearch, Search, search_on
from tests.lattice.kernels.exact import (
    exact_cost,
    exact_distances,
    exact_length,
    near_tie,
    nearest_double,
)
from tests.lattice.kernels.reference import Plain, grid_of, random_lattice

GO = np.zeros(1, np.uint8)
SITES_MAX = 1 << 25
MORE_AXES = range(3, lengths.AXES_MAX + 1)
Vector = list[Fraction]


def kinds_of(path: Path) -> list[int]:
    """How many of a path's steps move on 0, 1, ... axes."""
    kinds = np.abs(path.run_steps).sum(axis=1)
    return [int(count) for count in np.bincount(kinds, path.run_counts)]


@pytest.fixture(scope="module")
def tie() -> tuple[Grid, tuple[int, ...], tuple[int, ...]]:
    blocked, start, goal = near_tie()
    return grid_of(Plain(blocked, (False, False), moore=True, no_cutting=False)), start, goal


@pytest.mark.parametrize("search_on_plane", [JumpSearch, DiagonalSearch])
def test_of_two_paths_almost_as_long_the_shorter_is_found(
    tie: tuple[Grid, tuple[int, ...], tuple[int, ...]], search_on_plane: Callable[[Grid], Search]
) -> None:
    grid, start, goal = tie

    path = search_on_plane(grid).find(start, goal, GO)

    assert kinds_of(path) == [0, 161_564, 1_606]
    assert path.length == nearest_double(exact_length([0, 161_564, 1_606]))
    assert exact_length([0, 0, 115_849]) - exact_length([0, 161_564, 1_606]) > 0


def test_a_distance_is_that_of_the_shorter_of_two_paths_almost_as_long(
    tie: tuple[Grid, tuple[int, ...], tuple[int, ...]],
) -> None:
    grid, start, goal = tie

    distances = measure(grid, [start], GO)

    assert distances.at(np.array([grid.index(goal)]))[0] == nearest_double(
        exact_length([0, 161_564, 1_606])
    )


@pytest.mark.parametrize("axis_count", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("seed", range(6))
def test_paths_and_distances_are_exact_and_the_same_to_the_last_bit(
    axis_count: int, seed: int
) -> None:
    rng = np.random.default_rng([seed, axis_count])
    drawn = random_lattice(rng, axis_count, sites_max=120)
    lattice = Plain(drawn.blocked, drawn.periodic, moore=True, no_cutting=drawn.no_cutting)
    grid = grid_of(lattice)
    search = search_on(grid)
    for start in lattice.free_sites()[::29]:
        expected = exact_distances(lattice, [start])
        distances = measure(grid, [start], GO).at(slice(None)).reshape(lattice.shape)
        for goal in lattice.free_sites():
            path = search.find(start, goal, GO)
            assert path.found == (goal in expected)
            if path.found:
                assert exact_length(kinds_of(path)) == expected[goal]
                assert path.length == distances[goal]
                assert path.length == pytest.approx(nearest_double(expected[goal]), rel=2**-52)


@pytest.mark.parametrize("axis_count", [3, 5, 7])
def test_beyond_its_exact_length_a_distance_is_told_all_the_same(axis_count: int) -> None:
    length = 100 + int(lengths.exact_length(axis_count))
    blocked = np.zeros((axis_count - 1) * (2,) + (length + 1,), bool)
    blocked[axis_count * (1,)] = True
    grid = grid_of(Plain(blocked, axis_count * (False,), moore=True, no_cutting=True))
    start, goal = axis_count * (0,), (axis_count - 1) * (0,) + (length,)

    distances = measure(grid, [start], GO).at(slice(None)).reshape(grid.shape)

    assert distances[goal] == search_on(grid).find(start, goal, GO).length == length
    assert grid.exact_length < length


def test_on_two_axes_the_costs_are_a_convergent_with_more_steps_than_there_are_sites() -> None:
    _, straight, diagonal = lengths.costs(2).tolist()

    assert abs(diagonal**2 - 2 * straight**2) == 1
    assert straight > SITES_MAX


@pytest.mark.parametrize("axis_count", MORE_AXES)
def test_up_to_its_exact_length_no_sum_is_off_by_half_a_unit(axis_count: int) -> None:
    costs = lengths.costs(axis_count).tolist()

    for kind in range(1, axis_count + 1):
        error = abs(Fraction(costs[kind]) - costs[1] * Fraction(exact_cost(kind), exact_cost(1)))
        steps = 2 * lengths.exact_length(axis_count) / math.sqrt(kind)
        assert error * Fraction(steps) < 1


@pytest.mark.parametrize("axis_count", MORE_AXES)
def test_up_to_its_exact_length_no_two_sums_are_equal(axis_count: int) -> None:
    """The multiples of two such sums differ by a vector that costs nothing in all. The lattice
    of these has none so short: no vector of a lattice is shorter than the shortest of an
    orthogonalised basis."""
    roots = [root for root in lengths._ROOTS if root <= axis_count]
    costs = [int(lengths.costs(axis_count)[root]) for root in roots]

    shortest = shortest_at_least(costs, roots)

    assert shortest > 2 * lengths.exact_length(axis_count)


@pytest.mark.parametrize("axis_count", range(1, lengths.AXES_MAX + 1))
def test_a_path_over_all_sites_fits_beside_its_stamp(axis_count: int) -> None:
    bits = (SITES_MAX * int(lengths.costs(axis_count)[-1])).bit_length()

    assert 63 - bits - 1 >= 5


@pytest.mark.parametrize("axis_count", MORE_AXES)
def test_a_tally_has_room_for_an_exact_length(axis_count: int) -> None:
    assert lengths.exact_length(axis_count) < 1 << lengths.tally_bits(axis_count)


@given(st.lists(st.integers(0, 2**20), min_size=2, max_size=11))
def test_a_length_is_the_nearest_double_or_the_next(kinds: list[int]) -> None:
    kinds[0] = 0
    exact = nearest_double(exact_length(kinds))

    length = lengths.length_of_steps(kinds)

    assert length in (math.nextafter(exact, 0), exact, math.nextafter(exact, math.inf))


@given(st.lists(st.integers(0, 2**31), min_size=2, max_size=11))
def test_one_path_and_many_have_the_same_lengths(kinds: list[int]) -> None:
    arrays = [np.full(3, count) for count in kinds]

    assert set(lengths.length_of_steps(arrays).tolist()) == {lengths.length_of_steps(kinds)}


@given(st.integers(2, 10), st.data())
def test_a_tally_tells_the_length_of_its_steps(axis_count: int, data: st.DataObject) -> None:
    kinds = data.draw(
        st.lists(st.integers(0, 20), min_size=axis_count + 1, max_size=axis_count + 1)
    )
    kinds[0] = 0

    tally = np.array([sum(n * tag for n, tag in zip(kinds, lengths.tags(axis_count), strict=True))])

    length = lengths.length_of_tallies(tally, axis_count)[0]
    assert length == lengths.length_of_steps(kinds)


def shortest_at_least(costs: Sequence[int], roots: Sequence[int]) -> float:
    """A length that no vector n but 0 with sum(n * costs) = 0 falls below.

    The length of n is that of the numbers n * sqrt(root), which is at most their sum. The
    basis is reduced as by Lenstra, Lenstra and Lovász (1982), with the sum of costs as one more
    number of so great a weight that all vectors but the last have none.
    """
    basis: list[Vector] = []
    for place, (cost, root) in enumerate(zip(costs, roots, strict=True)):
        vector = [Fraction(0)] * (len(roots) + 1)
        vector[place] = Fraction(math.isqrt(root << 60), 1 << 30)
        vector[-1] = Fraction(cost << 60)
        basis.append(vector)
    reduce_basis(basis)
    assert [vector[-1] != 0 for vector in basis] == [*(len(roots) - 1) * [False], True]
    squares = [_dot(vector, vector) for vector in orthogonalised(basis[:-1])]
    return math.sqrt(min(squares))


def reduce_basis(basis: list[Vector]) -> None:
    """Make a basis of the same lattice whose vectors are short and nearly orthogonal."""
    place = 1
    while place < len(basis):
        for before in reversed(range(place)):
            times = round(_share(basis[place], orthogonalised(basis[:place])[before]))
            basis[place] = _minus(basis[place], times, basis[before])
        orthogonal = orthogonalised(basis[: place + 1])
        share = _share(basis[place], orthogonal[place - 1])
        least = (Fraction(3, 4) - share**2) * _dot(orthogonal[place - 1], orthogonal[place - 1])
        if _dot(orthogonal[place], orthogonal[place]) >= least:
            place += 1
        else:
            basis[place - 1], basis[place] = basis[place], basis[place - 1]
            place = max(1, place - 1)


def orthogonalised(basis: Sequence[Vector]) -> list[Vector]:
    """The basis of Gram and Schmidt."""
    orthogonal: list[Vector] = []
    for vector in basis:
        for other in orthogonal:
            vector = _minus(vector, _share(vector, other), other)  # noqa: PLW2901
        orthogonal.append(vector)
    return orthogonal


def _share(vector: Vector, other: Vector) -> Fraction:
    return _dot(vector, other) / _dot(other, other)


def _minus(vector: Vector, times: Fraction | int, other: Vector) -> Vector:
    return [a - times * b for a, b in zip(vector, other, strict=True)]


def _dot(vector: Vector, other: Vector) -> Fraction:
    return sum((a * b for a, b in zip(vector, other, strict=True)), Fraction(0))
