"""Arrays in chunks, in the layout of Zarr v3. Each is written once, and never changed.

An array is a folder `tenant/lattice/array` of chunks `c.0.3` and the file `zarr.json`, which is
written last. Zarr's own tools open it. Its attributes have the SHA-256 of each chunk, and the
digest of them all is what an event holds: nothing is believed that does not lead to that.
"""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import orjson

from girih.ids import uuid7
from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.digests import (
    chunk_digest,
    constant_chunk,
    constant_digest,
    root_digest,
)
from services.lattice.arrays.number_type import NumberType
from services.lattice.errors import ChunkDamaged
from services.lattice.storage.objects import Bytes, ObjectExists, ObjectMissing, ObjectStore

METADATA = "zarr.json"
_COPIES_AT_ONCE = 16


@dataclass(frozen=True)
class ArrayPlace:
    """Where an array is kept. The parts are names that we made, or have checked."""

    tenant: str
    lattice_id: str
    array_id: str
    """A UUID of version 7: its time is that of the array's beginning."""

    @property
    def folder(self) -> str:
        return f"{self.tenant}/{self.lattice_id}/{self.array_id}"

    @property
    def began_s(self) -> float:
        """When it was begun, in seconds since 1970."""
        return (UUID(self.array_id).int >> 80) / 1000

    @property
    def age_s(self) -> float:
        """How long ago that was, in seconds, by the clock of this process."""
        return time.time() - self.began_s

    @classmethod
    def new(cls, tenant: str, lattice_id: str) -> "ArrayPlace":
        return cls(tenant, lattice_id, str(uuid7()))


@dataclass(frozen=True)
class ArrayLayout:
    """What an array is made of."""

    number_type: NumberType
    chunking: Chunking
    fill: bytes
    """The bytes of one number: chunks that have no other are not kept."""

    @classmethod
    def of(cls, number_type: NumberType, shape: Sequence[int], fill: bytes = b"") -> "ArrayLayout":
        """Without `fill` that is 0."""
        size_bytes = number_type.size_bytes
        return cls(number_type, Chunking.of(shape, size_bytes), fill or bytes(size_bytes))

    @property
    def size_bytes(self) -> int:
        """Of all numbers."""
        return self.number_type.size_bytes * math.prod(self.chunking.shape)

    @property
    def chunk_bytes(self) -> int:
        return self.number_type.size_bytes * self.chunking.chunk_sites

    def inside_bytes(self, ordinal: int) -> int:
        """How many bytes of a chunk belong to the array."""
        return self.number_type.size_bytes * self.chunking.inside(ordinal)

    def filled_digest(self, ordinal: int) -> bytes:
        """The digest of a chunk that has `fill` everywhere."""
        return constant_digest(self.chunking, self.chunking.inside(ordinal), self.fill)


class ArrayStore:
    """Keeps arrays in an object store."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    async def put_chunk(
        self,
        place: ArrayPlace,
        layout: ArrayLayout,
        ordinal: int,
        data: Bytes,
        *,
        always: bool = False,
    ) -> bytes:
        """Keep the numbers of a chunk that lie inside the array; its digest.

        What has `fill` everywhere is only kept if `always`. Raises ObjectExists: a chunk is
        written once.
        """
        padding = bytes(layout.chunk_bytes - len(data))
        name = f"{place.folder}/{layout.chunking.key(ordinal)}"
        digesting = asyncio.to_thread(_digest, data, padding)
        if always or bytes(data[: len(layout.fill)]) != layout.fill:
            # It is kept in any case: neither waits for the other.
            digest, _ = await asyncio.gather(digesting, self.objects.put(name, [data, padding]))
            return digest
        digest = await digesting
        if digest != layout.filled_digest(ordinal):
            await self.objects.put(name, [data, padding])
        return digest

    async def copy_chunks(
        self, source: ArrayPlace, target: ArrayPlace, layout: ArrayLayout, ordinals: Sequence[int]
    ) -> None:
        """Keep some chunks of an array as those of another one, too.

        Raises ChunkDamaged where one is missing, and StorageUnavailable. What is in them is not
        looked at: their digests tell that to whoever reads them.
        """
        at_once = asyncio.Semaphore(_COPIES_AT_ONCE)

        async def copy(ordinal: int) -> None:
            key = layout.chunking.key(ordinal)
            async with at_once:
                try:
                    await self.objects.copy(f"{source.folder}/{key}", f"{target.folder}/{key}")
                except ObjectMissing:
                    raise _damaged(source, key, "is missing") from None

        try:
            async with asyncio.TaskGroup() as group:
                for ordinal in ordinals:
                    group.create_task(copy(ordinal))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def seal(
        self, place: ArrayPlace, layout: ArrayLayout, chunk_digests: Sequence[bytes]
    ) -> str:
        """Say that all chunks are there, durably; the digest of the array.

        Sealing the same again changes nothing.
        """
        digest = root_digest(layout.number_type, layout.chunking, chunk_digests)
        document = orjson.dumps(_metadata(layout, digest, chunk_digests))
        with contextlib.suppress(ObjectExists):
            await self.objects.put(f"{place.folder}/{METADATA}", [document])
        await self.objects.settle(place.folder)
        return digest

    async def chunk_digests(
        self, place: ArrayPlace, layout: ArrayLayout, digest: str
    ) -> Sequence[bytes]:
        """The digests of all chunks; raises ChunkDamaged unless they are those of `digest`."""
        try:
            document = orjson.loads(await self.objects.get(f"{place.folder}/{METADATA}"))
            texts = document["attributes"]["girih"]["chunk_digests"]
            digests = [bytes.fromhex(each) for each in texts]
        except ObjectMissing:
            raise _damaged(place, METADATA, "is missing") from None
        except (ValueError, TypeError, KeyError):
            raise _damaged(place, METADATA, "cannot be read") from None
        if root_digest(layout.number_type, layout.chunking, digests) != digest:
            raise _damaged(place, METADATA, "is not what was written")
        return digests

    async def chunk(
        self, place: ArrayPlace, layout: ArrayLayout, ordinal: int, digest: bytes
    ) -> bytes:
        """A chunk with its padding; raises ChunkDamaged unless it is what was written."""
        if digest == layout.filled_digest(ordinal):
            return constant_chunk(layout.chunking, layout.chunking.inside(ordinal), layout.fill)
        key = layout.chunking.key(ordinal)
        try:
            data = await self.objects.get(f"{place.folder}/{key}")
        except ObjectMissing:
            raise _damaged(place, key, "is missing") from None
        if await asyncio.to_thread(chunk_digest, data) != digest:
            raise _damaged(place, key, "is not what was written")
        return data

    async def remove(self, place: ArrayPlace) -> None:
        """Keep nothing of an array."""
        await self.objects.remove(place.folder)


def _digest(data: Bytes, padding: bytes) -> bytes:
    digest = hashlib.sha256(data)
    digest.update(padding)
    return digest.digest()


def _metadata(layout: ArrayLayout, digest: str, chunk_digests: Sequence[bytes]) -> object:
    """As in https://zarr-specs.readthedocs.io/en/latest/v3/core/."""
    chunk_grid = {"chunk_shape": layout.chunking.chunk_shape}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": layout.chunking.shape,
        "data_type": layout.number_type.value,
        "chunk_grid": {"name": "regular", "configuration": chunk_grid},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": _fill_value(layout),
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {
            "girih": {"digest": digest, "chunk_digests": [each.hex() for each in chunk_digests]}
        },
    }


def _fill_value(layout: ArrayLayout) -> object:
    """As Zarr writes it: JSON has no NaN, and no infinity."""
    value = np.frombuffer(layout.fill, layout.number_type.dtype)[0].item()
    if isinstance(value, int) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _damaged(place: ArrayPlace, chunk: str, what: str) -> ChunkDamaged:
    return ChunkDamaged(f"the chunk {chunk} {what}", array=place.folder, chunk=chunk)
