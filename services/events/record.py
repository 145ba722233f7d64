"""The stored record: a `RecordedEvent` as bytes, put together and never taken apart.

It is stored in two pieces, so that the payload can be taken away and all else stays: the
header, which ends in the event, and the payload, the event's last field. One behind the other
they are the whole, so the length of the event that the header tells is that of both. Whoever
takes a payload away writes the length anew. Each is put together from the bytes of its fields, so
that an event is serialized once in its life. Every field below is written with its tag and length.

An event comes once in a record, and not as two halves that protobuf would merge: parsers that
people use for JavaScript keep the last half only.

There are two digests of a record, both SHA-256. `digest` is stored. `leaf_digest` is computed when
somebody asks for it, from the record and `digest`, so also when the payload is gone. Whoever
takes a payload away puts its digest into `payload_digest`, since `digest` takes that one as well.

    digest       "girih event 1", the payload digest (32 bytes),
                 the header's event (an `Event` without payload, its map in the order of keys)
    payload      of a `RecordedEvent` that has nothing but an event with this payload; of nothing
    digest       when there is none
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
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final

from girih.events.v1 import events_pb2 as pb
from services.events.domain import RECORD_TAG, CallContext, PlacedEvent
from services.events.reading.signals import CaughtUp, Checkpoint, FellBehind, Heartbeat, Signal
from services.plumbing import wire
from services.plumbing.correlation import Call
from services.plumbing.wire import LENGTH_DELIMITED, field, read_varint, varint

Encode = Callable[[PlacedEvent], bytes]

_CONTEXT = pb.RecordedEvent.CONTEXT_FIELD_NUMBER
_EVENT = pb.RecordedEvent.EVENT_FIELD_NUMBER
_EVENT_TAG = wire.tag(_EVENT)
TAGS_TAG: Final = bytes([wire.tag(pb.Event.TAGS_FIELD_NUMBER)])
"""Stands before each tag in the header of an event: where it is nowhere, there are none."""
_DIGEST_LABEL = b"girih event 1"
_JSON_TAG = b"\x2a"
_pack_leaf = struct.Struct(">BBQQQI").pack


def encoder_at(recorded_at: datetime) -> Encode:
    """Makes the headers of events placed at that time."""
    recorded_at_field = pb.RecordedEvent(recorded_at=recorded_at).SerializeToString()

    def encode(placed: PlacedEvent) -> bytes:
        event, position, _, revision, (_, context_field) = placed
        header = event.header
        return b"".join(
            (
                b"\x08",
                varint(position),
                _revision_field(revision),
                recorded_at_field,
                context_field,
                _before_event(len(header) + len(event.payload)),
                header,
            )
        )

    return encode


def without_payload(header: bytes) -> pb.RecordedEvent:
    """The record whose header it is, its event without the payload, whose length is lost."""
    around, event = _halves(header)
    return pb.RecordedEvent.FromString(around + field(_EVENT, event))


def causation_id_of(header: bytes) -> str:
    """That of the call that appended the record whose header it is."""
    around, _ = _halves(header)
    return pb.RecordedEvent.FromString(around).context.causation_id


def _halves(header: bytes) -> tuple[bytes, bytes]:
    """What stands before the event of a header, and the event as far as it is there."""
    at = 0
    while (tag := header[at]) != _EVENT_TAG:
        number, at = read_varint(header, at + 1)
        if tag & 7 == LENGTH_DELIMITED:
            at += number
    _, start = read_varint(header, at + 1)
    return header[:at], header[start:]


def leaf_digest(whole: bytes, digest: bytes) -> bytes:
    """The digest of a record to be a leaf of a tree: the same when its payload is gone."""
    return leaf_digest_of(pb.RecordedEvent.FromString(whole), digest)


def leaf_digest_of(record: pb.RecordedEvent, digest: bytes) -> bytes:
    """The same of a record that was taken apart, with its payload or without."""
    context = record.context.SerializeToString()
    recorded_at_us = record.recorded_at.ToMicroseconds()
    leaf = _pack_leaf(0, 1, record.position, record.revision, recorded_at_us, len(context))
    return sha256(leaf + context + digest).digest()


def pieces(event: pb.Event, json: str) -> tuple[bytes, bytes, bytes]:
    """Of `event`, whose JSON is `json`: its header, its payload and its digest.

    The payload is the field as it is stored behind the header, and empty when it has none.
    `event` is left without it, as the header holds it.
    """
    payload = b""
    if json:
        content = json.encode()
        event.ClearField("json")
        payload = _before_json(len(content)) + content
    elif event.HasField("binary"):
        content = event.binary
        event.ClearField("binary")
        payload = _before_binary(len(content)) + content
    # In a fixed order of map keys, so that the same event always has the same digest.
    header = event.SerializeToString(deterministic=True)
    return header, payload, event_digest(header, payload_digest(payload))


def schema_version(header: bytes) -> int:
    """The schema version in a header as `pieces` answers it."""
    return pb.Event.FromString(header).schema_version


def json_of(payload: bytes) -> bytes | None:
    """The JSON in a payload as `pieces` answers it, `null` in none; None where it is none."""
    if not payload:
        return b"null"
    return payload[_content_begins(payload) :] if payload.startswith(_JSON_TAG) else None


def _content_begins(field_bytes: bytes) -> int:
    """Where the content of a field begins whose tag has one byte: behind its length."""
    begins = 2
    while field_bytes[begins - 1] & 0x80:
        begins += 1
    return begins


def payload_digest(payload: bytes) -> bytes:
    """The digest of a payload as `pieces` answers it."""
    # Put together first, since each call of the hash has a price of its own.
    return sha256(_before_event(len(payload)) + payload if payload else b"").digest()


def event_digest(header: bytes, payload_digest: bytes) -> bytes:
    """The digest of an event, from its header and that of its payload."""
    return sha256(_DIGEST_LABEL + payload_digest + header).digest()


def call_context(call: Call) -> CallContext:
    """What the records of a call have in common: who made it, and what it belongs to."""
    context = pb.Context(
        correlation_id=call.correlation_id,
        causation_id=call.causation_id,
        actor=call.principal.subject if call.principal else "",
    )
    return CallContext(call.correlation_id, field(_CONTEXT, context.SerializeToString()))


def read_response(records: Sequence[bytes], incarnation: str = "") -> bytes:
    """A serialized `ReadResponse` of `records`, which are not looked into. Two of them, one
    behind the other, are one as well.
    """
    fields: list[bytes] = []
    for record in records:
        fields += (_events_tag(len(record)), record)
    return response_of(fields, incarnation)


def response_of(fields: Sequence[bytes], incarnation: str = "") -> bytes:
    """The same of records that are fields already: each behind its tag and its length."""
    if not incarnation:
        return b"".join(fields)
    return b"".join((pb.ReadResponse(incarnation=incarnation).SerializeToString(), *fields))


def signal_response(signal: Signal, incarnation: str) -> bytes:
    """A serialized `ReadResponse` that tells how far the reading is."""
    response = pb.ReadResponse(incarnation=incarnation)
    match signal:
        case Checkpoint(position):
            response.checkpoint.CopyFrom(pb.Checkpoint(position=position))
        case CaughtUp(position):
            response.caught_up.CopyFrom(pb.CaughtUp(position=position))
        case FellBehind(position):
            response.fell_behind.CopyFrom(pb.FellBehind(position=position))
        case Heartbeat(position, head, lag_s):
            response.heartbeat.CopyFrom(
                pb.Heartbeat(
                    position=position,
                    head_position=head,
                    lag_count=head - position,
                    lag=timedelta(milliseconds=round(1e3 * lag_s)),
                )
            )
    return response.SerializeToString()


@lru_cache(maxsize=16_384)
def _events_tag(byte_count: int) -> bytes:
    return RECORD_TAG + varint(byte_count)


# What stands before bytes is asked for by their number, which recurs: that takes a fifth of the
# time it takes to put it together.


@lru_cache(maxsize=16_384)
def _before_event(byte_count: int) -> bytes:
    return b"\x2a" + varint(byte_count)


@lru_cache(maxsize=16_384)
def _before_json(byte_count: int) -> bytes:
    return _JSON_TAG + varint(byte_count)


@lru_cache(maxsize=16_384)
def _before_binary(byte_count: int) -> bytes:
    return b"\x32" + varint(byte_count)


@lru_cache(maxsize=4_096)
def _revision_field(revision: int) -> bytes:
    return b"\x10" + varint(revision) if revision else b""
