"""What a log is, in the plainest words: a list of events, and what was ruled about them.

Made from what the contract promises, and shares nothing with the store: everything is found by
looking through the whole list, and nothing is remembered that could be found.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.events.model.schemas import Registry
from tests.events.model.values import (
    NO_RETENTION,
    Described,
    Gone,
    NoMatch,
    OnStream,
    Placed,
    Precondition,
    Query,
    Refused,
    Retention,
    Shown,
    Span,
    State,
    Traced,
    Violation,
    Written,
)

RULES, SCHEMAS = "$streams", "$schemas"
SNAPSHOTS_KEPT = 2
DAY_S = 24 * 60 * 60


@dataclass
class Stored:
    """An event of the log."""

    position: int
    revision: int
    written: Written
    correlation_id: str
    causation_id: str
    recorded_us: int = 0
    """As readers were told it."""
    older_s: int = 0
    """By so much it was made older in the table."""
    redacted_by: int = 0
    """The position of the event that says so."""
    lapsed: Gone | None = None
    """Hidden for good: by a retention that holds no longer, or as its stream was deleted."""

    @property
    def column_us(self) -> int:
        return self.recorded_us - self.older_s * 1_000_000


@dataclass
class Rules:
    """What holds for a stream."""

    deleted_below: int = 0
    is_tombstoned: bool = False
    retention: Retention = NO_RETENTION
    retention_by: int = 0
    metadata: str = ""
    metadata_version: int = 0
    taken_below: int = 0


@dataclass
class Log:
    """A log of one tenant."""

    events: list[Stored] = field(default_factory=list)
    rules: dict[str, Rules] = field(default_factory=dict)
    registry: Registry = field(default_factory=Registry)
    snapshots: dict[str, dict[int, State]] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return len(self.events)

    def of(self, stream: str) -> list[Stored]:
        return [event for event in self.events if event.written.stream == stream]

    def by_id(self, event_id: str) -> Stored | None:
        return next((event for event in self.events if event.written.id == event_id), None)

    def names(self) -> list[str]:
        return sorted({event.written.stream for event in self.events})

    # What is gone

    def rule(self, stream: str) -> Rules:
        return self.rules.get(stream, Rules())

    def hidden_by(self, event: Stored) -> Gone | None:
        """What retention or deletion says of an event now."""
        rules = self.rule(event.written.stream)
        kept = rules.retention
        if event.lapsed is not None:
            return event.lapsed
        newest = self.of(event.written.stream)[-1].revision
        if (
            event.revision < (kept.truncate_before or 0)
            or (kept.max_count is not None and event.revision <= newest - kept.max_count)
            or (kept.max_age_s is not None and event.older_s > kept.max_age_s)
        ):
            return Gone("RETENTION", rules.retention_by)
        return None

    def is_hidden(self, event: Stored) -> bool:
        """Whether readers pass it over."""
        return self.hidden_by(event) is not None

    def gone(self, event: Stored) -> Gone | None:
        """What came first; nothing redacts what is hidden."""
        if event.redacted_by:
            return Gone("REDACTED", event.redacted_by)
        return self.hidden_by(event)

    def take(self) -> None:
        """All payloads leave the disk that may."""
        for event in self.events:
            rules = self.rules.get(event.written.stream)
            if rules is not None and self.is_hidden(event):
                rules.taken_below = max(rules.taken_below, event.revision + 1)

    def age(self) -> None:
        """All that is there becomes a day older."""
        for event in self.events:
            event.older_s += DAY_S

    # Appends

    def append(
        self,
        events: Sequence[Written],
        preconditions: Sequence[Precondition],
        correlation_id: str,
        causation_id: str,
    ) -> list[Placed]:
        if any(event.stream.startswith("$") for event in events):
            raise Refused("STREAM_OWNED")
        fresh = [event for event in events if self.by_id(event.id) is None]
        if reason := self.registry.refusal(fresh):
            raise Refused(reason, instead=self._refusal(events))
        return self._place(events, preconditions, correlation_id, causation_id)

    def _place(
        self,
        events: Sequence[Written],
        preconditions: Sequence[Precondition],
        correlation_id: str,
        causation_id: str,
        about: str = "",
    ) -> list[Placed]:
        if reason := self._refusal(events, about):
            raise Refused(reason)
        there = [self.by_id(event.id) for event in events]
        if None in there:
            self._check(preconditions)
        placed = []
        for one, event in zip(there, events, strict=True):
            stored = one or self._add(event, correlation_id, causation_id)
            placed.append(Placed(stored.position, stored.revision, one is not None))
        return placed

    def _refusal(self, events: Sequence[Written], about: str = "") -> str:
        """What forbids it whatever its preconditions are."""
        there = [self.by_id(event.id) for event in events]
        if any(one and one.written != event for one, event in zip(there, events, strict=True)):
            return "EVENT_ID_REUSED"
        fresh = [event for one, event in zip(there, events, strict=True) if one is None]
        named = {event.stream for event in fresh} | ({about} if fresh and about else set())
        if any(self.rule(stream).is_tombstoned for stream in named):
            return "STREAM_TOMBSTONED"
        return ""

    def _add(self, written: Written, correlation_id: str, causation_id: str) -> Stored:
        revision = len(self.of(written.stream))
        stored = Stored(self.head + 1, revision, written, correlation_id, causation_id)
        self.events.append(stored)
        return stored

    def _check(self, preconditions: Sequence[Precondition]) -> None:
        violations: list[Violation] = []
        for index, one in enumerate(preconditions):
            if isinstance(one, OnStream):
                violations += self._on_stream(index, one)
            else:
                violations += self._no_match(index, one)
        if violations:
            raise Refused("PRECONDITION_FAILED", tuple(violations))

    def _on_stream(self, index: int, wanted: OnStream) -> Iterator[Violation]:
        actual = self.last_revision(wanted.stream)
        if wanted.expected == "absent":
            holds = actual is None
        elif wanted.expected == "exists":
            holds = actual is not None
        else:
            holds = actual == wanted.expected
        if not holds:
            read_again = isinstance(wanted.expected, int)
            yield Violation(index, wanted.stream, actual, read_again=read_again)

    def last_revision(self, stream: str) -> int | None:
        """None without events, and when all were deleted."""
        last = len(self.of(stream)) - 1
        return None if last < self.rule(stream).deleted_below else last

    def _no_match(self, index: int, wanted: NoMatch) -> Iterator[Violation]:
        after = wanted.after or 0
        if after > self.head:
            raise Refused("BEYOND_END")
        for event in self.events[after:]:
            if matches(event, wanted.queries) and not self.is_hidden(event):
                yield Violation(
                    index,
                    position=event.position,
                    event_id=event.written.id,
                    read_again=wanted.after is not None,
                )
                return

    # Reads

    def read(self, span: Span) -> list[Shown]:
        events = [event for event in self.events if self._is_in(span, event)]
        if span.is_backwards:
            events.reverse()
        shown = [self.shown(event) for event in events]
        if span.upcasts:
            shown = [self.registry.upcast(one) for one in shown]
        return shown[: span.limit or None]

    def _is_in(self, span: Span, event: Stored) -> bool:
        if span.stream and event.written.stream != span.stream:
            return False
        if span.queries and not matches(event, span.queries):
            return False
        if self.is_hidden(event) and not span.shows_gone:
            return False
        bounds = [
            (span.from_position, event.position),
            (span.from_revision, event.revision),
            (span.from_us, event.column_us),
        ]
        return all(
            start is None or (key <= start if span.is_backwards else key >= start)
            for start, key in bounds
        )

    def shown(self, event: Stored) -> Shown:
        gone = self.gone(event)
        written = event.written if gone is None else event.written.without_payload()
        return Shown(
            event.position, event.revision, written, event.correlation_id, event.causation_id, gone
        )

    def position_at(self, time_us: int) -> int:
        later = [event.position for event in self.events if event.column_us >= time_us]
        return min(later, default=self.head + 1)

    def traced(self, correlation_id: str) -> list[Stored]:
        return [
            event
            for event in self.events
            if event.correlation_id == correlation_id and not self.is_hidden(event)
        ]

    def tree(self, page: Sequence[Stored]) -> list[Traced]:
        """The events of a page in the order of their tree."""
        causes = {event.position: self._cause(event) for event in page}
        on_page = {event.position for event in page}

        def above(event: Stored) -> int | None:
            cause = causes[event.position]
            is_here = cause and cause.position < event.position and cause.position in on_page
            return cause.position if cause and is_here else None

        def below(position: int | None, depth: int) -> Iterator[Traced]:
            for event in page:
                if above(event) == position:
                    yield self._traced(event, depth, causes[event.position])
                    yield from below(event.position, depth + 1)

        return list(below(None, 0))

    def _cause(self, event: Stored) -> Stored | None:
        return None if event.causation_id == event.written.id else self.by_id(event.causation_id)

    def _traced(self, event: Stored, depth: int, cause: Stored | None) -> Traced:
        shown = self.shown(event)
        shown = replace(shown, written=shown.written.without_payload())
        if cause is None:
            return Traced(shown, depth, None)
        written = cause.written
        named = (cause.position, cause.correlation_id, written.stream, written.type)
        return Traced(shown, depth, named)

    # Streams

    def described(self, stream: str) -> Described:
        events, rules = self.of(stream), self.rule(stream)
        if not events:
            raise Refused("STREAM_NOT_FOUND")
        last, kept = events[-1].revision, rules.retention
        first = max(rules.deleted_below, rules.taken_below, kept.truncate_before or 0)
        first = max([first, *(event.revision + 1 for event in events if event.lapsed is not None)])
        if kept.max_count is not None:
            first = max(first, last + 1 - kept.max_count)
        first = min(first, last + 1)
        return Described(
            stream,
            last,
            events[0].position,
            events[-1].position,
            first,
            last + 1 - first,
            self._ending(stream),
            events[0].column_us,
            events[-1].column_us,
            rules.metadata,
            rules.metadata_version,
            None if kept == NO_RETENTION else kept,
        )

    def _ending(self, stream: str) -> str:
        if self.rule(stream).is_tombstoned:
            return "TOMBSTONED"
        return "DELETED" if self.last_revision(stream) is None else "UNSPECIFIED"

    def listed(self, prefix: str = "", category: str = "") -> list[Described]:
        named = [
            name
            for name in self.names()
            if name.startswith(prefix) and (not category or category_of(name) == category)
        ]
        return [
            replace(self.described(name), metadata="", metadata_version=0, retention=None)
            for name in named
        ]

    def categories(self) -> dict[str, tuple[int, int]]:
        """How many streams and events there are of each."""
        counts: dict[str, tuple[int, int]] = {}
        for name in self.names():
            streams, events = counts.get(category_of(name), (0, 0))
            counts[category_of(name)] = (streams + 1, events + len(self.of(name)))
        return counts

    def types(self) -> dict[str, int]:
        named = [event.written.type for event in self.events]
        return {name: named.count(name) for name in sorted(set(named))}

    # Rules

    def set_metadata(self, written: Written, stream: str, text: str, expected: int | None) -> int:
        is_other = expected not in (None, self.rule(stream).metadata_version)
        mistake = "STREAM_METADATA_CHANGED" if is_other else ""
        position, rules = self._ruled(written, stream, mistake)
        if rules is not None:
            rules.metadata, rules.metadata_version = text, position
        return position

    def set_retention(self, written: Written, stream: str, retention: Retention) -> int:
        is_beyond = (retention.truncate_before or 0) > len(self.of(stream))
        position, rules = self._ruled(written, stream, "INVALID_INPUT" if is_beyond else "")
        if rules is not None:
            for event in self.of(stream):
                event.lapsed = self.hidden_by(event)
            rules.retention, rules.retention_by = retention, position
        return position

    def end(
        self, written: Written, stream: str, expected: int | None, *, is_tombstone: bool
    ) -> int:
        wanted = [] if expected is None else [OnStream(stream, expected)]
        position, rules = self._ruled(written, stream, wanted=wanted)
        if rules is not None:
            for event in self.of(stream):
                event.lapsed = self.hidden_by(event) or Gone("DELETED", position)
            self.rules[stream] = Rules(
                deleted_below=len(self.of(stream)),
                is_tombstoned=is_tombstone,
                taken_below=rules.taken_below,
            )
            self.snapshots.pop(stream, None)
        return position

    def redact(self, written: Written, position: int) -> int:
        if not 1 <= position <= self.head:
            raise Refused("EVENT_NOT_FOUND")
        event = self.events[position - 1]
        if event.written.stream.startswith("$"):
            raise Refused("STREAM_OWNED")
        if self.gone(event) is not None:
            return self._known(written) or self._refuse("EVENT_GONE")
        by, rules = self._ruled(written, event.written.stream)
        if rules is not None:
            event.redacted_by = by
            kept = self.snapshots.get(event.written.stream, {})
            for revision in [one for one in kept if one >= event.revision]:
                del kept[revision]
        return by

    def _ruled(
        self,
        written: Written,
        stream: str,
        mistake: str = "",
        wanted: Sequence[Precondition] = (),
    ) -> tuple[int, Rules | None]:
        """The position of the event that says it, and the rules to change; None when it was said
        before. `mistake` is what else forbids it."""
        if stream.startswith("$"):
            raise Refused("STREAM_OWNED")
        if not self.of(stream):
            raise Refused("STREAM_NOT_FOUND")
        reason = "STREAM_TOMBSTONED" if self.rule(stream).is_tombstoned else mistake
        if reason:
            known = self._known(written)
            return (known or self._refuse(reason)), None
        (placed,) = self._place([written], wanted, own_correlation(written), "", about=stream)
        if placed.already_stored:
            return placed.position, None
        return placed.position, self.rules.setdefault(stream, Rules())

    def _known(self, written: Written) -> int | None:
        stored = self.by_id(written.id)
        if stored is not None and stored.written != written:
            raise Refused("EVENT_ID_REUSED")
        return stored.position if stored is not None else None

    def _refuse(self, reason: str) -> int:
        raise Refused(reason)

    def add_registration(self, written: Written) -> int:
        """Something was registered, and `written` says so."""
        return self._add(written, own_correlation(written), "").position

    # Snapshots

    def save(self, stream: str, state: State, read_position: int | None) -> bool:
        """Whether it is kept; None of `read_position` is before all redactions."""
        events = self.of(stream)
        is_there = self.rule(stream).deleted_below <= state.revision < len(events)
        if not is_there:
            raise Refused("SNAPSHOT_REVISION_NOT_FOUND")
        folded = events[: state.revision + 1]
        if any(event.redacted_by > (read_position or 0) for event in folded):
            return False
        kept = self.snapshots.setdefault(stream, {})
        kept[state.revision] = state
        for revision in sorted(kept)[:-SNAPSHOTS_KEPT]:
            del kept[revision]
        return state.revision in kept

    def load(self, stream: str, known_version: int) -> tuple[State | None, list[Shown]]:
        """The newest that fits, and the events behind it."""
        first = self.described(stream).first_revision if self.of(stream) else 0
        fitting = [
            state
            for revision, state in sorted(self.snapshots.get(stream, {}).items())
            if revision + 1 >= first and (not known_version or state.version <= known_version)
        ]
        state = fitting[-1] if fitting else None
        begins = state.revision + 1 if state else 0
        return state, self.read(Span(stream=stream, from_revision=begins))


def own_correlation(written: Written) -> str:
    """Rules and registrations of the machine are made by calls that are called as their event's
    type is."""
    return written.type


def rule_event(event_id: str, kind: str, stream: str, **parts: object) -> Written:
    """The event of `$streams` that says a rule."""
    content = {"stream": stream} | {name: one for name, one in parts.items() if one is not None}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Written(event_id, RULES, kind, json=text, tags=(stream,))


def retention_parts(retention: Retention) -> Mapping[str, str | None]:
    parts = {
        "maxAgeS": retention.max_age_s,
        "maxCount": retention.max_count,
        "truncateBefore": retention.truncate_before,
    }
    return {name: None if one is None else str(one) for name, one in parts.items()}


def category_of(stream: str) -> str:
    return stream.partition("-")[0]


def matches(event: Stored, queries: Sequence[Query]) -> bool:
    return any(_meets(event, query) for query in queries)


def _meets(event: Stored, query: Query) -> bool:
    written = event.written
    return (
        (not query.types or written.type in query.types)
        and set(query.tags) <= set(written.tags)
        and written.stream.startswith(query.prefix)
        and query.category in ("", category_of(written.stream))
        and query.correlation_id in ("", event.correlation_id)
    )
