"""Groups, their lanes and what they have parked, as values. Knows no call."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from girih.client.events import Query
from girih.ids import Position


class ParkingPolicy(Enum):
    """What becomes of the events of a key when one of them is parked."""

    HOLD = "hold"
    """They wait until it is replayed and acknowledged, or discarded."""
    PASS = "pass"  # noqa: S105 - it lets them by
    """They go on without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSettings:
    """What a group is."""

    lane_count: int = 8
    """So many consumers can work at once: 1 to 256."""
    key_tag_prefix: str = ""
    """Events come in order of the first of their tags that begins so, or of their stream. Empty
    takes the stream of all. Never changes."""
    filter: Query | Sequence[Query] = ()
    """Which events are wanted; none of them means all, those of reserved streams too."""
    attempt_count_max: int = 10
    """After so many an event is parked; 0 means never."""
    parking: ParkingPolicy = ParkingPolicy.HOLD
    held_count_max: int = 10_000
    """So many events of a lane may wait apart from it, then the lane waits."""
    lease_s: float = 10.0
    """A consumer that is silent for so long loses its lanes: 1 s to 10 minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConsumer:
    """Somebody who consumes a group."""

    consumer: str
    """Its id, another one for each call."""
    name: str
    actor: str
    """Who it is, as its token proved."""
    joined_at: datetime
    lane_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLane:
    """How far a lane is."""

    lane: int
    token: int
    """The fencing token of its lease."""
    consumer: str
    """Who has it; empty while nobody does."""
    position: Position
    """Everything of the lane up to here is settled or held."""
    lag_count: int
    """Positions of the log behind that, those of other lanes included."""
    lag_s: float
    oldest_recorded_at: datetime | None
    """When the oldest event was recorded that is not settled; None when all are."""
    held_count: int
    parked_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group, as it is now."""

    group: str
    settings: GroupSettings
    version: int
    """Of its settings: one more with each change."""
    created_at: datetime
    incarnation: str
    """Of the log that its lanes have read."""
    head: Position
    """Where the log ends."""
    consumers: tuple[GroupConsumer, ...]
    lanes: tuple[GroupLane, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """A group of a list."""

    group: str
    lane_count: int
    version: int
    consumer_count: int
    position: Position
    """Everything up to here is settled or held, in all of its lanes."""
    held_count: int
    parked_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEvent:
    """An event that a group has parked. `read` tells what is in it."""

    position: Position
    key: str
    """What the group keeps in order by it: its stream, or a tag."""
    reason: str
    """As the consumer said it that tried it last."""
    attempt_count: int
    parked_at: datetime
    waiting_count: int
    """Events of its key that wait behind it."""
