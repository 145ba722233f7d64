"""Records without their payload. Knows how a record lies in bytes, and takes the least of it apart.

What is left of an event that is gone is its record up to the payload, the length of its event told
anew, and the field `gone` before it. See `record.py` for how it was put together.
"""

from datetime import UTC, datetime, timedelta

from girih.ids import Position
from services.events.rules.stream_rules import Gone
from services.plumbing.wire import field, read_varint, varint

_EVENT_TAG = 0x2A
"""Of a `RecordedEvent`. All that stands before it are numbers and fields with a length."""
_GONE = 6
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def position_of(record: bytes) -> Position:
    """The position that a record begins with."""
    position, _ = read_varint(record, 1)
    return Position(position)


def without_payload(header: bytes, gone: Gone) -> bytes:
    """The record of which `header` is what stands before the payload, as it reads once that is
    gone. It is the header of what is left as well.
    """
    tag_at = _event_at(header)
    _, content_at = read_varint(header, tag_at + 1)
    content = header[content_at:]
    return b"".join(
        (
            header[:tag_at],
            field(_GONE, _serialized(gone)),
            bytes((_EVENT_TAG,)),
            varint(len(content)),
            content,
        )
    )


def _event_at(header: bytes) -> int:
    at = 0
    while header[at] != _EVENT_TAG:
        is_number = header[at] & 7 == 0
        number, behind = read_varint(header, at + 1)
        at = behind if is_number else behind + number
    return at


def _serialized(gone: Gone) -> bytes:
    """A `Gone` of the contract."""
    since = (gone.at - _EPOCH) // timedelta(microseconds=1)
    seconds, microseconds = divmod(since, 1_000_000)
    at = b"\x08" + varint(seconds)
    if microseconds:
        at += b"\x10" + varint(microseconds * 1_000)
    actor = field(3, gone.actor.encode()) if gone.actor else b""
    return b"".join(
        (
            b"\x08" + varint(gone.reason),
            field(2, at),
            actor,
            b"\x20" + varint(gone.position),
        )
    )
