"""The OpenAPI 3.1 document: routes, types and words, all of them from the contract.

What the gateway adds itself is in `components`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import orjson
from google.protobuf.descriptor import MethodDescriptor

import girih
from gateway.backends.remote import label_of
from gateway.contract.comments import errors_of, listed_errors, without_errors
from gateway.contract.descriptors import (
    Contract,
    example_of,
    scope_of,
    success_status,
)
from gateway.contract.rules import WHOLE_BODY, Rule, resolve
from gateway.contract.streams import stream_shape
from gateway.endpoints.stream_encodings import NDJSON, SSE
from gateway.http.errors import HTTP_STATUSES
from gateway.openapi import components
from gateway.openapi.schemas import HTTP_BODY, Schemas
from gateway.transcoding.query import Fields, Query, json_path
from services.plumbing.validation import is_required

Json = dict[str, Any]

_DOWNLOAD = "The bytes, as they are. A download that fails after it began is cut off."

_INTRODUCTION = """\
An event store and a service that computes on n-dimensional lattices.

Answers are complete: a field that holds its default is printed. What can be absent is left
out: messages that are not set, fields marked as optional, and members of a choice that were
not chosen. 64-bit integers are strings, since a JavaScript number does not hold them all.
Integers of a request may be spelled as `1e2`, `100.0` and `-0`, too, in quotes or not.
Requests are strict: an unknown field or parameter is refused, by its path. `null` is the
same as leaving a field out, except where any JSON value is taken.

Every answer carries `X-Correlation-ID`: yours when it is well-formed, else a fresh one.

Register, log in, and send the `access_token` as `Authorization: Bearer ...` with every request.
Whose data is meant is told by the token and by nothing else. Failures look alike on every
route: see the schema `Error`. `/api/...` is the same as the newest version, `/v1/...`."""


def document(contract: Contract, rules: Sequence[Rule]) -> Json:
    """The whole document. Equal contracts make equal documents."""
    schemas = Schemas(contract, rules)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "girih",
            "version": girih.__version__,
            "description": _INTRODUCTION,
        },
        "servers": [{"url": "/"}],
        "security": components.security(components.SIGNED_IN),
        "tags": [*_tags(contract, rules), components.health_tag()],
        "paths": {**_paths(contract, schemas, rules), **components.own_paths()},
        "components": {
            "schemas": {**schemas.components(), **components.schemas()},
            "parameters": components.header_parameters(),
            "headers": components.HEADERS,
            "responses": components.responses(),
            "securitySchemes": components.SECURITY_SCHEMES,
        },
    }


def _paths(contract: Contract, schemas: Schemas, rules: Sequence[Rule]) -> Json:
    taken_by_all = [
        {"$ref": f"#/components/parameters/{name}"} for name in components.header_parameters()
    ]
    paths: dict[str, Json] = {}
    for rule in rules:
        item = paths.setdefault(_openapi_path(rule), {"parameters": taken_by_all})
        item[rule.http_method.lower()] = _Operation(contract, schemas, rule).as_json()
    return paths


@dataclass(frozen=True)
class _Operation:
    contract: Contract
    schemas: Schemas
    rule: Rule

    def as_json(self) -> Json:
        method = self.rule.method
        text = self.schemas.words(without_errors(self.contract.comment(method.full_name)))
        parameters = [*self._path_parameters(), *self._query_parameters()]
        operation: Json = {
            "operationId": self._operation_id(),
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

    def _operation_id(self) -> str:
        service = self.rule.method.containing_service
        assert service is not None, "every method is of a service"
        suffix = f"_{self.rule.binding_index}" if self.rule.binding_index else ""
        return f"{service.name}_{self.rule.method.name}{suffix}"

    def _path_parameters(self) -> Iterator[Json]:
        for variable in self.rule.template.variables:
            fields = resolve(self.rule.method.input_type, variable.field_path)
            yield self._parameter(fields, "path") | {"required": True}

    def _query_parameters(self) -> Iterator[Json]:
        if self.rule.body == WHOLE_BODY:
            return
        elsewhere = {variable.field_path for variable in self.rule.template.variables}
        query = Query(self.rule.method.input_type, elsewhere | {self.rule.body})
        for fields in query.parameters.values():
            yield self._parameter(fields, "query")

    def _parameter(self, fields: Fields, place: str) -> Json:
        schema = self.schemas.field(fields[-1])
        description = schema.pop("description", "")
        name = json_path(fields)
        parameter = {"name": name, "in": place, "description": description, "schema": schema}
        if place == "query" and is_required(fields[-1]):
            parameter["required"] = True
        return parameter | ({"example": self._example[name]} if name in self._example else {})

    def _request_body(self) -> Json:
        if self.rule.body == WHOLE_BODY:
            schema = self._whole_body()
        else:
            schema = self.schemas.field(resolve(self.rule.method.input_type, self.rule.body)[-1])
        media = {"schema": schema} | self._body_example()
        media_type = NDJSON if self.rule.method.client_streaming else "application/json"
        return {"required": True, "content": {media_type: media}}

    @property
    def _example(self) -> Json:
        """A request that works, by the JSON names of its fields; empty when none is told."""
        text = example_of(self.rule.method)
        return cast("Json", orjson.loads(text)) if text else {}

    def _body_example(self) -> Json:
        whole, field = self._example, self.rule.body
        if field == WHOLE_BODY:
            example: object = whole
        else:
            example = whole.get(resolve(self.rule.method.input_type, field)[-1].json_name)
        return {"example": example} if example else {}

    def _whole_body(self) -> Json:
        """The request message without what the path says already."""
        message = self.rule.method.input_type
        in_path = {variable.field_path for variable in self.rule.template.variables}
        return self.schemas.request(message, leaving_out=in_path)

    def _responses(self) -> Json:
        success = str(success_status(self.rule.method))
        return {success: self._success(), **self._failures()}

    def _success(self) -> Json:
        method = self.rule.method
        output = self.rule.answer
        if output.full_name == HTTP_BODY:
            return components.response(_DOWNLOAD, {"application/octet-stream": {"schema": {}}})
        if method.server_streaming:
            return _streamed(self.contract, self.schemas, method)
        description = self.schemas.words(self.contract.comment(output.full_name))
        content = {"application/json": {"schema": self.schemas.reference(output)}}
        return components.response(description or "The answer.", content)

    def _failures(self) -> Json:
        """The errors that the comments promise, by status, then what may always happen."""
        method = self.rule.method
        assert method.containing_service is not None, "every method is of a service"
        scope = scope_of(method)
        lines: dict[int, list[str]] = {
            status: [] for status in components.statuses(self.rule, scope)
        }
        for error in [
            *errors_of(self.contract, method),
            *listed_errors(self.contract.comment(method.containing_service.file.package)),
        ]:
            if scope == components.PUBLIC and _TOKEN_REASONS.issuperset(error.reasons):
                continue
            reasons = "`, `".join(error.reasons)
            line = f"- `{reasons}`: {self.schemas.words(error.text)}"
            lines.setdefault(HTTP_STATUSES[grpc.StatusCode[error.code]], []).append(line)
        return {str(status): _failure(status, lines[status]) for status in sorted(lines)}


def _openapi_path(rule: Rule) -> str:
    """The template with JSON names and without patterns: `/v1/lattices/{latticeId}:findPath`."""

    def name(match: "re.Match[str]") -> str:
        return f"{{{json_path(resolve(rule.method.input_type, match[1]))}}}"

    return re.sub(r"\{([a-z0-9_.]+)(?:=[^{}]+)?\}", name, rule.template.text)


def _tag(rule: Rule) -> str:
    assert rule.method.containing_service is not None, "every method is of a service"
    return label_of(rule.method.containing_service)


def _tags(contract: Contract, rules: Sequence[Rule]) -> Iterator[Json]:
    used = {_tag(rule) for rule in rules}
    for service in contract.services:
        if label_of(service) in used:
            package = without_errors(contract.comment(service.file.package))
            own = contract.comment(service.full_name)
            yield {"name": label_of(service), "description": "\n\n".join([own, package]).strip()}


def _streamed(contract: Contract, schemas: Schemas, method: MethodDescriptor) -> Json:
    shape = stream_shape(method)
    reference = schemas.reference(shape.item)
    comment = contract.comment(shape.item.full_name)
    each = f"One object per `{shape.item.name}`" if shape.items else "One object per message"
    behind = f", `-` and the `{shape.incarnation}` it is from" if shape.incarnation else ""
    ids = f" The `id` of an event is its `{shape.event_id}`{behind}." if shape.event_id else ""
    description = (
        f"{each}, in order. {schemas.words(comment)}\n\n"
        f"As `{NDJSON}` each is a line. As `{SSE}` each is the data of an event.{ids} The last "
        "event is of type `end`. A stream that fails after it began ends with the error body: "
        "as its last line, which has the key `error`, or as an event of type `error`."
    )
    content = {
        NDJSON: {"schema": reference},
        SSE: {"schema": {"type": "string", "description": "Events with such objects as data."}},
    }
    return components.response(description, content)


def _failure(status: int, lines: Sequence[str]) -> Json:
    """What a status means on this route: what its comments say, or else what it always means."""
    if not lines:
        return components.shared(status)
    text = "\n".join(dict.fromkeys(lines))
    return components.error_response(f"{components.words(status)}\n\n{text}".strip(), status)


_TOKEN_REASONS = {"TOKEN_REQUIRED", "TOKEN_INVALID", "TOKEN_EXPIRED", "SCOPE_MISSING"}
"""Reasons that no route without a token answers."""


def _first_sentence(text: str) -> str:
    flat = " ".join(text.split())
    return re.split(r"(?<=[.])\s|:\s", flat, maxsplit=1)[0].rstrip(".:")
