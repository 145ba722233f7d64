"""Schemas and snapshots to messages of the contract and back. Knows no call."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Final

from google.protobuf import json_format

from girih.client.events import Compatibility, SchemaVersion, Snapshot
from girih.events.v1 import schemas_pb2, snapshots_pb2
from girih.ids import Revision

_COMPATIBILITIES: Final = {
    Compatibility.NONE: schemas_pb2.COMPATIBILITY_NONE,
    Compatibility.BACKWARD: schemas_pb2.COMPATIBILITY_BACKWARD,
    Compatibility.FORWARD: schemas_pb2.COMPATIBILITY_FORWARD,
    Compatibility.FULL: schemas_pb2.COMPATIBILITY_FULL,
}
_BY_NUMBER: Final = {number: word for word, number in _COMPATIBILITIES.items()}


def register_schema_request(
    event_type: str, version: int, schema: object, compatibility: Compatibility | None
) -> schemas_pb2.RegisterSchemaRequest:
    return schemas_pb2.RegisterSchemaRequest(
        type=event_type,
        version=version,
        schema=json.dumps(schema, ensure_ascii=False),
        compatibility=None if compatibility is None else _COMPATIBILITIES[compatibility],
    )


def register_upcaster_request(
    event_type: str,
    from_version: int,
    to_version: int,
    steps: Sequence[Mapping[str, Mapping[str, object]]],
    examples: Sequence[object],
) -> schemas_pb2.RegisterUpcasterRequest:
    """Raises ValueError for a step that is none."""
    request = schemas_pb2.RegisterUpcasterRequest(
        type=event_type, examples=[json.dumps(one, ensure_ascii=False) for one in examples]
    )
    request.upcaster.from_version, request.upcaster.to_version = from_version, to_version
    for step in steps:
        try:
            json_format.ParseDict(_spelled(step), request.upcaster.steps.add())
        except json_format.ParseError as error:
            raise ValueError(f"a step must be as in the contract: {error}") from None
    return request


def _spelled(step: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """With values as JSON texts, as messages have them."""
    return {
        name: {
            key: json.dumps(value, ensure_ascii=False) if key == "value" else value
            for key, value in change.items()
        }
        for name, change in step.items()
    }


def schema_version(message: schemas_pb2.SchemaVersion) -> SchemaVersion:
    return SchemaVersion(
        type=message.type,
        version=message.version,
        compatibility=_BY_NUMBER[message.compatibility],
        registered_at=message.registered_at.ToDatetime(tzinfo=UTC),
        has_upcaster=message.has_upcaster,
    )


def snapshot(message: snapshots_pb2.Snapshot) -> Snapshot:
    is_json = message.WhichOneof("state") == "json"
    return Snapshot(
        revision=Revision(message.revision),
        schema_version=message.schema_version,
        state=message.json.encode() if is_json else message.binary,
        content_type=message.content_type,
        saved_at=message.saved_at.ToDatetime(tzinfo=UTC),
        is_older=message.is_older,
    )
