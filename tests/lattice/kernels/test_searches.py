"""Paths on obstructed lattices, against the plainest search and by hand."""

import math
import sys

import numpy as np
import pytest

from services.lattice.kernels import jump, searches, straight
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.grid import prepare
from services.lattice.kernels.lengths import costs
from services.lattice.kernels.runs import Path
from services.lattice.kernels.searches import (
    DiagonalSearch,
    JumpSearch,
    Search,
    StraightSearch,
    search_on,
)
from services.lattice.kernels.slices import Cancelled
from tests.lattice.kernels.reference import Plain, Site, drawn, grid_of, random_lattice

GO = np.zeros(1, np.uint8)
STOP = np.ones(1, np.uint8)


def check(lattice: Plain, search: Search, start: Site, distances: dict[Site, float]) -> None:
    """Every free site is reached from `start` by allowed steps, in the length they cost."""
    for goal in lattice.free_sites():
        path = search.find(start, goal, GO)
        assert path.found == (goal in distances)
        if path.found:
            assert math.isclose(path.length, distances[goal], rel_tol=1e-9)
            check_steps(lattice, path, start, goal)


def check_steps(lattice: Plain, path: Path, start: Site, goal: Site) -> None:
    """Every step is allowed, they lead to the goal, and cost what the path is long."""
    at, steps, length = start, 0, 0.0
    for step, count in zip(path.run_steps.tolist(), path.run_counts.tolist(), strict=True):
        for _ in range(count):
            assert lattice.allows(at, tuple(step))
            moved = lattice.moved(at, tuple(step))
            assert moved is not None
            at, steps, length = moved, steps + 1, length + math.hypot(*step)
    assert (at, steps) == (goal, path.steps)
    assert math.isclose(length, path.length, rel_tol=1e-9)


@pytest.mark.parametrize("axis_count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(12))
def test_paths_agree_with_the_plainest_search(axis_count: int, seed: int) -> None:
    rng = np.random.default_rng([seed, axis_count])
    for _ in range(4):
        lattice = random_lattice(rng, axis_count, sites_max=60)
        search = search_on(grid_of(lattice))
        for start in lattice.free_sites()[::17]:
            check(lattice, search, start, lattice.distances([start]))


@pytest.mark.parametrize("seed", range(20))
def test_detours_across_odd_rings_are_no_longer_than_needed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for shape in ((5, 7), (9, 9), (3, 5, 5)):
        blocked = rng.random(shape) < 0.35
        lattice = Plain(blocked, (True,) * len(shape), moore=False, no_cutting=True)
        search = search_on(grid_of(lattice))
        for start in lattice.free_sites()[::5]:
            check(lattice, search, start, lattice.distances([start]))


@pytest.mark.parametrize(("moore", "no_cutting"), [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("seed", range(20))
def test_jumping_agrees_with_the_plainest_search(moore: bool, no_cutting: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for density in (0.05, 0.2, 0.4):
        blocked = rng.random(rng.integers(2, 16, 2)) < density
        lattice = Plain(blocked, (False, False), moore, no_cutting)
        search = JumpSearch(grid_of(lattice))
        for start in lattice.free_sites()[::31]:
            check(lattice, search, start, lattice.distances([start]))


@pytest.mark.parametrize(("moore", "no_cutting"), [(False, True), (True, True), (True, False)])
def test_jumps_cross_words_of_64_sites(moore: bool, no_cutting: bool) -> None:
    rng = np.random.default_rng(5)
    blocked = rng.random((150, 200)) < 0.04
    lattice = Plain(blocked, (False, False), moore, no_cutting)
    grid, free = grid_of(lattice), lattice.free_sites()
    jumping = JumpSearch(grid)
    plain = DiagonalSearch(grid) if moore else StraightSearch(grid)

    for _ in range(300):
        start, goal = (free[place] for place in rng.integers(len(free), size=2))
        result, expected = jumping.find(start, goal, GO), plain.find(start, goal, GO)
        assert result.length == pytest.approx(expected.length, rel=1e-12)
        check_steps(lattice, result, start, goal)


@pytest.mark.parametrize(
    ("density", "periodic", "moore", "kind"),
    [
        (0.0, False, False, JumpSearch),
        (0.3, False, False, StraightSearch),
        (0.3, False, True, JumpSearch),
        (0.0, True, False, StraightSearch),
        (0.0, True, True, DiagonalSearch),
    ],
)
def test_each_plane_gets_the_search_made_for_it(
    density: float, periodic: bool, moore: bool, kind: type[Search]
) -> None:
    blocked = np.random.default_rng(1).random((50, 50)) < density
    lattice = Plain(blocked, (periodic, False), moore, no_cutting=True)

    assert type(search_on(grid_of(lattice))) is kind


def test_axes_of_one_site_do_not_matter() -> None:
    blocked = drawn("..#..", ".##..", ".....")
    lattice = Plain(blocked.reshape(3, 1, 5, 1), 4 * (True,), moore=True, no_cutting=True)
    search = search_on(grid_of(lattice))

    check(lattice, search, (0, 0, 0, 0), lattice.distances([(0, 0, 0, 0)]))


def test_a_corner_is_cut_only_where_that_is_allowed() -> None:
    blocked = drawn(".#", "..")

    around = search_on(grid_of(Plain(blocked, (False, False), True, no_cutting=True)))
    across = search_on(grid_of(Plain(blocked, (False, False), True, no_cutting=False)))

    assert around.find((0, 0), (1, 1), GO).length == 2
    assert across.find((0, 0), (1, 1), GO).length == math.sqrt(2)


@pytest.mark.parametrize("moore", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_path_from_a_site_to_itself_has_no_steps(moore: bool, periodic: bool) -> None:
    lattice = Plain(drawn("...", ".#."), (periodic, periodic), moore, no_cutting=True)

    path = search_on(grid_of(lattice)).find((0, 1), (0, 1), GO)

    assert (path.found, path.length, path.steps, path.run_steps.shape) == (True, 0.0, 0, (0, 2))


@pytest.mark.parametrize("moore", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_that_there_is_no_path_is_an_answer(moore: bool, periodic: bool) -> None:
    lattice = Plain(drawn(".#.#", ".#.#", ".#.#"), (periodic, periodic), moore, no_cutting=True)

    path = search_on(grid_of(lattice)).find((0, 0), (0, 2), GO)

    assert (path.found, path.length, path.steps, len(path.run_counts)) == (False, 0.0, 0, 0)
    assert path.sites_expanded > 0


@pytest.mark.parametrize("moore", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_cancelled_search_stops_and_can_be_used_again(moore: bool, periodic: bool) -> None:
    lattice = Plain(np.zeros((9, 9), bool), (periodic, False), moore, no_cutting=True)
    search = search_on(grid_of(lattice))

    with pytest.raises(Cancelled):
        search.find((0, 0), (8, 4), STOP)

    check(lattice, search, (0, 0), lattice.distances([(0, 0)]))


@pytest.mark.parametrize("moore", [False, True])
@pytest.mark.parametrize("periodic", [False, True])
def test_stamps_that_run_out_begin_again(moore: bool, periodic: bool) -> None:
    lattice = Plain(drawn("....", ".##.", "...."), (periodic, False), moore, no_cutting=True)
    search = search_on(grid_of(lattice))
    search._stamp_max = 2

    for start in lattice.free_sites():
        check(lattice, search, start, lattice.distances([start]))


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("moore", [False, True])
def test_an_open_list_grows_with_what_waits(moore: bool, periodic: bool) -> None:
    blocked = np.random.default_rng(3).random((500, 501)) < 0.25
    blocked[249:252, 249:252] = True
    blocked[[0, 499]] = blocked[250, 250] = False
    grid = grid_of(Plain(blocked, (periodic, False), moore, no_cutting=True))
    search = search_on(grid)
    held = search.bytes_held

    enclosed = search.find((0, 0), (250, 250), GO)

    assert not enclosed.found
    assert search.bytes_held > held
    expected = measure(grid, [(0, 0)], GO).at(np.array([grid.index((499, 500))]))
    assert search.find((0, 0), (499, 500), GO).length == pytest.approx(expected[0], rel=1e-9)


def test_a_search_on_a_large_lattice_costs_what_it_looks_at() -> None:
    lattice = Plain(np.zeros((2000, 2000), bool), (False, False), moore=False, no_cutting=True)
    lattice.blocked[5, 5] = True

    path = search_on(grid_of(lattice)).find((0, 0), (10, 10), GO)

    assert path.sites_expanded < 40


def test_the_longest_length_leaves_room_for_stamps() -> None:
    assert straight.STAMP_MAX << straight.STAMP_SHIFT < 1 << 16
    assert (1 << 25) - 1 << straight.ENTRY_SHIFT | straight.STEP < 1 << 32
    assert 63 - ((1 << 25) * int(costs(2)[-1])).bit_length() - jump.LENGTH_SHIFT >= 5
    assert sys.maxsize == 2**63 - 1


def test_a_search_that_nobody_waits_for_is_not_made_to_the_end() -> None:
    grid = prepare((300, 300), (False, False), moore=True, no_cutting=True, blocked=b"")

    with pytest.raises(Cancelled):
        search_on(grid, STOP)


def test_lines_are_laid_out_alike_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    free = np.random.default_rng(seed=3).integers(0, 2, (37, 130)).astype(np.uint8)
    read = np.zeros(1, np.int64)
    whole = searches._lines(free, read, None)
    monkeypatch.setattr(searches, "_SITES_AT_ONCE", 300)

    np.testing.assert_array_equal(searches._lines(free, read, None).bits, whole.bits)
