"""Short ways to what the service of schemas is asked, and to what it refuses."""

import json
from collections.abc import Awaitable
from typing import Any
from uuid import uuid4

import grpc.aio
import pytest

from girih.events.v1 import events_pb2
from girih.events.v1 import schemas_pb2 as pb
from services.plumbing.grpc.errors import RemoteError, from_rpc_error

CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"by": {"type": "string"}},
    "required": ["by"],
    "additionalProperties": False,
}
"""Takes `{"by": "..."}` and nothing else."""


def schema_request(
    schema: Any, version: int = 1, name: str = "submitted", compatibility: str = "UNSPECIFIED"
) -> pb.RegisterSchemaRequest:
    return pb.RegisterSchemaRequest(
        type=name,
        version=version,
        schema=json.dumps(schema),
        compatibility=f"COMPATIBILITY_{compatibility}",
    )


def append_request(
    value: Any, version: int = 1, name: str = "submitted", stream: str = "permit-1"
) -> events_pb2.AppendRequest:
    """One event, whose JSON is `value`."""
    event = events_pb2.Event(
        id=str(uuid4()),
        stream=stream,
        type=name,
        schema_version=version,
        json=json.dumps(value),
    )
    return events_pb2.AppendRequest(events=[event])


async def refusal(call: Awaitable[object]) -> RemoteError:
    """What a call is refused with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def upcaster_request(
    from_version: int, to_version: int, *steps: dict[str, Any], name: str = "submitted"
) -> pb.RegisterUpcasterRequest:
    return pb.RegisterUpcasterRequest(
        type=name,
        upcaster={"from_version": from_version, "to_version": to_version, "steps": list(steps)},
    )
