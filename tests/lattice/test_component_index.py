"""What is kept of the components of lattices."""

import numpy as np

from services.lattice.computing.component_index import ComponentIndex
from services.lattice.kernels.grid import Grid
from tests.lattice.kernels.reference import Plain, grid_of

GO = np.zeros(1, np.uint8)


def grid() -> Grid:
    return grid_of(Plain(np.zeros((20, 20), bool), (False, False), moore=False, no_cutting=True))


def test_components_are_found_once_and_dropped_with_their_lattice() -> None:
    index, one = ComponentIndex(1 << 20), grid()
    assert index.known(one) is None

    components = index.ensured(one, GO)

    assert index.known(one) is components
    assert index.ensured(one, GO) is components
    assert index.bytes_held == components.bytes_held + one.bytes_held
    index.drop(one)
    assert (index.known(one), index.bytes_held) == (None, 0)


def test_those_asked_about_longest_ago_leave_first() -> None:
    grids = [grid() for _ in range(3)]
    index = ComponentIndex(5_000)

    for one in (grids[0], grids[1], grids[0], grids[2]):
        index.ensured(one, GO)

    assert [index.known(one) is not None for one in grids] == [True, False, True]
    assert index.bytes_held <= 5_000


def test_what_would_not_be_kept_is_not_covered() -> None:
    assert ComponentIndex(1_600).covers(grid())
    assert not ComponentIndex(1_599).covers(grid())
