"""What a log is and what may be appended to it. Knows neither storage nor wire.

`decide` is the heart: it places a whole batch of appends on a state of the log, in
memory, without touching anything.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from services.events.errors import EventIdReused, PreconditionFailed, Violation

EVENTS_MAX = 5_000
EVENT_BYTES_MAX = 4 * 1024 * 1024
APPEND_BYTES_MAX = 8 * 1024 * 1024
PRECONDITIONS_MAX = 1_000
SCHEMA_VERSION_MAX = 2**31 - 1
POSITION_MAX = 2**63 - 1

TYPE_CHARS_MAX = 255
CONTENT_TYPE_CHARS_MAX = 255
METADATA_KEYS_MAX = 32
METADATA_KEY_CHARS_MAX = 64
METADATA_VALUE_CHARS_MAX = 1_024
TAGS_MAX = 32
TAG_CHARS_MAX = 255

NO_REVISION = -1
"""The revision of a stream without events, so that the next one is always one more."""

_event_id = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII
).fullmatch
_stream_name = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,254}", re.ASCII).fullmatch
_control_character = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def is_event_id(text: str) -> bool:
    """A UUID as canonical lower-case text, so that one id has one spelling."""
    return _event_id(text) is not None


def is_stream_name(text: str) -> bool:
    """1 to 255 of A-Z a-z 0-9 _ . : @ -, the first a letter, a digit or an underscore."""
    return _stream_name(text) is not None


def is_line(text: str, chars_max: int) -> bool:
    """At most `chars_max` characters, none a control character. May be empty."""
    return len(text) <= chars_max and _control_character(text) is None


class StreamState(Enum):
    """A state of a stream that is not a revision."""

    ABSENT = "absent"
    EXISTS = "exists"


@dataclass(frozen=True)
class Precondition:
    """What a stream must be like before an append: its last revision, or a state."""

    stream: str
    expected: int | StreamState

    def holds(self, revision: int) -> bool:
        """Whether it does when the stream's last revision is `revision`."""
        if self.expected is StreamState.EXISTS:
            return revision != NO_REVISION
        if self.expected is StreamState.ABSENT:
            return revision == NO_REVISION
        return revision == self.expected


class NewEvent(NamedTuple):
    """An event to append: `content` as it will be stored, and the SHA-256 of it."""

    event_id: str
    stream: str
    digest: bytes
    content: bytes


@dataclass(frozen=True)
class Proposal:
    """What one call wants to append. Its event ids differ from each other."""

    events: Sequence[NewEvent]
    preconditions: Sequence[Precondition] = ()
    context: bytes = b""
    """The call's context as it will be stored beside each event."""
    byte_count: int = field(init=False)

    def __post_init__(self) -> None:
        byte_count = sum([len(event.content) for event in self.events])
        object.__setattr__(self, "byte_count", byte_count)

    def streams(self) -> set[str]:
        """Every stream whose revision it takes to decide."""
        named = {event.stream for event in self.events}
        named.update([precondition.stream for precondition in self.preconditions])
        return named


class StoredEvent(NamedTuple):
    """Where an event id is in the log, and what its content was."""

    position: int
    revision: int
    digest: bytes


class Placement(NamedTuple):
    """Where an event of a proposal is. `already_stored` says that it was so before."""

    event_id: str
    position: int
    revision: int
    already_stored: bool


class PlacedEvent(NamedTuple):
    """An event with its place, to be written."""

    event: NewEvent
    position: int
    revision: int
    context: bytes


Refusal = PreconditionFailed | EventIdReused
Outcome = Sequence[Placement] | Refusal


@dataclass(frozen=True)
class LogState:
    """A log as of one instant: the position of its last event, and streams' last revisions."""

    head: int
    revisions: Mapping[str, int]


@dataclass
class Decision:
    """What becomes of a batch: one outcome per proposal, and what to write for them.

    `state.head + i + 1` is the position of `placed[i]`. `revisions` are those of the
    streams written to, after the write.
    """

    state: LogState
    outcomes: list[Outcome] = field(default_factory=list)
    placed: list[PlacedEvent] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)


def decide(
    state: LogState, proposals: Sequence[Proposal], known: Mapping[str, StoredEvent]
) -> Decision:
    """Place `proposals` one after the other on `state`, each wholly or not at all.

    `state` holds the revision of every stream that a proposal names. `known` holds what
    is stored under the proposals' ids, as far as anybody looked: an id that is stored and
    not in it is placed again, which the log's unique index then refuses.

    Ids come before preconditions, so that whoever repeats an append that succeeded is
    told so, whatever happened to the streams since.
    """
    decision = Decision(state)
    seen = dict(known)
    for proposal in proposals:
        decision.outcomes.append(_outcome(decision, seen, proposal))
    return decision


def _outcome(decision: Decision, seen: dict[str, StoredEvent], proposal: Proposal) -> Outcome:
    stored = {e.event_id for e in proposal.events if e.event_id in seen}
    if stored and (reused := _reused(seen, stored, proposal)):
        return EventIdReused(reused)
    if len(stored) < len(proposal.events) and (violations := _violations(decision, proposal)):
        return PreconditionFailed(violations)
    return [
        _stored_already(seen, event) if event.event_id in stored
        else _place(decision, seen, event, proposal.context)
        for event in proposal.events
    ]  # fmt: skip


def _reused(seen: Mapping[str, StoredEvent], stored: set[str], proposal: Proposal) -> list[str]:
    return [
        event.event_id
        for event in proposal.events
        if event.event_id in stored and seen[event.event_id].digest != event.digest
    ]


def _violations(decision: Decision, proposal: Proposal) -> list[Violation]:
    violations = []
    for index, precondition in enumerate(proposal.preconditions):
        revision = _revision(decision, precondition.stream)
        if not precondition.holds(revision):
            actual = None if revision == NO_REVISION else revision
            violations.append(Violation(index, precondition.stream, actual))
    return violations


def _revision(decision: Decision, stream: str) -> int:
    revision = decision.revisions.get(stream)
    return decision.state.revisions[stream] if revision is None else revision


def _stored_already(seen: Mapping[str, StoredEvent], event: NewEvent) -> Placement:
    place = seen[event.event_id]
    return Placement(event.event_id, place.position, place.revision, already_stored=True)


def _place(
    decision: Decision, seen: dict[str, StoredEvent], event: NewEvent, context: bytes
) -> Placement:
    event_id, stream, digest, _ = event
    revision = _revision(decision, stream) + 1
    position = decision.state.head + len(decision.placed) + 1
    decision.revisions[stream] = revision
    decision.placed.append(PlacedEvent(event, position, revision, context))
    seen[event_id] = StoredEvent(position, revision, digest)
    return Placement(event_id, position, revision, already_stored=False)
