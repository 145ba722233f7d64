"""Reads logs and streams page by page. Knows neither PostgreSQL nor the wire.

Between two pages nothing is held open: each begins behind the last record of the one
before, so a reader may take as long as it likes. The next page is fetched while the
caller is busy with the present one.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from services.events.domain import POSITION_MAX
from services.events.store import EventStore, Page, PageRequest

PAGE_BYTES_MAX = 2**19
"""What a page holds at most, a single larger record apart."""

_ROW_COUNT_MAX = 2**10
_NARROWEST = 10
_ANY_SIZE = 2**31 - 1


@dataclass(frozen=True)
class Span:
    """What to read: the log, or a stream when it is named, from one end or from a place."""

    stream: str = ""
    is_backwards: bool = False
    from_position: int | None = None
    from_revision: int | None = None
    limit: int | None = None


class Reader:
    """Reads from an event store."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def read(self, tenant: str, span: Span) -> AsyncGenerator[Sequence[bytes], None]:
        """The records of `span` in order and each once, in groups that are never empty.

        Ends behind what was committed when the last page was read. Holds at most two
        pages in memory. Close it when it is not read to its end.
        """
        start = await self._start(tenant, span)
        first = _Place(start, span.limit or POSITION_MAX, narrowing=0)
        fetching = self._fetch(tenant, span, first)
        try:
            while True:
                records, behind = await fetching
                if behind is not None:
                    fetching = self._fetch(tenant, span, behind)
                if records:
                    yield records
                if behind is None:
                    return
        finally:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    async def _start(self, tenant: str, span: Span) -> int:
        """The key of the first record: a revision in a stream, a position in the log."""
        if not span.stream or span.from_position is None:
            first = span.from_revision if span.stream else span.from_position
            end = POSITION_MAX if span.is_backwards else 0
            return end if first is None else first
        if not span.is_backwards:
            return await self._store.revision_at(tenant, span.stream, span.from_position)
        behind = min(span.from_position, POSITION_MAX - 1) + 1
        return await self._store.revision_at(tenant, span.stream, behind) - 1

    def _fetch(
        self, tenant: str, span: Span, at: "_Place"
    ) -> asyncio.Task[tuple[Sequence[bytes], "_Place | None"]]:
        return asyncio.create_task(self._page(tenant, span, at), name="read ahead")

    async def _page(
        self, tenant: str, span: Span, at: "_Place"
    ) -> tuple[Sequence[bytes], "_Place | None"]:
        """The records at a place, and the place behind them, None at the end."""
        page = await self._store.page(
            tenant,
            PageRequest(
                span.stream,
                span.is_backwards,
                at.start,
                at.row_count,
                at.record_bytes_max,
                # Beyond the head the revision is that of the stream's next event, which may
                # be appended below the position before the page is read.
                position_min=span.from_position or 0,
            ),
        )
        records = [row[1] for row in page]
        if None in records:
            return _until_large(page, at)
        whole = cast("list[bytes]", records)
        is_end = len(page) < at.row_count or len(page) == at.left
        return whole, None if is_end else at.behind(page[-1][0], whole, span)


class _Place(NamedTuple):
    """Where the next page begins, how many records are wanted, and how large they may be.

    Each step of narrowing halves the rows of a page and doubles what a record may hold;
    the narrowest page takes one record of any size.
    """

    start: int
    left: int
    narrowing: int

    @property
    def row_count(self) -> int:
        return min(self.left, _ROW_COUNT_MAX >> self.narrowing)

    @property
    def record_bytes_max(self) -> int:
        if self.narrowing == _NARROWEST:
            return _ANY_SIZE
        return (PAGE_BYTES_MAX // _ROW_COUNT_MAX) << self.narrowing

    def behind(self, last: int, records: Sequence[bytes], span: Span) -> "_Place":
        """The place behind `last`; wider if these records had fitted in a wider page."""
        start = last - 1 if span.is_backwards else last + 1
        wider = self._replace(start=start, left=self.left - len(records))
        if not self.narrowing:
            return wider
        wider = wider._replace(narrowing=self.narrowing - 1)
        fits = max(map(len, records)) <= wider.record_bytes_max
        return wider if fits else wider._replace(narrowing=self.narrowing)

    def at_large(self, start: int, record_count: int) -> "_Place":
        """The place of a record that was too large, narrower."""
        narrowing = min(self.narrowing + 2, _NARROWEST)
        return _Place(start, self.left - record_count, narrowing)


def _until_large(page: Page, at: _Place) -> tuple[Sequence[bytes], _Place]:
    """The records before the first that was too large, which begins the next page."""
    records: list[bytes] = []
    for key, record in page:
        if record is None:
            return records, at.at_large(key, len(records))
        records.append(record)
    raise AssertionError("no record was too large")
