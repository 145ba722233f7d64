"""Schemas between the wire, the events that they are registered by, and the registry."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from girih.events.v1 import events_pb2
from girih.events.v1 import schemas_pb2 as pb
from girih.ids import EventId, new_event_id
from services.events import domain, json_text, record
from services.events.domain import NewEvent, Precondition, Proposal, StreamState
from services.events.schemas.compiled import CompiledSchema
from services.events.schemas.registry import (
    Change,
    Compatibility,
    EventType,
    RegisteredSchema,
    Registry,
    SchemaRegistered,
    SchemasDeleted,
    UpcasterRegistered,
)
from services.events.schemas.upcasting import (
    Add,
    Constant,
    Drop,
    Move,
    Pointer,
    Step,
    Upcaster,
    pointer_of,
    pointer_text,
)
from services.plumbing import validation
from services.plumbing.correlation import Call
from services.plumbing.errors import Violations

REGISTERED: Final = "schema-registered"
UPCASTER_REGISTERED: Final = "upcaster-registered"
DELETED: Final = "schemas-deleted"

COMPATIBILITIES: Final = {
    pb.COMPATIBILITY_NONE: Compatibility.NONE,
    pb.COMPATIBILITY_BACKWARD: Compatibility.BACKWARD,
    pb.COMPATIBILITY_FORWARD: Compatibility.FORWARD,
    pb.COMPATIBILITY_FULL: Compatibility.FULL,
}
_NUMBERS: Final = {word: number for number, word in COMPATIBILITIES.items()}


# Requests


class AskedSchema(NamedTuple):
    """A schema to be registered."""

    type: str
    version: int
    text: bytes
    compatibility: Compatibility | None
    """None for what the version before has."""


class AskedUpcaster(NamedTuple):
    """An upcaster to be registered."""

    type: str
    upcaster: Upcaster
    examples: Sequence[bytes]


def asked_schema(request: pb.RegisterSchemaRequest) -> AskedSchema:
    """Raises `InvalidInput` with every bad field; the schema itself is not looked into."""
    validation.check(request)
    compatibility = COMPATIBILITIES.get(request.compatibility)
    return AskedSchema(request.type, request.version, request.schema.encode(), compatibility)


def asked_upcaster(request: pb.RegisterUpcasterRequest) -> AskedUpcaster:
    """Raises `InvalidInput` with every bad field."""
    violations = Violations()
    validation.add_violations(request, violations)
    steps = [
        _step(step, f"upcaster.steps[{index}]", violations)
        for index, step in enumerate(request.upcaster.steps)
        if not violations.is_full
    ]
    for index, example in enumerate(request.examples):
        if problem := json_text.problem(example):
            violations.add(f"examples[{index}]", problem)
    violations.raise_if_any()
    upcaster = Upcaster(
        request.upcaster.from_version,
        request.upcaster.to_version,
        [step for step in steps if step is not None],
        request.upcaster.ByteSize(),
    )
    return AskedUpcaster(request.type, upcaster, [one.encode() for one in request.examples])


def _step(step: pb.Upcaster.Step, path: str, violations: Violations) -> Step | None:
    """None where something is wrong with it."""
    name = step.WhichOneof("change")
    if name is None:
        return None
    change, path = getattr(step, name), f"{path}.{name}"
    place = _pointer(change.path, f"{path}.path", violations)
    if place is None:
        return None
    if name == "drop":
        return Drop(place)
    if name == "rename":
        return Move(place, (*place[:-1], change.name))
    if name == "move":
        other = _pointer(change.to, f"{path}.to", violations)
        return None if other is None else Move(place, other)
    if problem := json_text.problem(change.value):
        violations.add(f"{path}.value", problem)
        return None
    value = orjson.loads(change.value)
    return Add(place, value) if name == "add" else Constant(place, value)


def _pointer(text: str, path: str, violations: Violations) -> Pointer | None:
    try:
        return pointer_of(text)
    except ValueError as error:
        violations.add(path, str(error))
        return None


class PageAfter(NamedTuple):
    """A page of versions: those behind a type and a version, of one type or of all."""

    type: str
    behind: tuple[bytes, int]
    count_max: int


def asked_page(request: pb.ListSchemasRequest) -> PageAfter:
    """Raises `InvalidInput` with every bad field."""
    validation.check(request)
    version, _, name = request.page_token.partition("-")
    behind = (name.encode(), int(version)) if version else (b"", -1)
    return PageAfter(request.type, behind, domain.page_size(request.page_size))


# Answers


def version_of(name: str, event_type: EventType, registered: RegisteredSchema) -> pb.SchemaVersion:
    return pb.SchemaVersion(
        type=name,
        version=registered.version,
        compatibility=_NUMBERS[registered.compatibility],
        registered_at=registered.registered_at,
        byte_count=len(registered.schema.text),
        has_upcaster=registered.version in event_type.upcasters,
    )


def schema_response(
    name: str, event_type: EventType, registered: RegisteredSchema
) -> pb.GetSchemaResponse:
    response = pb.GetSchemaResponse(
        version=version_of(name, event_type, registered), schema=registered.schema.text.decode()
    )
    upcaster = event_type.upcasters.get(registered.version)
    if upcaster is not None:
        response.upcaster.CopyFrom(upcaster_message(upcaster))
    return response


def list_response(registry: Registry, page: PageAfter) -> pb.ListSchemasResponse:
    names = [page.type] if page.type else registry.types
    places = sorted(
        (name.encode(), version)
        for name in names
        if name in registry.types
        for version in registry.types[name].schemas
    )
    begin = bisect_right(places, page.behind)
    response = pb.ListSchemasResponse()
    for name_bytes, version in places[begin : begin + page.count_max]:
        event_type = registry.types[name_bytes.decode()]
        registered = event_type.schemas[version]
        response.versions.append(version_of(name_bytes.decode(), event_type, registered))
    if begin + page.count_max < len(places):
        last = response.versions[-1]
        response.next_page_token = f"{last.version}-{last.type}"
    return response


def upcaster_message(upcaster: Upcaster) -> pb.Upcaster:
    message = pb.Upcaster(from_version=upcaster.from_version, to_version=upcaster.to_version)
    for step in upcaster.steps:
        _add_step(message.steps.add(), step)
    return message


def _add_step(message: pb.Upcaster.Step, step: Step) -> None:
    path = pointer_text(step.path)
    if isinstance(step, Add):
        message.add.path, message.add.value = path, _text(step.value)
    elif isinstance(step, Constant):
        message.constant.path, message.constant.value = path, _text(step.value)
    elif isinstance(step, Drop):
        message.drop.path = path
    elif step.to[:-1] == step.path[:-1]:
        message.rename.path, message.rename.name = path, step.to[-1]
    else:
        message.move.path, message.move.to = path, pointer_text(step.to)


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


# Events


def registration(registry: Registry, call: Call, change: Change) -> Proposal:
    """The event that makes `change`, to lie where `registry` ends."""
    event_type, content = _content(change)
    event = events_pb2.Event(
        id=new_event_id(), stream=domain.SCHEMAS, type=event_type, json=content, tags=[]
    )
    return Proposal([_new_event(event)], [_where(registry)], record.call_context(call))


def _where(registry: Registry) -> Precondition:
    is_first = registry.revision == domain.NO_REVISION
    expected = StreamState.ABSENT if is_first else registry.revision
    return Precondition(domain.SCHEMAS, expected)


def _new_event(event: events_pb2.Event) -> NewEvent:
    byte_count, event_id = event.ByteSize(), EventId(event.id)
    header, payload, digest = record.pieces(event, event.json)
    return NewEvent(event_id, domain.SCHEMAS, event.type, (), digest, header, payload, byte_count)


def _content(change: Change) -> tuple[str, str]:
    """The type and the JSON of the event that says it."""
    if isinstance(change, SchemaRegistered):
        content: dict[str, object] = {
            "type": change.type,
            "version": change.schema.version,
            "compatibility": change.schema.compatibility.value,
            "schema": orjson.Fragment(change.schema.schema.text),
            "weight": change.schema.schema.weight,
            "pattern_count": change.schema.schema.pattern_count,
        }
        return REGISTERED, _text(content)
    if isinstance(change, UpcasterRegistered):
        steps = [_step_json(step) for step in change.upcaster.steps]
        content = {
            "type": change.type,
            "from_version": change.upcaster.from_version,
            "to_version": change.upcaster.to_version,
            "steps": steps,
        }
        return UPCASTER_REGISTERED, _text(content)
    return DELETED, _text({"type": change.type})


def _step_json(step: Step) -> dict[str, Any]:
    if isinstance(step, Add):
        return {"add": pointer_text(step.path), "value": step.value}
    if isinstance(step, Constant):
        return {"constant": pointer_text(step.path), "value": step.value}
    if isinstance(step, Drop):
        return {"drop": pointer_text(step.path)}
    return {"move": pointer_text(step.path), "to": pointer_text(step.to)}


def changes_of(fields: Sequence[bytes]) -> list[Change | None]:
    """What the records of a page of the stream of schemas say; None for each that this version
    does not know.
    """
    response = events_pb2.ReadResponse.FromString(record.response_of(fields))
    return [_change_of(recorded) for recorded in response.events]


def _change_of(recorded: events_pb2.RecordedEvent) -> Change | None:
    event = recorded.event
    if event.type not in (REGISTERED, UPCASTER_REGISTERED, DELETED) or not event.json:
        return None
    content = orjson.loads(event.json)
    if event.type == REGISTERED:
        return _schema_change(content, event.json, recorded.recorded_at.ToDatetime(tzinfo=UTC))
    if event.type == UPCASTER_REGISTERED:
        steps = [_stored_step(step) for step in content["steps"]]
        upcaster = Upcaster(content["from_version"], content["to_version"], steps, len(event.json))
        return UpcasterRegistered(content["type"], upcaster)
    return SchemasDeleted(content["type"])


def _schema_change(content: dict[str, Any], json: str, registered_at: datetime) -> SchemaRegistered:
    schema = CompiledSchema(_schema_text(json), content["weight"], content["pattern_count"])
    return SchemaRegistered(
        content["type"],
        RegisteredSchema(
            content["version"], Compatibility(content["compatibility"]), schema, registered_at
        ),
    )


def _schema_text(json: str) -> bytes:
    """The schema as it was sent, which its event has between two of its members."""
    begin = json.index('"schema":') + len('"schema":')
    return json[begin : json.rindex(',"weight":')].encode()


def _stored_step(step: dict[str, Any]) -> Step:
    if "add" in step:
        return Add(pointer_of(step["add"]), step["value"])
    if "constant" in step:
        return Constant(pointer_of(step["constant"]), step["value"])
    if "drop" in step:
        return Drop(pointer_of(step["drop"]))
    return Move(pointer_of(step["move"]), pointer_of(step["to"]))
