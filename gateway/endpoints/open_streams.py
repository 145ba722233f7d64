"""The streams that are open: how many and whose, and what ends them all together.

One task watches all of them. A task or a timer for each would cost more than what most
streams carry: they are quiet.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from gateway.http import errors
from gateway.http.errors import HttpError
from gateway.http.exchange import HttpExchange
from gateway.http.lifecycle import Lifecycle
from gateway.settings import Settings
from services.plumbing import correlation
from services.plumbing.auth import tokens
from services.plumbing.identity import Principal

K = TypeVar("K")

_INTERVAL_S = 1.0
_BATCH_COUNT = 100
"""So many streams are checked before others have their turn."""


class Ending(Protocol):
    """What a stream carries, as far as it can be ended."""

    end_reason: HttpError | None
    """Why it ends."""

    def end(self, error: HttpError) -> None:
        """End it soon, with this error, unless another one came first."""


class OpenStream:
    """A stream as those see it who may have to end it."""

    __slots__ = ("call", "exchange", "heartbeat", "last_write_s", "principal")

    def __init__(self, exchange: HttpExchange, principal: Principal | None) -> None:
        self.exchange = exchange
        self.principal = principal
        self.call: Ending | None = None
        """What it carries, once that is started."""
        self.heartbeat = b""
        """What says that it is alive; empty when that is not to be sent."""
        self.last_write_s = 0.0

    def begin(self, heartbeat: bytes) -> None:
        """Headers are sent: from now on heartbeats are sent when it is quiet."""
        self.heartbeat = heartbeat
        self.last_write_s = time.monotonic()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A block in which a response is written, in parts perhaps: nothing is sent between."""
        heartbeat, self.heartbeat = self.heartbeat, b""
        try:
            yield
        finally:
            self.heartbeat = heartbeat
            self.last_write_s = time.monotonic()

    def end(self, error: HttpError) -> None:
        """End it soon, with this error."""
        if self.call is not None:
            self.call.end(error)

    @property
    def is_ending(self) -> bool:
        return self.call is not None and self.call.end_reason is not None


class OpenStreams:
    """All streams of one gateway."""

    def __init__(
        self,
        settings: Settings,
        lifecycle: Lifecycle,
        is_revoked: Callable[[Principal], bool],
    ) -> None:
        """`is_revoked` is true of callers whose session has ended since they were admitted."""
        self._settings = settings
        self._is_revoked = is_revoked
        self._streams: set[OpenStream] = set()
        self._by_tenant: Counter[str] = Counter()
        self._by_subject: Counter[tuple[str, str]] = Counter()
        lifecycle.when_stopping(self._stop)

    @property
    def count(self) -> int:
        return len(self._streams)

    @contextmanager
    def opened(self, exchange: HttpExchange) -> Iterator[OpenStream]:
        """A block that a stream lives in; raises HttpError when there are too many."""
        principal = correlation.current().principal
        tenant = principal.tenant if principal else ""
        subject = (tenant, principal.subject if principal else exchange.address)
        self._admit(tenant, subject)
        stream = OpenStream(exchange, principal)
        self._streams.add(stream)
        self._by_tenant[tenant] += 1
        self._by_subject[subject] += 1
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            _decrement(self._by_tenant, tenant)
            _decrement(self._by_subject, subject)

    async def watch(self) -> None:
        """Send heartbeats on quiet streams, and end those whose caller may no longer read them."""
        while True:
            await asyncio.sleep(min(_INTERVAL_S, self._settings.stream_heartbeat_s / 2))
            for number, stream in enumerate(tuple(self._streams)):
                if stream in self._streams:
                    await self._check(stream)
                if number % _BATCH_COUNT == _BATCH_COUNT - 1:
                    await asyncio.sleep(0)

    async def _check(self, stream: OpenStream) -> None:
        principal = stream.principal
        if principal is not None and time.time() >= principal.expires_at:
            stream.end(errors.from_service_error(tokens.expired(principal)))
        elif principal is not None and self._is_revoked(principal):
            stream.end(errors.from_service_error(errors.session_ended()))
        elif stream.heartbeat and not stream.is_ending:
            now_s = time.monotonic()
            if now_s - stream.last_write_s >= self._settings.stream_heartbeat_s:
                stream.last_write_s = now_s
                await stream.exchange.write_if_taken(stream.heartbeat)

    def _admit(self, tenant: str, subject: tuple[str, str]) -> None:
        settings = self._settings
        if len(self._streams) >= settings.stream_count_max:
            raise errors.too_busy()
        if self._by_subject[subject] >= settings.user_stream_count_max:
            raise errors.too_many_streams("caller", settings.user_stream_count_max)
        if tenant and self._by_tenant[tenant] >= settings.tenant_stream_count_max:
            raise errors.too_many_streams("tenant", settings.tenant_stream_count_max)

    def _stop(self) -> None:
        for stream in self._streams:
            stream.end(errors.shutting_down())


def _decrement(counter: Counter[K], key: K) -> None:
    """Leaves nothing of what is at zero: whoever calls once would be kept for ever."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
