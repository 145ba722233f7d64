"""The rpcs of `IndicatorService`: convert, call, convert back."""

from collections.abc import Callable
from typing import Any

import grpc.aio

from girih.projections.v1 import indicators_pb2 as pb
from services.plumbing import correlation
from services.projections.shipped.indicators import convert
from services.projections.shipped.indicators.reading import IndicatorReader

Context = grpc.aio.ServicerContext[Any, Any]


class IndicatorServicer:
    """The indicators of the calling tenant, over gRPC."""

    def __init__(self, reader: IndicatorReader, check_fit: Callable[[], object]) -> None:
        """`check_fit` raises `ProjectionUnfit` where the tables may not be there."""
        self._reader = reader
        self._check_fit = check_fit

    async def ListIndicators(
        self, _request: pb.ListIndicatorsRequest, _context: Context
    ) -> pb.ListIndicatorsResponse:
        if not self._reader.definitions.indicators:
            return pb.ListIndicatorsResponse()
        self._check_fit()
        totals = await self._reader.totals(correlation.current().tenant)
        return convert.list_response(self._reader.definitions, totals)

    async def GetIndicatorHistory(
        self, request: pb.GetIndicatorHistoryRequest, _context: Context
    ) -> pb.GetIndicatorHistoryResponse:
        since, before = convert.asked_time(request)
        indicator = self._reader.find(request.indicator)
        self._check_fit()
        tenant = correlation.current().tenant
        history = await self._reader.history(tenant, indicator, since, before)
        return convert.history_response(indicator, history)
