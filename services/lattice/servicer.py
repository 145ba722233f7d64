"""The rpcs of LatticeService: convert, call, convert back."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import grpc.aio
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message

from girih.ids import TenantId
from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice import convert, domain
from services.lattice.computing.estimate import Estimate
from services.lattice.computing.held_lattice import HeldLattice
from services.lattice.errors import PlanMissing
from services.lattice.operations.bitmaps import read_blocked
from services.lattice.operations.context import OperationContext
from services.lattice.operations.distances import find_distances
from services.lattice.operations.paths import find_path, find_paths
from services.lattice.state.lattices import Lattices
from services.plumbing import correlation, validation
from services.policy import PlanLimits, plan_of

Context = grpc.aio.ServicerContext[Any, Any]

T = TypeVar("T")

_LARGE_BYTES = 1 << 15
"""From this size on bytes are read or made in a thread: the loop goes on meanwhile."""

_INLINE_REQUEST_BYTES = 1 << 12
_LOOKS_PER_BYTE = 20
_BYTES_PER_BYTE = 20
"""What a byte of a request takes while it is checked and made into values."""

_INLINE_ROWS = 50
_LOOKS_PER_ROW = 500
_BYTES_PER_ROW = 2_000
"""What a lattice of a list takes while it is made into a message."""


SERIALIZED = ("FindPath", "FindPaths", "Distances")
"""The rpcs whose answers are bytes: an object per number would hold the interpreter too long."""


class LatticeServicer:
    """Serves lattices to whoever calls, each tenant its own."""

    def __init__(
        self, lattices: Lattices, operations: OperationContext, *, message_bytes_max: int
    ) -> None:
        self._lattices = lattices
        self._operations = operations
        self._message_bytes_max = message_bytes_max

    async def CreateLattice(
        self, request: pb.CreateLatticeRequest, _context: Context
    ) -> pb.CreateLatticeResponse:
        if len(request.blocked) < _LARGE_BYTES:
            asked = convert.new_lattice(request)
        else:
            asked = await asyncio.to_thread(convert.new_lattice, request)
        held = await self._lattices.create(_tenant(), asked, _plan())
        return pb.CreateLatticeResponse(lattice=self._to_proto(held))

    async def GetLattice(
        self, request: pb.GetLatticeRequest, _context: Context
    ) -> pb.GetLatticeResponse:
        validation.check(request)
        held = await self._open(request.lattice_id)
        return pb.GetLatticeResponse(lattice=self._to_proto(held))

    async def ListLattices(
        self, request: pb.ListLatticesRequest, _context: Context
    ) -> pb.ListLatticesResponse:
        validation.check(request)
        page = await self._lattices.page(
            _tenant(), domain.page_size(request.page_size), request.page_token
        )
        rows = len(page.listed)
        estimate = Estimate(size_bytes=_BYTES_PER_ROW * rows, looks=_LOOKS_PER_ROW * rows)
        make = partial(convert.page_to_proto, page)
        return await self._made(make, estimate, inline=rows <= _INLINE_ROWS)

    async def ReadBlocked(
        self, request: pb.ReadBlockedRequest, _context: Context
    ) -> AsyncGenerator[HttpBody]:
        validation.check(request)
        held = await self._open(request.lattice_id)
        bit_order = convert.bit_order(request)
        async with aclosing(read_blocked(self._operations, held, bit_order)) as pieces:
            async for piece in pieces:
                yield convert.blocked_to_proto(piece)

    async def DeleteLattice(
        self, request: pb.DeleteLatticeRequest, _context: Context
    ) -> pb.DeleteLatticeResponse:
        validation.check(request)
        await self._lattices.delete(_tenant(), domain.lattice_id(request.lattice_id))
        return pb.DeleteLatticeResponse()

    async def FindPath(self, request: pb.FindPathRequest, _context: Context) -> bytes:
        await self._read(request, partial(validation.check, request))
        held = await self._open(request.lattice_id)
        query = await self._read(request, partial(convert.path_query, request, held.spec))
        answer = await find_path(self._operations, held, query)
        if answer.path.nbytes < _LARGE_BYTES:
            return convert.path_answer_bytes(answer, self._message_bytes_max)
        return await asyncio.to_thread(convert.path_answer_bytes, answer, self._message_bytes_max)

    async def FindPaths(
        self, request: pb.FindPathsRequest, _context: Context
    ) -> AsyncGenerator[bytes]:
        await self._read(request, partial(validation.check, request))
        held = await self._open(request.lattice_id)
        query = await self._read(request, partial(convert.paths_query, request, held.spec))
        async with aclosing(find_paths(self._operations, held, query)) as answers:
            async for answer in answers:
                messages = convert.paths_answer_bytes(answer, self._message_bytes_max)
                while message := await asyncio.to_thread(next, messages, b""):
                    yield message

    async def Distances(
        self, request: pb.DistancesRequest, _context: Context
    ) -> AsyncGenerator[bytes]:
        await self._read(request, partial(validation.check, request))
        held = await self._open(request.lattice_id)
        query = await self._read(request, partial(convert.distance_query, request, held.spec))
        async with aclosing(find_distances(self._operations, held, query)) as answers:
            async for answer in answers:
                yield convert.distances_answer_bytes(answer, as_bytes=query.as_bytes)

    async def _read(self, request: Message, read: Callable[[], T]) -> T:
        """Check a request or take it apart, beside the loop when it is long."""
        size_bytes = request.ByteSize()
        estimate = Estimate(
            size_bytes=_BYTES_PER_BYTE * size_bytes, looks=_LOOKS_PER_BYTE * size_bytes
        )
        return await self._made(read, estimate, inline=size_bytes <= _INLINE_REQUEST_BYTES)

    async def _made(self, make: Callable[[], T], estimate: Estimate, *, inline: bool) -> T:
        if inline:
            return make()
        return await self._operations.compute.run(estimate, lambda _stop: make())

    async def _open(self, lattice_id: str) -> HeldLattice:
        return await self._lattices.open(_tenant(), domain.lattice_id(lattice_id))

    def _to_proto(self, held: HeldLattice) -> pb.Lattice:
        lattice_id = held.lattice.lattice_id
        return convert.lattice_to_proto(
            held.lattice, self._lattices.bytes_held(_tenant(), lattice_id)
        )


def _tenant() -> TenantId:
    return correlation.current().tenant


def _plan() -> PlanLimits:
    """What the caller's token allows. One that names no plan allows nothing."""
    plan = plan_of(correlation.current().principal)
    if plan is None:
        raise PlanMissing("the token names no plan, so nothing can be created with it")
    return plan
