"""Random numbers by counters: what is drawn depends on a seed and a place alone.

Philox 4x32 with ten rounds (Salmon, Moraes, Dror, Shaw 2011) gives 128 bits of any counter at
once. Where a group of sites draws many, these seed a generator of its own for that group and that
step (SFC64, Doty-Humphrey), which is some times as fast.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import Untyped, inlined, kernel

Bits: TypeAlias = Untyped
"""A uint64, which is no number to Python's types and is one to the compiler."""

LANES = 8
"""So many generators side by side, which the compiler makes vectors of."""
LANE_ROWS = 4
"""The rows of an array of uint64 of shape (rows, LANES) that holds their states."""
DRAWN = 3
"""The row of what was drawn last."""

START = 0
"""The phases of a step that draw apart from each other: what a simulation starts from,"""
FIRST_HALF = 1
"""the first half of the sites, or all,"""
SECOND_HALF = 2
"""and the second."""
PHASES = 4

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_WARM_UP = 12
_UNIT = 2.0**-53
_ELEVEN = np.uint64(11)
_TO_ROTATE, _BACK = np.uint64(24), np.uint64(40)
_THREE = np.uint64(3)


@inlined
def philox(seed: Bits, high: Bits, low: Bits) -> tuple[Bits, Bits]:
    """128 bits, in two halves, of the counter (high, low) under the key `seed`."""
    c0, c1, c2, c3 = low & _LOW, low >> _HALF, high & _LOW, high >> _HALF
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(10):
        p0, p1 = _M0 * c0, _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0 | (c1 << _HALF), c2 | (c3 << _HALF)


@inlined
def counter(step: int, phase: int) -> Bits:
    """The high half of the counters of a step and a phase of it."""
    return np.uint64(step) * np.uint64(PHASES) + np.uint64(phase)


@inlined
def unit(bits: Bits) -> Untyped:
    """64 bits as a number of [0, 1)."""
    return np.float64(bits >> _ELEVEN) * _UNIT


@inlined
def seed_lanes(lanes: NDArray[np.uint64], seed: Bits, high: Bits, block: int) -> None:
    """Begin the generators of a block, of which `lanes` (LANE_ROWS, LANES) is the state."""
    for lane in range(LANES):
        first, second = philox(seed, high, np.uint64(block) * np.uint64(LANES) + np.uint64(lane))
        lanes[0, lane], lanes[1, lane], lanes[2, lane] = first, second, first ^ second
    for round_ in range(_WARM_UP):
        turn_lanes(lanes, np.uint64(round_ + 1))


@inlined
def turn_lanes(lanes: NDArray[np.uint64], count: Bits) -> None:
    """Draw 64 bits from each generator, for the `count`th time, into the row DRAWN."""
    for lane in range(LANES):
        a, b, c = lanes[0, lane], lanes[1, lane], lanes[2, lane]
        drawn = a + b + count
        lanes[DRAWN, lane] = drawn
        lanes[0, lane] = b ^ (b >> _ELEVEN)
        lanes[1, lane] = c + (c << _THREE)
        lanes[2, lane] = ((c << _TO_ROTATE) | (c >> _BACK)) + drawn


@kernel
def philox_at(seed: int, high: int, low: int, drawn: NDArray[np.uint64]) -> None:
    """What `philox` gives, for who asks from outside of kernels; `drawn` has shape (2,)."""
    drawn[0], drawn[1] = philox(np.uint64(seed), np.uint64(high), np.uint64(low))


@kernel
def draw_units(seed: int, step: int, phase: int, first: int, drawn: NDArray[np.float64]) -> None:
    """Fill `drawn` (n,) with numbers of [0, 1) of the places from `first` on. 5 ns each."""
    high = counter(step, phase)
    for place in range(drawn.shape[0]):
        bits, _ = philox(np.uint64(seed), high, np.uint64(first + place))
        drawn[place] = unit(bits)
