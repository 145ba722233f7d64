"""Arrays as the bytes of protobuf messages, without an object per number or row.

A number costs a tenth of a microsecond of Python and a message one or two, which holds up
everybody in the process. These kernels write the same bytes in some nanoseconds a number.
"""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import Int
from services.lattice.kernels.compiled import inlined, kernel

VARINT_BYTES_MAX = 9
"""Of a number of 63 bits."""

_PACKED = 0x0A
_SECOND = 0x10
_RUN_FRAME = 5
_MORE = 0x80


def packed_numbers(numbers: NDArray[np.int64]) -> bytes:
    """Numbers of 0 or more, in C order, as a packed field holds them: a varint each."""
    out = np.empty(numbers.size * VARINT_BYTES_MAX, np.uint8)
    return out[: write_numbers(np.ascontiguousarray(numbers).reshape(-1), out)].tobytes()


def run_messages(steps: NDArray[np.int8], counts: NDArray[np.int64], tag: int) -> bytes:
    """Each run as a message of its step (-1, 0 or 1 an axis, packed, zigzag), then its count.

    `steps` has shape (n, axes), at most 10 axes; `counts` shape (n,), each 1 or more.
    """
    out = np.empty(len(steps) * (_RUN_FRAME + VARINT_BYTES_MAX + steps.shape[1]), np.uint8)
    written = write_runs(np.ascontiguousarray(steps), np.ascontiguousarray(counts), tag, out)
    return out[:written].tobytes()


@kernel
def write_numbers(numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> int:
    """Write one number behind the other to `out`, which has room; answer their bytes."""
    end = 0
    for place in range(numbers.shape[0]):
        end = write_varint(numbers[place], out, end)
    return end


@kernel
def write_runs(
    steps: NDArray[np.int8], counts: NDArray[np.int64], tag: int, out: NDArray[np.uint8]
) -> int:
    """Write the messages of `run_messages` to `out`, which has room; answer their bytes."""
    end = 0
    for run in range(steps.shape[0]):
        first = end
        out[first] = tag
        out[first + 2] = _PACKED
        out[first + 3] = steps.shape[1]
        end += 4
        for axis in range(steps.shape[1]):
            step = steps[run, axis]
            out[end] = 2 * step if step >= 0 else 1
            end += 1
        out[end] = _SECOND
        end = write_varint(counts[run], out, end + 1)
        out[first + 1] = end - first - 2
    return end


@inlined
def write_varint(number: Int, out: NDArray[np.uint8], at: Int) -> Int:
    """Write seven bits a byte, the lowest first; answer where the next byte goes."""
    while number >= _MORE:
        out[at] = number & 0x7F | _MORE
        number >>= 7
        at += 1
    out[at] = number
    return at + 1
