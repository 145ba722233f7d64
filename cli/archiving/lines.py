"""An event of an archive as a line of JSON, and back: the messages of the contract, and digests."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format

from cli.archiving.sealing import Damaged
from girih.events.v1 import events_pb2, transfer_pb2


class ArchivedEvent(NamedTuple):
    """An event with its digests."""

    event: transfer_pb2.RestoredEvent
    leaf_digest: bytes


def line_of(recorded: events_pb2.RecordedEvent, digests: transfer_pb2.EventDigests) -> bytes:
    """Its JSON is text in text, so that every byte of it is kept."""
    document = {
        "recorded": json_format.MessageToDict(recorded),
        "digest": digests.digest.hex(),
        "leafDigest": digests.leaf_digest.hex(),
    }
    if recorded.HasField("gone"):
        document["payloadDigest"] = digests.payload_digest.hex()
    return dumped(document)


def event_of(line: bytes, where: str) -> ArchivedEvent:
    """Raises Damaged, naming `where` it stands."""
    document = loaded(line, where)
    try:
        event = transfer_pb2.RestoredEvent(
            digest=bytes.fromhex(document["digest"]),
            payload_digest=bytes.fromhex(document.get("payloadDigest", "")),
        )
        json_format.ParseDict(document["recorded"], event.recorded)
        return ArchivedEvent(event, bytes.fromhex(document["leafDigest"]))
    except (KeyError, TypeError, ValueError, json_format.ParseError) as error:
        raise Damaged(f"{where} holds no event: {error}") from error


def snapshot_line_of(saved: transfer_pb2.ReadSnapshotsResponse) -> bytes:
    return dumped(json_format.MessageToDict(saved))


def snapshot_of(line: bytes, where: str) -> transfer_pb2.ReadSnapshotsResponse:
    """Raises Damaged."""
    message = transfer_pb2.ReadSnapshotsResponse()
    try:
        json_format.ParseDict(loaded(line, where), message)
    except json_format.ParseError as error:
        raise Damaged(f"{where} holds no snapshot: {error}") from error
    return message


def loaded(line: bytes, where: str) -> dict[str, Any]:
    """The object of a line. Raises Damaged."""
    try:
        document = json.loads(line)
    except ValueError as error:
        raise Damaged(f"{where} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise Damaged(f"{where} is no JSON object")
    return document


def dumped(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
