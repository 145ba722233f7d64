"""The log of a tenant in memory, and what may be appended to it: the plainest one there is.

It looks through all of its events for whatever it is asked, and holds them as the messages that
readers get. Whoever calls holds its lock.
"""

import os
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.testing.refusals import Refused
from girih.testing.streams import Stream

Clock = Callable[[], datetime]
"""The time now, with a time zone."""

_IDS_SHOWN_MAX: Final = 8
_NAMES_CHARS_MAX: Final = 300
_FAILURE_BYTES_MAX: Final = 2_500


class Log:
    """The events of one tenant, in order."""

    def __init__(self, clock: Clock) -> None:
        self.changed = threading.Condition()
        """Its lock; notified when there is more to read, or a reason to look."""
        self.incarnation = ""
        self.events: list[pb.RecordedEvent] = []
        self.streams: dict[str, Stream] = {}
        self._by_id: dict[str, pb.RecordedEvent] = {}
        self._clock = clock

    @property
    def head(self) -> int:
        return len(self.events)

    def now(self) -> datetime:
        """Never before the last event: where clocks go back, times stand still."""
        now = self._clock().astimezone(UTC)
        return max(now, self.events[-1].recorded_at.ToDatetime(tzinfo=UTC)) if self.events else now

    def find(self, event_id: str) -> pb.RecordedEvent | None:
        return self._by_id.get(event_id)

    def stream_of(self, event: pb.RecordedEvent) -> Stream:
        return self.streams[event.event.stream]

    def gone(self, event: pb.RecordedEvent, now: datetime) -> keeping_pb.Gone | None:
        return self.stream_of(event).gone(event, now)

    def hides(self, event: pb.RecordedEvent, now: datetime) -> bool:
        """Whether reads pass it over."""
        return self.stream_of(event).hides(event, now)

    def position_at(self, time: datetime) -> int:
        """Of the first event recorded then or later."""
        return 1 + bisect_left(
            self.events, time, key=lambda one: one.recorded_at.ToDatetime(tzinfo=UTC)
        )

    def append(
        self,
        events: Sequence[pb.Event],
        preconditions: Sequence[pb.Precondition],
        context: pb.Context,
    ) -> list[pb.Placement]:
        """Append all events or none. Ids come before preconditions, so that whoever repeats an
        append that succeeded is told so, whatever happened to the streams since."""
        new = [event for event in events if event.id not in self._by_id]
        self._refuse_reused(events)
        self._refuse_tombstoned({event.stream for event in new})
        if new:
            self._refuse_unless(preconditions)
        now = self.now()
        for event in new:
            self._place(event, context, now)
        self.changed.notify_all()
        fresh = {event.id for event in new}
        return [_placement(self._by_id[one.id], one.id not in fresh) for one in events]

    def _place(self, event: pb.Event, context: pb.Context, now: datetime) -> None:
        self.incarnation = self.incarnation or os.urandom(8).hex()
        stream = self.streams.setdefault(event.stream, Stream(event.stream))
        recorded = pb.RecordedEvent(
            position=self.head + 1,
            revision=stream.last_revision + 1,
            recorded_at=now,
            context=context,
            event=event,
        )
        stream.events.append(recorded)
        self.events.append(recorded)
        self._by_id[event.id] = recorded

    def _refuse_reused(self, events: Iterable[pb.Event]) -> None:
        reused = [
            event.id
            for event in events
            if event.id in self._by_id and self._by_id[event.id].event != event
        ]
        if reused:
            raise Refused(
                "EVENT_ID_REUSED",
                f"{len(reused)} of the event ids are stored with other content",
                {"event_id_count": len(reused), "event_ids": ",".join(reused[:_IDS_SHOWN_MAX])},
            )

    def _refuse_tombstoned(self, names: Iterable[str]) -> None:
        named = [self.streams[name] for name in sorted(names) if name in self.streams]
        if closed := [stream.name for stream in named if stream.is_tombstoned]:
            message = f"streams that are closed for ever: {len(closed)}; the first: {closed[0]}"
            raise Refused("STREAM_TOMBSTONED", message, streams_metadata(closed))

    def _refuse_unless(self, preconditions: Sequence[pb.Precondition]) -> None:
        checked = [self._violation(index, one) for index, one in enumerate(preconditions)]
        if violations := [one for one in checked if one is not None]:
            raise _precondition_failed(violations)

    def _violation(
        self, index: int, precondition: pb.Precondition
    ) -> pb.PreconditionFailure.Violation | None:
        if precondition.HasField("no_match"):
            return self._match_violation(index, precondition.no_match)
        stream = self.streams.get(precondition.stream)
        revision = -1 if stream is None else stream.expected_revision
        if _holds(precondition, revision):
            if precondition.incarnation not in ("", self.incarnation):
                raise log_replaced(self)
            return None
        return pb.PreconditionFailure.Violation(
            index=index,
            stream=precondition.stream,
            actual_revision=None if revision < 0 else revision,
            read_again=precondition.HasField("revision"),
        )

    def _match_violation(
        self, index: int, no_match: pb.NoMatch
    ) -> pb.PreconditionFailure.Violation | None:
        after = no_match.after_position
        if after and no_match.incarnation not in ("", self.incarnation):
            raise log_replaced(self)
        if after > self.head:
            raise Refused(
                "BEYOND_END",
                f"preconditions[{index}]: the log ends at position {self.head}",
                {"index": index, "after_position": after, "head_position": self.head},
            )
        now = self.now()
        for event in self.events[after:]:
            if is_meant(event, no_match.filter) and not self.hides(event, now):
                return pb.PreconditionFailure.Violation(
                    index=index,
                    position=event.position,
                    event_id=event.event.id,
                    read_again=no_match.HasField("after_position"),
                )
        return None


def log_replaced(log: Log) -> Refused:
    """It holds nothing of what was read in another incarnation."""
    return Refused(
        "LOG_REPLACED",
        "the log was replaced by an earlier state of it: what was read behind position 0 is not in"
        " it any longer",
        {"incarnation": log.incarnation, "shared_position": 0},
    )


def is_meant(recorded: pb.RecordedEvent, wanted: pb.Filter) -> bool:
    """Whether one query of a filter means an event."""
    return any(_is_meant(recorded, query) for query in wanted.queries)


def category_of(stream: str) -> str:
    return stream.partition("-")[0]


def streams_metadata(names: Sequence[str]) -> dict[str, str | int]:
    """How errors name streams: as many as are told whole, the first always."""
    shown, left = list[str](), _NAMES_CHARS_MAX
    for name in names:
        left -= len(name) + 1
        if left < 0:
            break
        shown.append(name)
    return {"stream_count": len(names), "streams": ",".join(shown)}


def _is_meant(recorded: pb.RecordedEvent, query: pb.Query) -> bool:
    event = recorded.event
    return (
        (not query.types or event.type in query.types)
        and set(query.tags) <= set(event.tags)
        and event.stream.startswith(query.stream_prefix)
        and query.category in ("", category_of(event.stream))
        and query.correlation_id in ("", recorded.context.correlation_id)
    )


def _holds(precondition: pb.Precondition, revision: int) -> bool:
    if precondition.HasField("revision"):
        return revision == precondition.revision
    return (revision >= 0) == (precondition.state == pb.Precondition.STATE_EXISTS)


def _placement(recorded: pb.RecordedEvent, was_stored: bool) -> pb.Placement:
    return pb.Placement(
        position=recorded.position,
        revision=recorded.revision,
        already_stored=was_stored,
        event_id=recorded.event.id,
        recorded_at=recorded.recorded_at,
    )


def _precondition_failed(violations: Sequence[pb.PreconditionFailure.Violation]) -> Refused:
    first = violations[0]
    failure = pb.PreconditionFailure()
    for violation in violations:
        failure.violations.append(violation)
        if failure.ByteSize() > _FAILURE_BYTES_MAX:
            del failure.violations[-1]
            break
    return Refused(
        "PRECONDITION_FAILED",
        f"preconditions that do not hold: {len(violations)}; the first: {_words(first)}",
        {
            "violation_count": len(violations),
            "index": first.index,
            "read_again": all(one.read_again for one in violations),
            **_place_of(first),
        },
        details=[failure],
    )


def _words(violation: pb.PreconditionFailure.Violation) -> str:
    if violation.position:
        return f"event {violation.event_id} at position {violation.position} is in the way"
    if not violation.HasField("actual_revision"):
        return f"{violation.stream} has no events"
    return f"{violation.stream} is at revision {violation.actual_revision}"


def _place_of(violation: pb.PreconditionFailure.Violation) -> dict[str, str | int]:
    if violation.position:
        return {"position": violation.position, "event_id": violation.event_id}
    is_there = violation.HasField("actual_revision")
    revision = violation.actual_revision if is_there else -1
    return {"stream": violation.stream, "actual_revision": revision}
