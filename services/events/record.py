"""The stored record: a `RecordedEvent` as bytes, put together and never taken apart.

It is put together from the bytes of its fields, so that an event is serialized once in its
life. Every field below is written with its tag and length.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp

from girih.events.v1 import events_pb2 as pb
from services.events.domain import PlacedEvent
from services.plumbing.correlation import Call

Encode = Callable[[PlacedEvent], bytes]


def encoder_at(time_ns: int) -> Encode:
    """Makes records, as serialized `RecordedEvent`s, of events placed at `time_ns`."""
    recorded_at = Timestamp()
    recorded_at.FromNanoseconds(time_ns)
    recorded_at_field = pb.RecordedEvent(recorded_at=recorded_at).SerializeToString()

    def encode(placed: PlacedEvent) -> bytes:
        event, position, revision, context_field = placed
        return b"".join(
            (
                b"\x08",
                _varint(position),
                _revision_field(revision),
                recorded_at_field,
                context_field,
                b"\x2a",
                _varint(len(event.content)),
                event.content,
            )
        )

    return encode


def context_field(call: Call) -> bytes:
    context = pb.Context(
        correlation_id=call.correlation_id,
        causation_id=call.causation_id,
        actor=call.principal.subject if call.principal else "",
    )
    return pb.RecordedEvent(context=context).SerializeToString()


def read_response(records: Sequence[bytes]) -> bytes:
    """A serialized `ReadResponse` of `records`, which are not looked into."""
    pieces: list[bytes] = []
    for record in records:
        pieces += (_events_tag(len(record)), record)
    return b"".join(pieces)


@lru_cache(maxsize=16_384)
def _events_tag(byte_count: int) -> bytes:
    return b"\x0a" + _varint(byte_count)


@lru_cache(maxsize=4_096)
def _revision_field(revision: int) -> bytes:
    return b"\x10" + _varint(revision) if revision else b""


def _varint(number: int) -> bytes:
    """`number`, 0 or more, seven bits to the byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
