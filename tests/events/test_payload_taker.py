"""Whose payloads are taken next, when many logs have rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from girih.ids import TenantId
from services.events.keeping.payload_taker import PayloadTaker

NUDGED = TenantId("nudged")


class Kept(NamedTuple):
    """A log that has rules."""

    tenant: TenantId


class Logs:
    """A thousand logs with nothing to take, and who was looked at."""

    def __init__(self) -> None:
        self.looked_at: list[TenantId] = []
        self.changed = asyncio.Event()

    async def kept_logs(self) -> AsyncIterator[Kept]:
        for number in range(1_000):
            yield Kept(TenantId(f"log-{number}"))

    async def take_redacted(self, tenant: TenantId) -> int:
        self.looked_at.append(tenant)
        self.changed.set()
        return 0

    async def streams_due(self, _tenant: TenantId) -> AsyncIterator[int]:
        for stream in list[int]():
            yield stream

    async def take_of_stream(self, _tenant: TenantId, _stream: int) -> int:
        return 0

    async def until(self, count: int) -> None:
        """Return once so many were looked at."""
        while len(self.looked_at) < count:
            self.changed.clear()
            await self.changed.wait()


class Uncounted:
    def taken(self, payload_count: int) -> None: ...

    def taking(self, *, is_able: bool) -> None: ...


async def test_a_log_whose_rule_has_changed_waits_for_no_others() -> None:
    logs = Logs()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Logs]:
        yield logs

    taker = PayloadTaker(opened, Uncounted(), interval_s=3_600)
    running = asyncio.create_task(taker.run())
    await logs.until(10)
    taker.nudge(NUDGED)
    await logs.until(1_001)
    taker.nudge(NUDGED)
    await logs.until(1_002)
    running.cancel()
    await asyncio.wait([running])

    assert logs.looked_at.index(NUDGED) <= 12
    assert logs.looked_at[1_001:] == [NUDGED]
