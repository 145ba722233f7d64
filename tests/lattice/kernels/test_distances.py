"""Distances from sources, against the plainest search."""

import numpy as np
import pytest

from services.lattice.kernels.fields import masked
from services.lattice.kernels.fields.distances import MaskedDistances, measure
from services.lattice.kernels.slices import Cancelled
from tests.lattice.kernels.reference import Plain, drawn, grid_of, random_lattice

GO = np.zeros(1, np.uint8)
ALL = slice(None)


@pytest.mark.parametrize("axis_count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(20))
def test_distances_agree_with_the_plainest_search(axis_count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, axis_count])
    lattice = random_lattice(rng, axis_count, sites_max=300)
    sources = lattice.free_sites()[:: max(1, seed * 7)]
    if not sources:
        return
    expected = lattice.distances(sources)

    answer = measure(grid_of(lattice), sources, GO).at(ALL).reshape(lattice.shape)

    for site in lattice.sites():
        assert answer[site] == pytest.approx(expected.get(site, -1), rel=1e-12)


@pytest.mark.parametrize("no_cutting", [False, True])
@pytest.mark.parametrize("shape", [(14, 13), (1, 30, 11), (11, 12, 13)], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_steps_that_are_left_out_lead_nowhere_sooner(
    shape: tuple[int, ...], share: float, no_cutting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked, "_SHARE_MAX", 2)
    blocked = np.random.default_rng(seed=3).random(shape) < share
    lattice = Plain(blocked, (False,) * len(shape), moore=True, no_cutting=no_cutting)
    sources = lattice.free_sites()[5::97]
    expected = lattice.distances(sources)

    answer = measure(grid_of(lattice), sources, GO)

    assert isinstance(answer, MaskedDistances)
    everywhere = answer.at(ALL).reshape(shape)
    for index, site in enumerate(lattice.sites()):
        assert everywhere[site] == pytest.approx(expected.get(site, -1), rel=1e-12)
        assert answer.at(np.array([index]))[0] == everywhere[site]


@pytest.mark.parametrize("moore", [False, True])
def test_measuring_stops_when_its_targets_are_known(moore: bool) -> None:
    lattice = Plain(np.zeros((1500, 1500), bool), (False, False), moore, no_cutting=True)
    grid = grid_of(lattice)

    answer = measure(grid, [(0, 0)], GO, targets=[(0, 30), (3, 4)])

    assert answer.sites_expanded < lattice.blocked.size / 2
    assert answer.at(np.array([grid.index((0, 30))]))[0] == 30


@pytest.mark.parametrize("moore", [False, True])
def test_what_is_blocked_or_cut_off_is_minus_one(moore: bool) -> None:
    lattice = Plain(drawn("..#.", "..##"), (False, False), moore, no_cutting=True)

    answer = measure(grid_of(lattice), [(0, 0)], GO, targets=[(0, 2), (0, 3)]).at(ALL)

    np.testing.assert_array_equal(answer[[2, 3, 6, 7]], -1)


@pytest.mark.parametrize("moore", [False, True])
def test_a_source_is_at_no_distance_and_may_be_told_twice(moore: bool) -> None:
    lattice = Plain(drawn("...", ".#."), (True, False), moore, no_cutting=True)

    answer = measure(grid_of(lattice), [(0, 1), (0, 1)], GO, targets=[(0, 1)]).at(ALL)

    assert str(float(answer[1])) == "0.0"


@pytest.mark.parametrize("moore", [False, True])
def test_many_sources_fit(moore: bool) -> None:
    lattice = Plain(np.zeros((100, 100), bool), (False, False), moore, no_cutting=True)
    sources = [(row, column) for row in range(100) for column in range(100)]

    answer = measure(grid_of(lattice), sources, GO)

    assert not answer.at(ALL).any()


@pytest.mark.parametrize("moore", [False, True])
def test_measuring_stops_when_it_is_cancelled(moore: bool) -> None:
    lattice = Plain(np.zeros((9, 9), bool), (False, False), moore, no_cutting=True)

    with pytest.raises(Cancelled):
        measure(grid_of(lattice), [(0, 0)], np.ones(1, np.uint8))
