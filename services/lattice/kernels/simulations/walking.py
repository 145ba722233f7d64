"""Many random walkers on a box: each steps along one axis at random, or stays at a wall."""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.compiled import kernel
from services.lattice.kernels.simulations.random import FIRST_HALF, Bits, counter, philox

NEVER = -1
_DRAWS = 4
"""The directions that one call of the generator gives, of 32 bits each."""
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@kernel
def walk(  # noqa: C901 - one step of one walker, in one loop
    places: NDArray[np.int64],
    moved: NDArray[np.int64],
    returned: NDArray[np.int64],
    arrived: NDArray[np.int64],
    lengths: NDArray[np.int64],
    rings: NDArray[np.uint8],
    target: NDArray[np.int64],
    blocked: NDArray[np.uint8],
    seed: int,
    step: int,
    step_count: int,
    first: int,
    last: int,
) -> None:
    """Take `step_count` steps with the walkers from `first` to before `last`.

    `places` and `moved` (walkers, axes) are coordinates and the way from the start, unwrapped;
    `returned` and `arrived` (walkers,) the first step at the start and at `target` (axes,), or
    (0,) for none, NEVER before; `blocked` one bit a site, or empty. 4 to 10 ns a step.
    """
    axes = lengths.shape[0]
    ways = np.uint64(2 * axes)
    has_target, has_walls = target.shape[0] > 0, blocked.shape[0] > 0
    for walker in range(first, last):
        low: Bits = np.uint64(0)
        high: Bits = np.uint64(0)
        is_drawn = False
        for now in range(step, step + step_count):
            draw = now % _DRAWS
            if draw == 0 or not is_drawn:
                low, high = philox(
                    np.uint64(seed), counter(now // _DRAWS, FIRST_HALF), np.uint64(walker)
                )
                is_drawn = True
            bits = low if draw < 2 else high
            bits = (bits >> _HALF) if draw % 2 else (bits & _LOW)
            way = np.int64((bits * ways) >> _HALF)
            axis, by = way >> 1, 1 - 2 * (way & 1)
            at = places[walker, axis]
            to = at + by
            if to < 0 or to >= lengths[axis]:
                if not rings[axis]:
                    to = at
                elif to < 0:
                    to = lengths[axis] - 1
                else:
                    to = 0
            if has_walls and to != at:
                index = np.int64(0)
                for each in range(axes):
                    here = to if each == axis else places[walker, each]
                    index = index * lengths[each] + here
                if (blocked[index >> 3] >> (index & 7)) & 1:
                    to = at
            if to != at:
                places[walker, axis] = to
                moved[walker, axis] += by
            if returned[walker] < 0 or (has_target and arrived[walker] < 0):
                is_back, is_there = True, has_target
                for each in range(axes):
                    if moved[walker, each] % lengths[each] != 0 or (
                        moved[walker, each] != 0 and not rings[each]
                    ):
                        is_back = False
                    if has_target and places[walker, each] != target[each]:
                        is_there = False
                if is_back and returned[walker] < 0 and to != at:
                    returned[walker] = now + 1
                if is_there and arrived[walker] < 0:
                    arrived[walker] = now + 1
