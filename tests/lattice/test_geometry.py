"""Closed forms on free lattices, against search and against values known elsewhere."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lattice.geometry import Geometry, Run
from tests.lattice.kernels.reference import Plain

lengths = st.integers(1, 6)
axes = st.lists(st.tuples(lengths, st.booleans()), min_size=1, max_size=3)
huge_axes = st.lists(st.tuples(st.integers(1, 2**20), st.booleans()), min_size=1, max_size=10)


def geometry(axes: list[tuple[int, bool]], moore: bool) -> Geometry:
    shape, periodic = zip(*axes, strict=True)
    return Geometry(shape, periodic, moore=moore, no_cutting=True)


def plain(lattice: Geometry) -> Plain:
    blocked = np.zeros(lattice.shape, bool)
    return Plain(blocked, lattice.periodic, lattice.moore, lattice.no_cutting)


def end_of(lattice: Geometry, start: Sequence[int], runs: Iterable[Run]) -> tuple[int, ...]:
    """Where runs lead; over the edge of a periodic axis to its other side."""
    at = list(start)
    for run in runs:
        for axis, by in enumerate(run.step):
            at[axis] += run.count * by
    return tuple(
        place % length if wraps else place
        for place, length, wraps in zip(at, lattice.shape, lattice.periodic, strict=True)
    )


@given(axes, st.booleans())
def test_edges_are_those_that_counting_finds(axes: list[tuple[int, bool]], moore: bool) -> None:
    lattice = geometry(axes, moore)

    assert lattice.edges == plain(lattice).edges()


@given(axes, st.booleans(), st.data())
def test_distances_are_those_that_a_search_finds(
    axes: list[tuple[int, bool]], moore: bool, data: st.DataObject
) -> None:
    lattice = geometry(axes, moore)
    start = data.draw(st.tuples(*(st.integers(0, length - 1) for length in lattice.shape)))

    result = plain(lattice).distances([start])

    for goal, length in result.items():
        cost = sum(run.count * math.hypot(*run.step) for run in lattice.runs(start, goal))
        assert cost == pytest.approx(length, rel=1e-12)


@given(huge_axes, st.booleans(), st.data())
def test_few_runs_lead_to_the_goal(
    axes: list[tuple[int, bool]], moore: bool, data: st.DataObject
) -> None:
    lattice = geometry(axes, moore)
    site = st.tuples(*(st.integers(0, length - 1) for length in lattice.shape))
    start, goal = data.draw(site), data.draw(site)

    runs = lattice.runs(start, goal)

    assert end_of(lattice, start, runs) == goal
    assert all(run.count >= 1 for run in runs)
    assert len(runs) <= len(axes)


def test_a_lattice_of_as_many_sites_as_64_bits_count_is_measured() -> None:
    lattice = Geometry((2**31, 2**32 - 1), (False, False), moore=True, no_cutting=True)

    runs = lattice.runs((0, 0), (2**31 - 1, 2**32 - 2))

    assert lattice.sites == 2**63 - 2**31
    assert lattice.edges == ((3 * 2**31 - 2) * (3 * (2**32 - 1) - 2) - lattice.sites) // 2
    assert runs == [Run((1, 1), 2**31 - 1), Run((0, 1), 2**31 - 1)]


def test_half_way_around_a_ring_goes_upwards() -> None:
    lattice = Geometry((6,), (True,), moore=False, no_cutting=True)

    assert lattice.runs((4,), (1,)) == [Run((1,), 3)]
    assert lattice.runs((1,), (5,)) == [Run((-1,), 2)]


@given(axes, st.data())
def test_an_index_counts_the_sites_in_c_order(
    axes: list[tuple[int, bool]], data: st.DataObject
) -> None:
    lattice = geometry(axes, False)
    index = data.draw(st.integers(0, lattice.sites - 1))

    site = [int(at) for at in np.unravel_index(index, lattice.shape)]
    assert lattice.index(site) == index
