"""Which events are meant, by their types, tags, streams and correlation ids, and whether one is.

Knows neither storage nor wire: it is what the index, the tail and preconditions have in common.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from girih.ids import EventId, Position, StreamName

_CATEGORY_ENDS_AT = "-"


class Labels(NamedTuple):
    """What queries ask about an event."""

    stream: StreamName
    type: str
    tags: Collection[str]
    correlation_id: str


class Match(NamedTuple):
    """An event that is meant."""

    position: Position
    event_id: EventId


@dataclass(frozen=True, kw_only=True)
class Query:
    """The events that meet every part of it. An empty part is met by all, and so is an empty
    query: callers are refused one.
    """

    types: frozenset[str] = frozenset()
    """The event's type is one of them."""
    tags: frozenset[str] = frozenset()
    """The event has all of them."""
    stream_prefix: str = ""
    category: str = ""
    """Of the event's stream, see `category_of`."""
    correlation_id: str = ""

    def matches(self, labels: Labels) -> bool:
        """Whether it means the event with these labels. Takes some tenths of a microsecond."""
        stream, event_type, tags, correlation_id = labels
        return (
            (not self.types or event_type in self.types)
            and (not self.tags or self.tags.issubset(tags))
            and (not self.correlation_id or correlation_id == self.correlation_id)
            and (not self.category or category_of(stream) == self.category)
            # Every name begins with nothing.
            and stream.startswith(self.stream_prefix)
        )


@dataclass(frozen=True)
class Filter:
    """The events that at least one of its queries means."""

    queries: tuple[Query, ...]

    def matches(self, labels: Labels) -> bool:
        """Whether it means the event with these labels. Takes as long as its queries together."""
        return any(query.matches(labels) for query in self.queries)


def category_of(stream: str) -> str:
    """The name of a stream up to before its first `-`; all of it when it has none."""
    return stream.partition(_CATEGORY_ENDS_AT)[0]
