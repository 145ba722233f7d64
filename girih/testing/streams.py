"""A stream in memory: its events, what is ruled over it, and what is gone by that. Knows no log."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb


@dataclass
class Stream:
    """The events of a stream, whether they are gone or not, by revision."""

    name: str
    events: list[pb.RecordedEvent] = field(default_factory=list)
    deleted_below: int = 0
    """Revisions below it were deleted with the stream."""
    is_tombstoned: bool = False
    retention: keeping_pb.Retention | None = None
    metadata: str = ""
    metadata_version: int = 0
    _retained: keeping_pb.Gone = field(default_factory=keeping_pb.Gone)
    """What events say that `retention` has hidden."""
    _lost: list[tuple[int, keeping_pb.Gone]] = field(default_factory=list)
    """Below those revisions payloads are gone for good, whatever is ruled later; in the order in
    which they went."""
    _redacted: dict[int, keeping_pb.Gone] = field(default_factory=dict)
    """By position."""

    @property
    def last_revision(self) -> int:
        return len(self.events) - 1

    @property
    def expected_revision(self) -> int:
        """What preconditions find: -1 where it has no events, or lost them with its deletion."""
        return self.last_revision if not self.ending else -1

    @property
    def ending(self) -> keeping_pb.StreamEnding:
        if self.is_tombstoned:
            return keeping_pb.STREAM_ENDING_TOMBSTONED
        if self.deleted_below and len(self.events) == self.deleted_below:
            return keeping_pb.STREAM_ENDING_DELETED
        return keeping_pb.STREAM_ENDING_UNSPECIFIED

    def gone(self, event: pb.RecordedEvent, now: datetime) -> keeping_pb.Gone | None:
        """Why an event is gone at that moment: by what came first."""
        return self._redacted.get(event.position) or self._hidden(event, now)

    def hides(self, event: pb.RecordedEvent, now: datetime) -> bool:
        """Whether reads pass it over at that moment."""
        return self._hidden(event, now) is not None

    def _hidden(self, event: pb.RecordedEvent, now: datetime) -> keeping_pb.Gone | None:
        for below, gone in self._lost:
            if event.revision < below:
                return gone
        return self._retained if event.revision < self._retained_below(now) else None

    def first_revision(self) -> int:
        """Of the first event that is kept. Those that are too old count as long as no rule after
        them has taken them."""
        below = [below for below, _ in self._lost]
        kept = max([0, *below, *self._retained_parts()])
        return min(kept, len(self.events))

    def retain(self, retention: keeping_pb.Retention, gone: keeping_pb.Gone) -> None:
        """What the rule before it hides does not come back."""
        self._lapse(gone)
        has_part = bool(retention.ListFields())
        self.retention = retention if has_part else None
        self._retained = gone

    def end(self, gone: keeping_pb.Gone, *, for_ever: bool) -> None:
        """Delete what there is."""
        self._lapse(gone)
        self.deleted_below = len(self.events)
        self._lost.append((self.deleted_below, gone))
        self.is_tombstoned = for_ever
        self.retention, self.metadata, self.metadata_version = None, "", 0

    def _lapse(self, gone: keeping_pb.Gone) -> None:
        """What its retention hides is lost when another rule is said."""
        if below := self._retained_below(gone.at.ToDatetime(tzinfo=UTC)):
            self._lost.append((below, self._retained))

    def has_redacted(self, *, upto: int, since: int) -> bool:
        """Whether an event up to a revision was redacted behind a position of the log."""
        until = self.events[upto].position
        return any(at <= until and gone.position > since for at, gone in self._redacted.items())

    def redact(self, position: int, gone: keeping_pb.Gone) -> None:
        self._redacted[position] = gone

    def _retained_below(self, now: datetime) -> int:
        """Events below that revision are hidden by the rule that holds."""
        below = max([0, *self._retained_parts()])
        if self.retention is None or not self.retention.HasField("max_age_s"):
            return below
        oldest = now - timedelta(seconds=self.retention.max_age_s)
        for event in self.events[below:]:
            if event.recorded_at.ToDatetime(tzinfo=UTC) >= oldest:
                break
            below = event.revision + 1
        return below

    def _retained_parts(self) -> Iterator[int]:
        retention = self.retention
        if retention is not None and retention.HasField("truncate_before"):
            yield retention.truncate_before
        if retention is not None and retention.HasField("max_count"):
            yield len(self.events) - retention.max_count


def left_of(event: pb.RecordedEvent, gone: keeping_pb.Gone | None) -> pb.RecordedEvent:
    """An event as it is read: without its payload when it is gone."""
    if gone is None:
        return event
    left = pb.RecordedEvent()
    left.CopyFrom(event)
    left.event.ClearField("payload")
    left.gone.CopyFrom(gone)
    return left
