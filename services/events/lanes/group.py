"""What a consumer group is, and what is known of its lanes. Knows neither storage nor wire.

The events of a group come in order of their keys. A key is a stream, or a tag; its hash says which
lane its events are of, for any number of lanes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Final, NamedTuple, NewType
from zlib import crc32

from girih.ids import Position
from services.events.matching.queries import Filter, Labels

GroupName = NewType("GroupName", str)
Key = NewType("Key", str)

CREDITS_MAX: Final = 10_000
GROUP_COUNT_MAX: Final = 1_000
"""Of a tenant."""
CONSUMER_COUNT_MAX: Final = 1_000
"""Of a group."""
CUT_COUNT_MAX: Final = 8
"""Of a group, which still tell something."""
HELD_COUNT_MAX: Final = 10_000
"""Of a lane, unless a group says otherwise."""
LEASE_S: Final = 10.0
"""Unless a group says otherwise."""
DELAY_MAX_S: Final = 30 * 86_400.0


@dataclass(frozen=True)
class GroupSettings:
    """What a group is told to be."""

    lane_count: int
    key_tag_prefix: str = ""
    filter: bytes | None = None
    """As the contract has it; None wants all."""
    attempt_count_max: int = 0
    """After so many an event is parked; 0 for never."""
    passes_parked: bool = False
    """What is behind a parked event of its key goes on."""
    held_count_max: int = HELD_COUNT_MAX
    lease_s: float = LEASE_S


class StoredGroup(NamedTuple):
    """A group, and the version of its settings."""

    settings: GroupSettings
    version: int
    created_at: datetime


class HeldState(Enum):
    """Why an event waits apart from its lane."""

    RETRY = "retry"
    """It is to be tried again."""
    WAITING = "waiting"
    """One of its key before it is held."""
    PARKED = "parked"


@dataclass(frozen=True)
class HeldEvent:
    """An event that waits apart from its lane."""

    position: Position
    key: Key
    state: HeldState
    attempt_count: int
    due_s: float
    """When it may be tried, by the clock of who leads the lane."""
    reason: str = ""


class ParkedEvent(NamedTuple):
    """An event that is parked, for people."""

    position: Position
    key: Key
    reason: str
    attempt_count: int
    parked_at: datetime
    waiting_count: int


@dataclass(frozen=True)
class Cut:
    """What was settled when lanes were cut otherwise."""

    through: Position
    """Nothing behind it was."""
    checkpoints: Sequence[Position]
    """One for each lane that there was."""
    acked: frozenset[Position]
    """Acknowledged beyond them."""
    incarnation: str
    filter: bytes | None = None
    """What was wanted, as `GroupSettings` has it."""
    wanted: Filter | None = None
    """The same, once somebody has read it."""

    def is_over(self, position: Position, labels: Labels, key_hash: int) -> bool:
        """Whether the event there was settled or held, or is none of the group's."""
        if position > self.through:
            return False
        if self.wanted is not None and not self.wanted.matches(labels):
            return True
        checkpoint = self.checkpoints[key_hash % len(self.checkpoints)]
        return position <= checkpoint or position in self.acked


@dataclass(frozen=True)
class ClaimedLane:
    """A lane as its new leader finds it."""

    number: int
    token: int
    checkpoint: Position
    acked: Sequence[Position] = ()
    incarnation: str = ""
    held: Sequence[HeldEvent] = ()
    cuts: Sequence[Cut] = ()

    @cached_property
    def reached(self) -> Position:
        """Nothing behind it is known of the lane."""
        return max([self.checkpoint, *self.acked, *(held.position for held in self.held)])


@dataclass(frozen=True)
class LaneChange:
    """What is written of a lane: where it is then, and what it holds apart."""

    lane: int
    token: int
    checkpoint: Position
    incarnation: str
    acked: Sequence[Position]
    """All beyond the checkpoint, in order."""
    held: Sequence[HeldEvent] = ()
    """Held from now on, or otherwise than before."""
    freed: Sequence[Position] = ()
    """Not held any more."""
    settled: Sequence[Position] = ()
    """What consumers said of these is durable with it."""


class Beat(NamedTuple):
    """What a consumer learns when it says that it is there."""

    version: int
    """Of the group's settings."""
    created_at: datetime
    lane_count: int
    rank: int
    """Among the consumers that are there, from 0."""
    consumer_count: int
    """0 when there are as many as there may be, and this one is not among them."""
    kept: frozenset[int]
    """The lanes that it still leads."""
    is_freed: bool
    """Others were not given lanes because of it, and are again."""

    @property
    def share(self) -> int:
        """How many lanes are its own, when all have as many but for one."""
        each, more = divmod(self.lane_count, self.consumer_count)
        return each + (self.rank < more)


class ConsumerState(NamedTuple):
    """A consumer, for people."""

    consumer: str
    called: str
    actor: str
    joined_at: datetime
    lane_count: int


class LaneState(NamedTuple):
    """A lane, for people."""

    lane: int
    token: int
    consumer: str
    checkpoint: Position
    incarnation: str
    next_recorded_at: datetime | None
    """Of the first record behind the checkpoint, whatever lane it is of."""
    held_recorded_at: datetime | None
    """Of the first event that is held."""
    held_count: int
    parked_count: int


@dataclass(frozen=True)
class GroupState:
    """A group, for people."""

    group: StoredGroup
    head: Position
    now: datetime
    consumers: Sequence[ConsumerState] = field(default=())
    lanes: Sequence[LaneState] = field(default=())


class GroupSummary(NamedTuple):
    """A group of a list."""

    name: GroupName
    lane_count: int
    version: int
    consumer_count: int
    checkpoint: Position
    held_count: int
    parked_count: int


def key_of(stream: str, tags: Iterable[str], tag_prefix: str) -> Key:
    """What an event must come in order of."""
    if tag_prefix:
        named = min((tag for tag in tags if tag.startswith(tag_prefix)), default=None)
        if named is not None:
            return Key(named)
    return Key(stream)


def hash_of(key: Key) -> int:
    """The same for ever: rows of held events and of cuts are made by it."""
    return crc32(key.encode())
