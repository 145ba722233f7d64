"""Reads the numbers of fields, chunk by chunk, wherever they are."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import ChunkPart
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.digests import constant_chunk, padded
from services.lattice.arrays.number_type import NumberType
from services.lattice.arrays.region import Region
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace, ArrayStore


@dataclass(frozen=True)
class FieldSource:
    """The chunks of one field as it was at a moment; later writes do not change them."""

    content: FieldContent
    layout: ArrayLayout
    place: ArrayPlace | None
    """Where they are kept, unless they are few or all alike."""
    digests: Sequence[bytes]
    """Of the chunks that are kept."""

    async def chunk(self, arrays: ArrayStore, ordinal: int) -> bytes:
        """A chunk with its padding; raises ChunkDamaged and StorageUnavailable."""
        content, chunking = self.content, self.layout.chunking
        if self.place is not None:
            return await arrays.chunk(self.place, self.layout, ordinal, self.digests[ordinal])
        if content.values:
            return padded(content.values, chunking, content.number_type)
        return constant_chunk(chunking, chunking.inside(ordinal), content.fill)


@dataclass(frozen=True)
class ArraySource(FieldSource):
    """Numbers that are in memory, and kept nowhere."""

    array: NDArray[Any]
    """In C order, of the shape of the layout."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> "ArraySource":
        number_type = NumberType(array.dtype.name)
        layout = ArrayLayout.of(number_type, array.shape)
        content = FieldContent(
            number_type=number_type, digest="", fill=bytes(number_type.size_bytes)
        )
        return cls(content, layout, None, (), np.ascontiguousarray(array))

    async def chunk(self, arrays: ArrayStore, ordinal: int) -> bytes:  # noqa: ARG002
        chunking = self.layout.chunking
        begin = chunking.begin(ordinal)
        numbers = self.array.reshape(-1)[begin : begin + chunking.inside(ordinal)]
        return numbers.tobytes() + bytes(self.layout.chunk_bytes - numbers.nbytes)


class FieldReader:
    """Reads fields from where arrays are kept."""

    def __init__(self, arrays: ArrayStore) -> None:
        self.arrays = arrays

    async def source(
        self, tenant: str, lattice_id: str, shape: Sequence[int], content: FieldContent
    ) -> FieldSource:
        """What reads a field of a lattice of that shape.

        Raises ChunkDamaged when what says which chunks there are is not what was written.
        """
        layout = ArrayLayout.of(content.number_type, shape, content.fill)
        if not content.array_id:
            return FieldSource(content, layout, None, ())
        place = ArrayPlace(tenant, lattice_id, content.array_id)
        digests = await self.arrays.chunk_digests(place, layout, content.digest)
        return FieldSource(content, layout, place, digests)

    async def parts(
        self, source: FieldSource, region: Region
    ) -> AsyncGenerator[tuple[ChunkPart, NDArray[np.generic]]]:
        """Yield the numbers of a region, in C order, chunk by chunk; two are in memory."""
        chunking = source.layout.chunking
        parts = chunking.parts(region)
        part = next(parts)
        coming = asyncio.ensure_future(source.chunk(self.arrays, part.ordinal))
        try:
            while True:
                data, behind = await coming, next(parts, None)
                if behind is not None:
                    # The next one is fetched while this one is used.
                    coming = asyncio.ensure_future(source.chunk(self.arrays, behind.ordinal))
                yield part, as_array(data, source.layout)[part.selection]
                del data
                if behind is None:
                    return
                part = behind
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def array(self, source: FieldSource) -> NDArray[np.generic]:
        """All numbers of a field, of the lattice's shape, in an array of its own.

        The caller has reserved `source.layout.size_bytes` for it.
        """
        layout = source.layout
        array = np.empty(layout.chunking.shape, layout.number_type.dtype)
        flat, begin = array.reshape(-1), 0
        async with aclosing(self.parts(source, Region.whole(array.shape))) as parts:
            async for part, numbers in parts:
                flat[begin : begin + part.sites] = numbers.reshape(-1)
                begin += part.sites
        return array

    async def bits(self, source: FieldSource) -> bytes:
        """Which numbers of a field are not zero, in C order, lowest bits first; a chunk at a time
        is in memory."""
        chunking, dtype = source.layout.chunking, source.layout.number_type.dtype
        bitmap = np.zeros(-(-math.prod(chunking.shape) // 8), np.uint8)

        def put(ordinal: int, chunk: bytes) -> None:
            begin = chunking.begin(ordinal)
            numbers = np.frombuffer(chunk, dtype)[: chunking.inside(ordinal)]
            before = np.zeros(begin % 8, np.bool_)
            packed = np.packbits(np.concatenate([before, numbers != 0]), bitorder="little")
            bitmap[begin // 8 : begin // 8 + len(packed)] |= packed

        for ordinal in range(chunking.count):
            await asyncio.to_thread(put, ordinal, await source.chunk(self.arrays, ordinal))
        return await asyncio.to_thread(bitmap.tobytes)


def as_array(data: bytes | bytearray, layout: ArrayLayout) -> NDArray[np.generic]:
    """A chunk as an array of the shape of one; not copied."""
    return np.frombuffer(data, layout.number_type.dtype).reshape(layout.chunking.chunk_shape)
