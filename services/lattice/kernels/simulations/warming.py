"""Runs every kernel of simulations once, with every type that it is called with."""

import numpy as np

from services.lattice.kernels.simulations import growing, sandpiles
from services.lattice.kernels.simulations.automata import SCRATCH_ROWS, step_graph, step_plane
from services.lattice.kernels.simulations.diffusing import diffuse_rows, rows_beside
from services.lattice.kernels.simulations.multispin import (
    Board,
    measure,
    packed,
    scratch,
    thresholds_at,
    turn_all,
    turn_block,
)
from services.lattice.kernels.simulations.random import draw_units
from services.lattice.kernels.simulations.spins import measure_spins, turn_clusters, turn_in_order
from services.lattice.kernels.simulations.walking import walk

_PAIR = np.array([0, 1, 2], np.int64), np.array([1, 0], np.int32)
"""The graph of two vertices and an edge."""


def compile_simulations() -> None:
    draw_units(0, 0, 0, 0, np.empty(1))
    _chequerboard()
    _spins()
    _cells()
    _boxes()
    _grains()


def _chequerboard() -> None:
    board, lanes = Board.of((4, 4)), scratch()
    words = packed(board, np.ones((4, 4), np.bool_))
    layout = (board.near, board.parity, board.bits)
    chances = thresholds_at(1.0)
    turn_block(words, *layout, board.rows_per_block, chances, 0, 0, 0, 0, lanes)
    turn_all(words, *layout, board.rows_per_block, chances, 0, 0, 1, lanes)
    measure(words, *layout, np.zeros(2, np.int64))


def _spins() -> None:
    spins, sums = np.zeros(2, np.uint8), np.zeros(2, np.int64)
    turn_in_order(*_PAIR, spins, 2, np.ones(2), 0, 0, 0, 2)
    turn_clusters(*_PAIR, spins, 2, 0.5, 0, 0, 1, 1, np.empty(2, np.int32), sums)
    measure_spins(*_PAIR, spins, sums)


def _cells() -> None:
    cells, rings = np.zeros((2, 1), np.uint64), np.zeros(2, np.uint8)
    lanes = np.empty((SCRATCH_ROWS, 1), np.uint64)
    free = np.empty((0, 0), np.uint64)
    step_plane(cells, np.empty_like(cells), free, 2, rings, 8, 12, 0, 2, lanes)
    few, rule = np.zeros(2, np.uint8), np.zeros((2, 2), np.uint8)
    step_graph(*_PAIR, few, np.empty_like(few), rule, 0, 2)


def _boxes() -> None:
    values, free = np.zeros((2, 2)), np.empty((0, 0), np.uint8)
    near = rows_beside((2, 2), (False, False))
    diffuse_rows(values, np.empty_like(values), near, False, 0.1, np.empty((0, 0)), free, 0, 2)
    places, never = np.zeros((1, 1), np.int64), np.full(1, -1, np.int64)
    lengths, rings = np.full(1, 2, np.int64), np.zeros(1, np.uint8)
    blocked = np.frombuffer(b"", np.uint8)
    walk(
        places,
        np.zeros_like(places),
        never,
        never.copy(),
        lengths,
        rings,
        np.empty(0, np.int64),
        blocked,
        0,
        0,
        1,
        0,
        1,
    )


def _grains() -> None:
    heights, stack, sums = np.zeros(2, np.int32), np.zeros(2, np.int32), np.zeros(3, np.int64)
    sandpiles.drop_grains(*_PAIR, heights, 4, -1, 0, 0, 1, 1, stack, sums)
    sums[:] = 0, 1, 1
    joined, keys = np.zeros(2, np.int32), np.empty(2, np.uint64)
    growing.draw_keys(0, keys)
    growing.invade(*_PAIR, joined, keys, 0, 1, stack, sums)
    growing.grow_shells(*_PAIR, joined, 0.5, 0, 0, 1, stack, heights, sums)
