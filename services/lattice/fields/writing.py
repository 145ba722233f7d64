"""Writes fields: all of one, or a region, from bytes that come piece by piece.

Nothing is changed before the last byte has come and everything is durable: then one event says
so. What was kept until then belongs to nobody, and is removed here or by the collector.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import numpy as np

from girih.ids import TenantId
from services.lattice.arrays.chunking import ChunkPart
from services.lattice.arrays.content import INLINE_BYTES_MAX, FieldContent
from services.lattice.arrays.content_digest import ContentDigest
from services.lattice.arrays.digests import constant_digests
from services.lattice.arrays.number_type import NumberType
from services.lattice.arrays.region import Region, region_of
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.computing.send_budget import SendBudget
from services.lattice.domain import LatticeId
from services.lattice.errors import LatticeChanged, RequestIdReused, UploadNotFound
from services.lattice.fields.chunk_writer import AT_ONCE, ChunkWriter
from services.lattice.fields.incoming import Incoming
from services.lattice.fields.limits import FieldLimits
from services.lattice.fields.reading import FieldReader, FieldSource, as_array
from services.lattice.fields.states import FieldState, FieldStates, LatticeFields
from services.lattice.state.journal import (
    FieldDeleted,
    FieldEvent,
    FieldWritten,
    command_of,
)
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace, ArrayStore
from services.plumbing.errors import InvalidInput

_BUFFERS = AT_ONCE + 2
"""Chunks in memory at most: those on their way, one that fills, and one that it changes."""


@dataclass(frozen=True, kw_only=True)
class FieldWrite:
    """What is written, as its caller says."""

    name: str
    number_type: NumberType | None = None
    origin: Sequence[int] = ()
    shape: Sequence[int] = ()
    steps: Sequence[int] = ()
    content_digest: str = ""
    is_npy: bool = False


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is written, once it makes sense."""

    tenant: TenantId
    lattice_id: LatticeId
    name: str
    region: Region
    layout: ArrayLayout
    base: FieldState | None
    """The field whose region is written; None where all of it is."""
    digest: ContentDigest

    @property
    def size_bytes(self) -> int:
        """Of the numbers that come."""
        return self.layout.number_type.size_bytes * self.region.sites

    def written(self, content: FieldContent) -> FieldWritten:
        region = self.region if self.base is not None else None
        return FieldWritten(
            lattice_id=self.lattice_id, name=self.name, content=content, region=region
        )


class FieldWriter:
    """Creates, writes and deletes fields."""

    def __init__(
        self,
        states: FieldStates,
        arrays: ArrayStore,
        limits: FieldLimits,
        transfers: SendBudget,
        *,
        upload_s: float,
    ) -> None:
        """`transfers` bounds the bytes that are on their way, `upload_s` how long they are."""
        self._age_s = upload_s
        self.states = states
        self.arrays = arrays
        self.limits = limits
        self._reader = FieldReader(arrays)
        self._transfers = transfers
        self._removals: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait until what was given up is removed."""
        await asyncio.gather(*self._removals, return_exceptions=True)

    async def create(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        name: str,
        kind: NumberType,
        fill: float,
        *,
        request_id: str = "",
    ) -> FieldState:
        """Create a field of one number, once for each request id.

        Raises FieldExists, RequestIdReused and WorkTooLarge.
        """
        item = kind.item(fill, "fill")
        shape = lattice.spec.geometry.shape
        self.limits.check_size(kind, lattice.spec.geometry.sites)
        content = await asyncio.to_thread(FieldContent.constant, kind, shape, item)
        lattice_id = lattice.lattice.lattice_id

        created = FieldWritten(
            lattice_id=lattice_id, name=name, content=content, request_id=request_id
        )
        is_repeated = False

        def decide(known: LatticeFields) -> FieldEvent:
            nonlocal is_repeated
            if request_id not in known.requests:
                known.check_new(name)
                self.limits.check_count(known.fields, name)
            elif is_repeated:
                raise RequestIdReused(
                    "the request id was used for another change", lattice_id=lattice_id
                )
            else:
                # The journal answers the same creation as before, and takes no other.
                is_repeated = True
            return created

        command_id = command_of(lattice_id, request_id)
        state = await self.states.change(tenant, lattice_id, decide, command_id)
        assert state is not None, "a write leaves a field"
        return state

    async def delete(self, tenant: TenantId, lattice_id: LatticeId, name: str) -> None:
        """Delete a field; raises FieldNotFound."""

        def decide(known: LatticeFields) -> FieldEvent:
            known.field(name)
            return FieldDeleted(lattice_id=lattice_id, name=name)

        await self.states.change(tenant, lattice_id, decide)

    async def write(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        write: FieldWrite,
        pieces: AsyncIterator[bytes],
    ) -> FieldState:
        """Write what comes; raises InvalidInput, FieldNotFound, WorkTooLarge, LatticeChanged."""
        incoming = Incoming(pieces)
        job = await self._job(tenant, lattice, write, incoming)
        reserved = _BUFFERS * job.layout.chunk_bytes
        async with self._transfers.reserved(min(reserved, 2 * job.layout.size_bytes)):
            if job.layout.size_bytes <= INLINE_BYTES_MAX:
                content = await self._inline(job, incoming)
            else:
                content = await self._stored(job, incoming)
        return await self.commit(tenant, job.written(content), job.base)

    def is_waited_for(self) -> bool:
        """Whether others wait for the room that what comes takes."""
        return self._transfers.is_waited_for

    async def commit(
        self,
        tenant: TenantId,
        written: FieldWritten,
        base: FieldState | None,
        command_id: UUID | None = None,
    ) -> FieldState:
        """Record a write. That of a region only while the field is what it was made of.

        Raises UploadNotFound for what a command has recorded before.
        """
        revision = -1

        def decide(known: LatticeFields) -> FieldEvent:
            nonlocal revision
            revision = known.revision
            self.check_young(tenant, written.lattice_id, written.content)
            if base is not None and known.field(written.name).content != base.content:
                raise LatticeChanged(
                    "another write changed the field meanwhile", lattice_id=written.lattice_id
                )
            self.limits.check_count(known.fields, written.name)
            return written

        state = await self.states.change(tenant, written.lattice_id, decide, command_id)
        assert state is not None, "a write leaves a field"
        if state.revision <= revision:
            array_id = written.content.array_id
            raise UploadNotFound("the upload was finished before", upload_id=array_id)
        return state

    def check_young(self, tenant: TenantId, lattice_id: LatticeId, content: FieldContent) -> None:
        """Raise UploadNotFound for what was kept so long ago that no event may speak of it now:
        the collector may take it for one that nobody will."""
        array_id = content.array_id
        if array_id and ArrayPlace(tenant, lattice_id, array_id).age_s > self._age_s:
            raise UploadNotFound("the upload has expired", upload_id=array_id)

    def is_young(self, place: ArrayPlace) -> bool:
        """Whether what is written there has time until `check_young`, so that nobody needs to go on
        in another array."""
        return place.age_s < self._age_s / 2

    async def _job(
        self, tenant: TenantId, lattice: HeldLattice, write: FieldWrite, incoming: Incoming
    ) -> _Job:
        """Check all that is known before the numbers come. Nothing of their size is taken."""
        geometry, lattice_id = lattice.spec.geometry, lattice.lattice.lattice_id
        region = region_of(geometry.shape, write.origin, write.shape, write.steps)
        digest = ContentDigest(write.content_digest)
        known = await self.states.of(tenant, lattice_id)
        is_whole = region.covers(geometry.shape)
        base = known.fields.get(write.name) if is_whole else known.field(write.name)
        number_type = write.number_type
        if write.is_npy:
            number_type = await _npy_type(incoming, digest, region, number_type)
        kind = _number_type(number_type, base, is_whole=is_whole)
        self.limits.check_size(kind, geometry.sites)
        self.limits.check_count(known.fields, write.name)
        fill = b"" if is_whole or base is None else base.content.fill
        return _Job(
            tenant=tenant,
            lattice_id=lattice_id,
            name=write.name,
            region=region,
            layout=ArrayLayout.of(kind, geometry.shape, fill),
            base=None if is_whole else base,
            digest=digest,
        )

    async def _inline(self, job: _Job, incoming: Incoming) -> FieldContent:
        data = bytearray(job.size_bytes)
        await _take(job, incoming, data, job.size_bytes)
        await incoming.check_end(job.size_bytes)
        job.digest.check()
        kind, shape = job.layout.number_type, job.layout.chunking.shape
        if job.base is not None:
            source = await self._source(job, job.base)
            whole = bytearray(await source.chunk(self.arrays, 0))
            (only,) = job.layout.chunking.parts(job.region)
            data = _merged(whole, data, only, job.layout)[: job.layout.size_bytes]
        return FieldContent.inline(kind, shape, bytes(data))

    async def _stored(self, job: _Job, incoming: Incoming) -> FieldContent:
        layout, place = job.layout, ArrayPlace.new(job.tenant, job.lattice_id)
        with self.removed_on_failure(place):
            source = None if job.base is None else await self._source(job, job.base)
            touched = await self._put_chunks(job, place, source, incoming)
            digests: Sequence[bytes]
            if source is None:
                digests = [touched[ordinal] for ordinal in range(layout.chunking.count)]
            else:
                digests = await self._with_untouched(place, source, touched)
            digest = await self.arrays.seal(place, layout, digests)
        return FieldContent(
            number_type=layout.number_type,
            digest=digest,
            fill=layout.fill,
            array_id=place.array_id,
        )

    async def _put_chunks(
        self, job: _Job, place: ArrayPlace, source: FieldSource | None, incoming: Incoming
    ) -> Mapping[int, bytes]:
        """Put away the chunks that are written; their digests."""
        layout = job.layout
        async with ChunkWriter(partial(self.arrays.put_chunk, place, layout)) as writer:
            for part in layout.chunking.parts(job.region):
                data = bytearray(layout.number_type.size_bytes * part.sites)
                await _take(job, incoming, data, job.size_bytes)
                if source is not None:
                    old = bytearray(await source.chunk(self.arrays, part.ordinal))
                    data = await asyncio.to_thread(_merged, old, data, part, layout)
                inside = layout.inside_bytes(part.ordinal)
                await writer.add(part.ordinal, memoryview(data)[:inside])
            await incoming.check_end(job.size_bytes)
            job.digest.check()
            return await writer.digests()

    async def _with_untouched(
        self, place: ArrayPlace, source: FieldSource, touched: Mapping[int, bytes]
    ) -> Sequence[bytes]:
        """Keep what the region does not touch, too; the digests of all chunks."""
        layout = source.layout
        before = source.digests or constant_digests(layout.chunking, layout.fill)
        if source.place is not None:
            kept = [
                ordinal
                for ordinal, digest in enumerate(before)
                if ordinal not in touched and digest != layout.filled_digest(ordinal)
            ]
            await self.arrays.copy_chunks(source.place, place, layout, kept)
        return [touched.get(ordinal, digest) for ordinal, digest in enumerate(before)]

    async def _source(self, job: _Job, base: FieldState) -> FieldSource:
        shape = job.layout.chunking.shape
        return await self._reader.source(job.tenant, job.lattice_id, shape, base.content)

    @contextmanager
    def removed_on_failure(self, place: ArrayPlace) -> Iterator[None]:
        """What is kept of an array inside the block is removed unless the block ends well."""
        try:
            yield
        except BaseException:
            # Whoever is cancelled does not wait for it.
            removal = asyncio.create_task(self.arrays.remove(place))
            self._removals.add(removal)
            removal.add_done_callback(self._removed)
            raise

    def _removed(self, removal: asyncio.Task[None]) -> None:
        self._removals.discard(removal)
        if not removal.cancelled():
            # The collector removes what is left.
            removal.exception()


async def _npy_type(
    incoming: Incoming, digest: ContentDigest, region: Region, stated: NumberType | None
) -> NumberType:
    """The type that a `.npy` file has, whose header comes first and must fit."""
    header, head = await incoming.npy_header()
    digest.update(head)
    incoming.taken = 0
    if header.shape != region.shape:
        raise InvalidInput.of(
            "body", f"must be a .npy file of shape {list(region.shape)}, not {list(header.shape)}"
        )
    if stated not in (None, header.number_type):
        raise InvalidInput.of(
            "number_type", f"must be that of the file: {header.number_type.value}"
        )
    return header.number_type


def _number_type(
    stated: NumberType | None, base: FieldState | None, *, is_whole: bool
) -> NumberType:
    if base is not None and stated is None:
        return base.content.number_type
    if stated is None:
        raise InvalidInput.of("number_type", "must be given for a field that there is none of")
    if not is_whole and base is not None and stated is not base.content.number_type:
        kind = base.content.number_type.value
        raise InvalidInput.of("number_type", f"must be that of the field, {kind}, for a region")
    return stated


async def _take(job: _Job, incoming: Incoming, data: bytearray, expected: int) -> None:
    """Fill `data`; raises InvalidInput when there is less than `expected` in all."""
    if await incoming.fill(memoryview(data)) < len(data):
        raise InvalidInput.of("body", f"must be {expected:,} bytes long, not {incoming.taken:,}")
    if job.digest.is_expected:
        await asyncio.to_thread(job.digest.update, data)


def _merged(old: bytearray, data: bytearray, part: ChunkPart, layout: ArrayLayout) -> bytearray:
    """A chunk with the numbers of a part of it replaced: `old` itself."""
    numbers = np.frombuffer(data, layout.number_type.dtype).reshape(part.shape)
    as_array(old, layout)[part.selection] = numbers
    return old
