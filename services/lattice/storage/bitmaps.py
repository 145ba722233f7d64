"""Keeps bitmaps of blocked sites as arrays of bytes."""

import asyncio

from services.lattice.arrays.number_type import NumberType
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace, ArrayStore


class KeptBitmaps:
    """Bitmaps in an array store, one array each."""

    def __init__(self, arrays: ArrayStore) -> None:
        self._arrays = arrays

    async def save(self, tenant: str, lattice_id: str, bitmap: bytes) -> tuple[str, str]:
        """Keep a bitmap, durably; the id of its array, and its digest."""
        place, layout = ArrayPlace.new(tenant, lattice_id), _layout(len(bitmap))
        digests, begin = [], 0
        view = memoryview(bitmap)
        for ordinal in range(layout.chunking.count):
            end = begin + layout.inside_bytes(ordinal)
            digests.append(await self._arrays.put_chunk(place, layout, ordinal, view[begin:end]))
            begin = end
        return place.array_id, await self._arrays.seal(place, layout, digests)

    async def load(
        self, tenant: str, lattice_id: str, array_id: str, digest: str, size_bytes: int
    ) -> bytes:
        """A bitmap that was kept; raises ChunkDamaged unless it is what was kept."""
        place, layout = ArrayPlace(tenant, lattice_id, array_id), _layout(size_bytes)
        digests = await self._arrays.chunk_digests(place, layout, digest)
        bitmap, begin = bytearray(size_bytes), 0
        for ordinal, chunk_digest in enumerate(digests):
            chunk = await self._arrays.chunk(place, layout, ordinal, chunk_digest)
            end = begin + layout.inside_bytes(ordinal)
            bitmap[begin:end] = memoryview(chunk)[: end - begin]
            begin = end
        return await asyncio.to_thread(bytes, bitmap)


def _layout(size_bytes: int) -> ArrayLayout:
    return ArrayLayout.of(NumberType.UINT8, (size_bytes,))
