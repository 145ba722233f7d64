"""Automata, diffusion, walks, sandpiles and growth against exact values and plain code."""

import heapq
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from services.lattice.domain import LatticeSpec
from services.lattice.kernels.simulations.random import START, draw_units
from services.lattice.simulations.automata import GraphAutomaton, PlaneAutomaton
from services.lattice.simulations.models import (
    AnyModel,
    CellularAutomaton,
    Diffusion,
    PercolationGrowth,
    RandomWalks,
    Sandpile,
)
from services.lattice.simulations.rule import Rule, read_rule
from services.lattice.simulations.series import blocking_error
from services.lattice.simulations.simulation import Setup
from services.lattice.simulations.threads import Threads
from services.plumbing.errors import InvalidInput, Violations
from tests.lattice.simulations.runs import box, run

LIFE = Rule(frozenset({3}), frozenset({2, 3}))


def test_the_r_pentomino_has_116_cells_at_generation_1103() -> None:
    cells = np.zeros((800, 800), np.uint8)
    cells[400:403, 400:403] = [[0, 1, 1], [1, 1, 0], [0, 1, 0]]

    done = run(box(800, 800, moore=True), CellularAutomaton(LIFE), 1_103, initial=cells)

    assert done.last["population"] == 116


@pytest.mark.parametrize("ring", [False, True], ids=["open", "ring"])
@pytest.mark.parametrize("text", ["B3/S23", "B36/S23", "B2/S", "B3678/S34678"])
def test_64_cells_at_once_are_the_same_as_one_at_a_time(text: str, ring: bool) -> None:
    model = CellularAutomaton(_rule(text))
    for shape in ((13, 70), (5, 64), (40, 131)):
        setup = Setup(box(*shape, ring=ring, moore=True), 3, Threads(2))
        at_once, one_by_one = PlaneAutomaton(model, setup), GraphAutomaton(model, setup)

        at_once.advance(0, 9)
        one_by_one.advance(0, 9)

        assert np.array_equal(at_once.result(), one_by_one.result())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("3/23", "must be as in B3/S23"),
        ("B3S23", "must be as in B3/S23"),
        ("B3,/S2", "must be as in B3/S23"),
        ("B9/S23", "must have no number above 8"),
        ("B0/S23", "must not have 0 behind B"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(text: str, what: str) -> None:
    bad = Violations()

    read_rule(text, 8, "rule", bad)

    with pytest.raises(InvalidInput, match=what):
        bad.raise_if_any()


@pytest.mark.parametrize("ring", [False, True], ids=["open", "ring"])
def test_diffusion_is_the_closed_form(ring: bool) -> None:
    shape, steps, share = (5, 6, 7), 50, 0.15
    initial = np.random.default_rng(1).random(shape)

    done = run(box(*shape, ring=ring), Diffusion(1.5, 0.1), steps, initial=initial)

    closed = initial
    for axis, length in enumerate(shape):
        closed = np.moveaxis(np.tensordot(_basis(length, ring), closed, (1, axis)), 0, axis)
    lengths = np.ix_(*(_eigenvalues(length, ring) for length in shape))
    closed = closed * (1 - share * sum(lengths)) ** steps
    for axis, length in enumerate(shape):
        closed = np.moveaxis(np.tensordot(_basis(length, ring).T, closed, (1, axis)), 0, axis)
    np.testing.assert_allclose(done.result, closed, atol=1e-12)


def test_diffusion_with_walls_and_sources_is_the_plainest_code() -> None:
    rng = np.random.default_rng(2)
    walls, initial, source = rng.random((9, 11)) < 0.3, rng.random((9, 11)), rng.random((9, 11))
    spec, model = box(9, 11, blocked=walls), Diffusion(1.0, 0.2)

    done = run(spec, model, 25, initial=initial, source=source, threads=2)

    values = initial.copy()
    for _ in range(25):
        gains = np.where(walls, 0.0, 0.2 * source)
        for axis in range(2):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            a, b = tuple(ahead), tuple(behind)
            flow = np.where(walls[a] | walls[b], 0.0, 0.2 * (values[a] - values[b]))
            gains[b] += flow
            gains[a] -= flow
        values = values + gains
    np.testing.assert_allclose(done.result, values, atol=1e-12)


def test_walkers_of_three_dimensions_return_as_polya_says() -> None:
    endless = box(2**20, 2**20, 2**20, ring=True)

    done = run(endless, RandomWalks(20_000, (2**19,) * 3), 1_000)

    # Some 1 % of those that return do so later.
    assert done.last["returned"] == pytest.approx(0.3405373295509991, abs=0.015)
    assert done.last["mean_squared_displacement"] == pytest.approx(1_000, rel=0.03)


def test_walkers_stay_on_free_sites_and_reach_the_far_end_of_a_corridor() -> None:
    walls = np.zeros((3, 9), np.bool_)
    walls[0], walls[2] = True, True

    done = run(box(3, 9, blocked=walls), RandomWalks(500, (1, 0), (1, 8)), 4_000)

    assert done.result.sum() == 500
    assert done.result[walls].sum() == 0
    assert done.last["arrived"] == 1.0
    # Of an axis along which half of the steps go: 2 (L^2 - L) with L = 9 sites.
    assert done.last["mean_first_passage"] == pytest.approx(2 * 72, rel=0.15)


def test_a_sandpile_loses_what_falls_beyond_its_mean_height() -> None:
    done = run(box(40, 40), Sandpile(), 20_000, every=1, discard=8_000)

    assert done.result.max() < 4
    assert done.result.sum() + done.last["lost"] == 20_000
    assert done.summary("height").mean == pytest.approx(17 / 8, abs=0.04)


@pytest.mark.parametrize(
    "model", [PercolationGrowth((15, 20), 0.6), PercolationGrowth((15, 20))], ids=str
)
def test_clusters_grow_as_the_plainest_code_grows_them(model: PercolationGrowth) -> None:
    spec = box(30, 40, ring=True)
    units = np.empty(1_200)
    draw_units(7, 0, START, 0, units)

    done = run(spec, model, 25)

    grown = _shells(spec, units, 0.6, 25) if model.probability else _invaded(spec, units, 25)
    assert np.array_equal(done.result.ravel(), grown)


def test_invasion_takes_in_the_threshold() -> None:
    done = run(box(500, 500, ring=True), PercolationGrowth((250, 250)), 100_000)

    assert done.last["share"] == pytest.approx(0.59274605, abs=0.012)


@pytest.mark.parametrize(
    "model",
    [
        CellularAutomaton(LIFE),
        Diffusion(1.0, 0.2),
        RandomWalks(3_000, (3, 3)),
        Sandpile(),
        PercolationGrowth((3, 3), 0.7),
        PercolationGrowth((3, 3)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_neither_threads_nor_interruptions_change_a_bit(model: AnyModel) -> None:
    spec = box(70, 90, moore=isinstance(model, CellularAutomaton))

    alone = run(spec, model, 60, every=9)
    together = run(spec, model, 60, every=9, threads=3)
    interrupted = run(spec, model, 60, every=9, interrupted=True)

    assert np.array_equal(together.result, alone.result)
    assert np.array_equal(interrupted.result, alone.result)
    np.testing.assert_array_equal(interrupted.rows, alone.rows)


def test_errors_of_means_count_what_records_have_in_common() -> None:
    rng, values, value = np.random.default_rng(5), [], 0.0
    for noise in rng.standard_normal(40_000):
        value = 0.9 * value + noise
        values.append(value)

    # Of an autoregression: 1 / ((1 - 0.9) sqrt n).
    assert blocking_error(np.array(values)) == pytest.approx(10 / 200, rel=0.25)


def _rule(text: str) -> Rule:
    return read_rule(text, 8, "rule", Violations())


def _eigenvalues(length: int, ring: bool) -> NDArray[np.float64]:
    """Of the Laplacian of a path or a ring."""
    turns = (2 * ((np.arange(length) + 1) // 2) if ring else np.arange(length)) / length
    return np.asarray(2 - 2 * np.cos(np.pi * turns))


def _basis(length: int, ring: bool) -> NDArray[np.float64]:
    """The eigenvectors, orthonormal, as rows."""
    sites = np.arange(length)
    if ring:
        waves = [
            (np.sin if k % 2 == 0 and k else np.cos)(2 * np.pi * ((k + 1) // 2) * sites / length)
            for k in range(length)
        ]
    else:
        waves = [np.cos(np.pi * k * (sites + 0.5) / length) for k in range(length)]
    return np.array([wave / np.linalg.norm(wave) for wave in waves])


def _beside(spec: LatticeSpec, site: int) -> Iterator[int]:
    rows, columns = spec.geometry.shape
    row, column = divmod(site, columns)
    for by_row, by_column in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        yield (row + by_row) % rows * columns + (column + by_column) % columns


def _shells(
    spec: LatticeSpec, units: NDArray[np.float64], chance: float, steps: int
) -> NDArray[np.int32]:
    grown, origin = np.zeros(len(units), np.int32), 15 * 40 + 20
    grown[origin] = 1
    queue = deque([origin])
    while queue:
        site = queue.popleft()
        for near in _beside(spec, site):
            if grown[near] == 0 and units[near] < chance and grown[site] <= steps:
                grown[near] = grown[site] + 1
                queue.append(near)
    return grown


def _invaded(spec: LatticeSpec, units: NDArray[np.float64], steps: int) -> NDArray[np.int32]:
    grown, origin = np.zeros(len(units), np.int32), 15 * 40 + 20
    heap, seen = [(0.0, origin)], {origin}
    for step in range(steps + 1):
        _, site = heapq.heappop(heap)
        grown[site] = step + 1
        for near in _beside(spec, site):
            if near not in seen:
                seen.add(near)
                heapq.heappush(heap, (float(units[near]), near))
    return grown
