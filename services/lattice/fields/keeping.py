"""Keeps numbers that are in memory, of a whole field, where an event can speak of them."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.content import INLINE_BYTES_MAX, FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.fields.chunk_writer import AT_ONCE, ChunkWriter
from services.lattice.fields.writing import FieldWriter
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace

CHUNKS_ON_THEIR_WAY = AT_ONCE + 1


async def keep(
    writer: FieldWriter, tenant: str, lattice_id: str, array: NDArray[Any]
) -> FieldContent:
    """What an event says of an array in C order: the numbers, or where they are from now on.

    They belong to nobody until an event speaks of them: the collector removes them else. The
    array is not changed meanwhile. Raises StorageUnavailable.
    """
    number_type = NumberType(array.dtype.name)
    if array.nbytes <= INLINE_BYTES_MAX:
        return FieldContent.inline(number_type, array.shape, array.tobytes())
    layout, data = ArrayLayout.of(number_type, array.shape), array.reshape(-1).view(np.uint8).data

    def chunk(ordinal: int) -> memoryview:
        begin = number_type.size_bytes * layout.chunking.begin(ordinal)
        return data[begin : begin + layout.inside_bytes(ordinal)]

    return await _keep(writer, tenant, lattice_id, layout, chunk)


async def keep_bits(
    writer: FieldWriter, tenant: str, lattice_id: str, shape: Sequence[int], bitmap: bytes
) -> FieldContent:
    """The same of a bitmap in C order, the lowest bit of a byte first, as an array of uint8 that is
    1 where a bit is set. An empty bitmap has none set. A chunk at a time is in memory."""
    layout = ArrayLayout.of(NumberType.UINT8, shape)
    if not bitmap:
        return await asyncio.to_thread(
            FieldContent.constant, layout.number_type, shape, layout.fill
        )
    bits = np.frombuffer(bitmap, np.uint8)

    def chunk(ordinal: int) -> memoryview:
        begin = layout.chunking.begin(ordinal)
        end = begin + layout.inside_bytes(ordinal)
        unpacked = np.unpackbits(bits[begin // 8 : -(-end // 8)], bitorder="little")
        return unpacked[begin % 8 : begin % 8 + end - begin].data

    if layout.size_bytes <= INLINE_BYTES_MAX:
        return FieldContent.inline(layout.number_type, shape, bytes(chunk(0)))
    return await _keep(writer, tenant, lattice_id, layout, chunk)


async def _keep(
    writer: FieldWriter,
    tenant: str,
    lattice_id: str,
    layout: ArrayLayout,
    chunk: Callable[[int], memoryview],
) -> FieldContent:
    place = ArrayPlace.new(tenant, lattice_id)
    with writer.removed_on_failure(place):
        async with ChunkWriter(partial(writer.arrays.put_chunk, place, layout)) as chunks:
            for ordinal in range(layout.chunking.count):
                await chunks.add(ordinal, await asyncio.to_thread(chunk, ordinal))
            digests = await chunks.digests()
        ordered = [digests[ordinal] for ordinal in range(layout.chunking.count)]
        digest = await writer.arrays.seal(place, layout, ordered)
    return FieldContent(
        number_type=layout.number_type, digest=digest, fill=layout.fill, array_id=place.array_id
    )
