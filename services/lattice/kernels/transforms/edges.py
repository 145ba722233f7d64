"""What lies beyond the ends of an axis: which number is read in the place of none."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.transforms.scratch import Array, Scratch

Indices = NDArray[np.int64]


class Edge(Enum):
    """How an axis goes on."""

    NEAREST = "nearest"
    """Its last number goes on: `a a | a b c | c c`."""
    WRAP = "wrap"
    """It begins anew: `b c | a b c | a b`."""
    REFLECT = "reflect"
    """It goes back: `b a | a b c | c b`."""
    FILL = "fill"
    """There is one number everywhere."""


@dataclass(frozen=True)
class Edges:
    """The edges of each axis, and the number beyond those that are filled."""

    of: tuple[Edge, ...]
    fill: float = 0.0


def places(indices: Indices, length: int, edge: Edge) -> Indices:
    """Where along an axis to read for any index; -1 where it is filled."""
    if edge is Edge.WRAP:
        return indices % length
    if edge is Edge.REFLECT:
        folded = indices % (2 * length)
        return np.minimum(folded, 2 * length - 1 - folded)
    if edge is Edge.NEAREST:
        return np.clip(indices, 0, length - 1)
    return np.where((indices >= 0) & (indices < length), indices, -1)


def padded(array: Array, reaches: Sequence[int], edges: Edges, scratch: Scratch) -> Array:
    """The array with so many numbers more at both ends of each axis; counted as kept."""
    grown = array
    for axis, (reach, edge) in enumerate(zip(reaches, edges.of, strict=True)):
        if not reach:
            continue
        scratch.check()
        length = grown.shape[axis]
        at = places(np.arange(-reach, length + reach), length, edge)
        shape = (*grown.shape[:axis], len(at), *grown.shape[axis + 1 :])
        before, grown = grown, scratch.kept(shape, array.dtype)
        np.take(before, at, axis, out=grown, mode="wrap")
        if edge is Edge.FILL:
            outside = [slice(None)] * array.ndim
            for end in (slice(0, reach), slice(length + reach, None)):
                outside[axis] = end
                grown[tuple(outside)] = edges.fill
        if before is not array:
            scratch.held_bytes -= before.nbytes
    return grown
