"""Snapshots between the wire and what they are."""

from girih.events.v1 import snapshots_pb2 as pb
from girih.ids import Revision, StreamName
from services.events import json_text
from services.events.domain import LogEnd
from services.events.snapshot import STATE_BYTES_MAX, State, StoredSnapshot
from services.plumbing import validation
from services.plumbing.errors import Violations


def asked_state(request: pb.SaveSnapshotRequest) -> State:
    """The state to keep. Raises `InvalidInput` with every bad field.

    Takes as long as it takes to parse its JSON: half a second for the worst of it.
    """
    violations = Violations()
    validation.add_violations(request, violations)
    name = request.WhichOneof("state") or "binary"
    content = request.json.encode() if name == "json" else request.binary
    if len(content) > STATE_BYTES_MAX:
        violations.add(name, f"must be at most {STATE_BYTES_MAX:,} bytes")
    elif name == "json":
        if request.content_type:
            violations.add("content_type", "must be empty beside json")
        if problem := json_text.problem(request.json):
            violations.add("json", problem)
    violations.raise_if_any()
    return State(
        Revision(request.revision),
        request.schema_version,
        content,
        name == "json",
        request.content_type,
    )


def asked_load(request: pb.LoadStreamRequest) -> StreamName:
    """Raises `InvalidInput` with every bad field."""
    validation.check(request)
    return StreamName(request.stream)


def load_response(
    stored: StoredSnapshot | None, known_version: int, end: LogEnd
) -> pb.LoadStreamResponse:
    """The first response, with the snapshot that was found."""
    response = pb.LoadStreamResponse(incarnation=end.incarnation, head_position=end.head)
    if stored is None:
        return response
    state, snapshot = stored.state, response.snapshot
    if state.is_json:
        snapshot.json = state.content.decode()
    elif state.content:
        snapshot.binary = state.content
    snapshot.revision = state.revision
    snapshot.schema_version = state.schema_version
    snapshot.content_type = state.content_type
    snapshot.digest = state.digest.hex()
    snapshot.saved_at.FromDatetime(stored.saved_at)
    snapshot.is_older = state.schema_version < known_version
    return response
