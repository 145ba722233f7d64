"""Transforms that move numbers and change none: in place, through a buffer of a fixed size.

Every one is its own kind of bijection, so what is moved can be moved back, bit for bit. They take
any array in C order and at most two buffers beside it, however large it is.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import gcd, isqrt, prod

import numpy as np

from services.lattice.kernels.transforms.scratch import (
    BUFFER_BYTES,
    Array,
    Scratch,
    blocks,
    by_axis,
    flat_blocks,
)

_DOUBLE = 8
_WORDS = 4
"""What Philox draws at once."""


def reflect(array: Array, axis: int, scratch: Scratch) -> None:
    """Turn an axis around."""
    _reverse(by_axis(array, axis), scratch)


def translate(array: Array, axis: int, offset: int, scratch: Scratch) -> None:
    """Move everything along an axis by `offset`, around its end."""
    _roll(by_axis(array, axis), offset, scratch)


def shift(array: Array, axis: int, offset: int, fill: object, scratch: Scratch) -> None:
    """Move everything along an axis by `offset`: what leaves is lost, what is free is `fill`.

    Not a bijection.
    """
    view = by_axis(array, axis)
    length = view.shape[1]
    steps = min(abs(offset), length)
    if steps == 0:
        return
    # Backwards it is the same on the axis turned around.
    turned = view if offset > 0 else view[:, ::-1]
    rows = max(1, BUFFER_BYTES // max(1, view.itemsize * view.shape[2]))
    for end in range(length - steps, 0, -rows):
        _move_rows(turned, max(0, end - rows), end, steps, scratch)
    turned[:, :steps] = fill


def quarter_turns(array: Array, row: int, column: int, turns: int, scratch: Scratch) -> None:
    """Turn a plane of equal axes by so many quarters from `row` towards `column`, as `numpy.rot90`
    does. Half turns fit any axes."""
    turns %= 4
    if turns == 2:
        reflect(array, row, scratch)
        reflect(array, column, scratch)
    elif turns:
        swap_axes(array, row, column, scratch)
        reflect(array, row if turns == 1 else column, scratch)


def transpose(array: Array, axes: Sequence[int], scratch: Scratch) -> None:
    """Have axis `axes[k]` where axis k was, as `numpy.transpose`; equal lengths change places."""
    there = list(range(array.ndim))
    for place, wanted in enumerate(axes):
        at = there.index(wanted)
        if at != place:
            swap_axes(array, place, at, scratch)
            there[place], there[at] = there[at], there[place]


def swap_axes(array: Array, a: int, b: int, scratch: Scratch) -> None:
    """Exchange two axes of equal length, tile by tile."""
    first, second = sorted((a, b))
    shape = array.shape
    cuts = (0, first, first + 1, second, second + 1, len(shape))
    view = array.reshape([prod(shape[begin:end]) for begin, end in pairwise(cuts)])
    outer, length, middle, _, inner = view.shape
    numbers = max(1, BUFFER_BYTES // array.itemsize)
    side = max(1, min(length, isqrt(numbers // min(inner, numbers))))
    around = max(1, numbers // (side * side))
    for before, between, behind in blocks((outer, middle, inner), around):
        for i in range(0, length, side):
            for j in range(i, length, side):
                rows, columns = slice(i, i + side), slice(j, j + side)
                one = view[before, rows, between, columns, behind]
                other = view[before, columns, between, rows, behind]
                _exchange_turned(one, other, is_same=i == j, scratch=scratch)


def shear(array: Array, axis: int, by: int, factor: int, scratch: Scratch) -> None:
    """Move everything along `axis` by `factor` times its place along `by`, around the end.

    Places that differ by a whole turn move alike, so there are as many moves as the axis is long.
    """
    length = array.shape[axis]
    period = length // gcd(factor, length)
    view = np.moveaxis(array, (by, axis), (0, -1))[..., np.newaxis]
    for place in range(min(period, array.shape[by])):
        _roll(view[place::period], factor * place, scratch)


def xor_key(array: Array, key: bytes, scratch: Scratch, begin: int = 0) -> None:
    """Combine the bytes with a key that begins anew behind its end.

    The first byte is the one of that number of a larger array.
    """
    turned = begin % len(key)
    key = key[turned:] + key[:turned]
    tile_bytes = len(key) * max(1, BUFFER_BYTES // len(key))
    with scratch.array((min(tile_bytes, array.nbytes),), np.uint8) as tile:
        for at in range(0, tile.size, len(key)):
            part = tile[at : at + len(key)]
            part[...] = np.frombuffer(key, np.uint8)[: part.size]
        for part in flat_blocks(array.view(np.uint8).reshape(-1), tile_bytes):
            scratch.check()
            np.bitwise_xor(part, tile[: part.size], out=part)


def xor_stream(array: Array, seed: int, scratch: Scratch, begin: int = 0) -> None:
    """Combine the bytes with those of Philox 4x64-10 for a seed, little-endian.

    The first byte is the one of that number of a larger array.
    """
    source = np.random.Philox(key=seed)
    words, ahead = divmod(begin, _DOUBLE)
    source.advance(words // _WORDS)
    source.random_raw(words % _WORDS)
    flat, at = array.view(np.uint8).reshape(-1), 0
    # What it draws is an array of its own, and another where bytes are in another order.
    with scratch.reserved(2 * min(BUFFER_BYTES, array.nbytes + _DOUBLE)):
        while at < flat.size:
            scratch.check()
            part = flat[at : at + BUFFER_BYTES - ahead]
            drawn = source.random_raw(-(-(ahead + part.size) // _DOUBLE)).astype("<u8", copy=False)
            np.bitwise_xor(part, drawn.view(np.uint8)[ahead : ahead + part.size], out=part)
            at, ahead = at + part.size, 0


def _exchange_turned(one: Array, other: Array, *, is_same: bool, scratch: Scratch) -> None:
    """Exchange two tiles, each with its axes 1 and 3 exchanged."""
    scratch.check()
    # Assigning between views of one array may take a copy, too.
    with scratch.array(one.shape, one.dtype) as buffer, scratch.reserved(one.nbytes):
        buffer[...] = one
        if not is_same:
            one[...] = other.swapaxes(1, 3)
        other[...] = buffer.swapaxes(1, 3)


def _move_rows(view: Array, begin: int, end: int, steps: int, scratch: Scratch) -> None:
    """Move the rows from `begin` to `end` of axis 1 on by `steps`."""
    before, _, behind = view.shape
    rows = end - begin
    for outer, inner in blocks(
        (before, behind), max(1, BUFFER_BYTES // view.itemsize // max(1, rows))
    ):
        scratch.check()
        part = view[outer, begin:end, inner]
        with scratch.array(part.shape, part.dtype) as buffer:
            buffer[...] = part
            view[outer, begin + steps : end + steps, inner] = buffer


def _reverse(view: Array, scratch: Scratch) -> None:
    """Turn axis 1 of a view of three axes around."""
    before, length, behind = view.shape
    numbers = max(1, BUFFER_BYTES // view.itemsize)
    if length <= numbers:
        for outer, inner in blocks((before, behind), max(1, numbers // length)):
            scratch.check()
            part = view[outer, :, inner]
            with scratch.array(part.shape, part.dtype) as buffer:
                buffer[...] = part
                part[...] = buffer[:, ::-1]
        return
    for outer, inner in blocks((before, behind), 1):
        for begin in range(0, length // 2, numbers):
            rows = min(numbers, length // 2 - begin)
            low = view[outer, begin : begin + rows, inner]
            high = view[outer, length - begin - rows : length - begin, inner]
            scratch.check()
            with scratch.array(low.shape, low.dtype) as buffer:
                buffer[...] = low
                low[...] = high[:, ::-1]
                high[...] = buffer[:, ::-1]


def _roll(view: Array, offset: int, scratch: Scratch) -> None:
    """Move everything along the last axis but one by `offset`, around its end."""
    length = view.shape[-2]
    offset %= length
    if not offset:
        return
    numbers = max(1, BUFFER_BYTES // view.itemsize)
    around = (*view.shape[:-2], view.shape[-1])
    for place in blocks(around, max(1, numbers // length)):
        scratch.check()
        part = view[(*place[:-1], slice(None), place[-1])]
        if length <= numbers:
            with scratch.array(part.shape, part.dtype) as buffer:
                buffer[...] = part
                part[..., offset:, :] = buffer[..., : length - offset, :]
                part[..., :offset, :] = buffer[..., length - offset :, :]
        else:
            # One line: turned around in two parts, and then as a whole, it is moved.
            line = part[(0,) * (part.ndim - 2)][np.newaxis]
            _reverse(line[:, : length - offset], scratch)
            _reverse(line[:, length - offset :], scratch)
            _reverse(line, scratch)
