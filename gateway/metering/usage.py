"""How many calls each tenant has made this month, and who has made as many as the plan allows.

Counted in memory where calls come in, told to the event store every half minute, and read
back from there together with what other processes counted. A call costs no round trip, and
a process that is killed forgets at most half a minute. The price is that a tenant whose
calls come in at several processes may go over its plan by what the others count within
that time. While the event store is away calls pass; what they come to is told later.
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
from services.policy import plan_of

_log = get_logger("gateway")

FLUSH_INTERVAL_S: Final = 30.0
TENANT_COUNT_MAX: Final = 10_000
"""Months of tenants that are kept in memory."""

_PATIENCE_S = 0.5
"""How long the first call of a tenant waits to learn what the month has come to."""

_PAUSE_S = 1.0

_FREE_OF_CHARGE = "/auth/"


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
    is_read: bool = False
    reading: "asyncio.Task[None] | None" = field(default=None, repr=False)

    @property
    def calls(self) -> int:
        return self.total + self.new + (self.sent.calls if self.sent else 0)

    @property
    def is_settled(self) -> bool:
        """Nothing is lost with it."""
        return not self.new and self.sent is None and self.reading is None

    def took(self, revision: int, counted: Counted) -> None:
        """Add what was read, unless it was before."""
        if revision <= self.through:
            return
        self.through = revision
        self.total += counted.calls
        if self.sent is not None and self.sent.event_id == counted.event_id:
            self.sent = None

    def send(self) -> Counted:
        """What is to be told to the log now: the same as before while it is on its way."""
        if self.sent is None:
            self.sent = Counted(new_event_id(), self.new, self.through, self.total)
            self.new = 0
        return self.sent


class Usage:
    """Counts calls. One task of the owner's runs `keep_flushing`; `close` tells the rest."""

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
        self._tallies: dict[str, _TenantCounter] = {}
        """Of this month, by tenant."""
        self._past: list[_TenantCounter] = []
        """Of the month before, while something of them is still to be told."""
        self._month = ""
        self._month_ends_s = 0.0
        self._crowded = asyncio.Event()
        self._flushing = asyncio.Lock()
        metrics.tenants.set_function(lambda: len(self._tallies))

    async def admit(self, principal: Principal, route: str) -> None:
        """Count a call; raises QuotaExceeded, and then does not count it.

        Services and operators are not counted, nor is what has to do with logging in.
        """
        if principal.service or not principal.tenant or route.startswith(_FREE_OF_CHARGE):
            return
        plan = plan_of(principal)
        calls_max = plan.monthly_call_count_max if plan else 0
        tally = self._tally(principal.tenant)
        if tally is None:
            self._metrics.uncounted.inc()
            return
        if calls_max and tally.reading is not None:
            await asyncio.wait([tally.reading], timeout=_PATIENCE_S)
        if calls_max and tally.calls >= calls_max:
            self._metrics.refused.inc()
            raise self._exceeded(calls_max)
        tally.new += 1

    async def calls(self, tenant: str) -> Calls:
        """What a tenant has used; raises EventsUnavailable when that is not known yet."""
        tally = self._tally(tenant)
        if tally is None:
            raise EventsUnavailable("more tenants call than are kept in mind; retry")
        if tally.reading is not None:
            await asyncio.wait([tally.reading], timeout=_PATIENCE_S)
        if not tally.is_read:
            await self._read(tally)
        return Calls(tally.month.month, tally.calls)

    async def keep_flushing(self) -> None:
        """Tell the log what was counted, every half minute, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_INTERVAL_S):
                    await self._crowded.wait()
            self._crowded.clear()
            if not await self.flush():
                await asyncio.sleep(_PAUSE_S)

    async def flush(self) -> bool:
        """Tell the log what was counted since, and learn what others have told it.

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
        """Tell the log the rest, as far as it takes it in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.flush()
        readings = [tally.reading for tally in self._all() if tally.reading is not None]
        for reading in readings:
            reading.cancel()
        await asyncio.gather(*readings, return_exceptions=True)
        left = sum(tally.new + (tally.sent.calls if tally.sent else 0) for tally in self._all())
        if left:
            _log.error("calls were counted that could not be recorded", calls=left)

    def _tally(self, tenant: str) -> _TenantCounter | None:
        """The tally of this month; None when there is no room for another."""
        if self._clock() >= self._month_ends_s:
            self._turn_the_page()
        found = self._tallies.get(tenant)
        return found if found is not None else self._begin(tenant)

    def _begin(self, tenant: str) -> _TenantCounter | None:
        if len(self._tallies) >= self._tenant_count_max and not self._make_room():
            self._crowded.set()
            return None
        tally = self._tallies[tenant] = _TenantCounter(Month(tenant, self._month))
        tally.reading = asyncio.get_running_loop().create_task(self._read_first(tally))
        return tally

    def _make_room(self) -> bool:
        settled = [name for name, tally in self._tallies.items() if tally.is_settled]
        for name in settled:
            del self._tallies[name]
        return bool(settled)

    def _turn_the_page(self) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        ends_at = now.replace(
            year=now.year + now.month // 12,
            month=now.month % 12 + 1,
            day=1, hour=0, minute=0, second=0, microsecond=0,
        )  # fmt: skip
        self._past += [tally for tally in self._tallies.values() if not tally.is_settled]
        self._tallies = {}
        self._month = now.strftime("%Y-%m")
        self._month_ends_s = ends_at.timestamp()

    async def _read_first(self, tally: _TenantCounter) -> None:
        """Learn what the month has come to. When that fails, the next flush tries again."""
        try:
            await self._read(tally)
        except EventsUnavailable:
            self._metrics.flush_failures.inc()
        except EventsRefused as error:
            _log.error("usage cannot be read: this is a bug", problem=str(error))
        finally:
            tally.reading = None

    async def _read(self, tally: _TenantCounter) -> None:
        if not tally.is_read:
            last = await self._log.last(tally.month)
            # Unless it was read by somebody else meanwhile: then it has gone on from there.
            if last is not None and not tally.is_read:
                tally.through, tally.total = last.through, last.total
        for revision, counted in await self._log.after(tally.month, tally.through):
            tally.took(revision, counted)
        tally.is_read = True

    async def _flush(self) -> None:
        unsettled = [tally for tally in self._all() if tally.new or tally.sent is not None]
        for tally in unsettled:
            if not tally.is_read:
                await self._read(tally)
        for start in range(0, len(unsettled), EVENT_COUNT_MAX):
            await self._send(unsettled[start : start + EVENT_COUNT_MAX])
        self._past = [tally for tally in self._past if not tally.is_settled]

    async def _send(self, tallies: Sequence[_TenantCounter]) -> None:
        counts = [tally.send() for tally in tallies]
        revisions = await self._log.append(
            [(tally.month, counted) for tally, counted in zip(tallies, counts, strict=True)]
        )
        for tally, counted, revision in zip(tallies, counts, revisions, strict=True):
            if revision == tally.through + 1:
                tally.took(revision, counted)
            else:
                # Another process has told the log something meanwhile.
                await self._read(tally)

    def _all(self) -> Iterator[_TenantCounter]:
        yield from self._past
        yield from self._tallies.values()

    def _exceeded(self, calls_max: int) -> QuotaExceeded:
        resets_at = datetime.fromtimestamp(self._month_ends_s, UTC)
        return QuotaExceeded(
            f"the plan allows {calls_max} calls a month, and these were made",
            retry_after_s=max(1.0, self._month_ends_s - self._clock()),
            limit=calls_max,
            month=self._month,
            resets_at=resets_at.isoformat().replace("+00:00", "Z"),
        )


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
