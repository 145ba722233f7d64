"""What a field holds, as an event tells it. Knows neither who keeps it nor who asks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.digests import chunk_digest, constant_digests, padded, root_digest
from services.lattice.arrays.number_type import NumberType

INLINE_BYTES_MAX = 1 << 15
"""What a field may take at most to lie in its event."""


@dataclass(frozen=True, kw_only=True)
class FieldContent:
    """The numbers of a field, or where they are.

    Few are in `values`. Of the others those of chunks with one number alone, `fill`, are kept
    nowhere, and what there is else is in the array of that id.
    """

    number_type: NumberType
    digest: str
    fill: bytes
    """The bytes of one number."""
    array_id: str = ""
    values: bytes = field(default=b"", repr=False)

    @classmethod
    def constant(cls, number_type: NumberType, shape: Sequence[int], item: bytes) -> "FieldContent":
        """The same number everywhere. Costs 100 ns a MiB."""
        chunking = Chunking.of(shape, number_type.size_bytes)
        digest = root_digest(number_type, chunking, constant_digests(chunking, item))
        return cls(number_type=number_type, digest=digest, fill=item)

    @classmethod
    def inline(cls, number_type: NumberType, shape: Sequence[int], values: bytes) -> "FieldContent":
        """Few numbers, in C order."""
        chunking = Chunking.of(shape, number_type.size_bytes)
        digest = root_digest(
            number_type, chunking, [chunk_digest(padded(values, chunking, number_type))]
        )
        return cls(
            number_type=number_type,
            digest=digest,
            fill=bytes(number_type.size_bytes),
            values=values,
        )
