"""Uploads of whole fields that may be cut off and gone on with, through any replica.

An upload is an array whose chunks come one after the other. A file beside them says of which
field it is; how far it is, the chunks that are there tell. So nothing is to be remembered, and
nothing can be told of that is not kept.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid5

import orjson

from girih.ids import TenantId
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.content_digest import ContentDigest
from services.lattice.arrays.digests import chunk_digest
from services.lattice.arrays.number_type import NumberType
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.computing.send_budget import SendBudget
from services.lattice.domain import LatticeId
from services.lattice.errors import StorageUnavailable, UploadNotFound, UploadOffset
from services.lattice.fields.chunk_writer import AT_ONCE, ChunkWriter
from services.lattice.fields.incoming import Incoming
from services.lattice.fields.states import FieldState
from services.lattice.fields.writing import FieldWriter
from services.lattice.state.journal import FieldWritten
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace
from services.lattice.storage.objects import ObjectExists, ObjectMissing
from services.plumbing.errors import InvalidInput

_ABOUT = "upload.json"
_BEGUN = "girih-uploads"
"""Below it a tenant has a mark for each upload that may be gone on with. It lies where lattices
have their arrays, so that the collector removes the marks of what has expired."""
_GIVE_BACK_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An upload and how far it is."""

    place: ArrayPlace
    layout: ArrayLayout
    name: str
    content_digest: str
    chunk_count: int
    """Of the chunks that are there: the first ones."""
    expires_s: float
    """When it is removed, in seconds since 1970."""

    @property
    def offset(self) -> int:
        """How many bytes are there."""
        return sum(self.layout.inside_bytes(ordinal) for ordinal in range(self.chunk_count))

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.expires_s, UTC)


class Uploads:
    """Begins uploads, tells of them, and goes on with them."""

    def __init__(self, writer: FieldWriter, transfers: SendBudget, *, upload_s: float) -> None:
        """What is not finished after `upload_s` seconds cannot be gone on with."""
        self._writer = writer
        self._arrays = writer.arrays
        self._transfers = transfers
        self._upload_s = upload_s

    async def begin(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        name: str,
        kind: NumberType,
        content_digest: str,
    ) -> Upload:
        """Begin an upload of all of a field; raises WorkTooLarge and UploadsFull.

        Lists the uploads that the tenant has begun, of whatever lattice.
        """
        ContentDigest(content_digest)
        lattice_id, geometry = lattice.lattice.lattice_id, lattice.spec.geometry
        known = await self._writer.states.of(tenant, lattice_id)
        self._writer.limits.check_size(kind, geometry.sites)
        self._writer.limits.check_count(known.fields, name)
        place = ArrayPlace.new(tenant, lattice_id)
        about = {"name": name, "number_type": kind.value, "content_digest": content_digest}
        mark = _mark(place)
        # Before they are counted: of those who begin at once, through whichever replicas, no
        # more are let in than may be, at worst fewer.
        await self._arrays.objects.put(f"{mark.folder}/{_ABOUT}", [orjson.dumps(about)])
        with self._writer.removed_on_failure(mark):
            self._writer.limits.check_uploads(await self._begun_count(tenant))
            await self._arrays.objects.put(f"{place.folder}/{_ABOUT}", [orjson.dumps(about)])
            for each in (mark, place):
                await self._arrays.objects.settle(each.folder)
        return self._upload(place, lattice, about, chunk_count=0)

    async def give_back(self, tenant: TenantId, lattice_id: LatticeId) -> None:
        """Have those of a lattice that is deleted count no longer.

        One that another replica begins in that moment counts until it expires, as all do while
        their storage is away, or slow: the lattice is gone by then, and its caller waits.
        """
        with suppress(StorageUnavailable, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_S):
                await self._remove_begun(tenant, lattice_id)

    async def get(
        self, tenant: TenantId, lattice: HeldLattice, name: str, upload_id: str
    ) -> Upload:
        """How far an upload of this field is; raises UploadNotFound."""
        lattice_id = lattice.lattice.lattice_id
        place = ArrayPlace(tenant, lattice_id, upload_id.lower())
        absent = UploadNotFound("there is no such upload of this field", upload_id=upload_id)
        if UUID(upload_id).version != 7 or self._has_expired(place):
            raise absent
        about = await self._about(place)
        known = await self._writer.states.of(tenant, lattice_id)
        if about is None or about["name"] != name:
            raise absent
        if place.array_id in known.arrays or place.array_id in known.past:
            # Its replica ended before it could.
            await self._arrays.remove(_mark(place))
            raise absent
        kept = set(await self._arrays.objects.names(place.folder))
        upload = self._upload(place, lattice, about, chunk_count=0)
        return self._upload(place, lattice, about, chunk_count=_contiguous(upload.layout, kept))

    async def go_on(
        self,
        tenant: TenantId,
        lattice: HeldLattice,
        upload: Upload,
        offset: int,
        pieces: AsyncIterator[bytes],
    ) -> FieldState | None:
        """Keep what comes behind `offset`; the field once all is there, None before.

        Raises UploadOffset unless that is where the upload is, and InvalidInput when more comes
        than belongs to it, or the digest of all is another.
        """
        if offset != upload.offset:
            raise UploadOffset("the upload is not there", offset=upload.offset)
        digest = ContentDigest(upload.content_digest)
        layout = upload.layout
        async with self._transfers.reserved((AT_ONCE + 2) * layout.chunk_bytes):
            digests = await self._earlier(upload, digest)
            try:
                digests |= await self._put_chunks(upload, digest, Incoming(pieces))
            except ObjectExists:
                raise UploadOffset("another call goes on with the upload") from None
            if len(digests) < layout.chunking.count:
                return None
            removed_on_failure = self._writer.removed_on_failure
            with removed_on_failure(upload.place), removed_on_failure(_mark(upload.place)):
                digest.check()
            ordered = [digests[ordinal] for ordinal in range(layout.chunking.count)]
            root = await self._arrays.seal(upload.place, layout, ordered)
        content = FieldContent(
            number_type=layout.number_type,
            digest=root,
            fill=layout.fill,
            array_id=upload.place.array_id,
        )
        written = FieldWritten(
            lattice_id=lattice.lattice.lattice_id, name=upload.name, content=content
        )
        return await self._finish(tenant, upload, written)

    async def _finish(self, tenant: TenantId, upload: Upload, written: FieldWritten) -> FieldState:
        """Record what came of an upload; raises UploadNotFound where that was done before.

        One event at most speaks of an upload, whoever finishes it again and whenever: another
        would undo what was done to the field since.
        """
        mark, command_id = _mark(upload.place), uuid5(UUID(upload.place.array_id), "finish")
        try:
            state = await self._writer.commit(tenant, written, None, command_id)
        except UploadNotFound:
            await self._arrays.remove(mark)
            raise
        await self._arrays.remove(mark)
        return state

    async def _about(self, place: ArrayPlace) -> dict[str, str] | None:
        """What an upload is of, as long as it may be gone on with: its mark is gone then."""
        get = self._arrays.objects.get
        try:
            about: dict[str, str] = orjson.loads(await get(f"{place.folder}/{_ABOUT}"))
            await get(f"{_mark(place).folder}/{_ABOUT}")
        except ObjectMissing:
            return None
        return about

    async def _remove_begun(self, tenant: TenantId, lattice_id: LatticeId) -> None:
        objects = self._arrays.objects
        if begun := [name async for name in objects.folders(f"{tenant}/{_BEGUN}")]:
            own = {name async for name in objects.folders(f"{tenant}/{lattice_id}")}
            for upload_id in own.intersection(begun):
                await self._arrays.remove(ArrayPlace(tenant, _BEGUN, upload_id))

    async def _begun_count(self, tenant: TenantId) -> int:
        """How many uploads of a tenant may be gone on with."""
        folders = self._arrays.objects.folders(f"{tenant}/{_BEGUN}")
        marks = [ArrayPlace(tenant, _BEGUN, array_id) async for array_id in folders]
        return sum(not self._has_expired(mark) for mark in marks)

    async def _earlier(self, upload: Upload, digest: ContentDigest) -> dict[int, bytes]:
        """The digests of the chunks that are there, which are read for that."""
        digests, layout = {}, upload.layout
        for ordinal in range(upload.chunk_count):
            name = f"{upload.place.folder}/{layout.chunking.key(ordinal)}"
            data = await self._arrays.objects.get(name)
            digests[ordinal] = await asyncio.to_thread(chunk_digest, data)
            inside = memoryview(data)[: layout.inside_bytes(ordinal)]
            await asyncio.to_thread(digest.update, inside)
        return digests

    async def _put_chunks(
        self, upload: Upload, digest: ContentDigest, incoming: Incoming
    ) -> dict[int, bytes]:
        """Put away the chunks that come whole; a part of one at the end is not kept."""
        layout = upload.layout
        put = partial(self._arrays.put_chunk, upload.place, layout, always=True)
        async with ChunkWriter(put) as writer:
            for ordinal in range(upload.chunk_count, layout.chunking.count):
                data = bytearray(layout.inside_bytes(ordinal))
                if await incoming.fill(memoryview(data)) < len(data):
                    break
                await asyncio.to_thread(digest.update, data)
                await writer.add(ordinal, memoryview(data))
            else:
                await incoming.check_end(layout.size_bytes - upload.offset)
            return dict(await writer.digests())

    def _upload(
        self, place: ArrayPlace, lattice: HeldLattice, about: dict[str, str], chunk_count: int
    ) -> Upload:
        kind = NumberType(about["number_type"])
        return Upload(
            place=place,
            layout=ArrayLayout.of(kind, lattice.spec.geometry.shape),
            name=about["name"],
            content_digest=about["content_digest"],
            chunk_count=chunk_count,
            expires_s=place.began_s + self._upload_s,
        )

    def _has_expired(self, place: ArrayPlace) -> bool:
        # One from the future is not of ours, whatever its clock.
        return not place.began_s - self._upload_s < time.time() < place.began_s + self._upload_s


def _mark(place: ArrayPlace) -> ArrayPlace:
    """Where it stands that an upload was begun, as long as it may be gone on with."""
    return replace(place, lattice_id=_BEGUN)


def _contiguous(layout: ArrayLayout, kept: set[str]) -> int:
    """How many of the first chunks are there."""
    for ordinal in range(layout.chunking.count):
        if layout.chunking.key(ordinal) not in kept:
            return ordinal
    return layout.chunking.count


def check_part(
    *, is_npy: bool, has_region: bool, content_digest: str, number_type: NumberType | None
) -> None:
    """Raise InvalidInput for what a part of an upload cannot have."""
    for field, is_set in (
        ("body.content_type", is_npy),
        ("origin", has_region),
        ("content_digest", bool(content_digest)),
        ("number_type", number_type is not None),
    ):
        if is_set:
            raise InvalidInput.of(field, "must be empty beside upload_id: BeginUpload has it")
