"""Cheapest ways over sites with costs, against the plainest search."""

import math
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from services.lattice.kernels.fields import masked
from services.lattice.kernels.slices import Cancelled, TooManySites
from services.lattice.kernels.weighted.costs import SiteCosts
from services.lattice.kernels.weighted.searches import (
    CostQuery,
    CostSearch,
    MaskedCostSearch,
    SteppedCostSearch,
    StraightCostSearch,
    cost_search,
    find_cheapest,
    measure_costs,
)
from tests.lattice.kernels.reference import Plain, Site, grid_of, random_lattice

GO = np.zeros(1, np.uint8)
ALL = slice(None)

KINDS = {
    "bytes": lambda rng, shape: rng.integers(1, 256, shape, dtype=np.uint8),
    "words": lambda rng, shape: rng.integers(1, 65_536, shape, dtype=np.uint16),
    "floats": lambda rng, shape: (0.1 + rng.random(shape)).astype(np.float32),
    "any scale": lambda rng, shape: 10.0 ** rng.uniform(-12, 12, shape),
    "nothing": lambda rng, shape: rng.integers(0, 2, shape, dtype=np.uint8),
    "few": lambda rng, shape: rng.choice([1.0, 70_000.0], shape),
}


def random_costs(
    kind: str, seed: int, axis_count: int, *, mean: bool
) -> tuple[Plain, NDArray[np.float64], SiteCosts]:
    rng = np.random.default_rng([seed, axis_count])
    lattice = random_lattice(rng, axis_count, sites_max=300)
    values = KINDS[kind](rng, lattice.shape)
    return lattice, values.astype(np.float64), SiteCosts(values.reshape(-1), mean)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis_count", [1, 2, 3, 5])
def test_costs_to_all_sites_agree_with_the_plainest_search(
    axis_count: int, kind: str, mean: bool
) -> None:
    for seed in range(12):
        lattice, costs, site_costs = random_costs(kind, seed, axis_count, mean=mean)
        sources = lattice.free_sites()[:: max(1, seed * 7)]
        if not sources:
            continue
        expected = lattice.costly_distances(costs, sources, mean=mean)

        answer = measure_costs(grid_of(lattice), site_costs, sources, GO).at(ALL)

        for site, length in zip(lattice.sites(), answer, strict=True):
            assert math.isclose(length, expected.get(site, -1), rel_tol=1e-11, abs_tol=1e-9)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axis_count", [2, 3, 4])
def test_a_cheapest_path_costs_what_its_sites_do_and_as_little_as_any(
    axis_count: int, kind: str, mean: bool
) -> None:
    for seed in range(12):
        lattice, costs, site_costs = random_costs(kind, seed, axis_count, mean=mean)
        free = lattice.free_sites()
        if not free:
            continue
        start, goal = free[0], free[-1]
        least = lattice.costly_distances(costs, [start], mean=mean).get(goal)

        path = find_cheapest(grid_of(lattice), site_costs, start, goal, GO)

        assert path.found == (least is not None)
        if least is not None:
            paid = walked(lattice, costs, start, goal, path.run_steps, path.run_counts, mean)
            assert math.isclose(path.length, least, rel_tol=1e-11, abs_tol=1e-9)
            assert math.isclose(paid, least, rel_tol=1e-11, abs_tol=1e-9)


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("nothing", [-1e9, -math.inf, math.inf, math.nan])
@pytest.mark.parametrize("moore", [False, True])
def test_nobody_goes_over_a_blocked_site_whatever_it_costs(
    moore: bool, nothing: float, mean: bool
) -> None:
    blocked = np.zeros((30, 30), bool)
    blocked[15, 1:] = True
    lattice = Plain(blocked, (False, False), moore=moore, no_cutting=True)
    values = np.where(blocked, nothing, 1.0)
    expected = lattice.costly_distances(values, [(0, 29)], mean=mean)

    costs = SiteCosts(values.reshape(-1), mean)
    answer = measure_costs(grid_of(lattice), costs, [(0, 29)], GO).at(ALL)

    for site, length in zip(lattice.sites(), answer, strict=True):
        assert length == pytest.approx(expected.get(site, -1), rel=1e-11)


def test_a_search_to_all_sites_holds_three_numbers_a_site_and_little_more() -> None:
    shape = (500, 500)
    lattice = Plain(np.zeros(shape, bool), (False, False), moore=False, no_cutting=True)
    grid, costs = grid_of(lattice), SiteCosts(np.full(250_000, 3, np.uint8), mean=False)
    measure_costs(grid, costs, [(0, 0)], GO)

    tracemalloc.start()
    measure_costs(grid, costs, [(0, 0)], GO).at(ALL)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 28 * grid.sites


def walked(
    lattice: Plain,
    costs: NDArray[np.float64],
    start: Site,
    goal: Site,
    steps: NDArray[np.int8],
    counts: NDArray[np.int64],
    mean: bool,
) -> float:
    """Take every step, see that each is one of the lattice, and add up what it costs."""
    at, paid = start, 0.0
    for step in np.repeat(steps, counts, axis=0).tolist():
        near = lattice.moved(at, tuple(step))
        assert near is not None
        assert lattice.allows(at, tuple(step))
        share = (costs[at] + costs[near]) / 2 if mean else costs[near]
        paid += math.sqrt(sum(map(abs, step))) * share
        at = near
    assert at == goal
    return paid


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("kind", ["bytes", "floats", "nothing"])
@pytest.mark.parametrize("shape", [(14, 13), (11, 12, 13)], ids=str)
def test_steps_as_bits_lead_where_the_plainest_search_does(
    shape: tuple[int, ...], kind: str, mean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masked, "_SHARE_MAX", 2)
    rng = np.random.default_rng(seed=3)
    blocked = rng.random(shape) < 0.2
    lattice = Plain(blocked, (False,) * len(shape), moore=True, no_cutting=False)
    values = KINDS[kind](rng, shape)
    sources = lattice.free_sites()[5::97]
    expected = lattice.costly_distances(values.astype(np.float64), sources, mean=mean)

    costs = SiteCosts(values.reshape(-1), mean)
    answer = measure_costs(grid_of(lattice), costs, sources, GO)

    kind_of_search = SteppedCostSearch if kind == "nothing" else MaskedCostSearch
    assert isinstance(answer.search, kind_of_search)
    for site, length in zip(lattice.sites(), answer.at(ALL), strict=True):
        assert length == pytest.approx(expected.get(site, -1), rel=1e-11)


def search_of(
    lattice: Plain, values: NDArray[np.float64], start: Site, **query: object
) -> CostSearch:
    grid = grid_of(lattice)
    asked = CostQuery(
        sources=np.array([grid.index(start)]),
        offsets=np.zeros(1),
        **query,  # type: ignore[arg-type]
    )
    search = cost_search(grid, SiteCosts(values.reshape(-1), mean=False), asked, GO)
    search.run(GO)
    return search


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.ones((90, 90)), StraightCostSearch),
        (10.0 ** (np.arange(8_100).reshape(90, 90) % 13), SteppedCostSearch),
    ],
)
def test_what_is_beyond_a_bound_is_not_reached(
    values: NDArray[np.float64], kind: type[CostSearch]
) -> None:
    lattice = Plain(np.zeros((90, 90), bool), (False, False), moore=False, no_cutting=True)
    expected = lattice.costly_distances(values, [(0, 0)], mean=False)

    search = search_of(lattice, values, (0, 0), length_max=11.0)

    assert isinstance(search, kind)
    reached = [expected[site] <= 11 for site in lattice.sites()]
    assert (search.lengths(ALL) < np.inf).tolist() == reached
    assert search.sites_expanded <= sum(reached)


@pytest.mark.parametrize("targets", [[12, 5], [12]])
@pytest.mark.parametrize("scale", [1.0, 1e8])
def test_a_search_for_some_sites_stops_once_they_are_reached(
    scale: float, targets: list[int]
) -> None:
    lattice = Plain(np.zeros((900, 900), bool), (False, False), moore=False, no_cutting=True)
    values = np.ones((900, 900))
    values[899] = scale

    search = search_of(lattice, values, (0, 0), targets=np.array(targets))

    assert search.lengths(np.array(targets)).tolist() == targets
    assert search.sites_expanded < 300_000


def test_a_search_gives_up_when_it_is_told_to() -> None:
    lattice = Plain(np.zeros((900, 900), bool), (False, False), moore=False, no_cutting=True)
    costs = SiteCosts(np.ones(810_000), mean=False)

    with pytest.raises(Cancelled):
        measure_costs(grid_of(lattice), costs, [(0, 0)], np.ones(1, np.uint8))
    with pytest.raises(TooManySites):
        measure_costs(grid_of(lattice), costs, [(0, 0)], GO, sites_max=100)


@pytest.mark.parametrize("moore", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1e3, 1e7, 1e15])
def test_sources_that_cost_most_differently_take_no_more_memory(spread: float, moore: bool) -> None:
    rng = np.random.default_rng(seed=5)
    lattice = Plain(rng.random((60, 60)) < 0.2, (False, True), moore=moore, no_cutting=True)
    grid = grid_of(lattice)
    values = rng.integers(1, 65_536, lattice.shape, dtype=np.uint16)
    costs = SiteCosts(values.reshape(-1), mean=False)
    free = lattice.free_sites()
    ends = [free[0], free[-1]]
    sources = np.array([grid.index(site) for site in ends])

    asked = CostQuery(sources=sources, offsets=np.array([0.0, spread]), traced=True)
    search = cost_search(grid, costs, asked, GO)
    search.run(GO)

    near, far = (lattice.costly_distances(values.astype(float), [end], mean=False) for end in ends)
    expected = [
        min(near.get(site, np.inf), spread + far.get(site, np.inf)) for site in lattice.sites()
    ]
    assert search.lengths(ALL) == pytest.approx(expected, rel=1e-11)
    assert search.bytes_held < 60 * grid.sites + (1 << 17)
