"""Follows logs and streams: what is stored first, then what is committed, without a seam.

A follower is where it is in the log and nothing more. What it is sent next comes from the
window of the log's tail when that reaches back to where it is, and from the database when
it does not; so it may fall behind and catch up as often as it likes. Knows no wire.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Literal, Protocol

from girih.ids import NO_POSITION, Position, Revision, StreamName, TenantId
from services.events.domain import POSITION_MAX
from services.events.errors import BeyondEnd
from services.events.reading.reader import (
    NARROW_ROW_COUNT_MAX,
    PAGE_BYTES_MAX,
    ROW_COUNT_MAX,
    PageCursor,
    Reader,
    ReadOptions,
)
from services.events.reading.tail import RetryPolicy, Tail, TailLimits, Tails, check_end
from services.events.reading.window import Batch, FollowCursor, Frame
from services.events.store import EventStore

Source = Literal["window", "database"]

_SLOW_S = 0.5
"""Who takes longer over a response gets small ones, of which many can wait."""

_NARROW_PAGE = PageCursor(0, row_count_max=NARROW_ROW_COUNT_MAX)
"""No larger than a response from the window."""


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
        instruments: FollowInstruments,
        limits: TailLimits,
    ) -> None:
        self._store = store
        self._reader = Reader(store, tails.send_budget)
        self._tails = tails
        self._retry_policy = RetryPolicy(limits)
        self._frame = frame
        self._instruments = instruments

    async def follow(self, tenant: TenantId, options: ReadOptions) -> AsyncGenerator[bytes, None]:
        """Responses with the records of `options`, in order and each once, as they come.

        Ends only when there is a limit. Raises `BeyondEnd`, `LogReplaced`, `ShuttingDown`,
        `ReadersBusy`, and `DatabaseUnavailable` when the database stays away. Close it.
        """
        self._instruments.followed(1)
        try:
            async with self._tails.tail(tenant) as tail:
                start = await self._retry_policy.read(partial(self._start, tail, options))
                following = _Following(self._reader, self._retry_policy, self._frame, tail, options)
                async with aclosing(following.responses(start)) as responses:
                    async for source, taken in responses:
                        self._instruments.delivered(source, taken.record_count)
                        yield taken.response
                        del taken
        finally:
            self._instruments.followed(-1)

    async def _start(self, tail: Tail, options: ReadOptions) -> FollowCursor:
        """Where to begin. Raises `BeyondEnd` when that is more than one behind the end."""
        position = options.from_position or Position(1)
        if position > tail.window.end:
            check_end(position, (await self._store.end(tail.tenant)).head)
        left = options.limit or POSITION_MAX
        start = await self._reader.start(tail.tenant, options)
        await self._reader.check_holds(
            tail.tenant,
            options,
            position if options.stream is None else start,
            options.incarnation,
            tail.window.incarnation,
        )
        if options.stream is None:
            return FollowCursor(position, left)
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


class _Following:
    """One follower."""

    def __init__(
        self, reader: Reader, patience: RetryPolicy, frame: Frame, tail: Tail, options: ReadOptions
    ) -> None:
        self._reader = reader
        self._retry_policy = patience
        self._frame = frame
        self._tail = tail
        self._span = options
        self._page = _NARROW_PAGE
        self._incarnation = tail.window.incarnation
        """Of the log that everything before is from."""

    async def responses(self, at: FollowCursor) -> AsyncGenerator[tuple[Source, Batch], None]:
        """What lies behind `at`, as it comes."""
        while at.left:
            self._tail.check()
            if not self._is_of_the_window(at):
                await self._agree(at)
                continue
            taken = self._tail.window.take(at)
            if taken is None:
                async with self._from_database(at) as taken:
                    if taken.response:
                        yield "database", taken
            elif taken.response:
                self._page = _NARROW_PAGE
                self._incarnation = self._tail.window.incarnation
                async with self._tail.reserved(len(taken.response)):
                    yield "window", taken
            elif taken.position >= self._tail.window.end:
                await self._tail.moved(taken.position)
            at = at.behind(taken)
            del taken

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
        records, self._page, is_end, incarnation = await self._retry_policy.read(read)
        await self._check_holds(page.start, incarnation)
        response = self._frame(records, incarnation) if records else b""
        if at.stream is not None:
            position = max(at.position, end) if is_end else at.position
            return Batch(response, len(records), position, Revision(self._page.start))
        if is_end and not records:
            # The window begins behind it, so it was there.
            raise BeyondEnd("the log ends before what was seen of it")
        return Batch(response, len(records), Position(self._page.start), Revision(0))

    def _is_of_the_window(self, at: FollowCursor) -> bool:
        """Whether the window may go on from what was sent. A page from the database may be of a
        newer incarnation than the window is, or may hold what the tail never saw.
        """
        window = self._tail.window
        if self._incarnation == window.incarnation:
            return True
        # What was sent of a stream may lie behind all that was looked at.
        return at.stream is None and at.position <= window.shared_end(self._incarnation)

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
            self._incarnation,
            incarnation,
        )
        await self._retry_policy.read(check)
        self._incarnation = incarnation
