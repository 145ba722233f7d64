"""The OpenAPI 3.1 document: routes, types and words, all of them from the contract.

What the gateway adds itself is in `components`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
from google.protobuf.descriptor import ServiceDescriptor

import girih
from gateway.backends.remote import label_of
from gateway.contract.comments import without_errors
from gateway.contract.descriptors import (
    BYTES,
    HTTP_BODY,
    Contract,
    answer_example_of,
    example_of,
    media_types_of,
    scope_of,
    success_status,
)
from gateway.contract.rules import WHOLE_BODY, Rule, resolve
from gateway.contract.streams import StreamShape, stream_shape
from gateway.endpoints.stream_encodings import NDJSON, SSE
from gateway.openapi import components, failures, names, own_routes
from gateway.openapi.schemas import Schemas
from gateway.transcoding.query import Fields, Query, is_json, json_path
from girih.rules.checking import is_required
from girih.rules.together import words_together
from girih.rules.words import body_media_types

Json = dict[str, Any]

_DOWNLOAD = "The bytes, as they are. A download that fails after it began is cut off."

_JSON = "application/json"
_LINES = f"As `{NDJSON}` any number of these, a line each. As `{_JSON}` a single one."

_INTRODUCTION = """\
An event store and a service that computes on n-dimensional lattices.

Answers are complete: a field that holds its default is printed. What can be absent is left
out: messages that are not set, fields marked as optional, and members of a choice that were
not chosen. 64-bit integers are strings, since a JavaScript number does not hold them all.
Integers of a request may be spelled as `1e2`, `100.0` and `-0`, too, in quotes or not.
Requests are strict: an unknown field or parameter is refused, by its path. `null` is the
same as leaving a field out, except where any JSON value is taken.

Every answer carries `X-Correlation-ID`: yours when it is well-formed, else a fresh one.
`X-Causation-ID` says what a request is made because of, usually the id of an event: 1 to 64
characters of A-Z a-z 0-9 . _ -, else it is left out. Both are stored with what the request
appends, and `/v1/traces/{correlationId}` shows what it caused.

Register, log in, and send the `access_token` as `Authorization: Bearer ...` with every request.
Whose data is meant is told by the token and by nothing else. Failures look alike on every
route: see the schema `ErrorResponse`. `/api/...` is the same as the newest version, `/v1/...`."""


def document(contract: Contract, rules: Sequence[Rule]) -> Json:
    """The whole document. Equal contracts make equal documents."""
    schemas = Schemas(contract, rules)
    paths = {**_paths(contract, schemas, rules), **own_routes.paths()}
    referred = set(_references(paths))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "girih",
            "version": girih.__version__,
            "description": _INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": components.security(components.SIGNED_IN),
        "tags": [*_tags(contract, rules), own_routes.tag()],
        "paths": paths,
        "components": {
            "schemas": {**schemas.components(), **components.schemas()},
            "parameters": components.header_parameters(),
            "headers": components.HEADERS,
            "responses": {
                name: response
                for name, response in failures.responses().items()
                if f"#/components/responses/{name}" in referred
            },
            "securitySchemes": components.SECURITY_SCHEMES,
        },
    }


def _paths(contract: Contract, schemas: Schemas, rules: Sequence[Rule]) -> Json:
    taken_by_all = [
        {"$ref": f"#/components/parameters/{name}"} for name in components.header_parameters()
    ]
    paths: dict[str, Json] = {}
    for rule in rules:
        item = paths.setdefault(names.path(rule), {"parameters": taken_by_all})
        item[rule.http_method.lower()] = _Operation(contract, schemas, rule).as_json()
    return paths


@dataclass(frozen=True)
class _Operation:
    contract: Contract
    schemas: Schemas
    rule: Rule

    def as_json(self) -> Json:
        method = self.rule.method
        comment = without_errors(self.contract.comment(method.full_name))
        text = self.schemas.words("\n\n".join(filter(None, [comment, self._query_rules()])))
        parameters = [
            *self._path_parameters(),
            *self._query_parameters(),
            *self._header_parameters(),
        ]
        operation: Json = {
            "operationId": names.operation_id(self.rule),
            "summary": _first_sentence(text),
            "description": text,
            "tags": [_tag(self.rule)],
            "security": components.security(
                scope_of(method), takes_ticket=self.rule.is_event_stream
            ),
        }
        if parameters:
            operation["parameters"] = parameters
        if self.rule.body:
            operation["requestBody"] = self._request_body()
        return {**operation, "responses": self._responses()}

    def _path_parameters(self) -> Iterator[Json]:
        for variable in self.rule.template.variables:
            fields = resolve(self.rule.method.input_type, variable.field_path)
            named = {"name": names.path_parameter(fields), "required": True}
            yield self._parameter(fields, "path") | named

    def _query_parameters(self) -> Iterator[Json]:
        if self.rule.body == WHOLE_BODY:
            return
        query = Query(self.rule.method.input_type, self.rule.outside_query)
        for fields in query.parameters.values():
            yield self._parameter(fields, "query")

    def _query_rules(self) -> str:
        """Which parameters go together: no schema can tell, since each has one of its own."""
        if self.rule.body == WHOLE_BODY:
            return ""
        return " ".join(words_together(self.rule.method.input_type, self.rule.outside_query))

    def _header_parameters(self) -> Iterator[Json]:
        for header, name in self.rule.headers.items():
            fields = resolve(self.rule.method.input_type, name)
            yield self._parameter(fields, "header") | {"name": header.title()}

    def _parameter(self, fields: Fields, place: str) -> Json:
        schema = self.schemas.field(fields[-1])
        description = schema.pop("description", "")
        if place == "query" and is_json(fields[-1]):
            as_json = {"contentMediaType": _JSON, "contentSchema": schema["items"]}
            schema["items"] = {"type": "string", **as_json}
            description = f"{description} Each as JSON.".strip()
        name = json_path(fields)
        parameter = {"name": name, "in": place, "description": description, "schema": schema}
        # What is required of a message that may be left out may be left out with it.
        if place == "query" and all(map(is_required, fields)):
            parameter["required"] = True
        return parameter | ({"example": self._request[name]} if name in self._request else {})

    def _request_body(self) -> Json:
        if self.rule.takes_bytes:
            types = body_media_types(self.rule.method) or (BYTES,)
            # Generators know no other media type for bytes than `application/octet-stream`.
            schema: Json = {"type": "string", "format": "binary"}
            return {"required": True, "content": {name: {"schema": schema} for name in types}}
        if self.rule.body == WHOLE_BODY:
            schema = self.schemas.body(self.rule)
        else:
            schema = self.schemas.field(resolve(self.rule.method.input_type, self.rule.body)[-1])
        media = {"schema": schema} | self._body_example()
        is_stream = self.rule.method.client_streaming
        media_types = [NDJSON, _JSON] if is_stream else [_JSON]
        lines = {"description": _LINES} if is_stream else {}
        return {**lines, "required": True, "content": dict.fromkeys(media_types, media)}

    @property
    def _request(self) -> Json:
        """A request that works; empty when none is told."""
        return _example(example_of(self.rule.method)) or {}

    def _body_example(self) -> Json:
        whole, field = _example(example_of(self.rule.method)), self.rule.body
        if whole is None:
            return {}
        if field == WHOLE_BODY:
            return {"example": whole}
        example = whole.get(resolve(self.rule.method.input_type, field)[-1].json_name)
        return {} if example is None else {"example": example}

    def _responses(self) -> Json:
        success = str(success_status(self.rule.method))
        return {
            success: self._success(),
            **failures.failures(self.contract, self.schemas, self.rule),
        }

    def _success(self) -> Json:
        output = self.rule.answer
        if output.full_name == HTTP_BODY:
            content: Json = {name: {"schema": {}} for name in media_types_of(self.rule.method)}
            return self._response(_DOWNLOAD, content)
        answer = _example(answer_example_of(self.rule.method))
        if self.rule.method.server_streaming:
            return self._streamed(answer)
        description = self.schemas.words(self.contract.comment(output.full_name))
        content = components.json_content(self.schemas.reference(output), answer)
        return self._response(description or "The answer.", content)

    def _streamed(self, line: Json | None) -> Json:
        shape = stream_shape(self.rule.method)
        comment = self.schemas.words(self.contract.comment(shape.item.full_name))
        each = f"One object per `{shape.item.name}`" if shape.items else "One object per message"
        behind = f", `-` and the `{shape.incarnation}` it is from" if shape.incarnation else ""
        ids = f" The `id` of an event is its `{shape.event_id}`{behind}." if shape.event_id else ""
        description = (
            f"{each}, in order. {comment}\n\n"
            f"As `{NDJSON}` each is a line: the schema is that of a line. As `{SSE}` each is the "
            f"data of an event.{ids}{_signals(shape)} The last event is of type `end`. A stream "
            "that fails after it began ends with the error body: as its last line, which has the "
            "key `error`, or as an event of type `error`."
        )
        events = {"type": "string", "description": "Events with such objects as data."}
        lines = {"schema": self.schemas.line(shape.item)} | ({"example": line} if line else {})
        return self._response(description, {NDJSON: lines, SSE: {"schema": events}})

    def _response(self, description: str, content: Json) -> Json:
        is_counted = scope_of(self.rule.method) != components.PUBLIC
        headers = components.RATE_LIMIT_HEADERS if is_counted else ()
        return components.response(description, content, headers)


def _signals(shape: StreamShape) -> str:
    """What events there are beside those of items."""
    types = [f"`{field.json_name}`" for field in shape.signals]
    if not types:
        return ""
    return f" Events of type {', '.join(types)} tell how far the stream is, with ids of their own."


def _example(text: str) -> Json | None:
    """An example of the contract, by the JSON names of its fields; None when none is told."""
    return cast("Json", orjson.loads(text)) if text else None


def _references(value: object) -> Iterator[str]:
    """Whatever a part of the document refers to."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _tag(rule: Rule) -> str:
    assert rule.method.containing_service is not None, "every method is of a service"
    return label_of(rule.method.containing_service)


def _tags(contract: Contract, rules: Sequence[Rule]) -> Iterator[Json]:
    used = {_tag(rule) for rule in rules}
    by_label: dict[str, list[ServiceDescriptor]] = {}
    for service in contract.services:
        by_label.setdefault(label_of(service), []).append(service)
    for label, services in by_label.items():
        if label in used:
            package = without_errors(contract.comment(services[0].file.package))
            own = [without_errors(contract.comment(service.full_name)) for service in services]
            yield {"name": label, "description": "\n\n".join([*own, package]).strip()}


def _first_sentence(text: str) -> str:
    flat = " ".join(text.split())
    return re.split(r"(?<=[.])\s|:\s", flat, maxsplit=1)[0].rstrip(".:")
