"""The rpcs of `PlaceService`: convert, call, convert back."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc.aio

from girih.events.v1 import places_pb2 as pb
from girih.ids import TenantId
from services.events import domain
from services.events.places.listing import LocatedLog, LogListing
from services.events.places.placing import Placement, Placing
from services.plumbing import correlation, validation

Context = grpc.aio.ServicerContext[Any, Any]


class PlaceServicer:
    """Where logs are, over gRPC."""

    def __init__(
        self, placing: Placing, listing: LogListing, places: Callable[[], Mapping[str, str]]
    ) -> None:
        """`places` answers their names, each with which database it leads to."""
        self._placing = placing
        self._listing = listing
        self._places = places

    async def PlaceLog(self, request: pb.PlaceLogRequest, _context: Context) -> pb.PlaceLogResponse:
        validation.check(request)
        tenant = correlation.current().tenant
        placement = await self._placing.place(tenant, request.place)
        return pb.PlaceLogResponse(log=_placed(tenant, placement))

    async def MoveLog(self, request: pb.MoveLogRequest, _context: Context) -> pb.MoveLogResponse:
        validation.check(request)
        tenant = correlation.current().tenant
        placement = await self._placing.move(tenant, request.place)
        return pb.MoveLogResponse(log=_placed(tenant, placement))

    async def ListPlacedLogs(
        self, request: pb.ListPlacedLogsRequest, _context: Context
    ) -> pb.ListPlacedLogsResponse:
        validation.check(request)
        count_max = domain.page_size(request.page_size)
        logs = await self._listing.page(int(request.page_token or 0), count_max + 1)
        page = logs[:count_max]
        places = self._places()
        response = pb.ListPlacedLogsResponse(
            logs=map(_listed, page), places=places, databases=places.values()
        )
        if len(logs) > count_max:
            response.next_page_token = str(page[-1].number)
        return response


def _placed(tenant: TenantId, placement: Placement) -> pb.PlacedLog:
    return pb.PlacedLog(
        tenant=tenant,
        place=placement.place,
        moving_to=placement.moving_to,
        head_position=placement.head,
        copied_position=placement.copied,
        reachable=True,
    )


def _listed(log: LocatedLog) -> pb.PlacedLog:
    return pb.PlacedLog(
        tenant=log.tenant,
        place=log.place,
        moving_to=log.moving_to,
        head_position=log.head or 0,
        copied_position=log.copied,
        reachable=log.head is not None,
    )
