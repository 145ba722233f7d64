"""The OpenAPI 3.1 document: routes, types and words, all of them from the contract.

What the gateway adds itself is said here once: the error body, the headers every route has,
the two forms of a stream, and the health routes.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor

from gateway.backends import label_of
from gateway.contract import Contract, flattened_field, success_status
from gateway.errors import HTTP_STATUSES
from gateway.query import Fields, Query, json_path
from gateway.rules import WHOLE_BODY, Rule, resolve
from gateway.schemas import Schemas
from gateway.settings import Settings
from gateway.stream_forms import NDJSON, SSE, event_id_field, streamed_type

Json = dict[str, Any]

_INTRODUCTION = """\
An event store and a service that computes on n-dimensional lattices.

Answers are complete: a field that holds its default is printed. What can be absent is left
out: messages that are not set, fields marked as optional, and members of a choice that were
not chosen. 64-bit integers are strings, since a JavaScript number does not hold them all.
Requests are strict: an unknown field or parameter is refused, by its path. `null` is the
same as leaving a field out, except where any JSON value is taken.

Every answer carries `X-Correlation-ID`: yours when it is well-formed, else a fresh one."""

_HEALTH_TAG = "health"


def document(contract: Contract, rules: Sequence[Rule], settings: Settings) -> Json:
    """The whole document. Equal contracts make equal documents."""
    schemas = Schemas(contract)
    parameters = _header_parameters(settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "girih",
            "version": _version(),
            "description": _INTRODUCTION,
        },
        "servers": [{"url": "/"}],
        "tags": [*_tags(contract, rules), _health_tag()],
        "paths": {**_paths(contract, schemas, rules, parameters), **_health_paths()},
        "components": {
            "schemas": {**schemas.components(rules), **_own_schemas()},
            "parameters": parameters,
            "headers": {"CorrelationId": _correlation_header()},
            "responses": _shared_responses(),
        },
    }


def _paths(
    contract: Contract, schemas: Schemas, rules: Sequence[Rule], parameters: Iterable[str]
) -> Json:
    taken_by_all = [{"$ref": f"#/components/parameters/{name}"} for name in parameters]
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
        text = self.schemas.words(_without_errors(self.contract.comment(method.full_name)))
        parameters = [*self._path_parameters(), *self._query_parameters()]
        shown: Json = {
            "operationId": self._operation_id(),
            "summary": _first_sentence(text),
            "description": text,
            "tags": [_tag(self.rule)],
        }
        if parameters:
            shown["parameters"] = parameters
        if self.rule.body:
            shown["requestBody"] = self._request_body()
        return {**shown, "responses": self._responses()}

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
        given = {variable.field_path for variable in self.rule.template.variables}
        query = Query(self.rule.method.input_type, given | {self.rule.body})
        for fields in query.parameters.values():
            yield self._parameter(fields, "query")

    def _parameter(self, fields: Fields, place: str) -> Json:
        schema = self.schemas.field(fields[-1])
        description = schema.pop("description", "")
        return {
            "name": json_path(fields),
            "in": place,
            "description": description,
            "schema": schema,
        }

    def _request_body(self) -> Json:
        if self.rule.body == WHOLE_BODY:
            schema = self._whole_body()
        else:
            schema = self.schemas.field(resolve(self.rule.method.input_type, self.rule.body)[-1])
        return {"required": True, "content": {"application/json": {"schema": schema}}}

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
        if method.server_streaming:
            return _streamed(self.contract, self.schemas, output)
        description = self.schemas.words(self.contract.comment(output.full_name))
        content = {"application/json": {"schema": self.schemas.reference(output)}}
        return _response(description or "The answer.", content)

    def _failures(self) -> Json:
        """The errors that the comments promise, by status, then what may always happen."""
        found: dict[int, list[str]] = {}
        file = self.rule.method.containing_service
        assert file is not None, "every method is of a service"
        for name in (self.rule.method.full_name, file.file.package):
            for code, reason, text in _told_errors(self.contract.comment(name)):
                status = HTTP_STATUSES[code]
                found.setdefault(status, []).append(f"- `{reason}`: {self.schemas.words(text)}")
        shown = {
            str(status): _error_response("\n".join(dict.fromkeys(lines)))
            for status, lines in sorted(found.items())
        }
        own = {"400": "BadRequest"} | ({"413": "TooLarge"} if self.rule.body else {})
        referred = {key: {"$ref": f"#/components/responses/{own[key]}"} for key in own}
        shown = referred | shown
        return {**dict(sorted(shown.items())), "default": {"$ref": "#/components/responses/Error"}}


def _version() -> str:
    try:
        return version("girih")
    except PackageNotFoundError:
        # Run from its sources, which are of no version yet.
        return "0-dev"


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
            package = _without_errors(contract.comment(service.file.package))
            own = contract.comment(service.full_name)
            yield {"name": label_of(service), "description": "\n\n".join([own, package]).strip()}


def _streamed(contract: Contract, schemas: Schemas, output: Descriptor) -> Json:
    element = streamed_type(output)
    reference = schemas.reference(element)
    said = contract.comment(output.full_name if element is output else element.full_name)
    batch = flattened_field(output)
    each = "One object per message" if batch is None else f"One object per `{element.name}`"
    has_id = event_id_field(element) is not None
    ids = " The `id` of an event is its `position`." if has_id else ""
    description = (
        f"{each}, in order. {schemas.words(said)}\n\n"
        f"As `{NDJSON}` each is a line. As `{SSE}` each is the data of an event.{ids} The last "
        "event is of type `end`. A stream that fails after it began ends with the error body: "
        "as its last line, which has the key `error`, or as an event of type `error`."
    )
    content = {
        NDJSON: {"schema": reference},
        SSE: {"schema": {"type": "string", "description": "Events with such objects as data."}},
    }
    return _response(description, content)


def _response(description: str, content: Json) -> Json:
    headers = {"X-Correlation-ID": {"$ref": "#/components/headers/CorrelationId"}}
    return {"description": description, "headers": headers, "content": content}


def _error_response(description: str) -> Json:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return _response(description, content)


_told = re.compile(r"^  ([A-Z_]+) / ([A-Z_]+): ((?:.+\n?)(?:^    .+\n?)*)", re.MULTILINE)


def _told_errors(comment: str) -> Iterable[tuple[grpc.StatusCode, str, str]]:
    """The errors that a comment lists as `  CODE / REASON: what to do`."""
    for code, reason, text in _told.findall(comment):
        if code in grpc.StatusCode.__members__:
            yield grpc.StatusCode[code], reason, " ".join(text.split())


_error_list = re.compile(r"\s*(^Errors:|Every rpc may answer).*\n?(^  .+\n?)*", re.MULTILINE)


def _without_errors(comment: str) -> str:
    """The comment without its list of errors, which the responses tell."""
    return _error_list.sub("", comment).strip()


def _first_sentence(text: str) -> str:
    flat = " ".join(text.split())
    return re.split(r"(?<=[.])\s|:\s", flat, maxsplit=1)[0].rstrip(".:")


def _own_schemas() -> Json:
    violation = {
        "type": "object",
        "properties": {
            "field": {"type": "string", "description": "Its path, such as `events[3].id`."},
            "description": {"type": "string"},
        },
        "required": ["field", "description"],
    }
    details = {
        "type": "object",
        "description": "What programs need. More keys than these are possible.",
        "properties": {
            "reason": {"type": "string", "description": "What happened; never changes."},
            "domain": {"type": "string", "description": "Who says so."},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "violations": {"type": "array", "items": violation},
            "retry_after_s": {"type": "number", "description": "When to try again, in seconds."},
        },
    }
    error = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "examples": ["INVALID_ARGUMENT", "NOT_FOUND", "ABORTED"]},
            "message": {"type": "string", "description": "For people; may change."},
            "details": details,
            "correlation_id": {"type": "string"},
        },
        "required": ["code", "message", "details", "correlation_id"],
    }
    shown = {
        "type": "object",
        "description": "Every failure, on every route.",
        "properties": {"error": error, "timestamp": {"type": "string", "format": "date-time"}},
        "required": ["error", "timestamp"],
    }
    return {"Error": shown, "Health": _health_schema()}


def _health_schema() -> Json:
    states = ["SERVING", "NOT_SERVING", "UNREACHABLE"]
    part = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": states},
            "latency_ms": {"type": "number", "description": "How long its answer took."},
        },
        "required": ["status", "latency_ms"],
    }
    return {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["SERVING", "NOT_SERVING", "DRAINING"]},
            "parts": {"type": "object", "additionalProperties": part},
        },
        "required": ["status", "parts"],
    }


def _shared_responses() -> Json:
    return {
        "BadRequest": _error_response("The request does not fit the contract. Do not retry."),
        "TooLarge": _error_response("The body is larger than is taken."),
        "Error": _error_response(
            "Anything else: 401 and 403 for who calls, 404 for an unknown route, 405 for its "
            "method, 408 for a body that comes too slowly, 415 for its type, 429 and 503 with "
            "`Retry-After`, 504 when time is up, 500 for a bug of ours."
        ),
    }


def _header_parameters(settings: Settings) -> Json:
    shown = {
        "CorrelationId": _header(
            "X-Correlation-ID",
            "Names the request in answers, logs and events: 1 to 64 of A-Z a-z 0-9 . _ -. "
            "Anything else is replaced by a fresh one.",
            {"type": "string"},
        ),
        "RequestTimeout": _header(
            "X-Request-Timeout",
            "The most seconds that the call may take, when fewer than the gateway allows.",
            {"type": "number", "exclusiveMinimum": 0},
        ),
    }
    if settings.environment == "development":
        shown["TenantId"] = _header(
            "X-Tenant-ID",
            "Whose data is meant. Taken in development only; absent means `default`.",
            {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
        )
    return shown


def _header(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def _correlation_header() -> Json:
    return {"description": "The request's name.", "schema": {"type": "string"}}


def _health_tag() -> Json:
    return {"name": _HEALTH_TAG, "description": "How the gateway and what is behind it are."}


def _health_paths() -> Json:
    health = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    anything = {"application/json": {"schema": {"type": "object"}}}
    error = {"$ref": "#/components/responses/Error"}
    report = {"200": _response("All of it serves.", health), "503": _response("Not all.", health)}
    return {
        "/health": _health_path("report", "Every part and its state", report),
        "/health/live": _health_path(
            "live", "The process answers", {"200": _response("It does.", anything)}
        ),
        "/health/ready": _health_path(
            "ready",
            "Requests may be sent here",
            {"200": _response("They may.", anything), "503": error},
        ),
        "/health/database": _health_path(
            "database",
            "How the event store is connected to its database",
            {"200": _response("It is.", anything), "503": error},
        ),
    }


def _health_path(name: str, summary: str, responses: Json) -> Json:
    operation = {
        "operationId": f"health_{name}",
        "summary": summary,
        "tags": [_HEALTH_TAG],
        "responses": responses,
    }
    return {"get": operation}
