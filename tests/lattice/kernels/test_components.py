"""Which sites paths join, against the plainest search."""

import numpy as np
import pytest

from services.lattice.kernels.components import can_be_labelled, components_of
from services.lattice.kernels.slices import Cancelled
from tests.lattice.kernels.reference import Plain, drawn, grid_of, random_lattice

GO = np.zeros(1, np.uint8)


@pytest.mark.parametrize("axis_count", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(15))
def test_sites_are_joined_where_a_path_leads(axis_count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, axis_count])
    lattice = random_lattice(rng, axis_count, sites_max=300)
    grid, free = grid_of(lattice), lattice.free_sites()
    if not free or not can_be_labelled(grid):
        return
    components = components_of(grid, GO)

    for start in free[:: max(1, len(free) // 4)]:
        reached = lattice.distances([start])
        for goal in free:
            joined = components.joins(grid.coordinates(start), grid.coordinates(goal))
            assert joined == (goal in reached)


def test_where_steps_cut_corners_nothing_is_told() -> None:
    lattice = Plain(drawn(".#", "#."), (False, False), moore=True, no_cutting=False)

    assert not can_be_labelled(grid_of(lattice))


def test_labelling_stops_when_it_is_cancelled() -> None:
    lattice = Plain(np.zeros((9, 9), bool), (False, False), moore=False, no_cutting=True)

    with pytest.raises(Cancelled):
        components_of(grid_of(lattice), np.ones(1, np.uint8))
