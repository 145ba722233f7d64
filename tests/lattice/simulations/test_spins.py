"""Ising and Potts against exact values, and against themselves however they are run."""

import itertools

import numpy as np
import pytest

from services.lattice.kernels.simulations.random import philox_at
from services.lattice.simulations.models import Ising, Potts
from services.lattice.simulations.running import Run, RunPlan, rows_of_state
from services.lattice.simulations.threads import Threads
from tests.lattice.simulations.runs import box, deviation, run

CRITICAL = 2 / np.log(1 + np.sqrt(2))


@pytest.mark.parametrize(
    ("number", "first", "second"),
    [
        (0, 0xE169C58D6627E8D5, 0x9B00DBD8BC57AC4C),
        (2**64 - 1, 0x41C83B0E408F276D, 0x6D5451FDA20BC7C6),
    ],
)
def test_philox_gives_its_published_numbers(number: int, first: int, second: int) -> None:
    every, drawn = np.uint64(number), np.zeros(2, np.uint64)

    philox_at(every, every, every, drawn)  # type: ignore[arg-type] # all bits of it

    assert drawn.tolist() == [first, second]


@pytest.mark.parametrize(
    ("shape", "temperature", "exact"),
    [
        ((8, 8), 2.0, -1.7456831702931999),
        ((8, 8), CRITICAL, -1.4915891074397063),
        ((32, 32), 2.5, -1.1072916609775112),
    ],
)
def test_energies_of_metropolis_are_those_of_kaufman(
    shape: tuple[int, ...], temperature: float, exact: float
) -> None:
    done = run(box(*shape, ring=True), Ising(temperature), 12_000, every=1, discard=1_000)

    assert deviation(done.summary("energy"), exact) < 3


def test_energies_of_wolff_are_those_of_kaufman() -> None:
    done = run(box(8, 8, ring=True), Ising(CRITICAL, is_wolff=True), 20_000, every=2, discard=1_000)

    assert deviation(done.summary("energy"), -1.4915891074397063) < 3


def test_magnetisation_is_that_of_yang() -> None:
    model = Ising(2.0, is_ordered=True)

    done = run(box(64, 64, ring=True), model, 3_000, every=1, discard=500)

    assert done.summary("magnetisation_abs").mean == pytest.approx(0.911319377877496, abs=0.004)


@pytest.mark.parametrize("is_wolff", [False, True], ids=["metropolis", "wolff"])
def test_energies_of_potts_are_those_of_all_states(is_wolff: bool) -> None:
    done = run(box(2, 3), Potts(1.2, is_wolff, states=3), 40_000, every=2, discard=100)

    assert deviation(done.summary("energy"), _exact_energy(1.2)) < 3.5


@pytest.mark.parametrize(
    ("shape", "ring", "model"),
    [
        ((256, 1030), True, Ising(2.3)),
        ((20, 34, 66), True, Ising(4.5)),
        ((31, 33), False, Potts(1.0, states=4)),
        ((31, 33), True, Ising(2.3, is_wolff=True)),
    ],
    ids=["plane", "box", "potts", "wolff"],
)
def test_neither_threads_nor_interruptions_change_a_bit(
    shape: tuple[int, ...], ring: bool, model: Ising | Potts
) -> None:
    alone = run(box(*shape, ring=ring), model, 30, every=7)
    together = run(box(*shape, ring=ring), model, 30, every=7, threads=3)
    interrupted = run(box(*shape, ring=ring), model, 30, every=7, interrupted=True)
    another = run(box(*shape, ring=ring), model, 30, every=7, seed=8)

    assert np.array_equal(together.result, alone.result)
    assert np.array_equal(interrupted.result, alone.result)
    assert np.array_equal(interrupted.rows, alone.rows)
    assert not np.array_equal(another.result, alone.result)


def test_who_goes_on_from_a_state_is_told_only_what_is_recorded_since() -> None:
    plan = RunPlan(
        spec=box(6, 6), model=Potts(1.0), seed=1, steps=9, record_every=3, discard_steps=0
    )
    first, second = Run(plan, Threads(1)), Run(plan, Threads(1))
    first.go_on(10.0)

    second.restore(first.state())

    assert len(second.go_on(10.0).rows) == 0
    assert np.array_equal(rows_of_state(second.state())[1], rows_of_state(first.state())[1])


def test_energies_recorded_are_those_of_the_spins_left() -> None:
    for shape in ((6, 130), (4, 6, 66)):
        done = run(box(*shape, ring=True), Ising(3.0), 5)
        spins = done.result.astype(int)
        pairs = sum((spins * np.roll(spins, 1, axis)).sum() for axis in range(len(shape)))

        assert done.last["energy"] == pytest.approx(-pairs / spins.size)
        assert done.last["magnetisation"] == pytest.approx(spins.mean())


def _exact_energy(temperature: float) -> float:
    """The mean energy a site of three states on 2 x 3 open sites, by all 729 of them."""
    energies = []
    for states in itertools.product(range(3), repeat=6):
        spins = np.array(states).reshape(2, 3)
        rows = (spins[:, 1:] == spins[:, :-1]).sum()
        energies.append(-(rows + (spins[1:] == spins[:-1]).sum()))
    weights = np.exp(-np.array(energies) / temperature)
    return float((weights * energies).sum() / weights.sum() / 6)
