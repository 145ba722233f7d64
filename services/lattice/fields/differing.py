"""How the numbers of two fields differ, chunk by chunk, as a source of numbers itself."""

from contextlib import aclosing
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.arrays.region import Region
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.storage.arrays import ArrayLayout, ArrayStore

_ITEM = bytes(NumberType.FLOAT64.size_bytes)


@dataclass(frozen=True)
class DifferenceSource(FieldSource):
    """What one field is more than another of the same lattice, as doubles.

    A chunk takes its own bytes three times while it is made, and a chunk of each field.
    """

    reader: FieldReader
    minuend: FieldSource
    subtrahend: FieldSource

    @classmethod
    def of(
        cls, reader: FieldReader, minuend: FieldSource, subtrahend: FieldSource
    ) -> "DifferenceSource":
        layout = ArrayLayout.of(NumberType.FLOAT64, minuend.layout.chunking.shape)
        content = FieldContent(number_type=NumberType.FLOAT64, digest="", fill=_ITEM)
        return cls(content, layout, None, (), reader, minuend, subtrahend)

    async def chunk(self, arrays: ArrayStore, ordinal: int) -> bytes:  # noqa: ARG002
        """A chunk of the difference, with its padding. Raises what reading raises."""
        chunking = self.layout.chunking
        box = _box(chunking, ordinal)
        made = await self._numbers(self.minuend, box)
        with np.errstate(all="ignore"):
            np.subtract(made, await self._numbers(self.subtrahend, box), out=made)
        padding = self.layout.chunk_bytes - made.nbytes
        return made.tobytes() + bytes(padding)

    async def _numbers(self, source: FieldSource, box: Region) -> NDArray[np.float64]:
        """The numbers of a box that follow each other in C order."""
        numbers, begin = np.empty(box.sites), 0
        async with aclosing(self.reader.parts(source, box)) as parts:
            async for part, values in parts:
                numbers[begin : begin + part.sites] = values.reshape(-1)
                begin += part.sites
        return numbers


def _box(chunking: Chunking, ordinal: int) -> Region:
    """The part of an array that a chunk holds."""
    behind = prod(chunking.shape[chunking.axis + 1 :])
    origin = tuple(int(at) for at in np.unravel_index(chunking.begin(ordinal), chunking.shape))
    rows = chunking.inside(ordinal) // behind
    shape = (1,) * chunking.axis + (rows,) + chunking.shape[chunking.axis + 1 :]
    return Region(origin, shape, (1,) * len(shape))
