"""Arrays as workers have them: they find them where they are kept, and read and write boxes of
them. Nothing more of them is in memory.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.digests import chunk_digest
from services.lattice.distributed.boxes import Box, chunks_of
from services.lattice.fields.chunk_writer import ChunkWriter
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace, ArrayStore
from services.lattice.storage.objects import ObjectExists
from services.lattice.storage.opening import open_store

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class WorkerArrays:
    """What is kept, for a worker, which finds it by itself."""

    storage: str
    """As `LATTICE_STORAGE` has it."""

    def use(self, work: Callable[[ArrayStore], Awaitable[T]]) -> T:
        """Work with the arrays that are kept there, in a thread that has no event loop."""
        return asyncio.run(_with_arrays(self.storage, work))


@dataclass(frozen=True, kw_only=True)
class KeptArray(WorkerArrays):
    """Numbers that a worker finds by itself."""

    tenant: str
    lattice_id: str
    shape: tuple[int, ...]
    content: FieldContent

    def read(self, work: Callable[[FieldReader, FieldSource], Awaitable[T]]) -> T:
        """Work with what reads it, in a thread that has no event loop. Raises ChunkDamaged and
        StorageUnavailable."""

        async def reading(arrays: ArrayStore) -> T:
            reader = FieldReader(arrays)
            source = await reader.source(self.tenant, self.lattice_id, self.shape, self.content)
            return await work(reader, source)

        return self.use(reading)


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


async def _with_arrays(storage: str, work: Callable[[ArrayStore], Awaitable[T]]) -> T:
    objects = open_store(storage)
    try:
        return await work(ArrayStore(objects))
    finally:
        await objects.close()


async def _put(
    arrays: ArrayStore, place: ArrayPlace, layout: ArrayLayout, ordinal: int, data: memoryview
) -> bytes:
    try:
        return await arrays.put_chunk(place, layout, ordinal, data)
    except ObjectExists:
        # Who did the same before was cut off, or is about to be: what it kept has these numbers.
        padding = bytes(layout.chunk_bytes - len(data))
        return await asyncio.to_thread(lambda: chunk_digest(bytes(data) + padding))
