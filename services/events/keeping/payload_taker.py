"""Makes rules real on the disk: takes away, in the background, the payloads that they hide.

Reads hide what is gone from the moment a rule holds; this only gives the room back. It works step
by step and remembers nothing: what is left to do is found in the database, so it may end, be killed
or run in several processes at any time. Knows no tables.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol

from girih.backoff import Backoff
from girih.ids import TenantId
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger

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

    def nudge(self) -> None:
        """A rule has changed here: look now."""
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
                        self._nudged.clear()
                        await self.take_all(taking)
                        await self._pause()
            except ServiceError as error:
                self._instruments.taking(is_able=False)
                _log.warning("payloads are not taken away", problem=str(error))
                await asyncio.sleep(backoff.next_s())

    async def take_all(self, taking: Taking) -> int:
        """Take what there is to take now; how many records that were."""
        count = 0
        async for log in taking.kept_logs():
            while taken := await self._step(taking.take_redacted(log.tenant)):
                count += taken
            async for stream in taking.streams_due(log.tenant):
                while taken := await self._step(taking.take_of_stream(log.tenant, stream)):
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

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._nudged.wait()
