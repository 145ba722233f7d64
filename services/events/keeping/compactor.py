"""Gives room on the disk back that payloads have left, while everything else goes on.

PostgreSQL uses free room again, and gives it back where it is the end of the file. So the records
at the end are moved to free room before them, from the last page on for as long as there is some.
Like the taker it remembers nothing, and may be killed or run in several processes at any time.
Knows no tables.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from girih.backoff import Backoff
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger

PAGE_COUNT_MAX: Final = 32
"""Moved at once: of 8 KiB, some 300 records. First one is, and then twice as many each time: the
room for what could not be moved stays at the end of the file."""
_GAIN_MIN: Final = 1 / 16
"""Of the file: PostgreSQL gives less back only where it is 8 MiB."""
_RETRY_MIN_S: Final = 1.0
_RETRY_MAX_S: Final = 60.0

_log = get_logger("keeping")


class File(Protocol):
    """The file of records at one moment."""

    @property
    def page_count(self) -> int: ...

    @property
    def is_vacuum_due(self) -> bool:
        """So much in it is of no use that it is worth finding out where."""


class RecordFile(Protocol):
    """Who moves records, some pages at a time."""

    async def state(self) -> File:
        """How the file is now."""

    async def move(self, first: int, behind: int) -> int | None:
        """Move the records of the pages to free room before them. None when there is too little."""

    async def vacuum(self) -> None:
        """Have free room found, and empty pages at the end given back."""


class CompactorInstruments(Protocol):
    """Who counts what is given back."""

    def given_back(self, page_count: int) -> None:
        """The file has so many pages fewer."""


class Compactor:
    """Keeps the file of records of a database short, as one of the processes that do."""

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[RecordFile]],
        instruments: CompactorInstruments,
        interval_s: float,
    ) -> None:
        """`opened` opens a connection; every `interval_s` it is looked for free room."""
        self._opened = opened
        self._instruments = instruments
        self._interval_s = interval_s

    async def run(self) -> None:
        """Compact, again and again; runs for ever."""
        backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                async with self._opened() as file:
                    await self.compact(file)
                backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
            except ServiceError as error:
                _log.warning("room is not given back", problem=str(error))
                await asyncio.sleep(backoff.next_s())

    async def compact(self, file: RecordFile) -> None:
        """Make the file as short as it gets by moving what is at its end."""
        state = await file.state()
        if state.is_vacuum_due:
            await file.vacuum()
        while await self._move_end(file):
            before = state.page_count
            await file.vacuum()
            state = await file.state()
            gained = before - state.page_count
            if gained > 0:
                self._instruments.given_back(gained)
            # Where somebody appended to the end meanwhile, it is moved in the next round.
            if gained < before * _GAIN_MIN:
                return

    async def _move_end(self, file: RecordFile) -> int:
        """Move what is at the end; how many records that were."""
        behind = (await file.state()).page_count
        count = 0
        page_count = 1
        while behind > 0:
            first = max(0, behind - page_count)
            started_s = time.monotonic()
            moved = await file.move(first, behind)
            if moved is None:
                break
            count += moved
            behind = first
            page_count = min(2 * page_count, PAGE_COUNT_MAX)
            # As long a rest as the step: appends and reads come first.
            await asyncio.sleep(time.monotonic() - started_s)
        return count
