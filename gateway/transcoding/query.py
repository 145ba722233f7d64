"""The query part of a URL as fields of a request."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.descriptors import is_map, oneof_members
from gateway.transcoding import json_body
from gateway.transcoding.codec import WELL_KNOWN, Decoder, json_path_to
from gateway.transcoding.scalars import Decode, query_decoder, well_known_decoder
from gateway.transcoding.validation import ValidationError, Violation, refused
from girih.rules.violations import VIOLATIONS_MAX

Fields = tuple[FieldDescriptor, ...]
"""The way from a request message to one of its values."""

_PARAMETERS_MAX = 1_000
_NAME_CHARS_MAX = 100
_DEPTH_MAX = 4
"""Values deeper in a request than this cannot be given in a URL. Bounds recursive messages."""


class Query:
    """The parameters that a request message takes in a URL, as `a.b` in either spelling.

    An item of a list of messages is one as JSON, since nothing tells of which item `a.b.c` is.
    """

    def __init__(
        self, message: Descriptor, set_elsewhere: set[str], decoder: Decoder | None = None
    ) -> None:
        """`set_elsewhere` are field paths that are in the path or the body."""
        self._message = message
        self._set_elsewhere = set_elsewhere
        self._decoder = decoder or Decoder()

    @cached_property
    def parameters(self) -> dict[str, Fields]:
        """By their documented names."""
        values = _values(self._message, (), self._set_elsewhere)
        return {json_path(fields): fields for fields in values}

    @cached_property
    def _setters(self) -> dict[str, Callable[[dict[str, Any], str], None]]:
        # Made when they are needed first: a message that holds others has hundreds, and most
        # routes are never asked with a query.
        setters = {}
        for fields in self.parameters.values():
            setter = _setter(fields, self._decoder)
            setters[json_path(fields)] = setter
            setters[proto_path(fields)] = setter
        return setters

    def put_into(self, values: dict[str, Any], query_string: bytes) -> None:
        """Set what the query says in `values`; raises ValidationError for what it must not."""
        violations: list[Violation] = []
        for name, text in _pairs(query_string):
            setter = self._setters.get(name)
            try:
                if setter is None:
                    raise refused("there is no such query parameter")
                setter(values, text)
            except ValidationError as error:
                violations += error.under(name)
        if violations:
            raise ValidationError(violations[:VIOLATIONS_MAX])


def json_path(fields: Fields) -> str:
    return ".".join(field.json_name for field in fields)


def proto_path(fields: Fields) -> str:
    return ".".join(field.name for field in fields)


def put(values: dict[str, Any], fields: Fields, value: object) -> None:
    """Set a value that may already be there, if it is the same; raises ValidationError."""
    holder, name = _holder(values, fields), fields[-1].name
    if holder.setdefault(name, value) != value:
        raise ValidationError([(json_path(fields), "must be the same as in the path")])


def _values(message: Descriptor, above: Fields, left_out: set[str]) -> Iterator[Fields]:
    for field in message.fields:
        fields = (*above, field)
        inner = field.message_type
        if proto_path(fields) in left_out:
            continue
        if inner is None or (inner.full_name.startswith(WELL_KNOWN) and not field.is_repeated):
            yield fields
        elif is_map(field):
            continue
        elif field.is_repeated:
            yield fields
        elif len(fields) < _DEPTH_MAX:
            yield from _values(inner, fields, left_out)


def is_json(field: FieldDescriptor) -> bool:
    """Whether a parameter is the JSON of a message."""
    message = field.message_type
    return (
        message is not None and field.is_repeated and not message.full_name.startswith(WELL_KNOWN)
    )


def _setter(fields: Fields, decoder: Decoder) -> Callable[[dict[str, Any], str], None]:
    field = fields[-1]
    decode = _decoder(field, decoder)
    rivals = oneof_members(field)

    def set_single(values: dict[str, Any], text: str) -> None:
        holder = _holder(values, fields)
        if field.name in holder:
            raise refused("must be given once")
        if any(rival in holder for rival in rivals):
            raise refused("must not be given beside another of its choice")
        holder[field.name] = decode(text)

    def add(values: dict[str, Any], text: str) -> None:
        _holder(values, fields).setdefault(field.name, []).append(decode(text))

    return add if field.is_repeated else set_single


def _holder(values: dict[str, Any], fields: Fields) -> dict[str, Any]:
    for field in fields[:-1]:
        values = values.setdefault(field.name, {})
    return values


def _decoder(field: FieldDescriptor, decoder: Decoder) -> Decode:
    if is_json(field):
        assert field.message_type is not None, "a message"
        return _json_decoder(field.message_type, decoder.message(field.message_type))
    return well_known_decoder(field.message_type) if field.message_type else query_decoder(field)


def _json_decoder(message: Descriptor, convert: Decode) -> Decode:
    def decode(text: str) -> object:
        try:
            value = json_body.parse(text.encode())
        except json_body.NestedValidationError as error:
            path = json_path_to(message, error.segments)
            raise ValidationError([(path, error.description)]) from None
        except ValidationError:
            raise refused("must be an object as JSON") from None
        return convert(value)

    return decode


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except UnicodeDecodeError:
        raise ValidationError([(_not_utf8(query_string), "must be UTF-8")]) from None
    except ValueError:
        raise refused(f"the query must have at most {_PARAMETERS_MAX} parameters") from None


def _not_utf8(query_string: bytes) -> str:
    """The name of the first parameter that is not UTF-8."""
    for pair in query_string.split(b"&"):
        try:
            unquote_to_bytes(pair).decode()
        except UnicodeDecodeError:
            name = pair.partition(b"=")[0].replace(b"+", b" ")
            return unquote_to_bytes(name).decode(errors="replace")[:_NAME_CHARS_MAX]
    return ""
