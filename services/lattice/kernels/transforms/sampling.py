"""Reads an array at places between its sites."""

from collections.abc import Sequence
from math import cos, prod, radians, sin

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.transforms.arithmetic import fitted
from services.lattice.kernels.transforms.edges import Edge, Edges, places
from services.lattice.kernels.transforms.scratch import BLOCK, Array, Scratch, blocks, lines

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]


def resample(
    array: Array,
    factors: Sequence[float],
    origin: Sequence[float],
    edges: Edges,
    scratch: Scratch,
    *,
    linear: bool,
) -> tuple[Array, int]:
    """Stretch the array by a factor along each axis: site x has what is at `origin + x / factor`.

    Axis by axis, in doubles where it is linear. How many numbers did not fit, too.
    """
    dtype = np.dtype(np.float64) if linear else array.dtype
    made = scratch.kept(array.shape, dtype)
    made[...] = array
    for axis, (factor, begin, edge) in enumerate(zip(factors, origin, edges.of, strict=True)):
        length = array.shape[axis]
        at = begin + np.arange(length) / factor
        with scratch.reserved(12 * at.nbytes):
            for part in lines(made, axis):
                scratch.check()
                with scratch.reserved(6 * part.nbytes):
                    part[...] = _along(part, at, edge, edges.fill, linear=linear)
    return _narrowed(made, array.dtype, scratch) if linear else (made, 0)


def rotate(
    array: Array,
    plane: tuple[int, int],
    degrees: float,
    edges: Edges,
    scratch: Scratch,
    *,
    linear: bool,
) -> tuple[Array, int]:
    """Turn a plane around its middle, from its second axis towards its first one.

    As `scipy.ndimage.rotate` with the same shape: each site has what lies at its place turned
    back. How many numbers did not fit, too.
    """
    row, column = plane
    turned = np.moveaxis(array, (row, column), (0, 1))
    made = scratch.kept(array.shape, array.dtype)
    target = np.moveaxis(made, (row, column), (0, 1))
    lengths, both = turned.shape[:2], (edges.of[row], edges.of[column])
    behind, lost = turned.shape[2:], 0
    for rows, columns in blocks(lengths, max(1, BLOCK // max(1, prod(behind)))):
        at = _turned_back(lengths, rows, columns, degrees)
        for place in blocks(behind, BLOCK):
            scratch.check()
            source, part = (
                turned[(slice(None), slice(None), *place)],
                target[(rows, columns, *place)],
            )
            with scratch.reserved(8 * (12 * part.size + 16 * at[0].size)):
                if linear:
                    lost += fitted(_between(source, at, both, edges.fill), part)
                else:
                    part[...] = _nearest(source, at, both, edges.fill)
    return made, lost


def _along(part: Array, at: Doubles, edge: Edge, fill: float, *, linear: bool) -> Array:
    """A line read at places along axis 1."""
    length = part.shape[1]
    if not linear:
        return _taken(part, places(_rounded(at), length, edge), fill)
    low = np.floor(at).astype(np.int64)
    share = (at - low)[:, np.newaxis]
    with np.errstate(all="ignore"):
        below = _taken(part, places(low, length, edge), fill)
        above = _taken(part, places(low + 1, length, edge), fill)
        return _mixed(below, above, share)


def _taken(part: Array, at: Indices, fill: float) -> Array:
    taken = part.take(at, axis=1, mode="wrap")
    taken[:, at < 0] = fill
    return taken


def _mixed(below: Array, above: Array, share: Doubles) -> Array:
    """What lies between two numbers. Of what has no share nothing is seen, were it NaN."""
    mixed = below * (1.0 - share) + above * share
    return np.where(share == 0.0, below, mixed)


def _rounded(at: Doubles) -> Indices:
    return np.floor(at + 0.5).astype(np.int64)


def _turned_back(
    lengths: Sequence[int], rows: slice, columns: slice, degrees: float
) -> tuple[Doubles, Doubles]:
    """Where the sites of a block of the plane are read, along both of its axes."""
    middle = [(length - 1) / 2 for length in lengths]
    down = np.arange(*rows.indices(lengths[0]))[:, np.newaxis] - middle[0]
    right = np.arange(*columns.indices(lengths[1])) - middle[1]
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return c * down + s * right + middle[0], -s * down + c * right + middle[1]


def _at(
    source: Array, rows: Indices, columns: Indices, edges: Sequence[Edge], fill: float
) -> Array:
    i, j = places(rows, source.shape[0], edges[0]), places(columns, source.shape[1], edges[1])
    taken = source[i, j]
    taken[(i < 0) | (j < 0)] = fill
    return taken


def _nearest(
    source: Array, at: tuple[Doubles, Doubles], edges: Sequence[Edge], fill: float
) -> Array:
    return _at(source, _rounded(at[0]), _rounded(at[1]), edges, fill)


def _between(
    source: Array, at: tuple[Doubles, Doubles], edges: Sequence[Edge], fill: float
) -> Doubles:
    low = [np.floor(each).astype(np.int64) for each in at]
    tail = (np.newaxis,) * (source.ndim - 2)
    down, right = ((each - begin)[(..., *tail)] for each, begin in zip(at, low, strict=True))
    with np.errstate(all="ignore"):
        corners = [
            _at(source, low[0] + i, low[1] + j, edges, fill).astype(np.float64)
            for i in (0, 1)
            for j in (0, 1)
        ]
        up = _mixed(corners[0], corners[1], right)
        mixed = _mixed(up, _mixed(corners[2], corners[3], right), down)
    return np.asarray(mixed, np.float64)


def _narrowed(made: Array, dtype: np.dtype[np.generic], scratch: Scratch) -> tuple[Array, int]:
    """Doubles as numbers of another type; the array itself where that is theirs."""
    if made.dtype == dtype:
        return made, 0
    narrow, lost = scratch.kept(made.shape, dtype), 0
    for place in blocks(made.shape, BLOCK):
        scratch.check()
        with scratch.reserved(4 * 8 * BLOCK):
            lost += fitted(made[place], narrow[place])
    return narrow, lost


def affine(
    array: Array,
    matrix: NDArray[np.float64],
    offset: Doubles,
    edges: Edges,
    scratch: Scratch,
    *,
    linear: bool,
) -> tuple[Array, int]:
    """Read site x at `matrix x + offset`, as `scipy.ndimage.affine_transform`.

    Linearly it looks at 2^axes numbers each. How many numbers did not fit, too.
    """
    made, lost = scratch.kept(array.shape, array.dtype), 0
    for place in blocks(array.shape, BLOCK):
        scratch.check()
        part = made[place]
        with scratch.reserved(8 * part.size * (3 * array.ndim + 20)):
            at = _led(place, array.shape, matrix, offset)
            if linear:
                lost += fitted(_corners(array, at, edges), part)
            else:
                part[...] = _read(array, [_rounded(each) for each in at], edges)
    return made, lost


def _led(
    place: Sequence[slice], shape: Sequence[int], matrix: NDArray[np.float64], offset: Doubles
) -> list[Doubles]:
    """Where a block is read, along each axis."""
    begins = [part.indices(length) for part, length in zip(place, shape, strict=True)]
    grid = np.meshgrid(*(np.arange(*each) for each in begins), indexing="ij", sparse=True)
    led = []
    for row, start in zip(matrix, offset, strict=True):
        at = np.full([len(range(*each)) for each in begins], start)
        for share, along in zip(row, grid, strict=True):
            at += share * along
        led.append(at)
    return led


def _read(array: Array, at: Sequence[Indices], edges: Edges) -> Array:
    indices = [
        places(each, length, edge)
        for each, length, edge in zip(at, array.shape, edges.of, strict=True)
    ]
    taken: Array = array[tuple(indices)]
    for each in indices:
        taken[each < 0] = edges.fill
    return taken


def _corners(array: Array, at: Sequence[Doubles], edges: Edges, axis: int = 0) -> Doubles:
    """Between the sites around along each axis from `axis` on; those before are whole already."""
    if axis == len(at):
        whole = [each.astype(np.int64) for each in at]
        return _read(array, whole, edges).astype(np.float64)
    low = np.floor(at[axis])
    share = at[axis] - low
    below = _corners(array, [*at[:axis], low, *at[axis + 1 :]], edges, axis + 1)
    above = _corners(array, [*at[:axis], low + 1, *at[axis + 1 :]], edges, axis + 1)
    with np.errstate(all="ignore"):
        return np.asarray(_mixed(below, above, share), np.float64)
