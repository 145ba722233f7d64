"""How a lattice is cut into slabs: some planes of the first axis that has more than one site."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.region import Lengths
from services.lattice.kernels.grid import Grid, prepare
from services.lattice.kernels.structure.graph.clusters import bytes_to_cluster


@dataclass(frozen=True)
class Slabs:
    """How a lattice is cut."""

    shape: Lengths
    periodic: tuple[bool, ...]
    no_cutting: bool
    rows: int
    """Planes of a slab; the last one may have fewer."""

    @property
    def axis(self) -> int:
        """The one that is cut."""
        return next(axis for axis, length in enumerate(self.shape) if length > 1)

    @property
    def plane(self) -> int:
        """Sites of a plane."""
        return prod(self.shape[self.axis + 1 :])

    @property
    def is_ring(self) -> bool:
        """The last plane is beside the first."""
        return self.periodic[self.axis] and self.shape[self.axis] > 2

    @property
    def begins(self) -> range:
        """The first plane of each slab."""
        return range(0, self.shape[self.axis], self.rows)

    @property
    def looks(self) -> int:
        """The time of all of them, as looks: sites of runs count less than a look."""
        sites = prod(self.shape)
        beside = zip(self.periodic[self.axis + 1 :], self.shape[self.axis + 1 :], strict=True)
        rings = sum(ring and length > 2 for ring, length in beside)
        return sites * (1 + rings * (1 + 2 * len(self.shape)))

    def tasks(self, blocked: bytes, components_max: int) -> Iterator["SlabTask"]:
        """What a worker is told of each slab."""
        bits = np.frombuffer(blocked, np.uint8)
        for begin in self.begins:
            end = min(begin + self.rows, self.shape[self.axis])
            yield SlabTask(
                slabs=self,
                begin=begin,
                end=end,
                blocked=_bits_between(bits, begin * self.plane, end * self.plane),
                components_max=components_max,
            )


@dataclass(frozen=True)
class SlabTask:
    """A slab, and which of its sites are blocked."""

    slabs: Slabs
    begin: int
    end: int
    blocked: bytes = field(repr=False)
    components_max: int

    @property
    def is_first(self) -> bool:
        return self.begin == 0

    @property
    def is_last(self) -> bool:
        return self.end == self.slabs.shape[self.slabs.axis]

    @property
    def grid(self) -> Grid:
        slabs = self.slabs
        shape, periodic = list(slabs.shape), list(slabs.periodic)
        shape[slabs.axis], periodic[slabs.axis] = self.end - self.begin, False
        return prepare(
            shape, periodic, moore=False, no_cutting=slabs.no_cutting, blocked=self.blocked
        )


def slabs_of(grid: Grid, task_bytes: int, multiple: int = 1) -> Slabs | None:
    """How a grid is cut for workers, into multiples of so many planes; None where its components
    are no runs that meet at planes, or where so many do not fit."""
    if len(grid.kept) < 2 or (grid.diagonal and not grid.no_cutting):
        return None
    axis = grid.kept[0]
    plane_bytes = bytes_to_cluster(grid) // grid.shape[axis]
    most = task_bytes // (multiple * plane_bytes)
    if not most:
        return None
    multiples = -(-grid.shape[axis] // multiple)
    rows = multiple * -(-multiples // -(-multiples // most))
    return Slabs(grid.shape, grid.periodic, grid.no_cutting, min(rows, grid.shape[axis]))


def _bits_between(bits: NDArray[np.uint8], begin: int, end: int) -> bytes:
    """The bits of some sites, from the first of a byte on."""
    part = bits[begin // 8 : -(-end // 8)]
    if begin % 8 == 0 and end % 8 == 0:
        return part.tobytes()
    own = np.unpackbits(part, bitorder="little")[begin % 8 : begin % 8 + end - begin]
    return np.packbits(own, bitorder="little").tobytes()
