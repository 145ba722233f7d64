"""The rpcs of PathService: convert, call, convert back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc.aio

from girih.lattice.v1 import paths_pb2 as pb
from services.lattice.calls import Calls
from services.lattice.costs import Costs
from services.lattice.routing import convert
from services.lattice.routing.counting import count_paths
from services.lattice.routing.nearest import nearest_sources
from services.lattice.routing.reach import reachable
from services.lattice.routing.route import find_route
from services.lattice.routing.simple import find_simple_paths
from services.plumbing import validation

Context = grpc.aio.ServicerContext[Any, Any]

SERIALIZED = ("FindRoute", "SimplePaths")
"""The rpcs whose answers are bytes."""


class PathServicer:
    """Answers about several ways at once."""

    def __init__(self, calls: Calls, costs: Costs, *, message_bytes_max: int) -> None:
        self._calls = calls
        self._costs = costs
        self._operations = calls.operations
        self._message_bytes_max = message_bytes_max

    async def FindRoute(self, request: pb.FindRouteRequest, _context: Context) -> bytes:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            query = await self._calls.read(
                request, partial(convert.route_query, request, held.spec, costs)
            )
            route = await find_route(
                self._operations, held, query, message_bytes_max=self._message_bytes_max
            )
        return await asyncio.to_thread(convert.route_bytes, route, self._message_bytes_max)

    async def CountPaths(
        self, request: pb.CountPathsRequest, _context: Context
    ) -> pb.CountPathsResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        query = convert.count_query(request, held.spec)
        return convert.count_to_proto(await count_paths(self._operations, held, query))

    async def SimplePaths(
        self, request: pb.SimplePathsRequest, _context: Context
    ) -> AsyncGenerator[bytes]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            query = await self._calls.read(
                request, partial(convert.simple_paths_query, request, held.spec, costs)
            )
            async with aclosing(find_simple_paths(self._operations, held, query)) as answers:
                async for answer in answers:
                    yield await asyncio.to_thread(
                        convert.simple_paths_bytes, answer, self._message_bytes_max
                    )

    async def Reachable(
        self, request: pb.ReachableRequest, _context: Context
    ) -> AsyncGenerator[pb.ReachableResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            query = await self._calls.read(
                request, partial(convert.reach_query, request, held.spec, costs)
            )
            async with aclosing(reachable(self._operations, held, query)) as answers:
                async for answer in answers:
                    yield await asyncio.to_thread(convert.reach_to_proto, answer)

    async def NearestSources(
        self, request: pb.NearestSourcesRequest, _context: Context
    ) -> AsyncGenerator[pb.NearestSourcesResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            query = await self._calls.read(
                request, partial(convert.nearest_query, request, held.spec, costs)
            )
            async with aclosing(nearest_sources(self._operations, held, query)) as answers:
                async for answer in answers:
                    yield await asyncio.to_thread(convert.nearest_to_proto, answer)
