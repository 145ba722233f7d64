"""Components slab by slab are those of the whole lattice: all that is told of them."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.lattice.computing.compute import Stop
from services.lattice.domain import LatticeSpec
from services.lattice.geometry import Geometry
from services.lattice.kernels.structure.graph.clusters import clusters_of
from services.lattice.structure.clustering import cluster_slab, labels_of
from services.lattice.structure.components import Components, _find, components_of_whole
from services.lattice.structure.joining import Joining
from services.lattice.structure.slabs import Slabs, slabs_of
from services.lattice.structure.work import Clock
from tests.lattice.worlds import blocked_spec, geometry, held


def by_slabs(requested: LatticeSpec, rows: int, components_max: int) -> Components:
    frame = requested.geometry
    slabs = Slabs(frame.shape, frame.periodic, frame.no_cutting, rows)
    joining = Joining(slabs, components_max)
    for task in slabs.tasks(requested.blocked, components_max):
        joining.add(cluster_slab(task))
    return components_of_whole(joining.finished(), frame.shape, Clock())


@st.composite
def lattices(draw: st.DrawFn) -> LatticeSpec:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=4)))
    if sum(length > 1 for length in shape) < 2:
        shape = (*shape, 3, 4)
    rings = tuple(draw(st.booleans()) for _ in shape)
    frame = Geometry(shape, rings, moore=False, no_cutting=True)
    share, seed = draw(st.sampled_from([0.2, 0.35, 0.5, 0.7])), draw(st.integers(0, 2**32))
    return blocked_spec(frame, share, seed, free=[0])


def labels_by_slabs(requested: LatticeSpec, rows: int) -> np.ndarray:
    frame = requested.geometry
    slabs = Slabs(frame.shape, frame.periodic, frame.no_cutting, rows)
    joining, tasks = Joining(slabs, 1), list(slabs.tasks(requested.blocked, 1))
    for task in tasks:
        joining.add(cluster_slab(task))
    joining.finished()
    parts = zip(tasks, joining.numbers(), strict=True)
    return np.concatenate([labels_of(task, numbers) for task, numbers in parts])


def check(requested: LatticeSpec, rows: int, components_max: int) -> None:
    expected = _find(held(requested), components_max, Stop())

    joined = by_slabs(requested, rows, components_max)

    assert joined.count == expected.count
    assert joined.largest == expected.largest
    assert joined.axes == expected.axes
    assert joined.computation.sites_expanded == expected.computation.sites_expanded
    grid = held(requested).grid
    assert grid is not None
    labels = clusters_of(grid, Stop().flag).labels
    assert labels_by_slabs(requested, rows).tolist() == labels.tolist()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(lattices(), st.integers(1, 3), st.sampled_from([1, 3, 100]))
def test_components_are_those_of_the_whole_lattice(
    requested: LatticeSpec, rows: int, components_max: int
) -> None:
    assume(not requested.free)
    check(requested, rows, components_max)


@pytest.mark.parametrize("share", [0.3, 0.45])
def test_what_leads_around_several_slabs_is_counted_right(share: float) -> None:
    frame = Geometry((20, 5), (True, True), moore=False, no_cutting=True)
    for seed in range(20):
        check(blocked_spec(frame, share, seed, free=[0]), 1, 100)


def test_a_plane_that_no_worker_holds_is_not_cut() -> None:
    grid = held(blocked_spec(geometry(9, 50, 50), 0.5, 1)).grid
    assert grid is not None

    cut = slabs_of(grid, 4 * 2500 * 40)

    assert cut is not None
    assert cut.rows == 3
    assert slabs_of(grid, 2500) is None
    in_pairs = slabs_of(grid, 4 * 2500 * 40, 2)
    assert in_pairs is not None
    assert in_pairs.rows == 4
    assert slabs_of(grid, 4 * 2500 * 40, 5) is None
