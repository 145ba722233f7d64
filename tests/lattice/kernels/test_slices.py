"""Kernels that run a slice at a time."""

import numpy as np
import pytest

from services.lattice.kernels import slices
from services.lattice.kernels.axes import EXHAUSTED, OPEN_LIST_FULL, REACHED, SLICE_ENDED
from services.lattice.kernels.fields.distances import measure
from services.lattice.kernels.searches import search_on
from services.lattice.kernels.slices import Cancelled, run_slices
from tests.lattice.kernels.reference import grid_of, random_lattice

GO = np.zeros(1, np.uint8)


@pytest.mark.parametrize("seed", range(30))
def test_answers_do_not_depend_on_the_slices(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    lattice = random_lattice(rng, 1 + seed % 3, sites_max=400)
    grid, free = grid_of(lattice), lattice.free_sites()
    if not free:
        return
    start, goal = (free[place] for place in rng.integers(len(free), size=2))
    path, answer = search_on(grid).find(start, goal, GO), measure(grid, [start], GO)

    monkeypatch.setattr(slices, "LOOKS_PER_SLICE", 1)
    sliced = search_on(grid).find(start, goal, GO)

    assert (sliced.length, sliced.sites_expanded) == (path.length, path.sites_expanded)
    everywhere = slice(None)
    again = measure(grid, [start], GO)
    np.testing.assert_array_equal(again.at(everywhere), answer.at(everywhere))


def test_a_computation_stops_at_the_end_of_the_slice_it_is_cancelled_in() -> None:
    cancel, slices_run = np.zeros(1, np.uint8), []

    def go_on(budget: int) -> tuple[int, int]:
        slices_run.append(budget)
        cancel[0] = len(slices_run) == 3
        return SLICE_ENDED, 1

    with pytest.raises(Cancelled):
        run_slices(go_on, 1, cancel)

    assert len(slices_run) == 3


def test_what_is_expanded_is_summed_and_room_made_when_asked_for() -> None:
    answers = iter([(SLICE_ENDED, 3), (OPEN_LIST_FULL, 4), (OPEN_LIST_FULL, 0), (REACHED, 5)])
    enlarged: list[int] = []

    status, expanded = run_slices(lambda _: next(answers), 1, GO, lambda: enlarged.append(1))

    assert (status, expanded, len(enlarged)) == (REACHED, 12, 2)
    assert run_slices(lambda _: (EXHAUSTED, 0), 1, GO) == (EXHAUSTED, 0)
