"""What one request caused, as a tree. Knows neither PostgreSQL nor the wire.

An event hangs below the one that its causation id names, when that lies before it and on the
same page. An event that lies before another cannot have been caused by it, so no tree has a
circle, whatever callers write; and what hangs below what does not change when more is appended.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from girih.ids import NO_POSITION, EventId, Position, TenantId
from services.events.errors import LogReplaced
from services.events.store import Cause, EventStore, TraceRequest, TraceRow

PAGE_BYTES_MAX = 2**20
"""What the headers of a page take together at most. That of one event takes 0.2 MiB at most."""

LOOKED_FOR_S = 1.0
"""A page without an event is answered after so long, and the next goes on from where it came."""

_is_event_id = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII
).fullmatch

CausationIdOf = Callable[[bytes], str]
"""Finds the causation id in the header of a record."""


class TracedEvent(NamedTuple):
    """An event in its tree."""

    header: bytes
    depth: int
    """So many events of the page stand above it."""
    cause: Cause | None
    """What its causation id names, wherever that is; None where it names no other event."""


@dataclass(frozen=True)
class Trace:
    """A page of what one request caused."""

    events: Sequence[TracedEvent]
    """In the order of the tree."""
    next_after: Position
    """Where the next page begins; NO_POSITION when there is none."""
    incarnation: str


class Traces:
    """Reads traces from an event store."""

    def __init__(self, store: EventStore, causation_id_of: CausationIdOf) -> None:
        self._store = store
        self._causation_id_of = causation_id_of

    async def read(self, tenant: TenantId, request: TraceRequest) -> Trace:
        """A page, which costs what it holds and a probe for each cause that is named. It may be
        empty, though others follow, where finding the next event takes longer than a moment. Raises
        `LogReplaced` when the log does not hold what the pages before were read of.
        """
        page = await self._store.trace(tenant, request)
        if request.read_in not in ("", page.incarnation):
            shared = await self._store.shared_position(tenant, request.read_in)
            if shared is None or shared < request.after:
                raise LogReplaced(page.incarnation, shared or NO_POSITION)
        until_s = time.monotonic() + LOOKED_FOR_S
        while page.next_after and not page.rows and time.monotonic() < until_s:
            request = replace(request, after=page.next_after)
            page = await self._store.trace(tenant, request)
        named = [EventId(self._causation_id_of(row.header)) for row in page.rows]
        causes = await self._store.causes(tenant, list(set(filter(_is_event_id, named))))
        events = list(tree(page.rows, named, causes))
        return Trace(events, page.next_after, page.incarnation)


def tree(
    rows: Sequence[TraceRow], named: Sequence[EventId], causes: Mapping[EventId, Cause]
) -> Iterator[TracedEvent]:
    """`rows`, each behind what caused it, whose ids are `named`. Takes no stack, as chains are
    as long as callers make them."""
    cause_of: dict[Position, Cause | None] = {}
    caused: dict[Position, list[TraceRow]] = {}
    positions = {row.position for row in rows}
    roots = []
    for row, cause_id in zip(rows, named, strict=True):
        cause = None if cause_id == row.event_id else causes.get(cause_id)
        cause_of[row.position] = cause
        if cause is not None and cause.position < row.position and cause.position in positions:
            caused.setdefault(cause.position, []).append(row)
        else:
            roots.append(row)
    left = [(row, 0) for row in reversed(roots)]
    while left:
        row, depth = left.pop()
        yield TracedEvent(row.header, depth, cause_of[row.position])
        left += [(one, depth + 1) for one in reversed(caused.get(row.position, ()))]
