"""Types of names and places, and ids that nobody else has. Knows the clock, not what they name."""

import os
import threading
import time
from typing import Final, NewType
from uuid import UUID

TenantId = NewType("TenantId", str)
"""Whose data it is: 1 to 63 of a-z 0-9 -."""

NO_TENANT: Final = TenantId("")
"""Where it is nobody's."""

EventId = NewType("EventId", str)
"""A UUID as text, unique per log for ever."""

StreamName = NewType("StreamName", str)
"""The name of a stream, 1 to 255 characters."""

RULES_STREAM: Final = StreamName("$streams")
"""Whose events say what holds for the streams of its log, in the order in which it came to."""

Position = NewType("Position", int)
"""A place in the log: 1, 2, 3, ... without gaps. 0 is before the first."""

NO_POSITION: Final = Position(0)
"""Where a log without events ends."""

Revision = NewType("Revision", int)
"""A place in a stream: 0, 1, 2, ... without gaps."""

_COUNTER_MAX = 0xFFF


def uuid7_at(unix_ms: int, random: bytes) -> UUID:
    """The UUID of version 7 of a moment, with 10 bytes of chance, of which 6 bits are given up."""
    number = unix_ms << 80 | int.from_bytes(random)
    version_and_variant = 0xF << 76 | 0b11 << 62
    return UUID(int=number & ~version_and_variant | 7 << 76 | 0b10 << 62)


class UuidMaker:
    """Makes UUIDs of version 7 (RFC 9562), each greater than the one before.

    48 bits of milliseconds, a counter of 12 bits for those of one millisecond, 62 bits of
    randomness. Ids made one after the other lie beside each other in an index, which writes
    a third less than random ones do. Safe from many threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unix_ms = 0
        self._counter = 0

    def make(self, unix_ms: int | None = None) -> UUID:
        """A new id; a clock that goes back, or stands, does not take the order back."""
        now_ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
        with self._lock:
            if now_ms > self._unix_ms:
                self._unix_ms, self._counter = now_ms, 0
            elif self._counter < _COUNTER_MAX:
                self._counter += 1
            else:
                self._unix_ms, self._counter = self._unix_ms + 1, 0
            made_ms, counter = self._unix_ms, self._counter
        return uuid7_at(made_ms, counter.to_bytes(2) + os.urandom(8))


_maker = UuidMaker()


def uuid7() -> UUID:
    """A new UUID of version 7, greater than those this process made before."""
    return _maker.make()


def new_event_id() -> EventId:
    """An id for a new event, as the event store takes it."""
    return EventId(str(uuid7()))


def new_correlation_id() -> str:
    """An id for a new chain of calls: 32 hexadecimal digits, unpredictable."""
    return os.urandom(16).hex()
