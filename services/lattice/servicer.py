"""The rpcs of LatticeService: convert, call, convert back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc.aio
from google.api.httpbody_pb2 import HttpBody

from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice import convert, domain
from services.lattice.calls import Calls, plan, tenant
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.costs import Costs
from services.lattice.fields.uploads import Uploads
from services.lattice.operations.bitmaps import EarlierSpecs, read_blocked
from services.lattice.operations.distances import find_distances
from services.lattice.operations.paths import find_path, find_paths
from services.plumbing import validation

Context = grpc.aio.ServicerContext[Any, Any]

_LARGE_BYTES = 1 << 15
"""From this size on bytes are read or made in a thread: the loop goes on meanwhile."""

_INLINE_ROWS = 50
_LOOKS_PER_ROW = 500
_BYTES_PER_ROW = 2_000
"""What a lattice of a list takes while it is made into a message."""


SERIALIZED = ("FindPath", "FindPaths", "Distances")
"""The rpcs whose answers are bytes: an object per number would hold the interpreter too long."""


class LatticeServicer:
    """Serves lattices to whoever calls, each tenant its own."""

    def __init__(
        self,
        calls: Calls,
        costs: Costs,
        earlier: EarlierSpecs,
        uploads: Uploads,
        *,
        message_bytes_max: int,
    ) -> None:
        self._uploads = uploads
        self._earlier = earlier
        self._calls = calls
        self._costs = costs
        self._lattices = calls.lattices
        self._operations = calls.operations
        self._message_bytes_max = message_bytes_max

    async def CreateLattice(
        self, request: pb.CreateLatticeRequest, _context: Context
    ) -> pb.CreateLatticeResponse:
        if len(request.blocked) < _LARGE_BYTES:
            asked = convert.new_lattice(request)
        else:
            asked = await asyncio.to_thread(convert.new_lattice, request)
        held = await self._lattices.create(tenant(), asked, plan())
        return pb.CreateLatticeResponse(lattice=self._to_proto(held))

    async def GetLattice(
        self, request: pb.GetLatticeRequest, _context: Context
    ) -> pb.GetLatticeResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        return pb.GetLatticeResponse(lattice=self._to_proto(held))

    async def ListLattices(
        self, request: pb.ListLatticesRequest, _context: Context
    ) -> pb.ListLatticesResponse:
        validation.check(request)
        page = await self._lattices.page(
            tenant(), domain.page_size(request.page_size), request.page_token
        )
        rows = len(page.listed)
        estimate = Estimate(size_bytes=_BYTES_PER_ROW * rows, looks=_LOOKS_PER_ROW * rows)
        make = partial(convert.page_to_proto, page)
        return await self._calls.made(make, estimate, inline=rows <= _INLINE_ROWS)

    async def ReadBlocked(
        self, request: pb.ReadBlockedRequest, _context: Context
    ) -> AsyncGenerator[HttpBody]:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        spec, bit_order = held.spec, convert.bit_order(request)
        if request.HasField("at_revision"):
            spec = await self._earlier.spec_at(tenant(), held, request.at_revision)
        async with aclosing(read_blocked(self._operations, spec, bit_order)) as pieces:
            async for piece in pieces:
                yield convert.blocked_to_proto(piece)

    async def DeleteLattice(
        self, request: pb.DeleteLatticeRequest, _context: Context
    ) -> pb.DeleteLatticeResponse:
        validation.check(request)
        lattice_id = domain.lattice_id(request.lattice_id)
        await self._lattices.delete(tenant(), lattice_id)
        await self._uploads.give_back(tenant(), lattice_id)
        return pb.DeleteLatticeResponse()

    async def FindPath(self, request: pb.FindPathRequest, _context: Context) -> bytes:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            query = await self._calls.read(
                request, partial(convert.path_query, request, held.spec, costs)
            )
            answer = await find_path(self._operations, held, query)
        if answer.path.nbytes < _LARGE_BYTES:
            return convert.path_answer_bytes(answer, self._message_bytes_max)
        return await asyncio.to_thread(convert.path_answer_bytes, answer, self._message_bytes_max)

    async def FindPaths(
        self, request: pb.FindPathsRequest, _context: Context
    ) -> AsyncGenerator[bytes]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            query = await self._calls.read(
                request, partial(convert.paths_query, request, held.spec, costs)
            )
            async with aclosing(find_paths(self._operations, held, query)) as answers:
                async for answer in answers:
                    messages = convert.paths_answer_bytes(answer, self._message_bytes_max)
                    while message := await asyncio.to_thread(next, messages, b""):
                        yield message

    async def Distances(
        self, request: pb.DistancesRequest, _context: Context
    ) -> AsyncGenerator[bytes]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            query = await self._calls.read(
                request, partial(convert.distance_query, request, held.spec, costs)
            )
            async with aclosing(find_distances(self._operations, held, query)) as answers:
                async for answer in answers:
                    yield convert.distances_answer_bytes(answer, as_bytes=query.as_bytes)

    def _to_proto(self, held: HeldLattice) -> pb.Lattice:
        lattice_id = held.lattice.lattice_id
        return convert.lattice_to_proto(
            held.lattice, self._lattices.bytes_held(tenant(), lattice_id)
        )
