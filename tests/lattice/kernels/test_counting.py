"""Counts of vertices and edges, against counting one by one."""

import numpy as np
import pytest

from services.lattice.geometry import Geometry
from services.lattice.kernels.counting import count_edges, count_vertices
from services.lattice.kernels.slices import Cancelled
from tests.lattice.kernels.reference import Plain, grid_of, random_lattice

GO = np.zeros(1, np.uint8)


@pytest.mark.parametrize("axis_count", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("seed", range(20))
def test_counts_agree_with_counting_one_by_one(axis_count: int, seed: int) -> None:
    lattice = random_lattice(np.random.default_rng([seed, axis_count]), axis_count, 900)
    grid = grid_of(lattice)

    assert count_vertices(grid) == len(lattice.free_sites())
    assert count_edges(grid, GO) == lattice.edges()


@pytest.mark.parametrize("no_cutting", [True, False])
@pytest.mark.parametrize("shape", [(3,) * 10, (2, 3) * 5, (70, 70), (1, 4, 1)], ids=str)
def test_with_nothing_blocked_the_closed_form_is_counted(
    shape: tuple[int, ...], no_cutting: bool
) -> None:
    periodic = tuple(axis % 2 == 0 for axis in range(len(shape)))
    lattice = Plain(np.zeros(shape, bool), periodic, moore=True, no_cutting=no_cutting)

    edges = count_edges(grid_of(lattice), GO)

    assert edges == Geometry(shape, periodic, moore=True, no_cutting=no_cutting).edges


@pytest.mark.parametrize("no_cutting", [True, False])
def test_counting_stops_when_it_is_cancelled(no_cutting: bool) -> None:
    lattice = Plain(np.zeros((9, 9), bool), (False, False), moore=True, no_cutting=no_cutting)

    with pytest.raises(Cancelled):
        count_edges(grid_of(lattice), np.ones(1, np.uint8))
