"""Sites from runs."""

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lattice.geometry import Geometry
from services.lattice.kernels.runs import expand


def moved(lattice: Geometry, site: Sequence[int], step: Sequence[int]) -> tuple[int, ...]:
    return tuple(
        (at + by) % length if wraps else at + by
        for at, by, length, wraps in zip(site, step, lattice.shape, lattice.periodic, strict=True)
    )


@given(
    st.lists(st.tuples(st.integers(1, 2**30), st.booleans()), min_size=1, max_size=2),
    st.integers(0, 40),
    st.data(),
)
def test_runs_expand_to_the_same_sites_as_step_by_step(
    axes: list[tuple[int, bool]], limit: int, data: st.DataObject
) -> None:
    shape, periodic = zip(*axes, strict=True)
    lattice = Geometry(shape, periodic, moore=True, no_cutting=True)
    site = st.tuples(*(st.integers(0, length - 1) for length in shape))
    start = data.draw(site)
    runs = lattice.runs(start, data.draw(site))
    steps = np.array([run.step for run in runs], np.int8).reshape(len(runs), len(shape))
    counts = np.array([run.count for run in runs], np.int64)

    sites = expand(shape, periodic, start, steps, counts, limit)

    every_step = (run.step for run in runs for _ in range(run.count))
    walk = itertools.accumulate(
        itertools.islice(every_step, limit), partial(moved, lattice), initial=start
    )
    assert [tuple(site) for site in sites.tolist()] == list(walk)[:limit]


@pytest.mark.parametrize("step", [-1, 1])
def test_the_longest_ring_is_crossed_without_overflow(step: int) -> None:
    length = 2**63 - 1
    start = 1 if step < 0 else length - 2

    sites = expand(
        (length,), (True,), (start,), np.array([[step]], np.int8), np.array([3], np.int64), 9
    )

    assert sites[:, 0].tolist() == [(start + step * taken) % length for taken in range(4)]
