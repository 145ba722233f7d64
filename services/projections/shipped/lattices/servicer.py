"""The rpcs of `LatticeViewService`: convert, call, convert back."""

from collections.abc import Callable
from typing import Any

import grpc.aio

from girih.projections.v1 import lattices_pb2 as pb
from services.plumbing import correlation
from services.projections.shipped.lattices import convert
from services.projections.shipped.lattices.reading import LatticeReader

Context = grpc.aio.ServicerContext[Any, Any]


class LatticeViewServicer:
    """The lattices of the calling tenant as the projection has them, over gRPC."""

    def __init__(self, reader: LatticeReader, check_fit: Callable[[], object]) -> None:
        """`check_fit` raises `ProjectionUnfit` where the tables may not be there."""
        self._reader = reader
        self._check_fit = check_fit

    async def SearchLattices(
        self, request: pb.SearchLatticesRequest, _context: Context
    ) -> pb.SearchLatticesResponse:
        wanted, before, count_max = convert.asked(request)
        self._check_fit()
        tenant = correlation.current().tenant
        page = await self._reader.search(tenant, wanted, before, count_max + 1)
        return convert.response(page, count_max)
