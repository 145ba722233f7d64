"""What is kept of a stream, and what an event of `$streams` changes about it. Knows no log.

Rules hide events: what retention or deletion hides is passed over by every read, what is redacted
is read without its payload. Either keeps its position, its revision, its id and its digest.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Final, NamedTuple

from girih.ids import EventId, Position, Revision, StreamName

FIRST_REVISION: Final = Revision(0)
MAX_AGE_S_MAX: Final = 100 * 365 * 24 * 60 * 60
"""A hundred years: more is a mistake."""


class GoneReason(IntEnum):
    """Why the payload of an event is not read any longer, with the numbers of the contract."""

    RETENTION = 1
    DELETED = 2
    REDACTED = 3


class Gone(NamedTuple):
    """That an event is gone, as whoever reads it is told."""

    reason: GoneReason
    at: datetime
    """When the rule, the deletion or the redaction was recorded."""
    actor: str
    """Who asked for it."""
    position: Position
    """Of the event of `$streams` that says so."""


class StreamEnding(IntEnum):
    """That a stream has no events, though it had some."""

    DELETED = 1
    """It may begin anew; its revisions go on."""
    TOMBSTONED = 2
    """Nobody appends to it ever again."""


@dataclass(frozen=True)
class Retention:
    """Which events of a stream are kept; None of a part keeps all."""

    max_age_s: int | None = None
    max_count: int | None = None
    truncate_before: Revision | None = None


NO_RETENTION: Final = Retention()


@dataclass(frozen=True)
class StreamChange:
    """What an event of `$streams` changes. None of a part leaves what is there."""

    stream: StreamName
    actor: str
    metadata: str | None = None
    retention: Retention | None = None
    ending: StreamEnding | None = None
    redacted: Position | None = None
    """Of the event that loses its payload."""


class PlacedChange(NamedTuple):
    """A change with its place in the log."""

    change: StreamChange
    position: Position
    behind: Revision
    """The revision behind the stream's last event there."""


@dataclass(frozen=True)
class StreamRules:
    """What holds for a stream, as of one instant."""

    rules_revision: Revision
    """Of the last event of `$streams` then, -1 without any."""
    last_revision: Revision
    """Of the stream's last event, whether it is gone or not."""
    ending: StreamEnding | None = None
    metadata: str = ""
    metadata_version: int = 0
    """The position of the event that set it; 0 when none did."""
    retention: Retention = NO_RETENTION


class RedactionTarget(NamedTuple):
    """An event that is to be redacted."""

    event_id: EventId
    stream: StreamName
    gone: GoneReason | None
    """Why it is gone already."""
