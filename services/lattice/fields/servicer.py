"""The rpcs of FieldService: convert, call, convert back."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc.aio
import numpy as np

from girih.ids import TenantId
from girih.lattice.v1 import fields_pb2 as pb
from services.lattice import domain
from services.lattice.arrays.npy import make_header
from services.lattice.arrays.region import region_of
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.distributed.cluster import Cluster
from services.lattice.fields import convert
from services.lattice.fields.boxed import KeptArray
from services.lattice.fields.collecting import ArrayCollector
from services.lattice.fields.reading import FieldReader, FieldSource
from services.lattice.fields.states import EarlierStates, FieldState, FieldStates
from services.lattice.fields.statistics import (
    Statistics,
    StatisticsQuery,
    summarize,
    summarize_by_workers,
)
from services.lattice.fields.streamed import first_of, pieces_of
from services.lattice.fields.uploads import Uploads, check_part
from services.lattice.fields.writing import FieldWrite, FieldWriter
from services.lattice.operations.context import OperationContext
from services.lattice.state.lattices import Lattices
from services.plumbing import correlation, validation
from services.plumbing.errors import InvalidInput

Context = grpc.aio.ServicerContext[Any, Any]

SERIALIZED = ("ReadField",)
"""The rpcs whose answers are bytes: they are copied once."""

_CHUNKS_READ = 3
"""In memory while a field is read: one that is sent, and one that comes, which is checked."""


@dataclass(frozen=True)
class FieldParts:
    """What fields are made with."""

    lattices: Lattices
    states: FieldStates
    reader: FieldReader
    writer: FieldWriter
    uploads: Uploads
    collector: ArrayCollector
    cluster: Cluster


class FieldServicer:
    """Serves the fields of lattices to whoever calls, each tenant its own."""

    def __init__(
        self, parts: FieldParts, earlier: EarlierStates, operations: OperationContext
    ) -> None:
        self._earlier = earlier
        self._lattices = parts.lattices
        self._states = parts.states
        self._reader = parts.reader
        self._writer = parts.writer
        self._uploads = parts.uploads
        self._collector = parts.collector
        self._cluster = parts.cluster
        self._operations = operations

    async def CreateField(
        self, request: pb.CreateFieldRequest, _context: Context
    ) -> pb.CreateFieldResponse:
        validation.check(request)
        held = await self._open(request.lattice_id)
        kind = convert.number_type_of(request)
        state = await self._writer.create(
            _tenant(),
            held,
            request.name,
            kind,
            request.fill,
            request_id=request.request_id.lower(),
        )
        return pb.CreateFieldResponse(field=_to_proto(held, state))

    async def WriteField(
        self, requests: AsyncIterator[pb.WriteFieldRequest], _context: Context
    ) -> pb.WriteFieldResponse:
        return await self._write(await first_of(requests), requests)

    async def BeginUpload(
        self, request: pb.BeginUploadRequest, _context: Context
    ) -> pb.BeginUploadResponse:
        validation.check(request)
        held = await self._open(request.lattice_id)
        kind = convert.number_type_of(request)
        upload = await self._uploads.begin(
            _tenant(), held, request.name, kind, request.content_digest
        )
        return pb.BeginUploadResponse(upload=convert.upload_to_proto(upload))

    async def GetUpload(
        self, request: pb.GetUploadRequest, _context: Context
    ) -> pb.GetUploadResponse:
        validation.check(request)
        held = await self._open(request.lattice_id)
        upload = await self._uploads.get(_tenant(), held, request.name, request.upload_id)
        return pb.GetUploadResponse(upload=convert.upload_to_proto(upload))

    async def ReadField(
        self, request: pb.ReadFieldRequest, _context: Context
    ) -> AsyncGenerator[bytes]:
        validation.check(request)
        held, state = await self._field_at(request)
        shape = held.spec.geometry.shape
        region = region_of(shape, request.origin, request.shape, request.steps)
        lattice_id = held.lattice.lattice_id
        source = await self._reader.source(_tenant(), lattice_id, shape, state.content)
        media_type = convert.media_type(request)
        reserved = _CHUNKS_READ * source.layout.chunk_bytes
        async with self._operations.send_budget.reserved(reserved):
            about: pb.Field | None = _to_proto(held, state)
            if convert.is_npy(request):
                head = make_header(state.content.number_type, region.shape)
                for message in convert.body_pieces(media_type, head, about):
                    yield message
                about = None
            async with aclosing(self._reader.parts(source, region)) as parts:
                async for _, numbers in parts:
                    data = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8).data
                    for message in convert.body_pieces(media_type, data, about):
                        async with self._operations.consumed_in_time():
                            yield message
                    about = None

    async def GetStatistics(
        self, request: pb.GetStatisticsRequest, _context: Context
    ) -> pb.GetStatisticsResponse:
        validation.check(request)
        held, state = await self._field(request.lattice_id, request.name)
        shape, lattice_id = held.spec.geometry.shape, held.lattice.lattice_id
        query = convert.statistics_query(request, shape)
        source = await self._reader.source(_tenant(), lattice_id, shape, state.content)
        statistics = await self._summarized(source, query, held, state)
        return convert.statistics_to_proto(statistics, state.content)

    async def _summarized(
        self, source: FieldSource, query: StatisticsQuery, held: HeldLattice, state: FieldState
    ) -> Statistics:
        """Here, or by workers where it takes longer than a call may."""
        compute, limit = self._operations.compute, self._operations.work_limit
        if limit.allows(query.looks) or not self._cluster.is_installed:
            return await summarize(self._reader, source, query, compute, limit)
        kept = KeptArray(
            storage=self._cluster.setup.storage,
            tenant=_tenant(),
            lattice_id=held.lattice.lattice_id,
            shape=held.spec.geometry.shape,
            content=state.content,
        )
        return await summarize_by_workers(
            self._cluster, kept, self._reader, source, query, compute, limit
        )

    async def GetField(self, request: pb.GetFieldRequest, _context: Context) -> pb.GetFieldResponse:
        validation.check(request)
        return pb.GetFieldResponse(
            field=_to_proto(*await self._field(request.lattice_id, request.name))
        )

    async def ListFields(
        self, request: pb.ListFieldsRequest, _context: Context
    ) -> pb.ListFieldsResponse:
        validation.check(request)
        held = await self._open(request.lattice_id)
        known = await self._states.of(_tenant(), held.lattice.lattice_id)
        states = sorted(known.fields.values(), key=lambda state: state.name)
        return pb.ListFieldsResponse(fields=[_to_proto(held, state) for state in states])

    async def DeleteField(
        self, request: pb.DeleteFieldRequest, _context: Context
    ) -> pb.DeleteFieldResponse:
        validation.check(request)
        held = await self._open(request.lattice_id)
        await self._writer.delete(_tenant(), held.lattice.lattice_id, request.name)
        return pb.DeleteFieldResponse()

    async def _write(
        self, first: pb.WriteFieldRequest, requests: AsyncIterator[pb.WriteFieldRequest]
    ) -> pb.WriteFieldResponse:
        write = convert.field_write(first)
        held = await self._open(first.lattice_id)
        if first.upload_id:
            return await self._go_on(held, first, write, requests)
        if first.offset:
            raise InvalidInput.of("offset", "must be 0 without upload_id")
        pieces = pieces_of(first, requests, self._writer.is_waited_for)
        state = await self._writer.write(_tenant(), held, write, pieces)
        return pb.WriteFieldResponse(field=_to_proto(held, state))

    async def _go_on(
        self,
        held: HeldLattice,
        first: pb.WriteFieldRequest,
        write: FieldWrite,
        requests: AsyncIterator[pb.WriteFieldRequest],
    ) -> pb.WriteFieldResponse:
        """Go on with an upload."""
        check_part(
            is_npy=write.is_npy,
            has_region=bool(first.origin or first.shape or first.steps),
            content_digest=write.content_digest,
            number_type=write.number_type,
        )
        tenant, uploads = _tenant(), self._uploads
        upload = await uploads.get(tenant, held, first.name, first.upload_id)
        pieces = pieces_of(first, requests, self._writer.is_waited_for)
        state = await uploads.go_on(tenant, held, upload, first.offset, pieces)
        if state is not None:
            return pb.WriteFieldResponse(field=_to_proto(held, state))
        upload = await uploads.get(tenant, held, first.name, first.upload_id)
        return pb.WriteFieldResponse(upload=convert.upload_to_proto(upload))

    async def _field_at(self, request: pb.ReadFieldRequest) -> tuple[HeldLattice, FieldState]:
        if not request.HasField("at_revision"):
            return await self._field(request.lattice_id, request.name)
        held = await self._open(request.lattice_id)
        state = await self._earlier.field_at(_tenant(), held, request.name, request.at_revision)
        return held, state

    async def _field(self, lattice_id: str, name: str) -> tuple[HeldLattice, FieldState]:
        held = await self._open(lattice_id)
        known = await self._states.of(_tenant(), held.lattice.lattice_id)
        return held, known.field(name)

    async def _open(self, lattice_id: str) -> HeldLattice:
        self._collector.saw(correlation.current())
        return await self._lattices.open(_tenant(), domain.lattice_id(lattice_id))


def _to_proto(held: HeldLattice, state: FieldState) -> pb.Field:
    lattice_id, shape = held.lattice.lattice_id, held.spec.geometry.shape
    return convert.field_to_proto(_tenant(), lattice_id, shape, state)


def _tenant() -> TenantId:
    return correlation.current().tenant
