"""How many calls each tenant has made this month, and who has made as many as the plan allows.

Counted in memory where calls come in, recorded in the event store every half minute, and
followed there, so that each process knows what the others have recorded. A call costs no
round trip, and a process that is killed forgets at most half a minute. The price is that a
tenant whose calls come in at several processes may go over its plan by what the others count
within that time. While the event store is away calls pass, and are recorded later.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from gateway.metering.usage_log import EVENT_COUNT_MAX, Counted, Month, UsageLog
from gateway.own_calls import EventsRefused
from girih.client import ABSENT, new_event_id
from services.plumbing.errors import EventsUnavailable, ResourceExhausted
from services.plumbing.identity import Principal
from services.plumbing.logging import get_logger
from services.plumbing.tasks import set_within
from services.policy import plan_of

_log = get_logger("gateway")

FLUSH_INTERVAL_S: Final = 30.0
TENANT_COUNT_MAX: Final = 10_000
"""Months of tenants that are kept in memory."""

_READ_WAIT_S = 0.5
"""How long the first call of a tenant waits to learn what the month has come to."""

_PAUSE_S = 1.0

_UNCOUNTED_PREFIX = "/auth/"
_UNCOUNTED_ROUTE = "/v1/usage"


class QuotaExceeded(ResourceExhausted):
    """The tenant has made the calls of its plan: retry next month, or on a larger plan."""

    reason = "QUOTA_EXCEEDED"


@dataclass(frozen=True, slots=True)
class Calls:
    """What a tenant has used."""

    month: str
    """For example 2026-11, in UTC."""
    count: int


@dataclass(slots=True)
class _TenantCounter:
    """The calls of one tenant and month: those read from the log, on their way, and new."""

    month: Month
    through: int = ABSENT
    """The revision up to which the log was read."""
    total: int = 0
    """The calls up to there, of all processes."""
    sent: Counted | None = None
    """On its way to the log: perhaps there already, and not read back."""
    new: int = 0
    returned: int = 0
    """Calls that were counted and then refused: so many of the next are not counted."""
    is_read: bool = False
    is_behind: bool = False
    """More was recorded than was read."""
    generation: int = 0
    """How often it was begun anew."""
    reading: "asyncio.Task[None] | None" = field(default=None, repr=False)

    @property
    def calls(self) -> int:
        return self.total + self.new + (self.sent.calls if self.sent else 0) - self.returned

    @property
    def is_settled(self) -> bool:
        """Nothing is lost with it."""
        return not self.new and self.sent is None and self.reading is None

    def begin_anew(self) -> None:
        """Nothing that was read is known to be in the log, which may be another one now."""
        self.generation += 1
        self.through, self.total = ABSENT, 0
        self.is_read, self.is_behind = False, True

    def add(self, revision: int, counted: Counted) -> None:
        """Add what was read, unless it was before."""
        if revision <= self.through:
            return
        self.through = revision
        self.total += counted.calls
        if self.sent is not None and self.sent.event_id == counted.event_id:
            self.sent = None

    def follow(self, revision: int, counted: Counted) -> None:
        """Add what was recorded just now, if everything before is known."""
        if self.is_read and revision <= self.through + 1:
            self.add(revision, counted)
        else:
            self.is_behind = True

    def send(self) -> Counted:
        """What is to be recorded now: the same as before while it is on its way."""
        if self.sent is None:
            self.sent = Counted(new_event_id(), self.new, self.through, self.total)
            self.new = 0
        return self.sent


class Usage:
    """Counts calls.

    Tasks of the owner's run `keep_flushing` and `keep_following`; `close` records the rest.
    """

    def __init__(
        self,
        log: UsageLog,
        metrics: "UsageMetrics",
        clock: Callable[[], float] = time.time,
        tenant_count_max: int = TENANT_COUNT_MAX,
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._tenant_count_max = tenant_count_max
        self._counters: dict[str, _TenantCounter] = {}
        """Of this month, by tenant."""
        self._past: list[_TenantCounter] = []
        """Of the month before, while something of them is still to be recorded."""
        self._month = ""
        self._month_ends_s = 0.0
        self._is_full = asyncio.Event()
        self._flushing = asyncio.Lock()
        metrics.tenants.set_function(lambda: len(self._counters))

    async def admit(self, principal: Principal, route: str) -> None:
        """Count a call; raises QuotaExceeded, and then does not count it.

        Services and operators are not counted, nor is what has to do with logging in, nor who
        asks what was counted: that is answered when the month's calls were made, too.
        """
        if not _is_counted(principal, route):
            return
        plan = plan_of(principal)
        calls_max = plan.monthly_call_count_max if plan else 0
        counter = self._counter(principal.tenant)
        if counter is None:
            self._metrics.uncounted.inc()
            return
        if calls_max and counter.reading is not None:
            await asyncio.wait([counter.reading], timeout=_READ_WAIT_S)
        if calls_max and counter.calls >= calls_max:
            self._metrics.refused.inc()
            raise self._exceeded(calls_max)
        if counter.returned:
            counter.returned -= 1
        else:
            counter.new += 1

    def give_back(self, principal: Principal, route: str) -> None:
        """A call that was admitted was refused after all, behind the gateway: it counts no more."""
        counter = self._counters.get(principal.tenant)
        if counter is not None and _is_counted(principal, route):
            counter.returned += 1

    async def calls(self, tenant: str) -> Calls:
        """What a tenant has used; raises EventsUnavailable when that is not known yet."""
        counter = self._counter(tenant)
        if counter is None:
            raise EventsUnavailable("more tenants call than are counted at once; retry")
        if counter.reading is not None:
            await asyncio.wait([counter.reading], timeout=_READ_WAIT_S)
        if not counter.is_read or counter.is_behind:
            await self._read(counter)
        return Calls(counter.month.month, counter.calls)

    async def keep_following(self) -> None:
        """Learn what other processes record, as they do, for ever."""
        await self._log.follower(self._follow, self._expire).run()

    async def keep_flushing(self) -> None:
        """Record what was counted, every half minute, for ever."""
        while True:
            await set_within(self._is_full, FLUSH_INTERVAL_S)
            self._is_full.clear()
            if not await self.flush():
                await asyncio.sleep(_PAUSE_S)

    async def flush(self) -> bool:
        """Record what was counted since, and learn what others have recorded.

        False when it is away: then this is done with the next flush.
        """
        async with self._flushing:
            try:
                await self._flush()
            except EventsUnavailable:
                self._metrics.flush_failures.inc()
                return False
            except EventsRefused as error:
                self._metrics.flush_failures.inc()
                _log.error("usage cannot be recorded: this is a bug", problem=str(error))
                return False
            return True

    async def close(self, timeout_s: float = 5.0) -> None:
        """Record the rest, as far as the event store takes it in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.flush()
        readings = [counter.reading for counter in self._all() if counter.reading is not None]
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
        left = sum(one.new + (one.sent.calls if one.sent else 0) for one in self._all())
        if left:
            _log.error("calls were counted that could not be recorded", calls=left)

    def _counter(self, tenant: str) -> _TenantCounter | None:
        """The counter of this month; None when no more can be kept."""
        if self._clock() >= self._month_ends_s:
            self._begin_month()
        counter = self._counters.get(tenant)
        return counter if counter is not None else self._begin(tenant)

    def _begin(self, tenant: str) -> _TenantCounter | None:
        if len(self._counters) >= self._tenant_count_max and not self._evict_settled():
            self._is_full.set()
            return None
        counter = self._counters[tenant] = _TenantCounter(Month(tenant, self._month))
        self._start_reading(counter)
        return counter

    def _start_reading(self, counter: _TenantCounter) -> None:
        counter.reading = asyncio.get_running_loop().create_task(self._read_first(counter))

    def _evict_settled(self) -> bool:
        settled = [name for name, counter in self._counters.items() if counter.is_settled]
        for name in settled:
            del self._counters[name]
        return bool(settled)

    def _begin_month(self) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        ends_at = now.replace(
            year=now.year + now.month // 12,
            month=now.month % 12 + 1,
            day=1, hour=0, minute=0, second=0, microsecond=0,
        )  # fmt: skip
        self._past += [counter for counter in self._counters.values() if not counter.is_settled]
        self._counters = {}
        self._month = now.strftime("%Y-%m")
        self._month_ends_s = ends_at.timestamp()

    async def _read_first(self, counter: _TenantCounter) -> None:
        """Learn what the month has come to. When that fails, the next flush tries again."""
        try:
            await self._read(counter)
        except EventsUnavailable:
            self._metrics.flush_failures.inc()
        except EventsRefused as error:
            _log.error("usage cannot be read: this is a bug", problem=str(error))
        finally:
            counter.reading = None

    def _expire(self) -> None:
        for counter in self._all():
            counter.begin_anew()
            if counter.reading is None:
                self._start_reading(counter)

    def _follow(self, month: Month, revision: int, counted: Counted) -> None:
        counter = self._counters.get(month.tenant)
        if counter is not None and counter.month == month:
            counter.follow(revision, counted)

    async def _read(self, counter: _TenantCounter) -> None:
        # What is recorded from here on may be missing in what is read, and says so itself.
        was_behind, counter.is_behind = counter.is_behind, False
        try:
            await self._read_new(counter)
        except BaseException:
            counter.is_behind |= was_behind
            raise

    async def _read_new(self, counter: _TenantCounter) -> None:
        generation = counter.generation
        if not counter.is_read:
            last = await self._log.last(counter.month)
            # Unless it was read by somebody else meanwhile: then it has gone on from there.
            if last is not None and not counter.is_read and counter.generation == generation:
                counter.through, counter.total = last.through, last.total
        recorded = await self._log.after(counter.month, counter.through)
        if counter.generation != generation:
            await self._read_new(counter)
            return
        for revision, counted in recorded:
            counter.add(revision, counted)
        counter.is_read = True

    async def _flush(self) -> None:
        unsettled = [counter for counter in self._all() if counter.new or counter.sent is not None]
        for counter in unsettled:
            if not counter.is_read or counter.is_behind:
                await self._read(counter)
        for start in range(0, len(unsettled), EVENT_COUNT_MAX):
            await self._send(unsettled[start : start + EVENT_COUNT_MAX])
        self._past = [counter for counter in self._past if not counter.is_settled]

    async def _send(self, counters: Sequence[_TenantCounter]) -> None:
        counts = [counter.send() for counter in counters]
        revisions = await self._log.append(
            [(counter.month, counted) for counter, counted in zip(counters, counts, strict=True)]
        )
        for counter, counted, revision in zip(counters, counts, revisions, strict=True):
            if revision == counter.through + 1:
                counter.add(revision, counted)
            elif revision > counter.through:
                # Another process has recorded something meanwhile.
                await self._read(counter)

    def _all(self) -> Iterator[_TenantCounter]:
        yield from self._past
        yield from self._counters.values()

    def _exceeded(self, calls_max: int) -> QuotaExceeded:
        resets_at = datetime.fromtimestamp(self._month_ends_s, UTC)
        return QuotaExceeded(
            f"the plan allows {calls_max:,} calls a month, and these were made; "
            "GET /v1/usage tells what is used, and an operator may set another plan",
            retry_after_s=max(1.0, self._month_ends_s - self._clock()),
            limit=calls_max,
            month=self._month,
            resets_at=resets_at.isoformat().replace("+00:00", "Z"),
        )


def _is_counted(principal: Principal, route: str) -> bool:
    is_free = route == _UNCOUNTED_ROUTE or route.startswith(_UNCOUNTED_PREFIX)
    return not (is_free or principal.service) and bool(principal.tenant)


class UsageMetrics:
    """How counting does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tenants = Gauge(
            "gateway_usage_tenants", "Tenants whose calls are counted now.", registry=registry
        )
        self.flush_failures = Counter(
            "gateway_usage_flush_failures",
            "Attempts to record or read usage that the event store did not answer.",
            registry=registry,
        )
        self.uncounted = Counter(
            "gateway_usage_uncounted_calls",
            "Calls let pass uncounted because too many tenants called at once.",
            registry=registry,
        )
        self.refused = Counter(
            "gateway_usage_quota_refusals",
            "Calls refused because the month's were made.",
            registry=registry,
        )
