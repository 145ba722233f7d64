"""The contract for people who call by gRPC, as the JSON that the page `/docs/grpc` is drawn from.

All of it is read from descriptors: words are the comments of the protos.
"""

from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import Any

import orjson
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from gateway.contract.comments import ListedError, errors_of, listed_errors, without_errors
from gateway.contract.descriptors import (
    Contract,
    entry_fields,
    example_of,
    http_rules,
    is_json_text,
    is_map,
    oneof_members,
    scope_of,
)
from gateway.contract.reasons import Reason, reasons_of
from girih.rules.words import words_of

Json = dict[str, Any]


def reference(contract: Contract, served_here: Collection[str] = ()) -> Json:
    """Packages with their services and types, and every reason why calls fail.

    The gateway serves the services named in `served_here` itself, over REST alone: they are
    left out.
    """
    files: dict[str, tuple[FileDescriptor, list[ServiceDescriptor]]] = {}
    for service in contract.services:
        if service.full_name not in served_here:
            files.setdefault(service.file.name, (service.file, []))[1].append(service)
    return {
        "packages": [_package(contract, file, services) for file, services in files.values()],
        "reasons": [_reason(reason) for reason in reasons_of(contract)],
    }


def _package(contract: Contract, file: FileDescriptor, services: list[ServiceDescriptor]) -> Json:
    comment = contract.comment(file.package)
    return {
        "name": file.package,
        "description": without_errors(comment),
        "errors": [_error(error) for error in listed_errors(comment)],
        "services": [_service(contract, service) for service in services],
        "types": [
            *(
                message
                for part in _parts(file)
                for message in _messages(contract, part.message_types_by_name.values())
            ),
            *(
                _enum(contract, enum)
                for part in _parts(file)
                for enum in part.enum_types_by_name.values()
            ),
        ],
    }


def _parts(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """The file, and those of its package that it imports for their types alone."""
    yield file
    for imported in file.dependencies:
        if imported.package == file.package and not imported.services_by_name:
            yield imported


def _service(contract: Contract, service: ServiceDescriptor) -> Json:
    return {
        "name": service.full_name,
        "description": contract.comment(service.full_name),
        "rpcs": [_rpc(contract, method) for method in service.methods],
    }


def _rpc(contract: Contract, method: MethodDescriptor) -> Json:
    return {
        "name": method.name,
        "description": without_errors(contract.comment(method.full_name)),
        "request": method.input_type.full_name,
        "response": method.output_type.full_name,
        "client_streaming": method.client_streaming,
        "server_streaming": method.server_streaming,
        "scope": scope_of(method),
        "routes": [
            f"{(verb := str(rule.WhichOneof('pattern'))).upper()} {getattr(rule, verb)}"
            for rule in http_rules(method)
        ],
        "example": _example(method),
        "errors": [_error(error) for error in errors_of(contract, method)],
    }


def _example(method: MethodDescriptor) -> Json | None:
    """The request that works, as protobuf's own JSON has it: JSON texts are strings."""
    text = example_of(method)
    return _as_protobuf(method.input_type, orjson.loads(text)) if text else None


def _as_protobuf(message: Descriptor, value: Json) -> Json:
    by_name = {field.json_name: field for field in message.fields}
    return {name: _field_value(by_name[name], inner) for name, inner in value.items()}


def _field_value(field: FieldDescriptor, value: Any) -> Any:  # noqa: ANN401 - any JSON
    if is_json_text(field):
        return orjson.dumps(value).decode()
    if (
        field.message_type is None
        or is_map(field)
        or field.message_type.file.package == _WELL_KNOWN
    ):
        return value
    if isinstance(value, list):
        return [_as_protobuf(field.message_type, item) for item in value]
    return _as_protobuf(field.message_type, value)


_WELL_KNOWN = "google.protobuf"


def _messages(contract: Contract, messages: Collection[Descriptor]) -> Iterator[Json]:
    """Each, with those inside of it behind it."""
    for message in messages:
        if message.GetOptions().map_entry:
            continue
        yield {
            "name": message.full_name,
            "description": contract.comment(message.full_name),
            "fields": [_field(contract, field) for field in message.fields],
        }
        yield from _messages(contract, message.nested_types)
        for enum in message.enum_types:
            yield _enum(contract, enum)


def _enum(contract: Contract, enum: EnumDescriptor) -> Json:
    return {
        "name": enum.full_name,
        "description": contract.comment(enum.full_name),
        "values": [
            {
                "name": value.name,
                "number": value.number,
                "description": contract.comment(f"{enum.full_name}.{value.name}"),
            }
            for value in enum.values
        ],
    }


def _field(contract: Contract, field: FieldDescriptor) -> Json:
    members = oneof_members(field)
    return {
        "name": field.name,
        "number": field.number,
        "type": _type(field),
        "of": _named(entry_fields(field)["value"] if is_map(field) else field),
        "choice": [name for name in members if name != field.name],
        "must": words_of(field),
        "description": contract.comment(field.full_name),
    }


def _type(field: FieldDescriptor) -> str:
    """As the proto has it, without packages: `repeated Event`."""
    if is_map(field):
        key, value = (_single(one) for one in entry_fields(field).values())
        return f"map<{key}, {value}>"
    if field.is_repeated:
        return f"repeated {_single(field)}"
    is_optional = field.has_presence and field.message_type is None
    is_choice = bool(oneof_members(field))
    return f"optional {_single(field)}" if is_optional and not is_choice else _single(field)


def _single(field: FieldDescriptor) -> str:
    return _named(field).rpartition(".")[2] or _SCALARS[field.type]


def _named(field: FieldDescriptor) -> str:
    """The full name of the message or enum that a value is; empty for others."""
    named = field.message_type or field.enum_type
    return named.full_name if named is not None else ""


_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


def _error(error: ListedError) -> Json:
    return {"code": error.code, "reasons": error.reasons, "text": error.text}


def _reason(reason: Reason) -> Json:
    return {**asdict(reason), "status": reason.status}
