"""The rpcs of `LogService`: convert, call, convert back."""

from typing import Any

import grpc.aio

from girih.events.v1 import logs_pb2 as pb
from services.events import domain
from services.events.places.listing import LogListing
from services.plumbing import validation

Context = grpc.aio.ServicerContext[Any, Any]


class LogServicer:
    """The logs of all tenants, over gRPC."""

    def __init__(self, logs: LogListing) -> None:
        self._logs = logs

    async def ListLogs(self, request: pb.ListLogsRequest, _context: Context) -> pb.ListLogsResponse:
        validation.check(request)
        count_max = domain.page_size(request.page_size)
        logs = await self._logs.page(int(request.page_token or 0), count_max + 1)
        page = logs[:count_max]
        response = pb.ListLogsResponse(
            # Of one whose place does not answer nobody knows where it ends: it comes again.
            logs=[pb.Log(tenant=log.tenant, head=log.head) for log in page if log.head is not None]
        )
        if len(logs) > count_max:
            response.next_page_token = str(page[-1].number)
        return response
