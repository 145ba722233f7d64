"""JSON schemas of the contract's messages and enums, as the codec reads and writes them."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from gateway.contract.descriptors import (
    HTTP_BODY,
    Contract,
    ContractError,
    entry_fields,
    is_json_text,
    is_map,
    is_secret,
    oneofs,
    row_length_of,
)
from gateway.contract.rules import WHOLE_BODY, Rule, resolve
from gateway.contract.streams import stream_shape
from gateway.http.errors import json_name
from gateway.openapi import components, names, together, values
from gateway.transcoding.codec import WELL_KNOWN
from gateway.transcoding.query import Query, is_json
from girih.rules.checking import is_required
from girih.rules.together import words_together
from girih.rules.words import (
    FieldRules,
    requires_one,
    rules_of,
    words_of,
)

Json = dict[str, Any]

_LINE = "Line"

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


class Schemas:
    """Schemas by reference, and the components that the references lead to.

    A component has the name that its message has in its package, without dots: generators make
    names of types of it. Two of one name are told apart by their packages.
    """

    def __init__(self, contract: Contract, rules: Iterable[Rule]) -> None:
        self._contract = contract
        self._camel_names = _camel_names(contract)
        self._inputs: dict[str, Descriptor] = {}
        self._outputs: dict[str, Descriptor] = {}
        self._enums: dict[str, EnumDescriptor] = {}
        self._line_items: dict[str, Descriptor] = {}
        self._bodies: dict[str, Json] = {}
        rules = list(rules)
        for rule in rules:
            _collect(_output_of(rule), self._outputs)
            for message in _inputs_of(rule):
                _collect(message, self._inputs)
        requests = [rule.method.input_type for rule in rules]
        self._enums |= _enums([*self._inputs.values(), *requests], is_input=True)
        self._enums |= _enums(self._outputs.values(), is_input=False)
        self._names = names.schema_names(
            [*self._inputs.values(), *self._outputs.values(), *self._enums.values()],
            taken=[*components.schemas(), *map(names.body_name, rules)],
        )
        for rule in rules:
            self._add_line_and_body(rule)

    def components(self) -> Json:
        """Every type that the rules take or give, by name. One that is taken and given is two."""
        inputs = {
            self._input_name(message): self.message(message, is_input=True)
            for message in self._inputs.values()
        }
        outputs = {
            self._name(message): self.message(message, is_input=False)
            for message in self._outputs.values()
        }
        enums = {self._name(enum): self.enum(enum) for enum in self._enums.values()}
        lines = {name: self._line(item) for name, item in self._line_items.items()}
        return dict(sorted((inputs | outputs | enums | lines | self._bodies).items()))

    def reference(self, descriptor: Descriptor | EnumDescriptor) -> Json:
        """What an answer holds."""
        return _reference(self._name(descriptor))

    def line(self, item: Descriptor) -> Json:
        """What a line of a stream of such items holds."""
        return _reference(f"{self._name(item)}{_LINE}")

    def body(self, rule: Rule) -> Json:
        """What the body of a request holds that is the whole message."""
        return _reference(names.body_name(rule))

    def _add_line_and_body(self, rule: Rule) -> None:
        if rule.method.server_streaming and rule.answer.full_name != HTTP_BODY:
            item = stream_shape(rule.method).item
            self._line_items[f"{self._name(item)}{_LINE}"] = item
        if rule.body == WHOLE_BODY:
            name = names.body_name(rule)
            if name in self._bodies:
                raise ContractError(f"the bodies of two routes would be called {name}")
            self._bodies[name] = self._body(rule)

    def _body(self, rule: Rule) -> Json:
        """The request message without what the path says already."""
        message = rule.method.input_type
        shown = self.message(message, is_input=True)
        for variable in rule.template.variables:
            name = resolve(message, variable.field_path)[0].json_name
            shown["properties"].pop(name, None)
            shown["required"] = [one for one in shown.get("required", []) if one != name]
        return shown

    def _line(self, item: Descriptor) -> Json:
        name = self._name(item)
        return {
            "description": f"One line of the answer: a `{name}`, or, as the last line of a stream "
            "that failed, the error, which alone has the key `error`.",
            "anyOf": [_reference(name), _reference(components.ERROR)],
        }

    def message(self, message: Descriptor, *, is_input: bool) -> Json:
        """An object: what a request may hold, or what an answer holds."""
        sentences = [self._contract.comment(message.full_name)]
        sentences += [" ".join(words_together(message))] if is_input else []
        shown: Json = {
            "type": "object",
            "description": self.words("\n\n".join(filter(None, sentences))),
            "properties": {
                field.json_name: self._property(field, is_input=is_input)
                for field in message.fields
            },
        }
        must = is_required if is_input else _always_present
        if required := [field.json_name for field in message.fields if must(field)]:
            shown["required"] = required
        if is_input:
            shown["additionalProperties"] = False
        choices = [together.choice(members, is_input=is_input) for members in oneofs(message)]
        if is_input:
            shown |= together.forbidden(message)
        return shown | ({"allOf": choices} if choices else {})

    def field(self, field: FieldDescriptor, *, is_input: bool = True) -> Json:
        """The value of a field, with its words."""
        rules = rules_of(field)
        description = self.words(self._contract.comment(field.full_name))
        if is_input and field.enum_type is None and (must := words_of(field)):
            description = f"{description} {must[0].upper()}{must[1:]}.".strip()
        if is_map(field):
            schema = self._map(field, rules, is_input=is_input)
        elif field.is_repeated:
            items = self._single(field, rules.repeated.items, is_input=is_input)
            if row_length_of(field) is not None:
                items = {"type": "array", "items": items}
            schema = {"type": "array", "items": items}
            schema |= _counts(rules) if is_input else {}
        else:
            schema = self._single(field, rules, is_input=is_input)
        if is_json_text(field):
            description = f"{description}\n\nAny JSON value, `null` included.".strip()
        if is_secret(field):
            schema = schema | {"format": "password"}
        if is_input and field.enum_type is not None:
            description = f"{description}\n\n{self._values(field)}".strip()
        return schema | ({"description": description} if description else {})

    def enum(self, enum: EnumDescriptor) -> Json:
        """The values that an answer may hold."""
        names = [value.name for value in enum.values]
        text = self.words(self._contract.comment(enum.full_name))
        lines = self._lines(enum, names)
        return {"type": "string", "description": f"{text}\n\n{lines}".strip(), "enum": names}

    def _values(self, field: FieldDescriptor) -> str:
        """The values that a request may hold, in words."""
        assert field.enum_type is not None, "an enum"
        return self._lines(field.enum_type, list(values.allowed(field).values()))

    def _lines(self, enum: EnumDescriptor, names: Collection[str]) -> str:
        texts = {name: self._flat_words(f"{enum.full_name}.{name}") for name in names}
        return "\n".join(f"- `{name}`: {text}" for name, text in texts.items())

    def words(self, comment: str) -> str:
        """A comment for readers of JSON: fields and details in it are named as JSON names them."""
        return re.sub(r"`[^`]+`", self._in_json_names, comment)

    def _in_json_names(self, quoted: "re.Match[str]") -> str:
        return re.sub(
            r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b",
            lambda name: self._camel_names.get(name[0]) or json_name(name[0]),
            quoted[0],
        )

    def _flat_words(self, full_name: str) -> str:
        return " ".join(self.words(self._contract.comment(full_name)).split())

    def _property(self, field: FieldDescriptor, *, is_input: bool) -> Json:
        schema = self.field(field, is_input=is_input)
        oneof = field.containing_oneof
        is_choice = oneof is not None and requires_one(oneof)
        must = is_required(field) or is_choice or is_json_text(field)
        may_be_null = is_input and not must
        return values.or_null(schema) if may_be_null else schema

    def _map(self, field: FieldDescriptor, rules: FieldRules, *, is_input: bool) -> Json:
        entry = entry_fields(field)
        value = self._single(entry["value"], rules.map.values, is_input=is_input)
        schema: Json = {"type": "object", "additionalProperties": value}
        if not is_input or not rules.HasField("map"):
            return schema
        names = values.scalar(entry["key"], rules.map.keys, is_input=True)
        most = {"maxProperties": rules.map.max_pairs} if rules.map.HasField("max_pairs") else {}
        return schema | most | {"propertyNames": names}

    def _single(self, field: FieldDescriptor, rules: FieldRules, *, is_input: bool) -> Json:
        if field.message_type is not None:
            name = field.message_type.full_name
            if name.startswith(WELL_KNOWN):
                return dict(_WELL_KNOWN_SCHEMAS.get(name.removeprefix(WELL_KNOWN), {}))
            message = field.message_type
            return _reference(self._input_name(message) if is_input else self._name(message))
        if field.enum_type is not None:
            if is_input and values.takes_fewer(field):
                return values.enum(field)
            whole = self.reference(field.enum_type)
            return values.enum(field, whole) if is_input else whole
        if is_json_text(field):
            return {}
        return values.scalar(field, rules, is_input=is_input)

    def _name(self, descriptor: Descriptor | EnumDescriptor) -> str:
        return self._names[descriptor.full_name]

    def _input_name(self, message: Descriptor) -> str:
        suffix = "Input" if message.full_name in self._outputs else ""
        return f"{self._name(message)}{suffix}"


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _counts(rules: FieldRules) -> Json:
    """How many items a list of a request may have."""
    repeated = rules.repeated
    least = {"minItems": repeated.min_items} if repeated.HasField("min_items") else {}
    most = {"maxItems": repeated.max_items} if repeated.HasField("max_items") else {}
    return {**least, **most, **({"uniqueItems": True} if repeated.unique else {})}


def _always_present(field: FieldDescriptor) -> bool:
    if field.is_repeated or rules_of(field).required:
        return True
    return not (field.has_presence or is_json_text(field))


def _output_of(rule: Rule) -> Descriptor:
    return stream_shape(rule.method).item if rule.method.server_streaming else rule.answer


def _inputs_of(rule: Rule) -> Iterator[Descriptor]:
    """The messages in a request's body, or as JSON in its URL. The request itself is described
    where it is taken.
    """
    message = rule.method.input_type
    if not rule.body:
        for path in Query(message, set()).parameters.values():
            if is_json(path[-1]):
                yield from _inner(path[-1])
        return
    fields = message.fields if rule.body == WHOLE_BODY else [resolve(message, rule.body)[-1]]
    for field in fields:
        yield from _inner(field)


def _inner(field: FieldDescriptor) -> Iterator[Descriptor]:
    if is_map(field):
        yield from _inner(entry_fields(field)["value"])
    elif field.message_type is not None:
        yield field.message_type


def _collect(message: Descriptor, messages: dict[str, Descriptor]) -> None:
    if message.full_name in messages or message.full_name == HTTP_BODY:
        return
    if message.full_name.startswith(WELL_KNOWN):
        return
    messages[message.full_name] = message
    for field in message.fields:
        for inner in _inner(field):
            _collect(inner, messages)


def _enums(messages: Iterable[Descriptor], *, is_input: bool) -> dict[str, EnumDescriptor]:
    """Those that fields refer to: a request may take less than the whole of one."""
    return {
        field.enum_type.full_name: field.enum_type
        for message in messages
        for field in message.fields
        if field.enum_type is not None and not (is_input and values.takes_fewer(field))
    }


def _camel_names(contract: Contract) -> dict[str, str]:
    """JSON names by proto names, of all fields of the contract."""
    messages: dict[str, Descriptor] = {}
    for service in contract.services:
        for method in service.methods:
            _collect(method.input_type, messages)
            _collect(method.output_type, messages)
    return {
        field.name: field.json_name for message in messages.values() for field in message.fields
    }
