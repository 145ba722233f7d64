"""JSON schemas of the contract's messages and enums, as the codec reads and writes them."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from gateway.contract.descriptors import (
    Contract,
    entry_fields,
    is_json_text,
    is_map,
    is_secret,
    oneofs,
)
from gateway.contract.rules import WHOLE_BODY, Rule, resolve
from gateway.contract.streams import stream_shape
from gateway.transcoding import scalars
from gateway.transcoding.codec import WELL_KNOWN

Json = dict[str, Any]

_PREFIX = "girih."

HTTP_BODY = "google.api.HttpBody"
"""Bytes of any media type, which have no schema."""

_WELL_KNOWN_SCHEMAS: dict[str, Json] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string", "examples": ["1.5s"]},
    "FieldMask": {"type": "string", "examples": ["a,b.c"]},
    "Struct": {"type": "object"},
    "Value": {},
    "ListValue": {"type": "array", "items": {}},
    "Empty": {"type": "object"},
    "BoolValue": {"type": "boolean"},
    "StringValue": {"type": "string"},
    "BytesValue": {"type": "string", "contentEncoding": "base64"},
    "DoubleValue": {"type": "number"},
    "FloatValue": {"type": "number"},
    "Int32Value": {"type": "integer", "format": "int32"},
    "UInt32Value": {"type": "integer", "format": "int64", "minimum": 0},
    "Int64Value": {"type": "string", "format": "int64"},
    "UInt64Value": {"type": "string", "format": "uint64"},
}

_PLAIN_SCHEMAS: dict[int, Json] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}


class Schemas:
    """Schemas by reference, and the components that the references lead to."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._camel_names = _camel_names(contract)

    def components(self, rules: Iterable[Rule]) -> Json:
        """Every type that the rules take or give, by name."""
        taken: dict[str, Descriptor] = {}
        given: dict[str, Descriptor] = {}
        enums: dict[str, EnumDescriptor] = {}
        for rule in rules:
            _collect(_given(rule), given, enums)
            for message in _taken(rule):
                _collect(message, taken, enums)
            _collect_enums(rule.method.input_type, enums)
        messages = {
            _name(message): self.message(message, is_taken=name in taken, is_given=name in given)
            for name, message in {**taken, **given}.items()
        }
        shown = messages | {_name(enum): self.enum(enum) for enum in enums.values()}
        return dict(sorted(shown.items()))

    def reference(self, descriptor: Descriptor | EnumDescriptor) -> Json:
        return {"$ref": f"#/components/schemas/{_name(descriptor)}"}

    def request(self, message: Descriptor, leaving_out: Collection[str]) -> Json:
        """A request's own schema: a body is no type that anything else refers to."""
        shown = self.message(message, is_taken=True, is_given=False)
        for path in leaving_out:
            shown["properties"].pop(resolve(message, path)[0].json_name, None)
        return shown

    def message(self, message: Descriptor, *, is_taken: bool, is_given: bool) -> Json:
        shown: Json = {
            "type": "object",
            "description": self.words(self._contract.comment(message.full_name)),
            "properties": {field.json_name: self.field(field) for field in message.fields},
        }
        required = [field.json_name for field in message.fields if _always_given(field)]
        if is_given and not is_taken and required:
            shown["required"] = required
        if is_taken and not is_given:
            shown["additionalProperties"] = False
        choices = [_choice([field.json_name for field in members]) for members in oneofs(message)]
        return shown | ({"allOf": choices} if choices else {})

    def field(self, field: FieldDescriptor) -> Json:
        description = self.words(self._contract.comment(field.full_name))
        if is_map(field):
            single = self._single(entry_fields(field)["value"])
            schema: Json = {"type": "object", "additionalProperties": single}
        else:
            single = self._single(field)
            schema = {"type": "array", "items": single} if field.is_repeated else single
        if is_json_text(field):
            description = f"{description}\n\nAny JSON value, `null` included.".strip()
        if is_secret(field):
            schema = schema | {"format": "password"}
        return schema | ({"description": description} if description else {})

    def enum(self, enum: EnumDescriptor) -> Json:
        said = {value.name: self._said(f"{enum.full_name}.{value.name}") for value in enum.values}
        lines = [f"- `{name}`: {text}" for name, text in said.items()]
        text = self.words(self._contract.comment(enum.full_name))
        return {
            "type": "string",
            "description": "\n".join([text, "", *lines]).strip(),
            "enum": list(said),
        }

    def words(self, comment: str) -> str:
        """A comment for readers of JSON: fields named in it are named as JSON names them."""
        return re.sub(r"`[^`]+`", self._in_json_names, comment)

    def _in_json_names(self, quoted: "re.Match[str]") -> str:
        return re.sub(
            r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b",
            lambda name: self._camel_names.get(name[0], name[0]),
            quoted[0],
        )

    def _said(self, full_name: str) -> str:
        return " ".join(self.words(self._contract.comment(full_name)).split())

    def _single(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            name = field.message_type.full_name
            if name.startswith(WELL_KNOWN):
                return dict(_WELL_KNOWN_SCHEMAS.get(name.removeprefix(WELL_KNOWN), {}))
            return self.reference(field.message_type)
        if field.enum_type is not None:
            return self.reference(field.enum_type)
        if is_json_text(field):
            return {}
        return _integer(field) or dict(_PLAIN_SCHEMAS[field.type])


def _integer(field: FieldDescriptor) -> Json | None:
    limits = scalars.bounds(field)
    if limits is None:
        return None
    signed = "int" if limits[0] else "uint"
    if field.type in scalars.WIDE_TYPES:
        pattern = "^-?[0-9]{1,19}$" if limits[0] else "^[0-9]{1,20}$"
        return {"type": "string", "format": f"{signed}64", "pattern": pattern}
    return {"type": "integer", "format": f"{signed}32"} | ({} if limits[0] else {"minimum": 0})


def _choice(names: list[str]) -> Json:
    """At most one of these."""
    each = [{"required": [name]} for name in names]
    return {"oneOf": [{"not": {"anyOf": each}}, *each]}


def _always_given(field: FieldDescriptor) -> bool:
    return field.is_repeated or not (field.has_presence or is_json_text(field))


def _name(descriptor: Descriptor | EnumDescriptor) -> str:
    return descriptor.full_name.removeprefix(_PREFIX)


def _given(rule: Rule) -> Descriptor:
    output = rule.method.output_type
    return stream_shape(rule.method).item if rule.method.server_streaming else output


def _taken(rule: Rule) -> Iterator[Descriptor]:
    """The messages in a request's body. The request itself is described where it is taken."""
    if not rule.body:
        return
    message = rule.method.input_type
    fields = message.fields if rule.body == WHOLE_BODY else [resolve(message, rule.body)[-1]]
    for field in fields:
        yield from _inner(field)


def _inner(field: FieldDescriptor) -> Iterator[Descriptor]:
    if is_map(field):
        yield from _inner(entry_fields(field)["value"])
    elif field.message_type is not None:
        yield field.message_type


def _collect(
    message: Descriptor, messages: dict[str, Descriptor], enums: dict[str, EnumDescriptor]
) -> None:
    if message.full_name in messages or message.full_name == HTTP_BODY:
        return
    if message.full_name.startswith(WELL_KNOWN):
        return
    messages[message.full_name] = message
    for field in message.fields:
        if field.enum_type is not None:
            enums[field.enum_type.full_name] = field.enum_type
        for inner in _inner(field):
            _collect(inner, messages, enums)


def _collect_enums(message: Descriptor, enums: dict[str, EnumDescriptor]) -> None:
    """Those of a request in the URL, whose message itself is no component."""
    _collect(message, {}, enums)


def _camel_names(contract: Contract) -> dict[str, str]:
    """JSON names by proto names, of all fields of the contract."""
    messages: dict[str, Descriptor] = {}
    for service in contract.services:
        for method in service.methods:
            _collect(method.input_type, messages, {})
            _collect(method.output_type, messages, {})
    return {
        field.name: field.json_name for message in messages.values() for field in message.fields
    }
