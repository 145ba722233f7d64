"""What a reader is told of how far it is, beside the records. Knows no wire."""

from collections.abc import Callable
from typing import NamedTuple

from girih.ids import Position


class Checkpoint(NamedTuple):
    """Everything up to a position was looked at, in the order of reading."""

    position: Position


class CaughtUp(NamedTuple):
    """The reader is where the log ends."""

    position: Position


class FellBehind(NamedTuple):
    """The reader is not where the log ends any more."""

    position: Position


class Heartbeat(NamedTuple):
    """Nothing else has happened for a while."""

    position: Position
    head: Position
    lag_s: float
    """For how long the reader has not been where the log ends."""


Signal = Checkpoint | CaughtUp | FellBehind | Heartbeat

Encode = Callable[[Signal, str], bytes]
"""Makes the response of a signal, and of the incarnation of the log that the position is in."""
