"""The blocked sites of a new lattice, from bytes that come piece by piece: as bits, in memory."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.content_digest import ContentDigest
from services.lattice.domain import BitOrder, reordered
from services.lattice.fields.incoming import Incoming
from services.plumbing.errors import InvalidInput

_SITES_AT_ONCE = 1 << 22
_BYTES_AT_ONCE = 1 << 20


async def read_bitmap(
    incoming: Incoming, sites: int, bit_order: BitOrder, digest: ContentDigest
) -> bytes:
    """A bitmap that comes as bits, in the order that is kept here."""
    size_bytes = (sites + 7) // 8
    bitmap = _nothing_yet(size_bytes)
    await _fill(incoming, bitmap.data, size_bytes, digest)
    await incoming.check_end(size_bytes)
    digest.check()
    return await asyncio.to_thread(_kept, bitmap, bit_order)


async def read_numbers(incoming: Incoming, sites: int, digest: ContentDigest) -> bytes:
    """A bitmap that comes as a byte for each site, 0 or 1."""
    bitmap = _nothing_yet((sites + 7) // 8)
    for begin in range(0, sites, _SITES_AT_ONCE):
        numbers = bytearray(min(_SITES_AT_ONCE, sites - begin))
        await _fill(incoming, memoryview(numbers), sites, digest)
        packed = await asyncio.to_thread(_packed, numbers)
        bitmap[begin // 8 : begin // 8 + packed.size] = packed
    await incoming.check_end(sites)
    digest.check()
    return await asyncio.to_thread(bitmap.tobytes)


def _nothing_yet(size_bytes: int) -> NDArray[np.uint8]:
    """Room for what comes. The system gives it as it is written to: zeros that are written first,
    as of a bytearray, would hold up every call, for a bitmap that may never come."""
    return np.zeros(size_bytes, np.uint8)


async def _fill(
    incoming: Incoming, target: memoryview, expected: int, digest: ContentDigest
) -> None:
    if await incoming.fill(target) < len(target):
        raise InvalidInput.of("body", f"must be {expected:,} bytes long, not {incoming.taken:,}")
    if digest.is_expected:
        await asyncio.to_thread(digest.update, target)


def _kept(bitmap: NDArray[np.uint8], bit_order: BitOrder) -> bytes:
    """In the order that is kept here: put right in place, and so much that others run meanwhile."""
    if bit_order is not BitOrder.LITTLE:
        for begin in range(0, bitmap.size, _BYTES_AT_ONCE):
            piece = bitmap[begin : begin + _BYTES_AT_ONCE]
            piece[:] = np.frombuffer(reordered(piece.tobytes(), bit_order), np.uint8)
    return bitmap.tobytes()


def _packed(numbers: bytearray) -> NDArray[np.uint8]:
    array = np.frombuffer(numbers, np.uint8)
    if array.max() > 1:
        raise InvalidInput.of("body", "must be 0 where a site is free, and 1 where it is blocked")
    return np.packbits(array, bitorder="little")
