"""The event of `$streams` that says what is asked to hold for a stream. Knows no log.

Its JSON names the stream and what was asked, and its tag is the stream: whoever follows `$streams`
learns of every rule, whichever server it was given to.
"""

import json
from typing import Final

from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.ids import RULES_STREAM, new_event_id

_RETENTION_PARTS: Final = {
    "max_age_s": "maxAgeS",
    "max_count": "maxCount",
    "truncate_before": "truncateBefore",
}

AnyEndingRequest = keeping_pb.DeleteStreamRequest | keeping_pb.TombstoneStreamRequest


def metadata_event(request: keeping_pb.SetStreamMetadataRequest) -> pb.Event:
    stream, text = json.dumps(request.stream), request.metadata
    return _event(
        "metadata-set", request.id, request.stream, f'{{"stream":{stream},"metadata":{text}}}'
    )


def retention_event(request: keeping_pb.SetStreamRetentionRequest) -> pb.Event:
    asked, payload = request.retention, {"stream": request.stream}
    for name, spelled in _RETENTION_PARTS.items():
        if asked.HasField(name):
            payload[spelled] = str(getattr(asked, name))
    return _event("retention-set", request.id, request.stream, _written(payload))


def ending_event(request: AnyEndingRequest) -> pb.Event:
    payload = {"stream": request.stream}
    if request.HasField("expected_revision"):
        payload["expectedRevision"] = str(request.expected_revision)
    is_tombstone = isinstance(request, keeping_pb.TombstoneStreamRequest)
    event_type = "tombstoned" if is_tombstone else "deleted"
    return _event(event_type, request.id, request.stream, _written(payload))


def redaction_event(
    request: keeping_pb.RedactEventRequest, *, stream: str, event_id: str
) -> pb.Event:
    """`stream` and `event_id` are those of the event that loses its payload."""
    payload = {
        "stream": stream,
        "position": str(request.position),
        "eventId": event_id,
        "reason": request.reason,
    }
    return _event("redacted", request.id, stream, _written(payload))


def _event(event_type: str, event_id: str, stream: str, payload: str) -> pb.Event:
    return pb.Event(
        id=event_id or new_event_id(),
        stream=RULES_STREAM,
        type=event_type,
        json=payload,
        tags=[stream],
    )


def _written(payload: dict[str, str]) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
