"""Moves of bits, box by box: where the numbers of a box come from, and how they lie in it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import numpy as np

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.region import Lengths
from services.lattice.distributed.boxes import Box, chunks_of
from services.lattice.kernels.transforms import permuting
from services.lattice.kernels.transforms.scratch import Array, Scratch
from services.lattice.transforms.moving import (
    QuarterTurns,
    Reflect,
    Shift,
    Translate,
    Transpose,
    XorBits,
    XorKey,
)
from services.lattice.transforms.step import Fit, Step

Move = QuarterTurns | Reflect | Shift | Translate | Transpose | XorBits | XorKey
"""Each makes a box of a box. What a shear makes one of has as many places as it is long."""


def is_rearranging(step: Step) -> TypeGuard[Move]:
    """Whether it is one of these."""
    return isinstance(step, Move)


def source_of(step: Move, box: Box, shape: Lengths) -> Box:
    """Where the numbers of a box come from, of an array of that shape.

    Along an axis that is moved on it may reach beyond the ends, and then around them.
    """
    return _SOURCES[type(step)](step, box, shape)


def rearranged(step: Move, array: Array, box: Box, fit: Fit, scratch: Scratch) -> Array:
    """The numbers of where a box comes from, as they are in the box. `array` is lost."""
    match step:
        case Reflect(axes=axes):
            return np.flip(array, axes)
        case Transpose(axes=axes):
            return array.transpose(axes)
        case QuarterTurns(row=row, column=column, turns=turns):
            return np.rot90(array, turns, (row, column))
        case Shift():
            _fill_beyond(step, array, box, fit)
        case XorKey():
            _combine(step, array, box, fit, scratch)
        case XorBits(bytes_of=key):
            _combine(key, array, box, fit, scratch)
            np.bitwise_and(array, 1, out=array)
    return array


def _as_it_is(_step: Any, box: Box, _shape: Lengths) -> Box:  # noqa: ANN401 - a key, or several
    return box


def _moved_back(step: Translate | Shift, box: Box, shape: Lengths) -> Box:
    axes = zip(box.begin, step.offset, shape, strict=True)
    if isinstance(step, Translate):
        begins = tuple(begin - offset % length for begin, offset, length in axes)
    else:
        begins = tuple(begin - _no_further(offset, length) for begin, offset, length in axes)
    return Box(begins, box.shape)


def _no_further(offset: int, length: int) -> int:
    """As far as all leave an axis. Offsets may be beyond what arrays of places hold."""
    return max(-length, min(offset, length))


def _reflected(step: Reflect, box: Box, shape: Lengths) -> Box:
    for axis in step.axes:
        box = _turned_around(box, axis, shape)
    return box


def _transposed(step: Transpose, box: Box, _shape: Lengths) -> Box:
    own = [step.axes.index(axis) for axis in range(len(step.axes))]
    return Box(tuple(box.begin[at] for at in own), tuple(box.shape[at] for at in own))


def _turned_back(step: QuarterTurns, box: Box, shape: Lengths) -> Box:
    turns = step.turns % 4
    if turns in (1, 2):
        box = _turned_around(box, step.row, shape)
    if turns in (2, 3):
        box = _turned_around(box, step.column, shape)
    if turns % 2 == 0:
        return box
    begins, lengths = list(box.begin), list(box.shape)
    for each in (begins, lengths):
        each[step.row], each[step.column] = each[step.column], each[step.row]
    return Box(tuple(begins), tuple(lengths))


def _turned_around(box: Box, axis: int, shape: Lengths) -> Box:
    begins = list(box.begin)
    begins[axis] = shape[axis] - begins[axis] - box.shape[axis]
    return Box(tuple(begins), box.shape)


_SOURCES: Mapping[type[Step], Callable[[Any, Box, Lengths], Box]] = {
    QuarterTurns: _turned_back,
    Reflect: _reflected,
    Shift: _moved_back,
    Translate: _moved_back,
    Transpose: _transposed,
    XorBits: _as_it_is,
    XorKey: _as_it_is,
}


def _fill_beyond(step: Shift, array: Array, box: Box, fit: Fit) -> None:
    """Put the number in where nothing comes from: it was read around the ends."""
    for axis, (end, offset) in enumerate(zip(box.begin, step.offset, strict=True)):
        begin = end - _no_further(offset, fit.shape[axis])
        at = np.arange(begin, begin + box.shape[axis])
        is_beyond = (at < 0) | (at >= fit.shape[axis])
        array[(slice(None),) * axis + (is_beyond,)] = step.fill


def _combine(step: XorKey, array: Array, box: Box, fit: Fit, scratch: Scratch) -> None:
    """Chunk by chunk: each is bytes that follow each other in the whole array."""
    item_bytes = fit.dtype.itemsize
    chunking = Chunking.of(fit.shape, item_bytes)
    for ordinal, places in chunks_of(box, chunking):
        begin = item_bytes * chunking.begin(ordinal)
        with scratch.reserved(array[places].nbytes):
            chunk = np.ascontiguousarray(array[places])
            if step.seed is None:
                permuting.xor_key(chunk, step.key, scratch, begin)
            else:
                permuting.xor_stream(chunk, step.seed, scratch, begin)
            array[places] = chunk
