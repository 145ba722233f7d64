"""Which tenants there are, and where their logs end: asked of the event store again and again."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import grpc.aio

from girih.events.v1 import logs_pb2 as pb
from girih.events.v1.logs_pb2_grpc import LogServiceStub
from girih.ids import Position, TenantId
from services.plumbing.logging import get_logger
from services.policy import RESERVED_TENANTS

if TYPE_CHECKING:
    from girih.events.v1.logs_pb2_grpc import LogServiceAsyncStub

_PAGE_SIZE: Final = 1_000
_TIMEOUT_S: Final = 5.0

_log = get_logger("projections")


class Tenants:
    """Tells of all tenants that have a log, except those of girih's own."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        on_heads: Callable[[Mapping[TenantId, Position]], None],
        interval_s: float,
    ) -> None:
        """`channel` carries tokens for nobody's log. `on_heads` is called with some tenants and
        where their logs end."""
        self._stub: LogServiceAsyncStub = LogServiceStub(channel)
        self._on_heads = on_heads
        self._interval_s = interval_s

    async def run(self) -> None:
        """Look for ever: the work of a task."""
        is_away = False
        while True:
            try:
                await self.look()
                is_away = False
            except grpc.aio.AioRpcError as error:
                if not is_away:
                    _log.warning("tenants are not told now", problem=error.details())
                is_away = True
            await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Ask once for all of them."""
        request = pb.ListLogsRequest(page_size=_PAGE_SIZE)
        while True:
            page = await self._stub.ListLogs(request, timeout=_TIMEOUT_S)
            self._on_heads(
                {
                    TenantId(log.tenant): Position(log.head)
                    for log in page.logs
                    if not log.tenant.startswith(RESERVED_TENANTS)
                }
            )
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
