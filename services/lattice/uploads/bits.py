"""The blocked sites of a new lattice, from bytes that come piece by piece: as bits, in memory."""

import asyncio

import numpy as np

from services.lattice.arrays.content_digest import ContentDigest
from services.lattice.domain import BitOrder, reordered
from services.lattice.fields.incoming import Incoming
from services.plumbing.errors import InvalidInput

_SITES_AT_ONCE = 1 << 22


async def read_bitmap(
    incoming: Incoming, sites: int, bit_order: BitOrder, digest: ContentDigest
) -> bytes:
    """A bitmap that comes as bits, in the order that is kept here."""
    size_bytes = (sites + 7) // 8
    bitmap = bytearray(size_bytes)
    await _fill(incoming, memoryview(bitmap), size_bytes, digest)
    await incoming.check_end(size_bytes)
    digest.check()
    return await asyncio.to_thread(reordered, bytes(bitmap), bit_order)


async def read_numbers(incoming: Incoming, sites: int, digest: ContentDigest) -> bytes:
    """A bitmap that comes as a byte for each site, 0 or 1."""
    bitmap = bytearray((sites + 7) // 8)
    for begin in range(0, sites, _SITES_AT_ONCE):
        numbers = bytearray(min(_SITES_AT_ONCE, sites - begin))
        await _fill(incoming, memoryview(numbers), sites, digest)
        packed = await asyncio.to_thread(_packed, numbers)
        bitmap[begin // 8 : begin // 8 + len(packed)] = packed
    await incoming.check_end(sites)
    digest.check()
    return bytes(bitmap)


async def _fill(
    incoming: Incoming, target: memoryview, expected: int, digest: ContentDigest
) -> None:
    if await incoming.fill(target) < len(target):
        raise InvalidInput.of("body", f"must be {expected:,} bytes long, not {incoming.taken:,}")
    if digest.is_expected:
        await asyncio.to_thread(digest.update, target)


def _packed(numbers: bytearray) -> bytes:
    array = np.frombuffer(numbers, np.uint8)
    if array.max() > 1:
        raise InvalidInput.of("body", "must be 0 where a site is free, and 1 where it is blocked")
    return np.packbits(array, bitorder="little").tobytes()
