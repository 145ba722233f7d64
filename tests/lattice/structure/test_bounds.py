"""An answer takes what was reserved for it, and ends soon once nobody waits."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from services.lattice.computing.compute import Stop, Stopped
from services.lattice.errors import WorkTooLarge
from services.lattice.kernels.slices import Cancelled
from services.lattice.kernels.structure.free.axes import log_spanning_trees
from services.lattice.kernels.structure.graph.percolation import spanning_probabilities
from services.lattice.operations.context import OperationContext
from services.lattice.structure.percolation import percolate, sweep_query
from tests.lattice.worlds import geometry, held, operations_on, spec

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


def test_shares_are_given_up_between_two_of_them() -> None:
    with pytest.raises(Cancelled):
        spanning_probabilities(np.arange(5), 5, np.full(10, 0.5), set_later(9))

    spanning_probabilities(np.arange(5), 5, np.full(10, 0.5), set_later(10))
