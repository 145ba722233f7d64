"""Makes rules real on the disk: takes away, in the background, the payloads that they hide.

Reads hide what is gone from the moment a rule holds; this only gives the room back. It works step
by step and remembers nothing: what is left to do is found in the database, so it may end, be killed
or run in several processes at any time. Knows no tables.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from girih.backoff import Backoff
from girih.ids import TenantId
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger
from services.plumbing.tasks import set_within

_RETRY_MIN_S: Final = 1.0
_RETRY_MAX_S: Final = 60.0

_log = get_logger("keeping")


class Log(Protocol):
    """A log that has rules."""

    @property
    def tenant(self) -> TenantId: ...


class Taking(Protocol):
    """Who takes payloads away, some at a time."""

    def kept_logs(self) -> AsyncIterator[Log]:
        """All logs that have rules."""

    async def take_redacted(self, tenant: TenantId) -> int:
        """Take the next payloads of redacted events of a log; how many there were."""

    def streams_due(self, tenant: TenantId) -> AsyncIterator[int]:
        """The streams of a log whose first payload has to go."""

    async def take_of_stream(self, tenant: TenantId, stream: int) -> int:
        """Take the next payloads of a stream; how many records were looked at."""


class TakerInstruments(Protocol):
    """Who counts what is taken."""

    def taken(self, payload_count: int) -> None:
        """So many payloads were taken away."""

    def taking(self, *, is_able: bool) -> None:
        """Whether payloads can be taken away."""


class PayloadTaker:
    """Takes the payloads of all logs of a database, as one of the processes that do."""

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Taking]],
        instruments: TakerInstruments,
        interval_s: float,
    ) -> None:
        """`opened` opens a connection; every `interval_s` it is looked what there is to take."""
        self._opened = opened
        self._instruments = instruments
        self._interval_s = interval_s
        self._nudged = asyncio.Event()
        self._nudged_logs: set[TenantId] = set()

    def nudge(self, tenant: TenantId) -> None:
        """A rule of a log has changed here: look at that one next."""
        self._nudged_logs.add(tenant)
        self._nudged.set()

    async def run(self) -> None:
        """Take, again and again; runs for ever."""
        backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        while True:
            try:
                async with self._opened() as taking:
                    self._instruments.taking(is_able=True)
                    backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
                    while True:
                        started_s = time.monotonic()
                        await self.take_all(taking)
                        looked_s = time.monotonic() - started_s
                        await self._take_nudged_for(taking, max(self._interval_s, looked_s))
            except ServiceError as error:
                self._instruments.taking(is_able=False)
                _log.warning("payloads are not taken away", problem=str(error))
                await asyncio.sleep(backoff.next_s())

    async def take_all(self, taking: Taking) -> int:
        """Take what there is to take now; how many records that were."""
        count = 0
        async for log in taking.kept_logs():
            count += await self._take_nudged(taking)
            count += await self._take_of(taking, log.tenant)
        return count

    async def _take_nudged(self, taking: Taking) -> int:
        """Of logs whose rules have just changed: others may be thousands, and have time."""
        count = 0
        while self._nudged_logs:
            count += await self._take_of(taking, self._nudged_logs.pop())
        return count

    async def _take_nudged_for(self, taking: Taking, duration_s: float) -> None:
        """The same for as long as that, until all logs are looked at again."""
        until_s = time.monotonic() + duration_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._nudged.clear()
            await self._take_nudged(taking)
            await set_within(self._nudged, left_s)

    async def _take_of(self, taking: Taking, tenant: TenantId) -> int:
        """What there is to take of a log."""
        count = 0
        while taken := await self._step(taking.take_redacted(tenant)):
            count += taken
        started_s = time.monotonic()
        due = [stream async for stream in taking.streams_due(tenant)]
        # Whoever makes thousands of rules has all of them looked through each time.
        await asyncio.sleep(time.monotonic() - started_s)
        for stream in due:
            while taken := await self._step(taking.take_of_stream(tenant, stream)):
                count += taken
        return count

    async def _step(self, step: Awaitable[int]) -> int:
        """One step, and as long a rest: appends and reads come first."""
        started_s = time.monotonic()
        taken = await step
        if taken:
            self._instruments.taken(taken)
            await asyncio.sleep(time.monotonic() - started_s)
        return taken
