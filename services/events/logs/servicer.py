"""The rpcs of `LogService`: convert, call, convert back."""

from collections.abc import Sequence
from typing import Any, Protocol

import grpc.aio

from girih.events.v1 import logs_pb2 as pb
from services.events import domain
from services.events.store import ListedLog
from services.plumbing import validation

Context = grpc.aio.ServicerContext[Any, Any]


class LogList(Protocol):
    """Who knows which logs there are."""

    async def page(self, behind: int, count_max: int) -> Sequence[ListedLog]:
        """The logs behind one by its number, in the order in which they began."""


class LogServicer:
    """The logs of all tenants, over gRPC."""

    def __init__(self, logs: LogList) -> None:
        self._logs = logs

    async def ListLogs(self, request: pb.ListLogsRequest, _context: Context) -> pb.ListLogsResponse:
        validation.check(request)
        count_max = domain.page_size(request.page_size)
        found = await self._logs.page(int(request.page_token or 0), count_max + 1)
        page = found[:count_max]
        response = pb.ListLogsResponse(
            logs=[pb.Log(tenant=log.tenant, head=log.head) for log in page]
        )
        if len(found) > count_max:
            response.next_page_token = str(page[-1].number)
        return response
