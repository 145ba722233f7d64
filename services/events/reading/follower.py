"""Follows logs and streams: what is stored first, then what is committed, without a seam.

A follower is where it is in the log and nothing more. What it is sent next comes from the
window of the log's tail when that reaches back to where it is, and from the database when
it does not; so it may fall behind and catch up as often as it likes. Knows no wire.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Literal, NamedTuple, Protocol

from girih.ids import NO_POSITION, Position, Revision, StreamName, TenantId
from services.events.domain import POSITION_MAX
from services.events.errors import BeyondEnd
from services.events.reading.deliveries import Deliveries
from services.events.reading.reader import (
    NARROW_ROW_COUNT_MAX,
    PAGE_BYTES_MAX,
    ROW_COUNT_MAX,
    PageCursor,
    Reader,
    ReadOptions,
)
from services.events.reading.signals import CaughtUp, Checkpoint, FellBehind, Heartbeat, Signal
from services.events.reading.signals import Encode as EncodeSignal
from services.events.reading.tail import RetryPolicy, Tail, TailLimits, Tails, check_end
from services.events.reading.window import Batch, FollowCursor, Frame
from services.events.store import EventStore

Source = Literal["window", "database"]

_SLOW_S = 0.5
"""Who takes longer over a response gets small ones, of which many can wait."""

_CHECKPOINT_INTERVAL_S = 0.5
"""No sooner than so after it was told last how far it is a reader is told again, unless much was
passed over."""
_PASSED_OVER = 9_000
"""So much. The next page may hold a thousand more."""

_NARROW_PAGE = PageCursor(0, row_count_max=NARROW_ROW_COUNT_MAX)
"""No larger than a response from the window."""


class Lag(NamedTuple):
    """How far a follower is behind what its process knows of the log."""

    event_count: int
    """Positions of the log that it was not looked at for, at most."""
    duration_s: float
    """For how long it has been behind so far that it is served from the database."""


class FollowInstruments(Protocol):
    """Who counts followers."""

    def followed(self, follower_count: int) -> None:
        """So many more follow; fewer when negative."""

    def delivered(self, source: Source, record_count: int) -> None:
        """A response of so many records came from there."""


class Followers:
    """Follows the logs of an event store."""

    def __init__(
        self,
        store: EventStore,
        tails: Tails,
        frame: Frame,
        encode_signal: EncodeSignal,
        instruments: FollowInstruments,
        limits: TailLimits,
    ) -> None:
        self._store = store
        self._encode_signal = encode_signal
        self._reader = Reader(store, tails.send_budget)
        self._tails = tails
        self._retry_policy = RetryPolicy(limits)
        self._frame = frame
        self._instruments = instruments
        self._active: set[_Following] = set()

    def lags(self) -> list[Lag]:
        """How far each follower is behind the live end of its log. Also for other threads."""
        return [following.lag() for following in list(self._active)]

    async def follow(
        self,
        tenant: TenantId,
        options: ReadOptions,
        on_placed: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Responses with the records of `options`, in order and each once, as they come.

        `on_placed` is awaited before the first, once it is known that the log goes on from there.
        Ends only when there is a limit. Raises `BeyondEnd`, `LogReplaced`, `ShuttingDown`,
        `ReadersBusy`, and `DatabaseUnavailable` when the database stays away. Close it.
        """
        self._instruments.followed(1)
        try:
            async with self._tails.tail(tenant) as tail, AsyncExitStack() as active:
                placed = partial(self._reader.placed, tenant, options)
                options = await self._retry_policy.read(placed)
                start = await self._retry_policy.read(partial(self._start, tail, options))
                following = _Following(
                    self._reader, self._retry_policy, self._frame, tail, options, start
                )
                active.callback(self._active.discard, following)
                self._active.add(following)
                if on_placed is not None:
                    await on_placed()
                steps, deliveries = following.steps(), Deliveries()
                if options.heartbeat_s is not None:
                    steps = _with_heartbeats(steps, following, options.heartbeat_s)
                async with aclosing(steps):
                    async for source, taken in steps:
                        if isinstance(taken, Batch):
                            self._instruments.delivered(source, taken.record_count)
                            deliveries.delivered(source, taken.record_count)
                            yield taken.response
                        else:
                            yield self._encode_signal(taken, following.incarnation)
                        del taken
        finally:
            self._instruments.followed(-1)

    async def _start(self, tail: Tail, options: ReadOptions) -> FollowCursor:
        """Where to begin. Raises `LogReplaced`, and `BeyondEnd` when that is more than one behind
        the end."""
        position = options.from_position or Position(1)
        left = options.limit or POSITION_MAX
        start = await self._reader.start(tail.tenant, options)
        check_holds = partial(
            self._reader.check_holds,
            tail.tenant,
            options,
            position if options.stream is None else start,
            options.incarnation,
        )
        if position > tail.window.end:
            end = await self._store.end(tail.tenant)
            # First: whoever has read a log that was replaced is told up to where it is the same.
            await check_holds(end.incarnation)
            check_end(position, end.head)
        await check_holds(tail.window.incarnation)
        if options.stream is None:
            return FollowCursor(position, left, filter=options.filter)
        if options.from_revision:
            await self._check_revision(tail.tenant, options.stream, options.from_revision)
        # Behind every window: what a stream holds so far is read from the database.
        return FollowCursor(NO_POSITION, left, options.stream, Revision(start), position)

    async def _check_revision(
        self, tenant: TenantId, stream: StreamName, revision: Revision
    ) -> None:
        count = await self._store.revision_at(tenant, stream, POSITION_MAX)
        if revision > count:
            raise BeyondEnd(f"the stream has {count} events", event_count=count)


Step = tuple[Source, Batch | Signal]
"""What a follower is sent, and where it comes from."""


class _Following:
    """One follower."""

    def __init__(
        self,
        reader: Reader,
        retry_policy: RetryPolicy,
        frame: Frame,
        tail: Tail,
        options: ReadOptions,
        start: FollowCursor,
    ) -> None:
        self._reader = reader
        self._retry_policy = retry_policy
        self._frame = frame
        self._tail = tail
        self._span = options
        self._page = _NARROW_PAGE
        self._at = start
        self._reported = max(start.position, start.position_min)
        """The reader knows that everything before it was looked at."""
        self._reported_at_s = time.monotonic()
        self._has_caught_up = False
        self._is_waiting = False
        self._behind_since_s = self._reported_at_s
        self.incarnation = tail.window.incarnation
        """Of the log that everything before is from."""

    async def steps(self) -> AsyncGenerator[Step, None]:
        """What lies behind, as it comes, and how far it is where somebody asks."""
        while self._at.left:
            await self._be_of_the_window()
            async with self._next() as (source, taken):
                if isinstance(taken, FellBehind):
                    yield source, taken
                    continue
                if taken.response:
                    self._reported, self._reported_at_s = taken.reported, time.monotonic()
                    yield source, taken
            self._at = self._at.behind(taken)
            del taken
            if (signal := self._caught_up() or self._checkpoint()) is not None:
                yield "window", signal
            elif self._at.left and self._is_at_end:
                await self._wait()

    async def _be_of_the_window(self) -> None:
        """Be in the incarnation that the window is in."""
        self._tail.check()
        while not self._is_of_the_window(self._at):
            await self._agree(self._at)
            self._tail.check()

    @asynccontextmanager
    async def _next(self) -> AsyncIterator[tuple[Source, Batch | FellBehind]]:
        """What is sent next, which has room for the block; or that it comes from the database
        from now on.
        """
        taken = self._tail.window.take(self._at)
        if taken is None and (signal := self._fell_behind()) is not None:
            yield "database", signal
        elif taken is None:
            async with self._from_database(self._at) as taken:
                yield "database", taken
        elif taken.response:
            self._page = _NARROW_PAGE
            self._passed_in_window()
            async with self._tail.reserved(len(taken.response)):
                yield "window", taken
        else:
            self._passed_in_window()
            yield "window", taken

    def _passed_in_window(self) -> None:
        """What the window holds was looked at, sent or not, and is from its incarnation."""
        self.incarnation = self._tail.window.incarnation

    @property
    def _is_at_end(self) -> bool:
        """Of the window, whatever the database holds by now."""
        return self._at.position >= self._tail.window.end

    def heartbeat(self) -> Heartbeat:
        """Where it is now: never behind what was sent, which the window may not have yet, and never
        before what was not, which a wait that has ended may have found.
        """
        position, end = self._at.position, max(self._at.position, self._tail.window.end)
        has_lag = not self._has_caught_up or (position < end and not self._is_waiting)
        return Heartbeat(
            Position(position - 1),
            Position(end - 1),
            time.monotonic() - self._behind_since_s if has_lag else 0.0,
        )

    def lag(self) -> Lag:
        """None while it waits, wherever in the log the last event lies that it was sent."""
        if self._is_waiting:
            return Lag(0, 0.0)
        # What a stream holds is read from its beginning, wherever in the log that is.
        is_placed = self._at.stream is None or self._has_caught_up
        behind = max(0, self._tail.window.end - self._at.position) if is_placed else 0
        is_timed = not self._has_caught_up
        return Lag(behind, time.monotonic() - self._behind_since_s if is_timed else 0.0)

    async def _wait(self) -> None:
        """Until there is more of what is wanted, or the reader is to be told that there is not."""
        at, wanted = self._at, self._span.filter
        self._is_waiting = True
        if wanted is None:
            await self._tail.moved(at.position)
        elif at.position > self._tail.window.end:
            # The database was ahead of the window, which holds nothing new before this.
            await self._tail.moved(Position(at.position - 1))
        else:
            reported = self._reported if self._span.has_progress else None
            self._at = at._replace(position=await self._tail.matched(wanted, at.position, reported))
            self._passed_in_window()
        self._is_waiting = False

    def _caught_up(self) -> CaughtUp | None:
        if self._has_caught_up or not self._is_at_end:
            return None
        self._has_caught_up = True
        return CaughtUp(self._report()) if self._span.has_progress else None

    def _fell_behind(self) -> FellBehind | None:
        if not self._has_caught_up:
            return None
        self._has_caught_up = False
        self._behind_since_s = time.monotonic()
        return FellBehind(Position(self._at.position - 1)) if self._span.has_progress else None

    def _checkpoint(self) -> Checkpoint | None:
        """When there is something to tell, and it was not told just now."""
        if not self._span.has_progress or self._at.position <= self._reported:
            return None
        is_due = self._at.position - self._reported >= _PASSED_OVER
        if not is_due and time.monotonic() - self._reported_at_s < _CHECKPOINT_INTERVAL_S:
            return None
        return Checkpoint(self._report())

    def _report(self) -> Position:
        self._reported, self._reported_at_s = self._at.position, time.monotonic()
        return Position(self._at.position - 1)

    @asynccontextmanager
    async def _from_database(self, at: FollowCursor) -> AsyncIterator[Batch]:
        """One page from the database, which may hold nothing yet of what is looked for."""
        start = at.position if at.stream is None else at.revision
        page = self._page._replace(start=start, left=at.left)
        # Before it is read: those who wait for room hold nothing.
        async with self._tail.reserved(page.byte_count_max) as reserved:
            taken = await self._read(at, page)
            reserved.keep(len(taken.response))
            started_s = time.monotonic()
            yield taken
            self._fit_page(time.monotonic() - started_s)

    def _fit_page(self, duration_s: float) -> None:
        """Large pages for who takes them quickly, while there is room for them."""
        if duration_s < _SLOW_S and self._tail.has_capacity(PAGE_BYTES_MAX):
            self._page = self._page._replace(row_count_max=ROW_COUNT_MAX)
        else:
            self._page = _NARROW_PAGE

    async def _read(self, at: FollowCursor, page: PageCursor) -> Batch:
        # Before the page: whatever it does not hold is committed later, and in the window.
        end = self._tail.window.end
        read = partial(self._reader.fetch, self._tail.tenant, self._span, page)
        fetched = await self._retry_policy.read(read)
        fields, count, self._page, is_end, incarnation, looked_at, log_end = fetched
        await self._check_holds(page.start, incarnation)
        response = b"".join((self._frame((), incarnation), *fields)) if fields else b""
        if at.stream is not None:
            position = max(at.position, end) if is_end else at.position
            return Batch(response, count, position, Revision(self._page.start), at.position)
        is_at_rest = self._page.start == page.start
        is_lost = is_at_rest if at.filter is None else (log_end or at.position) < at.position
        if is_end and is_lost:
            # The window begins behind it, so it was there.
            raise BeyondEnd("the log ends before what was seen of it")
        position = Position(self._page.start)
        reported = position if looked_at is None else at.position
        return Batch(response, count, position, Revision(0), reported)

    def _is_of_the_window(self, at: FollowCursor) -> bool:
        """Whether the window may go on from what was sent. A page from the database may be of a
        newer incarnation than the window is, or may hold what the tail never saw.
        """
        window = self._tail.window
        if self.incarnation == window.incarnation:
            return True
        # What was sent of a stream may lie behind all that was looked at.
        return at.stream is None and at.position <= window.shared_end(self.incarnation)

    async def _agree(self, at: FollowCursor) -> None:
        """Be in the incarnation of the window, and have that be the log's."""
        await self._tail.agree()
        place = at.position if at.stream is None else at.revision
        await self._check_holds(place, self._tail.window.incarnation)

    async def _check_holds(self, place: int, incarnation: str) -> None:
        """See that the log holds what was sent of it; it is in that incarnation now."""
        check = partial(
            self._reader.check_holds,
            self._tail.tenant,
            self._span,
            place,
            self.incarnation,
            incarnation,
        )
        await self._retry_policy.read(check)
        self.incarnation = incarnation


async def _with_heartbeats(
    steps: AsyncGenerator[Step, None], following: _Following, heartbeat_s: float
) -> AsyncGenerator[Step, None]:
    """The same, and a heartbeat whenever nothing came for so long, whatever it waits for."""
    async with aclosing(steps):
        while True:
            pending = asyncio.ensure_future(anext(steps, None))
            try:
                while not (await asyncio.wait({pending}, timeout=heartbeat_s))[0]:
                    yield "window", following.heartbeat()
                step = await pending
            finally:
                pending.cancel()
                await asyncio.wait({pending})
            if step is None:
                return
            yield step
            del step
