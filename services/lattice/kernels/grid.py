"""A lattice with blocked sites, laid out as the kernels want it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels import lengths
from services.lattice.kernels.axes import STRIDE, GridArrays


@dataclass(frozen=True, eq=False)
class Grid:
    """A lattice with blocked sites, at most 2^25 in all. Made by `prepare`, then never changed.

    Any number of searches may share it.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    moore: bool
    no_cutting: bool
    blocked: NDArray[np.uint8]
    """One bit per site in C order, the least significant bit of a byte first."""
    kept: tuple[int, ...]
    """The axes of more than one site: the kernels know no other."""
    axes: NDArray[np.int64]
    """As in `GridArrays.axes`."""
    costs: NDArray[np.int64]
    """The cost of a step in units, by the number of axes it moves on."""

    @property
    def arrays(self) -> GridArrays:
        """The arrays that the kernels take."""
        return GridArrays(self.blocked, self.axes, 1.0 / self.axes[:, STRIDE])

    @property
    def sites(self) -> int:
        """How many sites there are, blocked ones included."""
        return math.prod(self.shape)

    @property
    def diagonal(self) -> bool:
        """Steps may lead along several axes at once."""
        return self.moore and len(self.kept) > 1

    @property
    def exact_length(self) -> float:
        """Up to which length no other path is shorter than one that costs least."""
        return lengths.exact_length(len(self.kept)) if self.diagonal else math.inf

    @property
    def bytes_held(self) -> int:
        """The memory of its arrays, in bytes."""
        return self.blocked.nbytes + self.axes.nbytes + self.costs.nbytes

    @property
    def length_bits(self) -> int:
        """How many bits the length of a path takes, in units."""
        return int(self.sites * self.costs[-1]).bit_length()

    def index(self, site: Sequence[int]) -> int:
        """The C-order index of a site."""
        index = 0
        for at, length in zip(site, self.shape, strict=True):
            index = index * length + at
        return index

    def coordinates(self, site: Sequence[int]) -> NDArray[np.int64]:
        """The coordinates of a site along the axes the kernels know."""
        return np.array([site[axis] for axis in self.kept], np.int64)


def prepare(
    shape: Sequence[int],
    periodic: Sequence[bool],
    *,
    moore: bool,
    no_cutting: bool,
    blocked: bytes | NDArray[np.uint8],
) -> Grid:
    """Make a grid from a bitmap, one bit per site as in `Grid.blocked`; it is not copied.

    An empty bitmap blocks no site, and a bit per site is held for it all the same.
    """
    # Read-only whatever it came as: to the compiler that is another type than writable.
    bits = np.frombuffer(blocked if len(blocked) else bytes((math.prod(shape) + 7) // 8), np.uint8)
    bits.flags.writeable = False
    kept = tuple(axis for axis, length in enumerate(shape) if length > 1)
    return Grid(
        shape=tuple(shape),
        periodic=tuple(periodic),
        moore=moore,
        no_cutting=no_cutting,
        blocked=bits,
        kept=kept,
        axes=_axes(shape, periodic, kept),
        costs=lengths.costs(len(kept)),
    )


def _axes(shape: Sequence[int], periodic: Sequence[bool], kept: Sequence[int]) -> NDArray[np.int64]:
    rows = [
        (shape[axis], math.prod(shape[axis + 1 :]), periodic[axis] and shape[axis] > 2)
        for axis in kept
    ]
    return np.array(rows, np.int64).reshape(len(kept), 3)
