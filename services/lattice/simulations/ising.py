"""The Ising model on a chequerboard, 64 spins at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.simulations import multispin
from services.lattice.kernels.simulations.multispin import Board
from services.lattice.simulations.models import Ising
from services.lattice.simulations.simulation import Arrays, Setup, start_units


class MultispinIsing:
    """Metropolis on a periodic box of two or three axes of even length."""

    def __init__(self, model: Ising, setup: Setup) -> None:
        geometry = setup.spec.geometry
        self._seed, self._threads = setup.seed, setup.threads
        self._board = Board.of(geometry.shape)
        self._thresholds = multispin.thresholds_at(model.temperature)
        self._scratches = [multispin.scratch() for _ in range(setup.threads.count)]
        self._sites, self._axes = geometry.sites, len(geometry.shape)
        self._words = multispin.packed(self._board, _start(model, setup))

    def advance(self, step: int, count: int) -> int:
        board = self._board
        if self._threads.count > 1 and board.blocks > 1:
            for now in range(step, step + count):
                for colour in range(2):
                    self._turn(now, colour)
            return count
        multispin.turn_all(
            self._words,
            board.near,
            board.parity,
            board.bits,
            board.rows_per_block,
            self._thresholds,
            self._seed,
            step,
            count,
            self._scratches[0],
        )
        return count

    def observe(self) -> Sequence[float]:
        sums, board = np.zeros(2, np.int64), self._board
        multispin.measure(self._words, board.near, board.parity, board.bits, sums)
        differing, up = sums.tolist()
        energy = (2 * differing - self._axes * self._sites) / self._sites
        magnetisation = (2 * up - self._sites) / self._sites
        return energy, magnetisation, abs(magnetisation)

    def arrays(self) -> Arrays:
        return {"words": self._words}

    def restore(self, arrays: Arrays) -> None:
        self._words[...] = arrays["words"]

    def result(self) -> NDArray[np.generic]:
        return (2 * multispin.unpacked(self._board, self._words).astype(np.int16) - 1).astype("<i2")

    def _turn(self, step: int, colour: int) -> None:
        """One half step, its blocks shared among the threads."""
        board = self._board

        def turn(first: int, last: int, thread: int) -> None:
            for block in range(first, last):
                multispin.turn_block(
                    self._words,
                    board.near,
                    board.parity,
                    board.bits,
                    board.rows_per_block,
                    self._thresholds,
                    self._seed,
                    step,
                    colour,
                    block,
                    self._scratches[thread],
                )

        self._threads.share(board.blocks, turn)


def _start(model: Ising, setup: Setup) -> NDArray[np.bool_]:
    """Which spins are up at first, in the lattice's shape."""
    shape = setup.spec.geometry.shape
    if "initial" in setup.inputs:
        return np.asarray(setup.inputs["initial"] > 0)
    if model.is_ordered:
        return np.ones(shape, np.bool_)
    return (start_units(setup, setup.spec.geometry.sites) < 0.5).reshape(shape)
