"""What a snapshot is, when one fits, and what keeping them needs of a database. Knows none."""

import struct
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from girih.ids import Position, Revision, StreamName, TenantId
from services.events.domain import EVENT_BYTES_MAX, LogEnd

STATE_BYTES_MAX: Final = EVENT_BYTES_MAX

_SEAL_LABEL: Final = b"girih snapshot 1"
_pack = struct.Struct(">QQI?I").pack


@dataclass(frozen=True)
class State:
    """What a program folded a stream into, up to a revision."""

    revision: Revision
    schema_version: int
    content: bytes
    is_json: bool
    content_type: str

    @cached_property
    def digest(self) -> bytes:
        """Of the content. Takes some milliseconds for as much of it as there may be."""
        return sha256(self.content).digest()

    def seal(self, position: Position) -> bytes:
        """Tells whether anything of it changed since it was taken at the event at `position`."""
        kind = self.content_type.encode()
        numbers = _pack(self.revision, position, self.schema_version, self.is_json, len(kind))
        return sha256(_SEAL_LABEL + numbers + kind + self.digest).digest()


class StoredSnapshot(NamedTuple):
    """A snapshot as it is stored, and what became of the event that it was taken at."""

    state: State
    position: Position
    """Of that event, when the snapshot was saved."""
    incarnation: str
    """Of the log then."""
    seal: bytes
    saved_at: datetime
    current_position: Position | None
    """Where the stream has the event of that revision now; None where it has none."""


class Unfit(Enum):
    """Why a snapshot is passed over."""

    CORRUPT = "corrupt"
    """It is not what was saved."""
    REPLACED = "replaced"
    """The stream does not hold any longer what it was taken of."""
    NEWER = "newer"
    """Of a version that the reader does not know."""


def unfitness(stored: StoredSnapshot, known_version: int) -> Unfit | None:
    """Why a snapshot does not fit a reader that knows layouts up to a version, 0 for all; None
    where nothing speaks against it. What the log's incarnation says of it is asked elsewhere.
    """
    if stored.state.seal(stored.position) != stored.seal:
        return Unfit.CORRUPT
    if stored.current_position != stored.position:
        return Unfit.REPLACED
    if known_version and stored.state.schema_version > known_version:
        return Unfit.NEWER
    return None


class SnapshotStore(Protocol):
    """The snapshots of all tenants. Raises what an `EventStore` raises."""

    async def save(
        self,
        tenant: TenantId,
        stream: StreamName,
        state: State,
        position: Position,
        read_at: LogEnd,
        count_max: int,
    ) -> bool:
        """Keep a state in place of another of its revision, and of all those of the stream the
        newest `count_max`; answers whether it is among them. One whose stream was deleted, or of
        which an event was redacted since the log ended at `read_at`, is not.
        """

    async def newest(
        self, tenant: TenantId, stream: StreamName, before: Revision
    ) -> StoredSnapshot | None:
        """The newest snapshot of a stream before a revision."""
