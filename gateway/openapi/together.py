"""JSON schemas of which fields of a message go together, as its oneofs and options say."""

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.descriptors import is_map
from gateway.transcoding import scalars
from girih.rules.together import message_rules_of
from girih.rules.words import requires_one

Json = dict[str, Any]


def choice(members: list[FieldDescriptor], *, is_input: bool) -> Json:
    """One of these at most, or one of them where a request must have one."""
    oneof = members[0].containing_oneof
    assert oneof is not None, "they are members of one"
    each = [{"required": [field.json_name]} for field in members]
    is_required = is_input and requires_one(oneof)
    return {"oneOf": each if is_required else [{"not": {"anyOf": each}}, *each]}


def forbidden(message: Descriptor) -> Json:
    """What a request may not hold beside that, as `not`: of what else says so, generators of
    clients make types that do not fit each other. Empty where there is nothing."""
    shapes = list(_forbidden(message))
    if len(shapes) < 2:
        return {"not": shapes[0]} if shapes else {}
    return {"not": {"anyOf": shapes}}


def _forbidden(message: Descriptor) -> Iterator[Json]:
    rules, fields = message_rules_of(message), message.fields_by_name
    for one_of in rules.oneof:
        for pair in combinations([fields[name] for name in one_of.fields], 2):
            yield _shape(given=pair, left_out=())
    for need in rules.need:
        yield _shape(given=[fields[need.field]], left_out=[fields[need.needs]])
    needed = [one.fields for one in rules.oneof if one.required] + [one.fields for one in rules.any]
    for names in needed:
        yield _shape(given=(), left_out=[fields[name] for name in names])


def _shape(*, given: Iterable[FieldDescriptor], left_out: Iterable[FieldDescriptor]) -> Json:
    """Objects that have some fields, and others not. `null`, and a default where it is as good as
    leaving the field out, are not given."""
    given = list(given)
    values: Json = {field.json_name: {"not": {"enum": _as_left_out(field)}} for field in given}
    values |= {field.json_name: {"enum": _as_left_out(field)} for field in left_out}
    required = [field.json_name for field in given]
    return {"properties": values} | ({"required": required} if required else {})


def _as_left_out(field: FieldDescriptor) -> list[object]:
    if field.has_presence:
        return [None]
    if field.is_repeated:
        return [None, {} if is_map(field) else []]
    if field.enum_type is not None:
        return [None, 0, field.enum_type.values_by_number[0].name]
    if field.type == FieldDescriptor.TYPE_BYTES:
        return [None, ""]
    wide = ["0"] if field.type in scalars.WIDE_TYPES else []
    return [None, field.default_value, *wide]
