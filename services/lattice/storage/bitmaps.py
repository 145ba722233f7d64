"""Keeps bitmaps of blocked sites as arrays of bytes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

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
        bitmap, begin = bytearray(size_bytes), 0
        pieces = self.pieces(tenant, lattice_id, array_id, digest, size_bytes)
        async with aclosing(pieces) as coming:
            async for piece in coming:
                bitmap[begin : begin + len(piece)] = piece
                begin += len(piece)
        return await asyncio.to_thread(bytes, bitmap)

    async def pieces(
        self, tenant: str, lattice_id: str, array_id: str, digest: str, size_bytes: int
    ) -> AsyncGenerator[memoryview]:
        """The same from its beginning on, a chunk at a time: what nobody waits for is not read."""
        place, layout = ArrayPlace(tenant, lattice_id, array_id), _layout(size_bytes)
        digests = await self._arrays.chunk_digests(place, layout, digest)
        for ordinal, chunk_digest in enumerate(digests):
            chunk = await self._arrays.chunk(place, layout, ordinal, chunk_digest)
            yield memoryview(chunk)[: layout.inside_bytes(ordinal)]


def _layout(size_bytes: int) -> ArrayLayout:
    return ArrayLayout.of(NumberType.UINT8, (size_bytes,))
