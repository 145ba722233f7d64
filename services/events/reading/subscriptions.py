"""Who waits at the end of a log for which events. Knows neither storage nor wire.

A thousand followers that wait for different events are not woken, and not even asked, for each
event that is appended: each is registered under something that an event must have to be meant,
so that those whom an event may concern are looked up by what the event has.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from girih.ids import Position
from services.events.matching.queries import Filter, Labels, Query, category_of

PASSED_OVER_MAX = 10_000
"""Who wants to be told how far it is is told after so many events at the latest."""

Key = tuple[str, str]
"""Something that an event has: a kind of label, and the label."""

_TYPE, _TAG, _CATEGORY, _CALL = "type", "tag", "category", "call"
ANY: Key = ("", "")
"""What every event has."""


class Subscription:
    """One follower that waits."""

    __slots__ = ("filter", "future", "keys", "reported", "since")

    def __init__(self, wanted: Filter, since: Position, reported: Position | None) -> None:
        self.filter = wanted
        self.since = since
        """Everything before it the follower has looked at itself."""
        self.reported = reported
        """The reader knows that everything before it was looked at; None when it does not care."""
        self.keys = tuple({key for query in wanted.queries for key in leading_keys(query)})
        self.future: asyncio.Future[Position] = asyncio.get_running_loop().create_future()

    def end(self, position: Position) -> None:
        """Everything before the position was looked at."""
        if not self.future.done():
            self.future.set_result(position)


class Subscriptions:
    """Those who wait at the end of one log."""

    def __init__(self) -> None:
        self._by_key: dict[Key, dict[Subscription, None]] = {}
        self._all: dict[Subscription, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, one: Subscription) -> None:
        self._all[one] = None
        for key in one.keys:
            self._by_key.setdefault(key, {})[one] = None

    def remove(self, one: Subscription) -> None:
        """Does nothing when it is not there."""
        if one not in self._all:
            return
        del self._all[one]
        for key in one.keys:
            waiting = self._by_key[key]
            del waiting[one]
            if not waiting:
                del self._by_key[key]

    def appended(self, labels: Labels, position: Position) -> Sequence[Subscription]:
        """End those for whom an event at `position` is."""
        concerned = [
            one
            for key in keys_of(labels)
            for one in self._by_key.get(key, ())
            if one.since <= position and one.filter.matches(labels)
        ]
        for one in concerned:
            self.remove(one)
            one.end(position)
        return concerned

    def passed(self, end: Position, least: int = 1) -> None:
        """End those who care how far they are, and are so many events further than they know.

        All events before `end` were given to `appended`.
        """
        for one in list(self._all):
            looked_at = max(end, one.since)
            if one.reported is not None and looked_at - one.reported >= least:
                self.remove(one)
                one.end(looked_at)

    def end(self, position: Position) -> None:
        """End all."""
        for one in list(self._all):
            self.remove(one)
            one.end(position)


def keys_of(labels: Labels) -> Iterator[Key]:
    """All that an event has."""
    stream, event_type, tags, correlation_id = labels
    yield ANY
    yield _TYPE, event_type
    yield _CATEGORY, category_of(stream)
    yield _CALL, correlation_id
    for tag in tags:
        yield _TAG, tag


def leading_keys(query: Query) -> Iterable[Key]:
    """Of these an event that the query means has one."""
    if query.correlation_id:
        return [(_CALL, query.correlation_id)]
    if query.tags:
        return [(_TAG, min(query.tags))]
    if query.types:
        return [(_TYPE, event_type) for event_type in query.types]
    category = query.category or category_of(query.stream_prefix)
    if query.category or category != query.stream_prefix:
        return [(_CATEGORY, category)]
    return [ANY]
