"""Reads and writes boxes of arrays where they are kept: nothing more of them is in memory."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.digests import chunk_digest
from services.lattice.distributed.boxes import Box, chunks_of
from services.lattice.fields.chunk_writer import AT_ONCE, ChunkWriter
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace, ArrayStore
from services.lattice.storage.objects import ObjectExists

CHUNKS_HELD = AT_ONCE + 3
"""Chunks in memory beside a box at most: those on their way, two that are read, a copy of one."""


async def read_box(reader: FieldReader, source: FieldSource, box: Box) -> NDArray[Any]:
    """The numbers of a box, in an array of its own; around the ends of rings, too.

    Raises ChunkDamaged and StorageUnavailable.
    """
    layout = source.layout
    array = np.empty(box.shape, layout.number_type.dtype)
    for places, region in box.pieces(layout.chunking.shape):
        target = array[places]
        async with aclosing(reader.parts(source, region)) as parts:
            async for part, numbers in parts:
                begins = zip(part.begin, part.shape, strict=True)
                target[tuple(slice(at, at + length) for at, length in begins)] = numbers
    return array


async def write_box(
    arrays: ArrayStore, place: ArrayPlace, layout: ArrayLayout, box: Box, array: NDArray[Any]
) -> Mapping[int, bytes]:
    """Keep a box of whole chunks; their digests. Done again it changes nothing.

    Raises StorageUnavailable.
    """
    async with ChunkWriter(partial(_put, arrays, place, layout)) as writer:
        for ordinal, places in chunks_of(box, layout.chunking):
            chunk = np.ascontiguousarray(array[places])
            await writer.add(ordinal, chunk.reshape(-1).view(np.uint8).data)
        return await writer.digests()


async def _put(
    arrays: ArrayStore, place: ArrayPlace, layout: ArrayLayout, ordinal: int, data: memoryview
) -> bytes:
    try:
        return await arrays.put_chunk(place, layout, ordinal, data)
    except ObjectExists:
        # Who did the same before was cut off, or is about to be: what it kept has these numbers.
        padding = bytes(layout.chunk_bytes - len(data))
        return await asyncio.to_thread(lambda: chunk_digest(bytes(data) + padding))
