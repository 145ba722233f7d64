"""Pictures in PNG as grids of dark pixels: those that are not interlaced, of up to 8 bits a sample.

The format is that of the W3C's recommendation "Portable Network Graphics (PNG) Specification".
"""

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_DARK_BELOW = 128
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by the type of colour: gray, RGB, palette, gray and RGB with alpha."""
_PALETTE = 3
_WEIGHTS = np.array([299, 587, 114], np.uint32)
"""Of red, green and blue in what the eye takes for brightness (ITU-R BT.601), in thousandths."""


class _Head(NamedTuple):
    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlacing: int

    @property
    def row_bytes(self) -> int:
        return (self.width * self.depth * _SAMPLES[self.colour] + 7) // 8

    @property
    def pixel_bytes(self) -> int:
        """How far to the left the filters look: 1 where a byte holds several pixels."""
        return max(1, self.depth * _SAMPLES[self.colour] // 8)


def dark(content: bytes, pixel_count_max: int) -> "NDArray[np.bool_]":
    """True where a pixel is darker than half, before white where it is transparent.

    A bool array of (height, width). Takes up to half a microsecond a byte where rows are told by
    more than those above. Raises ValueError for what is no such picture.
    """
    head, palette, packed = _parts(content, pixel_count_max)
    unpacking = zlib.decompressobj()
    length = head.height * (1 + head.row_bytes)
    try:
        rows = unpacking.decompress(packed, length)
    except zlib.error as error:
        raise ValueError(f"is no whole PNG: {error}") from error
    if len(rows) < length:
        raise ValueError("is no whole PNG: rows are missing")
    samples = _samples(_unfiltered(rows, head), head)
    return _brightness(samples, head, palette) < _DARK_BELOW


def _parts(content: bytes, pixel_count_max: int) -> tuple[_Head, "NDArray[np.uint8]", bytes]:
    head: _Head | None = None
    palette = np.zeros((256, 3), np.uint8)
    packed = []
    for kind, data in _chunks(content):
        if kind == b"IHDR":
            head = _head(data, pixel_count_max)
        elif kind == b"PLTE" and len(data) % 3 == 0 and len(data) <= palette.size:
            palette.reshape(-1)[: len(data)] = np.frombuffer(data, np.uint8)
        elif kind == b"IDAT":
            packed.append(data)
    if head is None:
        raise ValueError("is no whole PNG: its head is missing")
    return head, palette, b"".join(packed)


def _head(data: bytes, pixel_count_max: int) -> _Head:
    if len(data) != struct.calcsize(">IIBBBBB"):
        raise ValueError("is no PNG: its head has another length")
    head = _Head(*struct.unpack(">IIBBBBB", data))
    if not 1 <= head.width * head.height <= pixel_count_max:
        raise ValueError(
            f"must have 1 to {pixel_count_max:,} pixels, not {head.width:,} x {head.height:,}"
        )
    depths = {1, 2, 4, 8} if head.colour in {0, _PALETTE} else {8}
    if head.colour not in _SAMPLES or head.depth not in depths:
        raise ValueError("must be a PNG of at most 8 bits a sample")
    if head.interlacing or head.compression or head.filtering:
        raise ValueError("must be a PNG that is not interlaced")
    return head


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        end = at + 8 + length
        kind, data, check = content[at + 4 : at + 8], content[at + 8 : end], content[end : end + 4]
        if len(check) < 4 or struct.unpack(">I", check)[0] != zlib.crc32(kind + data):
            raise ValueError("is no whole PNG: a checksum is wrong")
        yield kind, data
        if kind == b"IEND":
            return
        at = end + 4
    raise ValueError("is no whole PNG: its end is missing")


def _unfiltered(content: bytes, head: _Head) -> "NDArray[np.uint8]":
    """The bytes of each row, from what tells their difference from their neighbours."""
    coded = np.frombuffer(content, np.uint8).reshape(head.height, 1 + head.row_bytes)
    rows = np.empty((head.height, head.row_bytes), np.uint8)
    above = np.zeros(head.row_bytes, np.uint8)
    for number, line in enumerate(coded):
        rows[number] = _row(int(line[0]), line[1:], above, head.pixel_bytes)
        above = rows[number]
    return rows


def _row(
    kind: int, line: "NDArray[np.uint8]", above: "NDArray[np.uint8]", step: int
) -> "NDArray[np.uint8]":
    if kind == 0:
        return line
    if kind == 1:
        whole = np.zeros(-(-line.size // step) * step, np.uint8)
        whole[: line.size] = line
        sums = np.cumsum(whole.reshape(-1, step), axis=0, dtype=np.uint8)
        return sums.reshape(-1)[: line.size]
    if kind == 2:
        return line + above
    if kind not in {3, 4}:
        raise ValueError("is no PNG: a row has an unknown filter")
    return np.frombuffer(_predicted(kind, bytes(line), bytes(above), step), np.uint8)


def _predicted(kind: int, line: bytes, above: bytes, step: int) -> bytearray:
    """Each byte from what is left of it, which nothing but a loop can know."""
    row = bytearray(step)
    corners = bytes(step) + above
    for index, (difference, up) in enumerate(zip(line, above, strict=True)):
        left = row[index]
        guess = (left + up) // 2 if kind == 3 else _paeth(left, up, corners[index])
        row.append((difference + guess) & 255)
    return row[step:]


def _paeth(left: int, up: int, corner: int) -> int:
    from_left, from_up, from_corner = (
        abs(up - corner),
        abs(left - corner),
        abs(left + up - 2 * corner),
    )
    if from_left <= from_up and from_left <= from_corner:
        return left
    return up if from_up <= from_corner else corner


def _samples(rows: "NDArray[np.uint8]", head: _Head) -> "NDArray[np.uint8]":
    """A uint8 array of (height, width, samples), each as it is written."""
    if head.depth < 8:
        bits = np.unpackbits(rows, axis=1).reshape(head.height, -1, head.depth)
        weights = (1 << np.arange(head.depth - 1, -1, -1)).astype(np.uint8)
        rows = (bits * weights).sum(axis=2, dtype=np.uint8)[:, : head.width]
    return rows.reshape(head.height, head.width, _SAMPLES[head.colour])


def _brightness(
    samples: "NDArray[np.uint8]", head: _Head, palette: "NDArray[np.uint8]"
) -> "NDArray[np.uint32]":
    """From 0 to 255, of each pixel."""
    if head.colour == _PALETTE:
        return (palette.astype(np.uint32) @ _WEIGHTS // 1_000)[samples[:, :, 0]]
    colour_count = 3 if head.colour in {2, 6} else 1
    colours = samples[:, :, :colour_count].astype(np.uint32)
    if colour_count == 3:
        bright = colours @ _WEIGHTS // 1_000
    else:
        bright = colours[:, :, 0] * 255 // (2**head.depth - 1)
    if head.colour in {4, 6}:
        alpha = samples[:, :, -1].astype(np.uint32)
        bright = (bright * alpha + 255 * (255 - alpha)) // 255
    result: NDArray[np.uint32] = bright
    return result
