"""What an array holds, as one digest: that of the digests of its chunks."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.number_type import NumberType


def root_digest(number_type: NumberType, chunking: Chunking, chunk_digests: Sequence[bytes]) -> str:
    """The digest of an array, as `Field.digest` in the contract says. One SHA-256 a chunk."""
    lengths = [",".join(map(str, each)) for each in (chunking.shape, chunking.chunk_shape)]
    digest = hashlib.sha256(f"girih-array-v1 {number_type.value} {' '.join(lengths)}\n".encode())
    digest.update(b"".join(chunk_digests))
    return digest.hexdigest()


def chunk_digest(data: bytes | bytearray | memoryview) -> bytes:
    """Of a whole chunk, with the zeros beyond the array. Gives the interpreter away meanwhile."""
    return hashlib.sha256(data).digest()


def constant_chunk(chunking: Chunking, inside: int, item: bytes) -> bytes:
    """A chunk whose first `inside` numbers are `item`, the bytes of one."""
    return item * inside + bytes(len(item) * (chunking.chunk_sites - inside))


@lru_cache(maxsize=256)
def constant_digest(chunking: Chunking, inside: int, item: bytes) -> bytes:
    """The digest of such a chunk."""
    return chunk_digest(constant_chunk(chunking, inside, item))


def constant_digests(chunking: Chunking, item: bytes) -> list[bytes]:
    """The digests of the chunks of an array of one number: at most two are different."""
    return [
        constant_digest(chunking, chunking.inside(ordinal), item)
        for ordinal in range(chunking.count)
    ]


def array_digest(number_type: NumberType, chunking: Chunking, values: memoryview) -> str:
    """The digest of an array in memory: its bytes, in C order."""
    size_bytes, digests = number_type.size_bytes, []
    for ordinal in range(chunking.count):
        begin, inside = chunking.begin(ordinal), chunking.inside(ordinal)
        digest = hashlib.sha256(values[size_bytes * begin : size_bytes * (begin + inside)])
        digest.update(bytes(size_bytes * (chunking.chunk_sites - inside)))
        digests.append(digest.digest())
    return root_digest(number_type, chunking, digests)


def padded(values: bytes, chunking: Chunking, number_type: NumberType) -> bytes:
    """An array that is one chunk, as that chunk."""
    return values + bytes(number_type.size_bytes * chunking.chunk_sites - len(values))
