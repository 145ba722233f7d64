"""Rows of numbers as the bytes of a repeated protobuf message, without an object per row.

A message per row costs a microsecond or two of Python, which holds up everybody in the
process. These kernels write the same bytes in some nanoseconds a number.
"""

import numpy as np
from numpy.typing import NDArray

from services.lattice.kernels.axes import Int
from services.lattice.kernels.compiled import inlined, kernel

VARINT_BYTES_MAX = 9
"""Of a number of 63 bits."""

_PACKED = 0x0A
_SECOND = 0x10
_SITE_FRAME = 4
_RUN_FRAME = 5
_MORE = 0x80


def site_messages(sites: NDArray[np.int64], tag: int) -> bytes:
    """Each row as a message whose first field is its numbers, packed; behind `tag` each.

    `sites` has shape (n, axes), at most 10 axes, and no negative number. Costs some
    nanoseconds a number.
    """
    out = np.empty(len(sites) * (_SITE_FRAME + VARINT_BYTES_MAX * sites.shape[1]), np.uint8)
    return out[: write_sites(np.ascontiguousarray(sites), tag, out)].tobytes()


def run_messages(steps: NDArray[np.int8], counts: NDArray[np.int64], tag: int) -> bytes:
    """Each run as a message of its step (-1, 0 or 1 an axis, packed, zigzag), then its count.

    `steps` has shape (n, axes), at most 10 axes; `counts` shape (n,), each 1 or more.
    """
    out = np.empty(len(steps) * (_RUN_FRAME + VARINT_BYTES_MAX + steps.shape[1]), np.uint8)
    written = write_runs(np.ascontiguousarray(steps), np.ascontiguousarray(counts), tag, out)
    return out[:written].tobytes()


@kernel
def write_sites(sites: NDArray[np.int64], tag: int, out: NDArray[np.uint8]) -> int:
    """Write the messages of `site_messages` to `out`, which has room; answer their bytes."""
    end = 0
    for row in range(sites.shape[0]):
        first = end
        end += _SITE_FRAME
        for axis in range(sites.shape[1]):
            end = write_varint(sites[row, axis], out, end)
        # With 10 axes 90 bytes at most: each length takes a single byte.
        out[first] = tag
        out[first + 1] = end - first - 2
        out[first + 2] = _PACKED
        out[first + 3] = end - first - _SITE_FRAME
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
