"""Transforms by frequencies: axis by axis, some lines at a time, so that each can be stopped."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.transforms.arithmetic import fitted
from services.lattice.kernels.transforms.edges import Edges, padded
from services.lattice.kernels.transforms.scratch import BLOCK, Array, Scratch, blocks, lines

_SMOOTH = (2, 3, 5, 7, 11)
"""Lengths that have no other factors are transformed fast."""


def fourier(array: NDArray[Any], scratch: Scratch, *, inverse: bool) -> None:
    """Transform a complex array in place along every axis; the inverse divides by the sites."""
    transform = np.fft.ifft if inverse else np.fft.fft
    for axis, length in enumerate(array.shape):
        if length > 1:
            _along(array, axis, transform, scratch)


def diffuse_exactly(array: Array, rings: Sequence[bool], time: float, scratch: Scratch) -> None:
    """Let heat flow for a time, in place: each mode of each axis by what is left of it then.

    Of floating numbers, in doubles. An axis that ends is continued by itself turned around.
    """
    for axis, (length, ring) in enumerate(zip(array.shape, rings, strict=True)):
        if length == 1:
            continue
        whole = length if ring and length > 2 else 2 * length
        rates = 4 * np.sin(np.pi * np.arange(whole // 2 + 1) / whole) ** 2
        with np.errstate(over="ignore"):
            left = np.exp(-time * rates)
        for part in lines(array, axis):
            scratch.check()
            with scratch.reserved(8 * part.size * 9 + left.nbytes):
                values = part.astype(np.float64)
                if whole != length:
                    values = np.concatenate((values, values[:, ::-1]), axis=1)
                modes = np.fft.rfft(values, axis=1)
                modes *= left[:, np.newaxis]
                part[...] = np.fft.irfft(modes, whole, axis=1)[:, :length]


def convolve(
    array: Array, weights: NDArray[np.float64], edges: Edges, scratch: Scratch
) -> tuple[Array, int]:
    """As `windows.convolve`, by frequencies: work is O(sites log sites) for any window."""
    reaches = [length // 2 for length in weights.shape]
    around = padded(array, reaches, edges, scratch)
    shape = tuple(_smooth(length) for length in around.shape)
    with (
        scratch.array((*shape[:-1], shape[-1] // 2 + 1), np.complex128) as product,
        np.errstate(all="ignore"),
    ):
        _real_forward(around, product, shape, scratch)
        with scratch.array(product.shape, np.complex128) as window:
            _real_forward(weights, window, shape, scratch)
            for place in blocks(product.shape, BLOCK):
                scratch.check()
                np.multiply(product[place], window[place], out=product[place])
        for axis in range(array.ndim - 1):
            _along(product, axis, np.fft.ifft, scratch)
        return _real_backward(product, array, reaches, shape[-1], scratch)


def _real_forward(
    values: Array, modes: NDArray[np.complex128], shape: Sequence[int], scratch: Scratch
) -> None:
    """The modes of numbers that zeros follow along each axis."""
    modes[...] = 0.0
    inside = tuple(slice(length) for length in values.shape[:-1])
    for place in blocks(values.shape[:-1], max(1, BLOCK // shape[-1])):
        scratch.check()
        with scratch.reserved(8 * 4 * max(BLOCK, shape[-1])):
            row = values[place].astype(np.float64)
            modes[inside][place] = np.fft.rfft(row, shape[-1], axis=-1)
    for axis in range(len(shape) - 1):
        _along(modes, axis, np.fft.fft, scratch)


def _real_backward(
    modes: NDArray[np.complex128],
    array: Array,
    reaches: Sequence[int],
    length: int,
    scratch: Scratch,
) -> tuple[Array, int]:
    made, lost = scratch.kept(array.shape, array.dtype), 0
    starts = [2 * reach for reach in reaches]
    inside = tuple(
        slice(start, start + count) for start, count in zip(starts, array.shape, strict=True)
    )
    for place in blocks(array.shape[:-1], max(1, BLOCK // length)):
        scratch.check()
        with scratch.reserved(8 * 8 * max(BLOCK, length)):
            row = np.fft.irfft(modes[inside[:-1]][place], length, axis=-1)[..., inside[-1]]
            lost += fitted(np.ascontiguousarray(row), made[place])
    return made, lost


def _along(array: NDArray[Any], axis: int, transform: Any, scratch: Scratch) -> None:  # noqa: ANN401
    for part in lines(array, axis):
        scratch.check()
        with scratch.reserved(3 * part.nbytes):
            part[...] = transform(part, axis=1)


def _smooth(length: int) -> int:
    """The least length from there on that has only small factors."""
    while True:
        rest = length
        for factor in _SMOOTH:
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def convolution_bytes(shape: Sequence[int], window: Sequence[int]) -> int:
    """What the modes of both take, in bytes."""
    grown = [_smooth(each + wide - 1) for each, wide in zip(shape, window, strict=True)]
    return 2 * 16 * prod(grown[:-1]) * (grown[-1] // 2 + 1)
