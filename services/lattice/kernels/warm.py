"""Compiles every kernel, or loads what was compiled before, ahead of the first call."""

import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.lattice.kernels.components import can_be_labelled, components_of
from services.lattice.kernels.counting import count_edges
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.grid import prepare
from services.lattice.kernels.searches import search_on
from services.lattice.kernels.wire import packed_numbers, run_messages


def compile_all() -> None:
    """Run every kernel once, with every type it is called with.

    Takes tens of seconds at first, then less than one. What is compiled is kept in
    NUMBA_CACHE_DIR, which must have been set before the compiler was imported; one process
    at a time compiles there, and others wait and load what it wrote.
    """
    cancel = np.zeros(1, np.uint8)
    with _sole_writer():
        for moore, ring in itertools.product((False, True), repeat=2):
            grid = prepare(
                (3, 3), (ring, ring), moore=moore, no_cutting=True, blocked=bytes([0b10000, 0])
            )
            count_edges(grid, cancel)
            path = search_on(grid).find((0, 0), (2, 2), cancel)
            path = path.listing(grid.shape, grid.periodic, (0, 0), 1)
            packed_numbers(path.sites)
            run_messages(path.run_steps, path.run_counts, 0)
            measure(grid, [(0, 0)], cancel)
            if can_be_labelled(grid):
                components_of(grid, cancel)
            # Too small to be padded, and large enough for it to cost little.
            for shape in ((2, 2), (24, 24)):
                bits = np.zeros((shape[0] * shape[1] + 7) // 8, np.uint8)
                square = prepare(shape, (ring, ring), moore=moore, no_cutting=True, blocked=bits)
                measure(square, [(0, 0)], cancel).at(slice(None))


@contextmanager
def _sole_writer() -> Iterator[None]:
    named = os.environ.get("NUMBA_CACHE_DIR")
    if not named:
        yield
        return
    directory = Path(named)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "compiling.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
