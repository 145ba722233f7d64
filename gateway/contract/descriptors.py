"""The contract as the gateway reads it: services, methods, options and comments, from descriptors.

Knows nothing of HTTP and imports no service's stubs: a new proto needs no change here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumValueDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    OneofDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pool import DescriptorPool

from girih.options.v1 import options_pb2

SUCCESS_STATUS_DEFAULT = 200

_INT32 = FieldDescriptor.TYPE_INT32
_NO_NUMBERS = {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_GROUP,
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_STRING,
}

HTTP_BODY = "google.api.HttpBody"
"""The message that stands for bytes of any type."""

BYTES = "application/octet-stream"
"""The media type of bytes of which nothing else is said."""


class ContractError(Exception):
    """The contract says something that the gateway cannot serve. Found at start."""


@dataclass(frozen=True)
class Contract:
    """Every service of a descriptor set, and what its authors wrote about each name."""

    pool: DescriptorPool
    services: tuple[ServiceDescriptor, ...]
    comments: dict[str, str]
    """By full name of a service, method, message, field, enum, enum value or package."""
    serialized: bytes
    """The descriptor set itself, for who reads it in another process."""

    @classmethod
    def from_descriptor_set(cls, serialized: bytes) -> "Contract":
        """Read a FileDescriptorSet that holds its imports, and comments if there are any."""
        files = descriptor_pb2.FileDescriptorSet.FromString(serialized).file
        pool = DescriptorPool()
        for file in files:
            pool.Add(file)
        services = [
            pool.FindServiceByName(f"{file.package}.{service.name}")
            for file in files
            for service in file.service
        ]
        comments = {name: text for file in files for name, text in _comments(file)}
        return cls(pool, tuple(services), comments, serialized)

    def comment(self, full_name: str) -> str:
        return self.comments.get(full_name, "")


def http_rules(method: MethodDescriptor) -> list[http_pb2.HttpRule]:
    """The method's http rule and its additional bindings; empty when it has none."""
    options = _options(method)
    if not options.HasExtension(annotations_pb2.http):
        return []
    rule = options.Extensions[annotations_pb2.http]
    return [rule, *rule.additional_bindings]


def success_status(method: MethodDescriptor) -> int:
    """The HTTP status of a call that succeeds."""
    status: int = _options(method).Extensions[options_pb2.success_status]
    return status or SUCCESS_STATUS_DEFAULT


def scope_of(method: MethodDescriptor) -> str:
    """What a caller's token must allow; raises ContractError where the contract does not say.

    Nobody may call an rpc of which nobody has said who may.
    """
    scope: str = _options(method).Extensions[options_pb2.scope]
    if not scope:
        raise ContractError(f"{method.full_name} says no scope")
    return scope


def only_reads(method: MethodDescriptor) -> bool:
    """Whether a call of it changes nothing, so that it may be made again whatever became of it."""
    return scope_of(method).endswith(".read")


def example_of(method: MethodDescriptor) -> str:
    """The JSON text of a request that works; empty where the contract gives none."""
    example: str = _options(method).Extensions[options_pb2.example]
    return example


def answer_example_of(method: MethodDescriptor) -> str:
    """What REST answers to that request, as JSON text, of a stream one line; may be empty."""
    example: str = _options(method).Extensions[options_pb2.answer_example]
    return example


def media_types_of(method: MethodDescriptor) -> Sequence[str]:
    """Those of the bytes that an rpc answers, the usual one first."""
    return tuple(_options(method).Extensions[options_pb2.media_types]) or (BYTES,)


def stream_options(method: MethodDescriptor) -> options_pb2.StreamOptions | None:
    """What the contract says of how REST shows a stream; None where it says nothing."""
    options = _options(method)
    if not options.HasExtension(options_pb2.stream):
        return None
    stream: options_pb2.StreamOptions = options.Extensions[options_pb2.stream]
    return stream


def error_options(value: EnumValueDescriptor) -> options_pb2.ErrorOptions:
    """How a reason comes and what to do about it; empty where the contract does not say."""
    error: options_pb2.ErrorOptions = _options(value).Extensions[options_pb2.error]
    return error


def is_json_text(field: FieldDescriptor) -> bool:
    """Whether the string holds a JSON text that REST shows as JSON."""
    if field.type != FieldDescriptor.TYPE_STRING:
        return False
    json_text: bool = _options(field).Extensions[options_pb2.json_text]
    return json_text


def is_secret(field: FieldDescriptor) -> bool:
    """Whether the value is a password or a token."""
    secret: bool = _options(field).Extensions[options_pb2.secret]
    return secret


def header_of(field: FieldDescriptor) -> str:
    """The header that REST takes the field from, in lower case; empty when from none."""
    header: str = _options(field).Extensions[options_pb2.header]
    return header


def row_length_of(field: FieldDescriptor) -> FieldDescriptor | None:
    """The field that tells the length of a row, where the list is a table row by row.

    Raises ContractError where the option does not fit.
    """
    name: str = _options(field).Extensions[options_pb2.row_length]
    if not name:
        return None
    assert field.containing_type is not None, "no extension"
    length = field.containing_type.fields_by_name.get(name)
    is_table = field.is_repeated and field.type not in _NO_NUMBERS
    if not is_table or length is None or length.is_repeated or length.type != _INT32:
        raise ContractError(f"{field.full_name} has rows of a length that {name!r} does not tell")
    return length


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def entry_fields(field: FieldDescriptor) -> Mapping[str, FieldDescriptor]:
    """The fields `key` and `value` of a map field's entries."""
    assert field.message_type is not None, "not a map"
    return field.message_type.fields_by_name


def oneofs(message: Descriptor) -> list[list[FieldDescriptor]]:
    """The members of each oneof that somebody wrote, without those `optional` stands for."""
    return [list(oneof.fields) for oneof in message.oneofs if not _is_synthetic(oneof)]


def oneof_members(field: FieldDescriptor) -> list[str]:
    """The fields of which only one may be set, if this is one of them."""
    oneof = field.containing_oneof
    if oneof is None or _is_synthetic(oneof):
        return []
    return [member.name for member in oneof.fields]


def _is_synthetic(oneof: OneofDescriptor) -> bool:
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"


_WithOptions = MethodDescriptor | FieldDescriptor | EnumValueDescriptor


def _options(descriptor: _WithOptions) -> Any:  # noqa: ANN401 - typed per kind
    return descriptor.GetOptions()


def _comments(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        text = location.leading_comments or location.trailing_comments
        name = _name(file, location.path) if text else None
        if name is not None:
            yield name, _unindented(text)


def _name(file: descriptor_pb2.FileDescriptorProto, path: Sequence[int]) -> str | None:
    """The full name of what a SourceCodeInfo path points at; None for what has no name."""
    numbers = descriptor_pb2.FileDescriptorProto
    if list(path) == [numbers.PACKAGE_FIELD_NUMBER]:
        return file.package
    node: Any = file
    names = [file.package]
    for kind, index in zip(path[::2], path[1::2], strict=False):
        field = node.DESCRIPTOR.fields_by_number.get(kind)
        if field is None or not field.is_repeated or field.message_type is None:
            return None
        node = getattr(node, field.name)[index]
        names.append(getattr(node, "name", ""))
    return ".".join(names) if len(path) >= 2 and len(path) % 2 == 0 else None


_FOR_TOOLS = "buf:lint:"


def _unindented(text: str) -> str:
    """The comment without the one space that follows each `//`, and what is no reader's."""
    lines = [line.removeprefix(" ").rstrip() for line in text.splitlines()]
    return "\n".join(line for line in lines if not line.startswith(_FOR_TOOLS)).strip()
