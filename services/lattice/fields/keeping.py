"""Keeps the numbers of a whole field that is in memory, where an event can speak of them."""

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
    layout, place = ArrayLayout.of(number_type, array.shape), ArrayPlace.new(tenant, lattice_id)
    data = array.reshape(-1).view(np.uint8).data
    with writer.removed_on_failure(place):
        async with ChunkWriter(partial(writer.arrays.put_chunk, place, layout)) as chunks:
            for ordinal in range(layout.chunking.count):
                begin = number_type.size_bytes * layout.chunking.begin(ordinal)
                await chunks.add(ordinal, data[begin : begin + layout.inside_bytes(ordinal)])
            digests = await chunks.digests()
        ordered = [digests[ordinal] for ordinal in range(layout.chunking.count)]
        digest = await writer.arrays.seal(place, layout, ordered)
    return FieldContent(
        number_type=number_type, digest=digest, fill=layout.fill, array_id=place.array_id
    )
