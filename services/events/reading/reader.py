"""Reads logs and streams page by page. Knows neither PostgreSQL nor the wire.

Between two pages nothing is held open: each begins behind the last record of the one
before, so a reader may take as long as it likes. The next page is fetched while the
caller is busy with the present one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from girih.ids import NO_POSITION, Position, Revision, StreamName, TenantId
from services.events.domain import POSITION_MAX, RECORD_BYTES_MAX, RECORD_TAG
from services.events.errors import LogReplaced
from services.events.matching.queries import Filter
from services.events.reading.send_budget import COPIES, ByteReservation, SendBudget
from services.events.store import EventStore, FilteredRequest, Page, PageRequest
from services.plumbing.wire import varint

PAGE_BYTES_MAX = 2**19
"""What a page holds at most, a single larger record apart."""

ROW_COUNT_MAX = 2**10
NARROW_ROW_COUNT_MAX = 2**7
"""Of pages that are so small that many of them can wait to be sent."""
_RECORD_BYTES = PAGE_BYTES_MAX // ROW_COUNT_MAX
_FEW_BYTES = NARROW_ROW_COUNT_MAX * _RECORD_BYTES
"""What a page of a few records holds at most, so that they take one question as a rule."""
_JOINED_BYTES_MAX = 2**24
"""What the database puts together at most for a page that then turns out to be too large."""
_ANY_SIZE = 2**31 - 1
_TICK = timedelta(microseconds=1)
"""Between two times that can be told apart."""
_TIME_MAX = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ReadOptions:
    """What to read: the log, or a stream when it is named, from one end or from a place."""

    stream: StreamName | None = None
    is_backwards: bool = False
    from_position: Position | None = None
    from_revision: Revision | None = None
    from_time: datetime | None = None
    """Instead of a position, see `Reader.placed`."""
    limit: int | None = None
    is_followed: bool = False
    """Go on with what is committed, instead of ending at the end."""
    incarnation: str = ""
    """What was read up to where this goes on; empty when nobody is to ask."""
    filter: Filter | None = None
    """Which events of the log are wanted; None for all."""
    has_progress: bool = False
    """The reader is told how far it is, also where nothing was wanted."""
    heartbeat_s: float | None = None
    """A follower is told that it lives after so much silence; None for never."""
    shows_gone: bool = False
    """Return what retention or deletion hides, without its payload, instead of passing it over."""


class Reader:
    """Reads from an event store, as much at once as those who are sent it may hold."""

    def __init__(self, store: EventStore, send_budget: SendBudget) -> None:
        self._store = store
        self._send_budget = send_budget

    async def read(
        self,
        tenant: TenantId,
        options: ReadOptions,
        reservation: ByteReservation | None = None,
    ) -> AsyncGenerator["Fetched", None]:
        """The records of `options` in order and each once, in groups. One is empty only to tell
        that so much was looked at in vain, and only for those who want to know.

        Ends behind what was committed when the last page was read. Holds at most two
        pages in memory: one that is being sent and the next. Raises `ReadersBusy` when there
        is no room for one, and `LogReplaced` when the log does not hold what was read of it.
        What is in memory when it is closed stays in `reservation`, for whoever gave that.
        Close it when it is not read to its end.
        """
        options = await self.placed(tenant, options)
        start = await self.start(tenant, options)
        incarnation, place = options.incarnation, start
        at = PageCursor(start, options.limit or POSITION_MAX)
        async with self._held(tenant, reservation) as held:
            fetching = self._fetch_ahead(tenant, options, at, held)
            try:
                while True:
                    fetched, byte_count = await fetching
                    await self.check_holds(tenant, options, place, incarnation, fetched.incarnation)
                    incarnation, place = fetched.incarnation, fetched.behind.start
                    is_end = fetched.is_end
                    if not is_end:
                        fetching = self._fetch_ahead(tenant, options, fetched.behind, held)
                    if fetched.fields or (options.has_progress and fetched.looked_at is not None):
                        yield fetched
                    del fetched
                    held.give_back(byte_count)
                    if is_end:
                        return
            finally:
                fetching.cancel()
                await asyncio.gather(fetching, return_exceptions=True)

    @asynccontextmanager
    async def _held(
        self, tenant: TenantId, reservation: ByteReservation | None
    ) -> AsyncIterator[ByteReservation]:
        if reservation is not None:
            yield reservation
            return
        async with self._send_budget.reserved(tenant) as held:
            yield held

    async def placed(self, tenant: TenantId, options: ReadOptions) -> ReadOptions:
        """The same with a position in place of a time: of the first event recorded at the time
        or after it, or backwards of the last recorded at it or before.
        """
        if options.from_time is None:
            return options
        time = options.from_time
        if not options.is_backwards:
            position = (await self._store.position_at(tenant, time)).position
        elif time >= _TIME_MAX:
            position = POSITION_MAX
        else:
            behind = await self._store.position_at(tenant, time + _TICK)
            position = Position(behind.position - 1)
        return replace(options, from_time=None, from_position=position)

    async def start(self, tenant: TenantId, options: ReadOptions) -> int:
        """The key of the first record: a revision in a stream, a position in the log."""
        if options.stream is None or options.from_position is None:
            first = options.from_position if options.stream is None else options.from_revision
            end = POSITION_MAX if options.is_backwards else 0
            return end if first is None else first
        if not options.is_backwards:
            return await self._store.revision_at(tenant, options.stream, options.from_position)
        behind = Position(min(options.from_position, POSITION_MAX - 1) + 1)
        return await self._store.revision_at(tenant, options.stream, behind) - 1

    async def check_holds(
        self, tenant: TenantId, options: ReadOptions, place: int, seen: str, current: str
    ) -> None:
        """Raise `LogReplaced` unless the log, now in the incarnation `current`, holds all that
        was read before `place` in the incarnation `seen`.

        `place` is the position of the next record, or its revision in a stream.
        """
        is_first = not options.is_backwards and place <= (1 if options.stream is None else 0)
        if seen in ("", current) or is_first:
            return
        shared = await self._store.shared_position(tenant, seen)
        behind_shared: int = 0 if shared is None else shared + 1
        if options.stream is not None and shared is not None:
            # Of the stream's first record that was not shared.
            behind_shared = await self._store.revision_at(
                tenant, options.stream, Position(behind_shared)
            )
        if shared is None or place > behind_shared:
            raise LogReplaced(current, shared or NO_POSITION)

    def _fetch_ahead(
        self, tenant: TenantId, options: ReadOptions, at: "PageCursor", held: ByteReservation
    ) -> "asyncio.Task[tuple[Fetched, int]]":
        fetching = self._fetch_held(tenant, options, at, held)
        return asyncio.create_task(fetching, name="read ahead")

    async def _fetch_held(
        self, tenant: TenantId, options: ReadOptions, at: "PageCursor", held: ByteReservation
    ) -> tuple["Fetched", int]:
        """A page once there is room for it, and how much of that it needs."""
        is_wide = self._send_budget.has_capacity(tenant, PAGE_BYTES_MAX)
        at = at.with_rows(ROW_COUNT_MAX if is_wide else NARROW_ROW_COUNT_MAX)
        taken = await held.take(at.byte_count_max)
        fetched = await self.fetch(tenant, options, at)
        needed = min(taken, COPIES * sum(map(len, fetched.fields)))
        held.give_back(taken - needed)
        return fetched, needed

    async def fetch(self, tenant: TenantId, options: ReadOptions, at: "PageCursor") -> "Fetched":
        """The records at a place, none only at the end, where a page is too large, or where a
        filter means none.
        """
        if options.filter is not None:
            return await self._fetch_filtered(tenant, options, options.filter, at)
        page = await self._store.page(
            tenant,
            PageRequest(
                options.stream,
                options.is_backwards,
                at.start,
                at.row_count,
                at.joined_bytes_max,
                max(at.byte_count_max, at.record_bytes_max),
                # Beyond the head the revision is that of the stream's next event, which may
                # be appended below the position before the page is read.
                position_min=options.from_position or NO_POSITION,
                record_count_max=at.left,
                shows_gone=options.shows_gone,
            ),
        )
        count = page.record_count
        if page.fields is None:
            return Fetched((), 0, at.at_large(at.start, 0), False, page.incarnation)
        is_end = page.row_count < at.row_count or count == at.left
        if not page.row_count:
            return Fetched((), 0, at, is_end, page.incarnation)
        behind = at.behind(
            page.last,
            count,
            is_backwards=options.is_backwards,
            is_small=2 * page.byte_count <= at.byte_count_max,
        ).passing(count < page.row_count)
        return Fetched(page.fields, count, behind, is_end, page.incarnation)

    async def _fetch_filtered(
        self, tenant: TenantId, options: ReadOptions, wanted: Filter, at: "PageCursor"
    ) -> "Fetched":
        is_backwards = options.is_backwards
        incarnation, (page, looked_at, is_end) = await self._store.filtered(
            tenant,
            FilteredRequest(
                wanted,
                is_backwards,
                Position(at.start if is_backwards else max(1, at.start)),
                at.row_count,
                at.record_bytes_max,
                options.shows_gone,
            ),
        )
        records = [row[1] for row in page]
        if None in records:
            return _until_large(page, at)._replace(incarnation=incarnation)
        there = [row for row in page if row[1]]
        passes = len(there) < len(page)
        is_cut = len(there) > at.left
        if is_cut:
            page = there = there[: at.left]
        whole = cast("list[bytes]", [row[1] for row in there])
        behind = at
        if page:
            behind = at.behind(
                page[-1][0],
                len(whole),
                is_backwards=is_backwards,
                is_small=at.would_fit_wider(whole),
            ).passing(passes)
        # Not where a page begins beyond the end.
        is_further = looked_at <= behind.start if is_backwards else looked_at >= behind.start
        is_further = is_further and not is_cut
        return Fetched(
            _fields(whole),
            len(whole),
            behind._replace(start=looked_at + (-1 if is_backwards else 1))
            if is_further
            else behind,
            is_end or len(whole) == at.left,
            incarnation,
            looked_at=looked_at if is_further else None,
            end=looked_at if is_end else None,
        )


class PageCursor(NamedTuple):
    """Where the next page begins, how many records are wanted, and how large they may be.

    Each step of narrowing halves the rows of a page and doubles the share of each;
    the narrowest page takes one record of any size.
    """

    start: int
    left: int = POSITION_MAX
    narrowing: int = 0
    row_count_max: int = ROW_COUNT_MAX
    """Of the widest page, a power of two; its bytes are in proportion."""
    passes: bool = False
    """Records are passed over here, so more are looked at than are wanted."""

    @property
    def row_count(self) -> int:
        """How many records the next page holds at most."""
        widest = self.row_count_max >> self.narrowing
        return widest if self.passes else min(self.left, widest)

    @property
    def record_bytes_max(self) -> int:
        """What each record of the next page may hold when all hold as much."""
        if self.narrowing == self._narrowest:
            return _ANY_SIZE
        return _RECORD_BYTES << self.narrowing

    @property
    def joined_bytes_max(self) -> int:
        """What each record may hold when others hold less."""
        most = min(self.byte_count_max, _JOINED_BYTES_MAX // self.row_count)
        return max(self.record_bytes_max, most)

    @property
    def byte_count_max(self) -> int:
        """What the page holds at most."""
        if self.narrowing == self._narrowest:
            return RECORD_BYTES_MAX
        return max(_FEW_BYTES, self.row_count * self.record_bytes_max)

    @property
    def _narrowest(self) -> int:
        return self.row_count_max.bit_length() - 1

    def passing(self, passes: bool) -> "PageCursor":
        """The same place, where records are passed over, or are not."""
        return self._replace(passes=passes)

    def with_rows(self, row_count_max: int) -> "PageCursor":
        """The same place, with pages of another size."""
        at = self._replace(row_count_max=row_count_max)
        return at._replace(narrowing=min(at.narrowing, at._narrowest))

    def behind(
        self, last: int, record_count: int, *, is_backwards: bool, is_small: bool
    ) -> "PageCursor":
        """The place behind `last`, wider when what was read is small."""
        return self._replace(
            start=last - 1 if is_backwards else last + 1,
            left=self.left - record_count,
            narrowing=max(0, self.narrowing - 1) if is_small else self.narrowing,
        )

    def would_fit_wider(self, records: Sequence[bytes]) -> bool:
        """Whether each of these records is small enough for the next wider page."""
        return 2 * max(map(len, records), default=0) <= self.record_bytes_max

    def at_large(self, start: int, record_count: int) -> "PageCursor":
        """The place of a record or a page that was too large, narrower."""
        narrowing = min(self.narrowing + 2, self._narrowest)
        return self._replace(start=start, left=self.left - record_count, narrowing=narrowing)


class Fetched(NamedTuple):
    """Records next to each other, and where the next page begins."""

    fields: Sequence[bytes]
    """As `LogPage` has them; empty when there are none."""
    record_count: int
    behind: PageCursor
    is_end: bool
    """Nothing lay behind them, or no more was wanted."""
    incarnation: str = ""
    """Of the log that they are from."""
    looked_at: Position | None = None
    """Behind them everything up to here was looked at, and nothing was meant; None when nothing
    was looked at."""
    end: Position | None = None
    """Where the log ends, when that is where a filter found nothing more."""


def _until_large(page: Page, at: PageCursor) -> Fetched:
    """The records before the first that was too large, which begins the next page."""
    records: list[bytes] = []
    for key, record in page:
        if record is None:
            count = len(records)
            return Fetched(_fields(records), count, at.at_large(key, count), is_end=False)
        if record:
            records.append(record)
            if len(records) == at.left:
                break
    return Fetched(_fields(records), len(records), at.at_large(key, len(records)), is_end=True)
    raise AssertionError("no record was too large")


def _fields(records: Sequence[bytes]) -> Sequence[bytes]:
    """Records that came each for itself, as those of a page come."""
    return [piece for one in records for piece in (RECORD_TAG, varint(len(one)), one)]
