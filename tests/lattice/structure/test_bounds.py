"""An answer takes what was reserved for it, and ends soon once nobody waits."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from services.lattice.computing.compute import Stop, Stopped
from services.lattice.errors import WorkTooLarge
from services.lattice.kernels import slices
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.slices import Cancelled
from services.lattice.kernels.structure.free import centralities
from services.lattice.kernels.structure.free.axes import Axis, log_spanning_trees
from services.lattice.kernels.structure.free.centralities import share_tables
from services.lattice.kernels.structure.graph.percolation import spanning_probabilities
from services.lattice.kernels.structure.graph.rows import rows_of
from services.lattice.kernels.structure.graph.trees import cheapest_tree, rising
from services.lattice.operations.context import OperationContext
from services.lattice.structure.percolation import percolate, sweep_query
from tests.lattice.kernels.reference import Plain, grid_of
from tests.lattice.worlds import blocked_spec, geometry, held, operations_on, spec

GO = np.zeros(1, np.uint8)


class SetLater:
    """The flag of a `Stop`: set once it has been looked at so often."""

    def __init__(self, looks: int) -> None:
        self.looks_left = looks

    def __getitem__(self, _: int) -> int:
        self.looks_left -= 1
        return int(self.looks_left < 0)


def set_later(looks: int) -> Any:
    return SetLater(looks)


def test_many_shares_take_no_memory_of_their_own() -> None:
    thresholds, shares = np.full(100_000, 3), np.linspace(0, 1, 200)

    tracemalloc.start()
    try:
        spanning_probabilities(thresholds, 4, shares, GO)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 64 * len(thresholds)


async def test_shares_of_open_sites_count_as_work(operations: OperationContext) -> None:
    requested = spec(2, 2)
    operations = operations_on(operations.compute, looks_max=10**8)
    query = sweep_query(requested, 100_000, 1, 0, [0.5] * 1_000)

    with pytest.raises(WorkTooLarge) as refusal:
        await percolate(operations, held(requested), query)

    assert int(refusal.value.metadata["estimate"]) > 100_000 * 1_000


def test_many_terms_of_spanning_trees_take_little_memory() -> None:
    tracemalloc.start()
    try:
        log_spanning_trees(geometry(1_000, 1_000, 1_000), lambda: None)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 8 << 20


def test_terms_of_spanning_trees_are_given_up_between_some_and_others() -> None:
    stop, terms = Stop(), 1_000 * 1_000
    stop.flag = set_later(terms >> 16)

    with pytest.raises(Stopped):
        log_spanning_trees(geometry(1_000, 1_000, 1_000), stop.check)


def test_a_cheapest_tree_is_given_up_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "LOOKS_PER_SLICE", 256)
    frame = blocked_spec(geometry(20, 20), 0.1, seed=1)
    grid = grid_of(Plain.of(frame))
    rows = rows_of(grid, count_edges(grid, GO), GO)
    costs = np.random.default_rng(1).random(rows.count)
    flag = set_later(10**9)
    edges = len(rows.neighbours) // 2

    cheapest_tree(rows, costs, flag)

    looks = 10**9 - flag.looks_left
    # Prices are gone through once for each byte that differs.
    assert looks > 7 * edges // 128
    for looks_left in range(0, looks, 5):
        with pytest.raises(Cancelled):
            cheapest_tree(rows, costs, set_later(looks_left))


@pytest.mark.parametrize("ring", [True, False])
def test_betweenness_is_given_up_between_some_nodes_and_others(
    monkeypatch: pytest.MonkeyPatch,
    ring: bool,
) -> None:
    monkeypatch.setattr(centralities, "_TERMS_AT_ONCE", 3 * 9**2)
    axis, nodes = Axis(9, ring), np.linspace(0.1, 0.9, 10)
    stop = Stop()

    stop.flag = set_later(4)
    whole = share_tables(axis, nodes, stop.check)

    for looks in range(4):
        stop.flag = set_later(looks)
        with pytest.raises(Stopped):
            share_tables(axis, nodes, stop.check)
    monkeypatch.undo()
    np.testing.assert_array_equal(whole, share_tables(axis, nodes, lambda: None))


@pytest.mark.parametrize("kind", ["any", "whole", "alike", "none"])
def test_prices_rise_as_a_stable_sort_has_them(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = {
        "any": np.concatenate((rng.random(999) * 10.0 ** rng.integers(-300, 300, 999), [math.inf])),
        "whole": rng.integers(0, 9, 1_000) / 2 * rng.choice([1.0, -0.0], 1_000),
        "alike": np.ones(1_000),
        "none": np.zeros(0),
    }[kind]

    assert rising(values, GO).tolist() == np.argsort(values, kind="stable").tolist()


def test_shares_are_given_up_between_two_of_them() -> None:
    with pytest.raises(Cancelled):
        spanning_probabilities(np.arange(5), 5, np.full(10, 0.5), set_later(9))

    spanning_probabilities(np.arange(5), 5, np.full(10, 0.5), set_later(10))
