"""The live ends of logs, each read once for all who follow it in this process.

A log that is followed has one task that reads what is new and keeps the newest of it in a
window, as bytes that are ready to be sent. Followers at the end are served from it, the
others from the database: so however many follow, and however slow they are, the memory is
that of the windows, and the database is asked once for what is new.

Wake-ups only make it quick: a commit in this process, or a notification from another one.
Whatever becomes of them, all logs that are followed are looked at several times within two
seconds, many by one question: logs at rest cost next to nothing.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from girih.backoff import Backoff
from girih.ids import NO_POSITION, RULES_STREAM, Position, TenantId
from services.events.errors import BeyondEnd, LogReplaced
from services.events.matching.queries import Filter, Labels
from services.events.reading.reader import PageCursor, Reader, ReadOptions
from services.events.reading.send_budget import ByteReservation, SendBudget
from services.events.reading.subscriptions import (
    PASSED_OVER_MAX,
    Subscription,
    Subscriptions,
)
from services.events.reading.window import Frame, TailRecord, Window
from services.events.store import EventStore, FollowedLog, Lapsing, LogTail, TailPage
from services.plumbing.errors import (
    ResourceExhausted,
    ServiceError,
    ShuttingDown,
    Unavailable,
)
from services.plumbing.logging import get_logger
from services.plumbing.tasks import set_within

T = TypeVar("T")

_AWAY = (Unavailable, ResourceExhausted)

_WAKE_COUNT = 32
"""Followers woken in one turn of the event loop: some milliseconds' work, between which
other calls get their turn."""

_log = get_logger("tail")


@dataclass(frozen=True, kw_only=True)
class TailLimits:
    """What the tails of a process keep, and how long they try."""

    window_bytes: int = 4 * 2**20
    """Of the newest records of one log, a single larger one apart."""
    windows_bytes: int = 64 * 2**20
    """Of all logs together."""
    read_count: int = 3
    """Pages read at once for tails, and as many for followers that are behind: so they leave
    connections to others, and who catches up does not hold up who has."""
    poll_s: float = 0.8
    """So often it is asked which logs have moved."""
    poll_count: int = 1_000
    """Logs asked about by one question: some 10 ms of work for the database."""
    checkpoint_interval_s: float = 0.8
    """So often those who care are told how far the log was looked through for them."""
    retry_budget_s: float = 30.0
    """How long followers wait for a database that is away."""
    retry_delay_min_s: float = 0.05
    retry_delay_max_s: float = 1.0


class TailInstruments(Protocol):
    """Who counts what tails do."""

    def windows_changed(self, byte_count: int) -> None:
        """The windows hold so many bytes together."""


class Tails:
    """The tails of a process, one per log that is followed."""

    def __init__(
        self,
        store: EventStore,
        frame: Frame,
        instruments: TailInstruments,
        limits: TailLimits,
        send_budget: SendBudget,
    ) -> None:
        self.send_budget = send_budget
        self._store = store
        self._frame = frame
        self._limits = limits
        self._windows = _Windows(limits, instruments)
        self._retry_policy = RetryPolicy(limits)
        self._tails: dict[TenantId, Tail] = {}
        self._is_closed = False
        self._may_have_moved = asyncio.Event()

    @asynccontextmanager
    async def tail(self, tenant: TenantId) -> AsyncIterator["Tail"]:
        """The tail of a log, which lasts at least as long as the block.

        It is in the incarnation that the log is in now. Raises `ShuttingDown`, and what says
        why when the log's end cannot be read.
        """
        while True:
            async with self._used(tenant) as tail:
                try:
                    await tail.agree()
                except LogReplaced:
                    # Those who followed the log that is no more are told; who comes now is not.
                    continue
                yield tail
                return

    def moved(self, tenant: TenantId, head: Position) -> None:
        """The log of `tenant` has been seen to end at `head`."""
        tail = self._tails.get(tenant)
        if tail is not None:
            tail.wake(head)

    def rules_changed(self, tenant: TenantId) -> None:
        """What is kept of streams of the log has changed: nothing read before is sent."""
        tail = self._tails.get(tenant)
        if tail is not None:
            tail.rules_changed()

    def look(self) -> None:
        """Any log may have moved unnoticed."""
        self._may_have_moved.set()

    async def poll(self) -> None:
        """Wake the tails whose logs have moved, again and again; runs for ever."""
        while True:
            await set_within(self._may_have_moved, self._limits.poll_s)
            self._may_have_moved.clear()
            for tails in _slices(list(self._tails.values()), self._limits.poll_count):
                await self._look_at([tail for tail in tails if tail.is_waiting])

    async def report_progress(self) -> None:
        """Wake those who are to be told how far they are, again and again; runs for ever."""
        while True:
            await asyncio.sleep(self._limits.checkpoint_interval_s)
            for tail in list(self._tails.values()):
                tail.report_progress()

    async def end_when(self, stopping: asyncio.Event) -> None:
        """End what is followed once `stopping` is set; then waits for ever."""
        await stopping.wait()
        self._is_closed = True
        for tail in list(self._tails.values()):
            tail.stop()
        await asyncio.Event().wait()

    async def _look_at(self, tails: Sequence["Tail"]) -> None:
        if not tails:
            return
        logs = [tail.seen() for tail in tails]
        try:
            moved = set(await self._retry_policy.read(partial(self._store.moved, logs)))
        except ServiceError as error:
            for tail in tails:
                tail.fail(error)
            return
        for tail in tails:
            if tail.tenant in moved:
                tail.wake()

    @asynccontextmanager
    async def _used(self, tenant: TenantId) -> AsyncIterator["Tail"]:
        tail = self._tails.get(tenant)
        if tail is None or tail.has_failed:
            tail = self._start(tenant)
        tail.follower_count += 1
        try:
            yield tail
        finally:
            tail.follower_count -= 1
            if not tail.follower_count or tail.has_failed:
                self._forget(tail)

    def _start(self, tenant: TenantId) -> "Tail":
        if self._is_closed:
            raise _shutting_down()
        tail = Tail(
            tenant,
            self._store,
            Window(self._frame),
            self._windows,
            self.send_budget,
            self._retry_policy,
        )
        self._tails[tenant] = tail
        tail.start()
        return tail

    def _forget(self, tail: "Tail") -> None:
        if self._tails.get(tail.tenant) is tail:
            del self._tails[tail.tenant]
        tail.stop()
        self._windows.drop(tail)


class Tail:
    """The live end of one log."""

    def __init__(
        self,
        tenant: TenantId,
        store: EventStore,
        window: Window,
        windows: "_Windows",
        send_budget: SendBudget,
        retry_policy: "RetryPolicy",
    ) -> None:
        self.tenant = tenant
        self.window = window
        self._send_budget = send_budget
        self.follower_count = 0
        self._store = store
        self._reader = Reader(store, send_budget)
        self._windows = windows
        self._retry_policy = retry_policy
        self._woken = asyncio.Event()
        self._waiting: dict[asyncio.Future[None], Position] = {}
        self._subscriptions = Subscriptions()
        self._matched_end = NO_POSITION
        """What lies before it concerns nobody who waits. The window may be ahead of it."""
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._looked = asyncio.Event()
        """Set when the log is read next."""
        self._is_waiting = False
        self._rule_changes = 0
        """How often it was told that rules have changed."""

    @property
    def has_failed(self) -> bool:
        return self._failure is not None

    def reserved(self, byte_count: int) -> AbstractAsyncContextManager[ByteReservation]:
        """Room for a response of the log; see `SendBudget.reserve`."""
        return self._send_budget.reserved(self.tenant, byte_count)

    def has_capacity(self, byte_count: int) -> bool:
        """Whether there is room for a response of the log now."""
        return self._send_budget.has_capacity(self.tenant, byte_count)

    @property
    def is_waiting(self) -> bool:
        """It has read what there was, and waits to be woken."""
        return self._is_waiting

    def seen(self) -> FollowedLog:
        """The log as it was seen last."""
        return FollowedLog(self.tenant, self.window.incarnation, Position(self.window.end - 1))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="tail")

    def stop(self) -> None:
        """Read no more, and end whoever waits."""
        self.fail(_shutting_down())

    def fail(self, error: BaseException) -> None:
        """The same, with this error."""
        if self._task is not None:
            self._task.cancel()
        self._fail(error)

    async def agree(self) -> None:
        """Return once what is known of the log is of the incarnation that it is in now.

        Raises what ended the tail: `LogReplaced` when it is another log than it was.
        """
        await self.moved(NO_POSITION)
        while True:
            end = await self._retry_policy.read(partial(self._store.end, self.tenant))
            self.check()
            if end.incarnation == self.window.incarnation:
                return
            looked = self._looked
            self.wake()
            await looked.wait()
            self.check()

    def rules_changed(self) -> None:
        """Send nothing of what was read before."""
        self._rule_changes += 1
        self.window.drop_all()

    def wake(self, head: Position | None = None) -> None:
        """The log may have moved, or has: its last record is at `head`."""
        if head is None or head >= self.window.end:
            self._woken.set()

    async def moved(self, position: Position) -> None:
        """Return once the window ends behind `position`. Raises what ended the tail."""
        if self._failure is None and self.window.end <= position:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting[waiting] = position
            try:
                await waiting
            finally:
                self._waiting.pop(waiting, None)
        self.check()

    async def matched(self, wanted: Filter, since: Position, reported: Position | None) -> Position:
        """For who has looked at everything before `since`, where the window ends: return the
        position of the next record that `wanted` means once it is there.

        The reader knows that everything before `reported` was looked at. It may also be another
        position then, before which nothing is meant: so that the reader can be told. Raises
        what ended the tail.
        """
        self.check()
        one = Subscription(wanted, since, reported)
        self._subscriptions.add(one)
        try:
            position = await one.future
        finally:
            self._subscriptions.remove(one)
        self.check()
        return position

    def report_progress(self) -> None:
        """Wake those who do not know how far they are."""
        self._subscriptions.passed(self._matched_end)

    def check(self) -> None:
        """Raise what ended the tail."""
        if self._failure is not None:
            # One error for all followers: what it has passed through must not pile up.
            raise self._failure.with_traceback(None)

    async def _run(self) -> None:
        try:
            end = await self._retry_policy.read(partial(self._store.end, self.tenant))
            self.window.begin(Position(end.head + 1), end.incarnation)
            self._matched_end = self.window.end
            await self._wake_waiting()
            await self._read_on()
        except ServiceError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - a bug, told to all who follow
            _log.error("a tail failed unexpectedly", exc_info=error)
            self._fail(error)

    async def _read_on(self) -> None:
        place = PageCursor(self.window.end)
        while True:
            # Before reading: what is committed meanwhile wakes again.
            self._woken.clear()
            rule_changes = self._rule_changes
            tail = await self._retry_policy.read(partial(self._page, place))
            if rule_changes != self._rule_changes:
                continue
            incarnation, page, lapsing = tail
            if incarnation != self.window.incarnation:
                await self._retry_policy.read(partial(self._check_holds, place, incarnation))
                self.window.begin(self.window.end, incarnation)
            records, behind = _until_large(page, place)
            if records:
                self._take_rules(records, lapsing)
                self.window.add(records, lapsing.at)
                self._windows.grew(self)
                await self._wake_matched(records)
                await self._wake_waiting()
            self._announce_look()
            if len(page) < place.row_count and len(records) == len(page):
                self._is_waiting = True
                await self._woken.wait()
                self._is_waiting = False
            place = behind

    def _take_rules(self, records: Sequence[TailRecord], lapsing: Lapsing) -> None:
        """Let go of what is gone since it was read: by a rule that comes now, or by these."""
        if any(record.labels.stream == RULES_STREAM for record in records):
            self.window.drop_all()
        elif lapsing.below:
            self.window.drop_gone(lapsing.below)

    async def _page(self, place: PageCursor) -> LogTail:
        return await self._store.tail(
            self.tenant, Position(place.start), place.row_count, place.record_bytes_max
        )

    async def _check_holds(self, place: PageCursor, incarnation: str) -> None:
        seen = self.window.incarnation
        options = ReadOptions(is_followed=True)
        await self._reader.check_holds(self.tenant, options, place.start, seen, incarnation)

    async def _wake_waiting(self) -> None:
        for index, (waiting, position) in enumerate(list(self._waiting.items())):
            if position < self.window.end and not waiting.done():
                waiting.set_result(None)
            if index % _WAKE_COUNT == _WAKE_COUNT - 1:
                await asyncio.sleep(0)

    async def _wake_matched(self, records: Sequence[TailRecord]) -> None:
        end, woken_count = self.window.end, 0
        for position, record, _, labels in records:
            if not self._subscriptions:
                break
            if not record:
                continue
            woken_count += len(self._subscriptions.appended(labels, position))
            if woken_count >= _WAKE_COUNT:
                woken_count = 0
                await asyncio.sleep(0)
        self._matched_end = end
        self._subscriptions.passed(end, PASSED_OVER_MAX)

    def _announce_look(self) -> None:
        self._looked.set()
        self._looked = asyncio.Event()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._announce_look()
        self._subscriptions.end(self.window.end)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


class RetryPolicy:
    """Reads for those who follow: a few at a time, and again while the database is away."""

    def __init__(self, limits: TailLimits) -> None:
        self._limits = limits
        self._turns = asyncio.Semaphore(limits.read_count)

    async def read(self, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` answers. Raises what it raised last when the database stays away, or too
        busy.
        """
        limits = self._limits
        backoff = Backoff(limits.retry_delay_min_s, limits.retry_delay_max_s)
        give_up_s = time.monotonic() + limits.retry_budget_s
        while True:
            try:
                async with self._turns:
                    return await read()
            except _AWAY:
                if time.monotonic() > give_up_s:
                    raise
            await asyncio.sleep(backoff.next_s())


def check_end(position: Position, head: Position) -> None:
    """Raise `BeyondEnd` unless a log that ends at `head` goes on at or before `position`."""
    if position > head + 1:
        raise BeyondEnd(f"the log ends at position {head}", head_position=head)


class _Windows:
    """The windows of a process, which give up what is oldest when they hold too much."""

    def __init__(self, limits: TailLimits, instruments: TailInstruments) -> None:
        self._limits = limits
        self._instruments = instruments
        self._byte_counts: OrderedDict[Tail, int] = OrderedDict()
        self._byte_count = 0

    def grew(self, tail: Tail) -> None:
        """Take what is too much from this window, and then from those longest unchanged."""
        window = tail.window
        while window.byte_count > self._limits.window_bytes and window.piece_count > 1:
            window.drop_oldest()
        self._count(tail)
        while self._byte_count > self._limits.windows_bytes:
            longest_unchanged = next(iter(self._byte_counts))
            longest_unchanged.window.drop_oldest()
            self._count(longest_unchanged, is_used=False)
        self._instruments.windows_changed(self._byte_count)

    def drop(self, tail: Tail) -> None:
        self._byte_count -= self._byte_counts.pop(tail, 0)
        self._instruments.windows_changed(self._byte_count)

    def _count(self, tail: Tail, *, is_used: bool = True) -> None:
        byte_count = tail.window.byte_count
        self._byte_count += byte_count - self._byte_counts.get(tail, 0)
        if not byte_count:
            self._byte_counts.pop(tail, None)
            return
        self._byte_counts[tail] = byte_count
        if is_used:
            self._byte_counts.move_to_end(tail)


def _until_large(page: TailPage, at: PageCursor) -> tuple[Sequence[TailRecord], PageCursor]:
    """The records before the first that was too large, and the place behind them."""
    records: list[TailRecord] = []
    for position, record, stream, revision, event_type, tags, correlation_id in page:
        if record is None:
            return records, at.at_large(position, 0)
        labels = Labels(stream, event_type, tags or (), correlation_id)
        records.append(TailRecord(position, record, revision, labels))
    if not records:
        return records, at
    is_small = at.would_fit_wider([one.record for one in records])
    behind = at.behind(records[-1].position, 0, is_backwards=False, is_small=is_small)
    return records, behind


def _slices(tails: Sequence[Tail], count: int) -> Iterator[Sequence[Tail]]:
    for start in range(0, len(tails), count):
        yield tails[start : start + count]


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("this process is shutting down")
