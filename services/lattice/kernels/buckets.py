"""An open list without a heap: a ring of buckets, each a list in one shared pool."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import Int
from services.lattice.kernels.compiled import inlined, kernel

WAITING = 0
POOL_TOP = 1
UNUSED = 2
BUCKET = 3
REGISTERS = 4
NONE = -1


class Buckets(NamedTuple):
    """Sites by whole numbers that never fall; those in use span less than the ring."""

    heads: NDArray[np.int64]
    """Of shape (2^b,): the first place in the pool of each bucket."""
    sites: NDArray[np.uint32]
    """Of shape (capacity,): the pool."""
    follows: NDArray[np.int32]
    """Of shape (capacity,): the next place of the same bucket."""
    registers: NDArray[np.int64]
    """Of shape (4,): how many wait, the places ever used, the first unused again, the bucket."""


@kernel
def push(buckets: Buckets, bucket: Int, site: Int) -> None:
    """Add a site to a bucket, not below the one of the last `pop`. There must be room."""
    registers = buckets.registers
    place = registers[UNUSED]
    if place == NONE:
        place = registers[POOL_TOP]
        registers[POOL_TOP] += 1
    else:
        registers[UNUSED] = buckets.follows[place]
    ring = bucket & (buckets.heads.shape[0] - 1)
    buckets.sites[place] = site
    buckets.follows[place] = buckets.heads[ring]
    buckets.heads[ring] = place
    registers[WAITING] += 1


@inlined
def pop(buckets: Buckets) -> Int:
    """Take the latest site of the lowest bucket that has one. There must be one."""
    registers = buckets.registers
    mask = buckets.heads.shape[0] - 1
    while buckets.heads[registers[BUCKET] & mask] == NONE:
        registers[BUCKET] += 1
    ring = registers[BUCKET] & mask
    place = buckets.heads[ring]
    buckets.heads[ring] = buckets.follows[place]
    buckets.follows[place] = registers[UNUSED]
    registers[UNUSED] = place
    registers[WAITING] -= 1
    return np.int64(buckets.sites[place])
