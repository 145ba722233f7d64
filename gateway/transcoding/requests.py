"""From the parts of an HTTP request to the message that a method takes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.contract.rules import WHOLE_BODY, Rule, resolve
from gateway.transcoding import json_body
from gateway.transcoding.codec import Decoder, json_path_to
from gateway.transcoding.query import Query, json_path, put
from gateway.transcoding.scalars import query_decoder
from gateway.transcoding.validation import ValidationError, refused

_ITEMS_AT_ONCE = 1_000


class RequestBuilder:
    """Builds the requests of one http rule from path, query and body."""

    def __init__(self, rule: Rule, decoder: Decoder) -> None:
        message = rule.method.input_type
        self._make = GetMessageClass(message)
        self._path = [
            (fields, query_decoder(fields[-1]))
            for variable in rule.template.variables
            for fields in [resolve(message, variable.field_path)]
        ]
        self._decode_body = None
        self._body_field = ""
        self._body_message: Descriptor | None = message
        self._headers = {name.encode(): field for name, field in rule.headers.items()}
        if rule.body == WHOLE_BODY:
            self._decode_body = decoder.message(message)
        elif rule.body and not rule.takes_bytes:
            self._body_field = rule.body
            field = resolve(message, rule.body)[-1]
            self._decode_body = decoder.field(field)
            self._body_message = field.message_type
        self.query = _query(rule, decoder)
        """None when the whole request is in path and body."""

    @property
    def takes_body(self) -> bool:
        return self._decode_body is not None

    def build(
        self,
        captured: tuple[str, ...],
        query_string: bytes,
        body: bytes,
        headers: Mapping[bytes, bytes] = MappingProxyType({}),
    ) -> Message:
        """Raises ValidationError for everything that does not fit the contract."""
        values = self._from_body(body)
        for header, field in self._headers.items():
            if header in headers:
                values[field] = _header_text(header, headers[header])
        if query_string:
            self._put_query(values, query_string)
        for (fields, decode), text in zip(self._path, captured, strict=True):
            try:
                value = decode(text)
            except ValidationError as error:
                raise ValidationError(error.under(json_path(fields))) from None
            put(values, fields, value)
        return _made(self._make, values)

    def _from_body(self, body: bytes) -> dict[str, Any]:
        if self._decode_body is None or not body:
            return {}
        try:
            parsed = json_body.parse(body)
        except json_body.NestedValidationError as error:
            path = json_path_to(self._body_message, error.segments)
            raise ValidationError([(path, error.description)]) from None
        value = self._decode_body(parsed)
        return {self._body_field: value} if self._body_field else value

    def _put_query(self, values: dict[str, Any], query_string: bytes) -> None:
        if self.query is None:
            raise refused("this route takes no query parameters")
        self.query.put_into(values, query_string)


def _made(make: Callable[..., Message], values: dict[str, Any]) -> Message:
    """The message of these values, long lists a few items at a time.

    One call for all of them would not give the interpreter away until it ends.
    """
    long = {
        name: value
        for name, value in values.items()
        if type(value) is list and len(value) > _ITEMS_AT_ONCE
    }
    if not long:
        return make(**values)
    message = make(**{name: value for name, value in values.items() if name not in long})
    for name, items in long.items():
        field = getattr(message, name)
        for first in range(0, len(items), _ITEMS_AT_ONCE):
            some = items[first : first + _ITEMS_AT_ONCE]
            if type(some[0]) is dict:
                for item in some:
                    field.add(**item)
            else:
                field.extend(some)
    return message


def _header_text(name: bytes, value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise ValidationError([(name.decode(), "must be ASCII")]) from None


def _query(rule: Rule, decoder: Decoder) -> Query | None:
    if rule.body == WHOLE_BODY:
        return None
    return Query(rule.method.input_type, rule.outside_query, decoder)
