"""The stored record: a `RecordedEvent` as bytes, put together and never taken apart.

It is stored in two pieces, so that the payload can be taken away and all else stays. The
header is a `RecordedEvent` whose event has no payload, the payload piece one that has nothing
but an event with its payload: protobuf merges a field that comes twice, so one behind the other
they are the whole. Both are put together from the bytes of their fields, so that an event is
serialized once in its life. Every field below is written with its tag and length.

There are two digests of a record, both SHA-256. `digest` is stored. `leaf_digest` is computed when
somebody asks for it, from the header and `digest`, so also when the payload is gone. Whoever
takes a payload away puts the digest of its piece into `payload_digest`, since `digest` takes that
one as well.

    digest       "girih event 1", the digest of the payload piece (32 bytes),
                 the header's event (an `Event` without payload, its map in the order of keys)
    leaf digest  0, 1, position, revision, recorded at in microseconds since 1970 (8 bytes each,
                 big-endian), the length of the context (4 bytes, big-endian),
                 the context (a `Context`), digest

The event's `digest` tells whether two events are the same. The leaf digest is that of a leaf of
a Merkle tree over positions as in RFC 6962, which hashes 0 before a leaf and 1 before a node;
the second byte is the version of the layout. It covers the stream, the type, the id and the rest
of the event through `digest`.
"""

import struct
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import sha256

from google.protobuf.timestamp_pb2 import Timestamp

from girih.events.v1 import events_pb2 as pb
from services.events.domain import CallContext, PlacedEvent
from services.plumbing.correlation import Call
from services.plumbing.wire import varint

Encode = Callable[[PlacedEvent], bytes]

_DIGEST_LABEL = b"girih event 1"
_pack_leaf = struct.Struct(">BBQQQI").pack


def encoder_at(recorded_at: datetime) -> Encode:
    """Makes the headers of events placed at that time."""
    timestamp = timestamp_of(recorded_at)
    recorded_at_field = pb.RecordedEvent(recorded_at=timestamp).SerializeToString()

    def encode(placed: PlacedEvent) -> bytes:
        event, position, _, revision, (_, context) = placed
        return b"".join(
            (
                b"\x08",
                varint(position),
                _revision_field(revision),
                recorded_at_field,
                b"\x22",
                varint(len(context)),
                context,
                b"\x2a",
                varint(len(event.header)),
                event.header,
            )
        )

    return encode


def leaf_digest(header: bytes, digest: bytes) -> bytes:
    """The digest of a record to be a leaf of a tree, from what stays of it without its payload."""
    record = pb.RecordedEvent.FromString(header)
    context = record.context.SerializeToString()
    recorded_at_us = record.recorded_at.ToMicroseconds()
    leaf = _pack_leaf(0, 1, record.position, record.revision, recorded_at_us, len(context))
    return sha256(leaf + context + digest).digest()


def timestamp_of(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def payload_piece(event: pb.Event) -> bytes:
    """The payload of `event` as it is stored behind the header; empty when it has none."""
    payload = event.WhichOneof("payload")
    if payload is None:
        return b""
    tag, content = (b"\x2a", event.json.encode()) if payload == "json" else (b"\x32", event.binary)
    length = varint(len(content))
    return b"".join((b"\x2a", varint(1 + len(length) + len(content)), tag, length, content))


def event_digest(header: bytes, payload_digest: bytes) -> bytes:
    """The digest of an event, from its header and the digest of its payload piece."""
    return sha256(_DIGEST_LABEL + payload_digest + header).digest()


def call_context(call: Call) -> CallContext:
    context = pb.Context(
        correlation_id=call.correlation_id,
        causation_id=call.causation_id,
        actor=call.principal.subject if call.principal else "",
    )
    return CallContext(call.correlation_id, context.SerializeToString())


def read_response(records: Sequence[bytes]) -> bytes:
    """A serialized `ReadResponse` of `records`, which are not looked into."""
    pieces: list[bytes] = []
    for record in records:
        pieces += (_events_tag(len(record)), record)
    return b"".join(pieces)


@lru_cache(maxsize=16_384)
def _events_tag(byte_count: int) -> bytes:
    return b"\x0a" + varint(byte_count)


@lru_cache(maxsize=4_096)
def _revision_field(revision: int) -> bytes:
    return b"\x10" + varint(revision) if revision else b""
