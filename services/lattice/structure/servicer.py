"""The rpcs of StructureService: convert, call, convert back."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

import grpc.aio

from girih.lattice.v1 import structure_pb2 as pb
from services.lattice.calls import Calls
from services.lattice.costs import Costs
from services.lattice.structure import convert
from services.lattice.structure.centrality import find_centrality
from services.lattice.structure.components import find_components, label_components
from services.lattice.structure.degrees import count_degrees
from services.lattice.structure.extent import measure_extent
from services.lattice.structure.heat import find_heat, find_resistances
from services.lattice.structure.partitions import find_colouring, find_communities
from services.lattice.structure.percolation import percolate
from services.lattice.structure.spectrum import count_trees, find_spectrum, spectrum_query
from services.lattice.structure.tree import find_tree
from services.plumbing import validation

Context = grpc.aio.ServicerContext[Any, Any]

P = TypeVar("P")
M = TypeVar("M")


class StructureServicer:
    """Tells what lattices are like as graphs."""

    def __init__(self, calls: Calls, costs: Costs) -> None:
        self._calls = calls
        self._costs = costs
        self._operations = calls.operations

    async def DegreeHistogram(
        self, request: pb.DegreeHistogramRequest, _context: Context
    ) -> pb.DegreeHistogramResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        return convert.degrees_to_proto(await count_degrees(self._operations, held))

    async def Components(
        self, request: pb.ComponentsRequest, _context: Context
    ) -> pb.ComponentsResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        components = await find_components(self._operations, held, request.components_max)
        return await asyncio.to_thread(convert.components_to_proto, components)

    async def ComponentLabels(
        self, request: pb.ComponentLabelsRequest, _context: Context
    ) -> AsyncGenerator[pb.ComponentLabelsResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        selected = await self._calls.read(request, partial(convert.selected, request, held.spec))
        parts = label_components(self._operations, held, selected)
        async with aclosing(_converted(parts, convert.labels_to_proto)) as messages:
            async for message in messages:
                yield message

    async def Extent(self, request: pb.ExtentRequest, _context: Context) -> pb.ExtentResponse:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        sites = await self._calls.read(request, partial(convert.extent_query, request, held.spec))
        extent = await measure_extent(self._operations, held, sites)
        return convert.extent_to_proto(extent, of_sites=bool(sites))

    async def Centrality(
        self, request: pb.CentralityRequest, _context: Context
    ) -> AsyncGenerator[pb.CentralityResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        query = await self._calls.read(
            request, partial(convert.centrality_query, request, held.spec)
        )
        parts = find_centrality(self._operations, held, query)
        async with aclosing(_converted(parts, convert.centrality_to_proto)) as messages:
            async for message in messages:
                yield message

    async def Spectrum(self, request: pb.SpectrumRequest, _context: Context) -> pb.SpectrumResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        k = spectrum_query(held, request.k)
        return convert.spectrum_to_proto(await find_spectrum(self._operations, held, k))

    async def Heat(
        self, request: pb.HeatRequest, _context: Context
    ) -> AsyncGenerator[pb.HeatResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        query = await self._calls.read(request, partial(convert.heat_query, request, held.spec))
        parts = find_heat(self._operations, held, query)
        async with aclosing(_converted(parts, convert.heat_to_proto)) as messages:
            async for message in messages:
                yield message

    async def Resistances(
        self, request: pb.ResistancesRequest, _context: Context
    ) -> pb.ResistancesResponse:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        pairs = await self._calls.read(
            request, partial(convert.resistance_pairs, request, held.spec)
        )
        resistances = await find_resistances(self._operations, held, pairs)
        return convert.resistances_to_proto(resistances)

    async def SpanningTrees(
        self, request: pb.SpanningTreesRequest, _context: Context
    ) -> pb.SpanningTreesResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        return convert.trees_to_proto(await count_trees(self._operations, held))

    async def MinimumSpanningTree(
        self, request: pb.MinimumSpanningTreeRequest, _context: Context
    ) -> AsyncGenerator[pb.MinimumSpanningTreeResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        async with self._costs.of(request, held) as costs:
            parts = find_tree(self._operations, held, costs, listed=request.list_edges)
            async with aclosing(_converted(parts, convert.tree_to_proto)) as messages:
                async for message in messages:
                    yield message

    async def Colouring(
        self, request: pb.ColouringRequest, _context: Context
    ) -> AsyncGenerator[pb.ColouringResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        selected = await self._calls.read(request, partial(convert.selected, request, held.spec))
        parts = find_colouring(self._operations, held, selected)
        async with aclosing(_converted(parts, convert.colours_to_proto)) as messages:
            async for message in messages:
                yield message

    async def Communities(
        self, request: pb.CommunitiesRequest, _context: Context
    ) -> AsyncGenerator[pb.CommunitiesResponse]:
        await self._calls.checked(request)
        held = await self._calls.open(request.lattice_id)
        selected = await self._calls.read(request, partial(convert.selected, request, held.spec))
        parts = find_communities(self._operations, held, selected, request.seed)
        async with aclosing(_converted(parts, convert.communities_to_proto)) as messages:
            async for message in messages:
                yield message

    async def Percolation(
        self, request: pb.PercolationRequest, _context: Context
    ) -> pb.PercolationResponse:
        validation.check(request)
        held = await self._calls.open(request.lattice_id)
        query = convert.sweep_query(request, held.spec)
        return convert.sweep_to_proto(await percolate(self._operations, held, query))


async def _converted(parts: AsyncGenerator[P], convert_part: Callable[[P], M]) -> AsyncGenerator[M]:
    """Each part as a message, made beside the loop: it has an object for each number."""
    async with aclosing(parts):
        async for part in parts:
            yield await asyncio.to_thread(convert_part, part)
