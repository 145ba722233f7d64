"""What a consumer and the service say to each other. Knows no wire."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from girih.ids import Position
from services.events.lanes.group import GroupName
from services.events.matching.queries import Labels
from services.plumbing.errors import ServiceError


class Start(NamedTuple):
    """Who consumes what."""

    group: GroupName
    called: str
    credits: int


class Acknowledge(NamedTuple):
    """Events of a lane are handled."""

    lane: int
    token: int
    positions: Sequence[Position]


class RetryLater(NamedTuple):
    """An event is to be tried again."""

    lane: int
    token: int
    position: Position
    delay_s: float
    reason: str


class Park(NamedTuple):
    """An event is not to be tried again."""

    lane: int
    token: int
    position: Position
    reason: str


class SetCredits(NamedTuple):
    """So many events may be with the consumer."""

    credits: int


class Alive(NamedTuple):
    """The consumer is alive."""

    number: int
    lanes_seen: int
    """So many times it has taken note of which lanes it has."""


Request = Start | Acknowledge | RetryLater | Park | SetCredits | Alive


class Started(NamedTuple):
    """The consumer is there, with that lease from now on."""

    consumer: str
    lease_s: float


class Delivered(NamedTuple):
    """An event for the consumer."""

    lane: int
    token: int
    attempt: int
    event: bytes
    """The record, as the wire has it."""


Deliveries = list[Delivered]


class Settled(NamedTuple):
    """What was said of these is durable."""

    positions: Sequence[Position]


class Refused(NamedTuple):
    """What was said of an event, if of one, is not accepted."""

    position: Position
    error: ServiceError


class LanesHeld(NamedTuple):
    """The lanes that the consumer has, and their tokens."""

    tokens: Mapping[int, int]


class ServiceAlive(NamedTuple):
    """The consumer was heard, and has its lanes for so long."""

    number: int
    valid_s: float


Response = Started | Deliveries | Settled | Refused | LanesHeld | ServiceAlive


class ReadEvent(NamedTuple):
    """An event that was read, and what it is told apart by."""

    position: Position
    labels: Labels
    event: bytes
    """The record, as the wire has it."""


class ReadBatch(NamedTuple):
    """What a followed read answers."""

    events: Sequence[ReadEvent]
    position: Position
    """Everything up to there was looked at."""
    incarnation: str
