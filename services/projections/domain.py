"""Projections as they stand: where they are in a log, and what holds them up. Does no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final
from zlib import crc32

from girih.client import RecordedEvent
from girih.ids import NO_POSITION, Position, TenantId
from girih.projection import PoisonPolicy, ReplacedPolicy

SHARE_COUNT: Final = 16
"""Into so many shares the projections of all tenants are cut, each run by one process at a time."""


class StopCause(Enum):
    """Why a generation goes on no more by itself."""

    POISON = "poison"
    """An event cannot be applied."""
    LOG_REPLACED = "log_replaced"
    """The log does not hold any longer what was read of it."""
    QUARANTINE_FULL = "quarantine_full"
    """As many events are put aside as may be."""


class RebuildCause(Enum):
    """Why a generation is built beside the active one."""

    ASKED = "asked"
    NEW_VERSION = "new_version"
    LOG_REPLACED = "log_replaced"


@dataclass(frozen=True, slots=True)
class ProjectionKey:
    """A projection of one tenant."""

    tenant: TenantId
    projection: str

    @property
    def share(self) -> int:
        """The share that it belongs to, the same in every process."""
        return crc32(f"{self.tenant}/{self.projection}".encode()) % SHARE_COUNT


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """How far a generation is, and under which lease it may be moved."""

    key: ProjectionKey
    generation: int
    fence: int
    version: str
    incarnation: str = ""
    """Of the log that it was read from; empty before the first event."""
    position: Position = NO_POSITION


@dataclass(frozen=True, slots=True)
class ReadPlace:
    """What readers see of a projection."""

    generation: int
    position: Position
    """Up to where in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why and since when a generation stands still."""

    cause: StopCause
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A build of a projection, as it stands."""

    checkpoint: Checkpoint
    event_count: int
    """How many events it has applied."""
    moved_at: datetime | None
    stop: Stop | None
    problem: str
    """What went wrong last; empty when nothing does."""
    failed_position: Position | None
    attempt_count: int
    quarantined_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionState:
    """A projection of a tenant, as it stands."""

    key: ProjectionKey
    active: Generation
    building: Generation | None
    rebuild_cause: RebuildCause | None
    is_paused: bool
    poison_policy: PoisonPolicy | None
    """None where the projection's own holds."""
    replaced_policy: ReplacedPolicy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A piece of a log, whole: all events in it that a projection wants, maybe none."""

    events: Sequence[RecordedEvent]
    position: Position
    """Where it ends."""
    incarnation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An event that goes to quarantine."""

    event: RecordedEvent
    problem: str
    is_held_back: bool
    """It was not tried: one of its stream before it was put aside."""
    attempt_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedEvent:
    """An event that was put aside."""

    position: Position
    stream: str
    type: str
    event_id: str
    problem: str
    is_held_back: bool
    attempt_count: int
    set_aside_at: datetime
    is_pending: bool
    """Somebody has asked for something that has not happened yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinePage:
    """Events that were put aside, in the order of their positions."""

    events: Sequence[QuarantinedEvent]
    total_count: int
    """Of all pages."""
