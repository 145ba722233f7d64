"""Which sites of a lattice an answer is about: some that are listed, or those of a box."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.lattice.domain import Site, check_site
from services.lattice.geometry import Geometry
from services.lattice.kernels.fields.free import Mesh
from services.plumbing.errors import Violations

REGION_SITES_MAX = 33_554_432


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box of sites inside a lattice."""

    origin: Site
    shape: tuple[int, ...]

    @property
    def sites(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Some sites of a lattice, in the order that they are answered in.

    Either `targets` or `region` is set, never both.
    """

    targets: tuple[Site, ...] | None = None
    region: Region | None = None

    @property
    def count(self) -> int:
        """How many they are."""
        if self.targets is not None:
            return len(self.targets)
        assert self.region is not None
        return self.region.sites

    def parts(self, per_answer: int) -> Iterator[slice]:
        """Their places, cut into answers."""
        for first in range(0, self.count, per_answer):
            yield slice(first, min(first + per_answer, self.count))

    def meshes(self, part: slice) -> Iterator[Mesh]:
        """The sites of a part, in order."""
        if self.targets is not None:
            yield list(np.array(self.targets[part], np.int64).T)
            return
        assert self.region is not None
        for block in _blocks_of(part, self.region.shape[-1]):
            yield _mesh(self.region, *block)

    def indices(self, geometry: Geometry, part: slice) -> NDArray[np.int64] | slice:
        """The C-order indices of the sites of a part."""
        if self.targets is not None:
            return indices_of(geometry, np.array(self.targets[part], np.int64).T)
        assert self.region is not None
        if self.region.shape == geometry.shape:
            return part
        rows = _Rows.of(self.region, part)
        first_indices = indices_of(geometry, rows.first_sites)
        places = np.arange(part.start, part.stop)
        return places + np.repeat(first_indices - rows.first_places, rows.site_counts)


def selection(
    geometry: Geometry,
    targets: Sequence[Sequence[int]],
    region: tuple[Sequence[int], Sequence[int]] | None,
    bad: Violations,
) -> Selection | None:
    """Check that sites lie in the lattice; `region` is origin and shape.

    Without both it is the whole lattice. None when something is bad.
    """
    for n, target in enumerate(targets):
        check_site(geometry, target, f"targets[{n}]", bad)
    origin, shape = region if region is not None else ((0,) * len(geometry.shape), geometry.shape)
    if not targets:
        _check_region(geometry, origin, shape, bad)
    if bad:
        return None
    return Selection(
        targets=tuple(tuple(target) for target in targets) if targets else None,
        region=None if targets else Region(origin=tuple(origin), shape=tuple(shape)),
    )


def _blocks_of(part: slice, width: int) -> Iterator[tuple[range, range]]:
    """The rows and columns of what some places of a region cover, in at most three blocks.

    Whole rows are one; what is there of the row before and of the one behind is another each.
    """
    at = part.start
    while at < part.stop:
        row, column = divmod(at, width)
        whole_rows = (part.stop - at) // width
        if column == 0 and whole_rows:
            yield range(row, row + whole_rows), range(width)
            at += whole_rows * width
        else:
            end = min(width, column + part.stop - at)
            yield range(row, row + 1), range(column, end)
            at += end - column


def _mesh(region: Region, rows: range, columns: range) -> Mesh:
    """The sites of some rows: a column of coordinates for each axis but the last, then a row."""
    first, *others = reversed(region.origin)
    mesh = [first + np.arange(columns.start, columns.stop)[None]]
    rest = np.arange(rows.start, rows.stop)[:, None]
    for origin, length in zip(others, region.shape[-2::-1], strict=True):
        rest, at = np.divmod(rest, length)
        mesh.append(origin + at)
    return mesh[::-1]


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows that some sites of a region lie in, along its last axis.

    A row's sites follow each other in the region and in the lattice, so what is computed of a
    row needs not be computed of each of its sites.
    """

    first_sites: NDArray[np.int64]
    """Of shape (axes, rows): where each begins in the lattice."""
    first_places: NDArray[np.int64]
    """Of shape (rows,): where each begins in the region, in C order."""
    site_counts: NDArray[np.int64]
    """Of shape (rows,): how many of its sites are meant; of the first row they are its last."""

    @classmethod
    def of(cls, region: Region, part: slice) -> Self:
        width = region.shape[-1]
        rows = np.arange(part.start // width, (part.stop - 1) // width + 1)
        ends = np.clip(np.append(rows, rows[-1] + 1) * width, part.start, part.stop)
        sites = np.empty((len(region.shape), len(rows)), np.int64)
        sites[-1] = region.origin[-1]
        rest = rows
        for axis in reversed(range(len(region.shape) - 1)):
            rest, sites[axis] = np.divmod(rest, region.shape[axis])
            sites[axis] += region.origin[axis]
        return cls(sites, rows * width, np.diff(ends))


def indices_of(geometry: Geometry, sites: NDArray[np.int64]) -> NDArray[np.int64]:
    """The C-order indices of sites of shape (axes, count). All must lie inside."""
    index = np.zeros(sites.shape[1], np.int64)
    for length, coordinates in zip(geometry.shape, sites, strict=True):
        index *= length
        index += coordinates
    return index


def _check_region(
    geometry: Geometry, origin: Sequence[int], shape: Sequence[int], bad: Violations
) -> None:
    inside = check_site(geometry, origin, "region.origin", bad)
    if len(shape) != len(geometry.shape):
        bad.add("region.shape", f"must have {len(geometry.shape)} values, not {len(shape)}")
        return
    if not inside:
        return
    for axis, (first, length) in enumerate(zip(origin, shape, strict=True)):
        longest = geometry.shape[axis] - first
        if not 1 <= length <= longest:
            bad.add(f"region.shape[{axis}]", f"must be 1 to {longest} from there")
    if math.prod(shape) > REGION_SITES_MAX:
        bad.add("region", f"must have at most {REGION_SITES_MAX:,} sites")
