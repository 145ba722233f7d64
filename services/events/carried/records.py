"""Records as they are carried from one log to another, and what that needs of a database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple, Protocol

from girih.ids import EventId, Position, Revision, StreamName, TenantId
from services.events.rules.stream_rules import StreamChange


class StoredDigests(NamedTuple):
    """The digests of a record, and what its leaf digest is made of."""

    position: Position
    digest: bytes
    payload_digest: bytes
    """Of a payload that is gone; empty otherwise."""
    header: bytes


class DigestPage(NamedTuple):
    """Records next to each other, and the incarnation of the log that they were read from."""

    incarnation: str
    rows: Sequence[StoredDigests]


@dataclass(frozen=True)
class CarriedRecord:
    """A record as it was in another log."""

    stream: StreamName
    revision: Revision
    recorded_at: datetime
    event_id: EventId
    type: str
    correlation_id: str
    digest: bytes
    tags: Sequence[str]
    header: bytes
    payload: bytes | None
    """None when it is gone."""
    payload_digest: bytes | None
    """None when it is not."""
    change: StreamChange | None = None
    """What it changes about a stream, if it is an event of `$streams`."""


class Outcome(Enum):
    """What came of restoring records: all of them are there, or none."""

    RESTORED = "restored"
    MISPLACED = "misplaced"
    """The log does not end where they begin."""
    NOT_EMPTY = "not empty"
    """The log holds what was not restored."""
    OUT_OF_ORDER = "out of order"
    """A revision or a time does not follow those before it."""
    ID_STORED = "id stored"
    """An id stands there twice, or the log holds it."""


class Restored(NamedTuple):
    """The outcome, and the position that it is about: of the log's end, or of the first record
    that is out of order."""

    outcome: Outcome
    at: Position


class SavedStream(NamedTuple):
    """A stream that has a snapshot."""

    first_position: Position
    name: StreamName


class TransferStore(Protocol):
    """Who reads digests and restores records, of the logs of all tenants."""

    async def digests(
        self, tenant: TenantId, start: Position, count_max: int, bytes_max: int
    ) -> DigestPage:
        """Those of the records from `start` on; of their headers together so many bytes at most,
        but for the first."""

    async def restore(
        self, tenant: TenantId, after: Position, records: Sequence[CarriedRecord]
    ) -> Restored:
        """Put `records` behind `after`, in one transaction, or nothing."""

    async def saved_streams(
        self, tenant: TenantId, after: Position, count_max: int
    ) -> Sequence[SavedStream]:
        """The streams with snapshots that began behind `after`, in the order in which they did."""
