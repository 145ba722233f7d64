"""What happens to a tenant's security, as events in its own log and as lines in ours.

A caller never waits for it: what happens is kept in memory, and one task writes it down,
again and again while the event store is away. Only what is proven to concern a tenant goes
into its log, so that strangers cannot write there; the rest is lines and numbers.

The first of a kind is written at once. What repeats it within ten seconds becomes one more
event with a count, so that a thousand refusals are two events.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.own_calls import EventsRefused, OwnLogs, refusals_named
from girih.backoff import Backoff
from girih.client import NewEvent, new_event_id
from services.plumbing import correlation
from services.plumbing.errors import EventsUnavailable, Scalar
from services.plumbing.logging import get_logger
from services.plumbing.tasks import set_within
from services.plumbing.telemetry import lines

_log = get_logger("security")

STREAM: Final = "$security"
TYPE_PREFIX: Final = "security."

REPEATED: Final = frozenset(
    {
        "call-refused",
        "invitation-refused",
        "key-refused",
        "key-used",
        "login-failed",
        "login-throttled",
        "refresh-refused",
        "refresh-reused",
    }
)
"""Kinds of which many alike say no more than one with a number. Others each stand alone."""

KINDS: Final = REPEATED | {
    "invitation-accepted",
    "invitation-created",
    "invitation-revoked",
    "key-created",
    "key-revoked",
    "logged-out",
    "login-succeeded",
    "member-removed",
    "member-role-set",
    "password-changed",
    "plan-changed",
    "registered",
    "session-ended",
}
"""The kinds that have a number of their own; others are counted together."""

WINDOW_S: Final = 10.0
EVENT_COUNT_MAX: Final = 10_000
"""Events that are kept until they are written, and events that may yet be repeated."""
TENANT_EVENT_COUNT_MAX: Final = 1_000
"""Of these, the events of one tenant: a noisy one leaves room for the others."""

_SCHEMA_VERSION = 1
_BATCH_MAX = 100
_TENANTS_AT_ONCE = 8
_PAUSE_S_MIN = 0.5
_PAUSE_S_MAX = 15.0
_TEXT_CHARS_MAX = 300

_Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Event:
    """Something that happened. Its id is made with it, so that writing it twice is harmless."""

    tenant: str
    kind: str
    fields: dict[str, Scalar]
    correlation_id: str
    event_id: str = field(default_factory=new_event_id)


@dataclass(slots=True)
class _Window:
    """The time in which what repeats an event is only counted."""

    ends_s: float
    repeated: int = 0
    last: _Event | None = None


class SecurityLog:
    """Keeps what happens and writes it down.

    One task of the owner's runs `keep_writing`; `close` writes the rest.
    """

    def __init__(
        self,
        logs: OwnLogs,
        metrics: "SecurityMetrics",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logs = logs
        self._metrics = metrics
        self._clock = clock
        self._queues: dict[str, deque[_Event]] = {}
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()
        self._count = 0
        self._wake = asyncio.Event()
        metrics.waiting.set_function(lambda: self._count)

    def record(
        self, tenant: str, kind: str, *, subject: str = "", reason: str = "", **fields: Scalar
    ) -> None:
        """Keep what happened, and return at once. Never raises, never a secret.

        `tenant` is the one whose log it belongs in, empty when none is proven. `kind` is one
        of KINDS. Empty texts are left out.
        """
        self._metrics.count(kind)
        event = self._event(tenant, kind, {"subject": subject, "reason": reason, **fields})
        if not tenant:
            _write_line(event)
        elif kind not in REPEATED or self._is_first(event, subject, reason):
            self._keep(event)

    async def keep_writing(self) -> None:
        """Write what is kept into the tenants' logs, for ever."""
        backoff, pause_s = Backoff(_PAUSE_S_MIN, _PAUSE_S_MAX), 0.0
        while True:
            await self._until_due(pause_s)
            self._close_windows(self._clock())
            if await self._write():
                backoff.reset()
                pause_s = 0.0
            else:
                pause_s = backoff.next_s()

    async def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, as far as the event store takes it in time."""
        self._close_windows(float("inf"))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._count and await self._write():
                    pass
        if self._count:
            self._metrics.dropped.inc(self._count)
            _log.error("security events could not be recorded", count=self._count)

    def _event(self, tenant: str, kind: str, fields: dict[str, Scalar]) -> _Event:
        written = {name: _short(value) for name, value in fields.items() if value != ""}
        written["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        return _Event(tenant, kind, written, correlation.current().correlation_id)

    def _is_first(self, event: _Event, subject: str, reason: str) -> bool:
        """Whether nothing like it happened just now; else it is counted with what did."""
        key = (event.tenant, event.kind, subject, reason)
        window = self._windows.get(key)
        if window is not None and self._clock() < window.ends_s:
            window.repeated += 1
            window.last = event
            return False
        if window is not None:
            self._end(self._windows.pop(key))
        if len(self._windows) < EVENT_COUNT_MAX:
            self._windows[key] = _Window(self._clock() + WINDOW_S)
        return True

    def _close_windows(self, now_s: float) -> None:
        """End those that are over: all are equally long, so the first to begin end first."""
        while self._windows:
            key = next(iter(self._windows))
            if self._windows[key].ends_s > now_s:
                return
            self._end(self._windows.pop(key))

    def _end(self, window: _Window) -> None:
        if window.last is not None:
            window.last.fields["count"] = window.repeated
            self._keep(window.last)

    def _keep(self, event: _Event) -> None:
        _write_line(event)
        queue = self._queues.setdefault(event.tenant, deque())
        if self._count >= EVENT_COUNT_MAX or len(queue) >= TENANT_EVENT_COUNT_MAX:
            self._metrics.dropped.inc()
            return
        queue.append(event)
        self._count += 1
        self._wake.set()

    async def _until_due(self, pause_s: float) -> None:
        """Wait until there is something to write, or a window has ended."""
        if pause_s:
            await asyncio.sleep(pause_s)
            return
        oldest = next(iter(self._windows.values()), None)
        wait_s = None if oldest is None else max(0.0, oldest.ends_s - self._clock())
        await set_within(self._wake, wait_s)
        self._wake.clear()

    async def _write(self) -> bool:
        """Write a batch of every tenant's; False when the event store is away."""
        outcomes: list[bool] = []
        tenants = list(self._queues)
        for some in _slices(tenants, _TENANTS_AT_ONCE):
            outcomes += await asyncio.gather(*map(self._write_tenant, some))
            if not any(outcomes):
                return False
        if self._count:
            self._wake.set()
        return all(outcomes)

    async def _write_tenant(self, tenant: str) -> bool:
        """Write a tenant's first events of one call; they leave the queue when that is done."""
        queue = self._queues[tenant]
        batch = _of_one_call(queue)
        try:
            await self._append(tenant, batch)
        except EventsUnavailable:
            return False
        except EventsRefused as error:
            self._metrics.dropped.inc(len(batch))
            _log.error("security events were refused: this is a bug", problem=str(error))
        self._forget(tenant, len(batch))
        return True

    async def _append(self, tenant: str, batch: list[_Event]) -> None:
        if not batch:
            return
        events = self._logs.of(tenant).acting(correlation_id=batch[0].correlation_id)
        with refusals_named():
            await events.append([_new_event(event) for event in batch])

    def _forget(self, tenant: str, count: int) -> None:
        queue = self._queues[tenant]
        for _ in range(count):
            queue.popleft()
        self._count -= count
        if not queue:
            del self._queues[tenant]


class SecurityMetrics:
    """What happens to security, and whether it is written down."""

    def __init__(self, registry: CollectorRegistry) -> None:
        events = Counter(
            "gateway_security_events",
            "What happened to security, by kind.",
            ("kind",),
            registry=registry,
        )
        self._kinds = {kind: events.labels(kind) for kind in sorted(KINDS)}
        self._others = events.labels("other")
        self.waiting = Gauge(
            "gateway_security_events_waiting",
            "Security events that wait to be written into the logs of tenants.",
            registry=registry,
        )
        self.dropped = Counter(
            "gateway_security_events_dropped",
            "Security events that are only in our own log: too many waited, or it was refused.",
            registry=registry,
        )

    def count(self, kind: str) -> None:
        self._kinds.get(kind, self._others).inc()


def _write_line(event: _Event) -> None:
    tenant = {"tenant": event.tenant} if event.tenant else {}
    lines.security(event.kind, **tenant, **event.fields)


def _of_one_call(queue: deque[_Event]) -> list[_Event]:
    """The first events, as far as they have one correlation id, which goes with the append."""
    batch: list[_Event] = []
    for event in islice(queue, _BATCH_MAX):
        if batch and event.correlation_id != batch[0].correlation_id:
            break
        batch.append(event)
    return batch


def _new_event(event: _Event) -> NewEvent:
    return NewEvent(
        id=event.event_id,
        stream=STREAM,
        type=TYPE_PREFIX + event.kind,
        schema_version=_SCHEMA_VERSION,
        json=orjson.dumps(event.fields).decode(),
    )


def _short(value: Scalar) -> Scalar:
    if isinstance(value, str) and len(value) > _TEXT_CHARS_MAX:
        return value[:_TEXT_CHARS_MAX] + "…"
    return value


def _slices(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
