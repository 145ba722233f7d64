"""Single values between JSON and protobuf, by the rules of protobuf's JSON mapping."""

import binascii
import math
import re
import struct
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.transcoding.json_body import Number
from gateway.transcoding.validation import refused

Decode = Callable[[Any], Any]
"""From a JSON value to what a message's constructor takes; raises ValidationError."""

_INT32 = (-(2**31), 2**31 - 1)
_UINT32 = (0, 2**32 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_UINT64 = (0, 2**64 - 1)

_BOUNDS = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}

WIDE_TYPES = frozenset(kind for kind, bounds in _BOUNDS.items() if bounds in (_INT64, _UINT64))
"""Integers that JSON carries as strings, because a double does not hold them all."""

_NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DIGITS_MAX = 20
"""Of an integer that is compared with its bounds. Those of 64 bits have no more."""
_NO_INTEGER = f"must be an integer of at most {_DIGITS_MAX} digits, or a string of one"

_is_integer = re.compile(r"-?(0|[1-9][0-9]{0,19})", re.ASCII).fullmatch
_is_decimal = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII).fullmatch
_url_safe = str.maketrans("-_", "+/")


def bounds(field: FieldDescriptor) -> tuple[int, int] | None:
    """The least and greatest value of an integer field."""
    return _BOUNDS.get(field.type)


def scalar_decoder(field: FieldDescriptor) -> Decode:
    """For a field of any type but message."""
    limits = _BOUNDS.get(field.type)
    if limits is not None:
        return integer_decoder(*limits)
    if field.enum_type is not None:
        return enum_decoder(field.enum_type)
    return _PLAIN[field.type]


def query_decoder(field: FieldDescriptor) -> Decode:
    """The same for a value that stands in a URL, which is always text."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _bool_from_text
    if field.enum_type is not None:
        return _enum_from_text(field.enum_type)
    return scalar_decoder(field)


def integer_decoder(least: int, greatest: int) -> Decode:
    def decode(value: object) -> int:
        number = value if type(value) is int else _integer(value)
        if least <= number <= greatest:
            return number
        raise refused(f"must be from {least} to {greatest}")

    return decode


def enum_decoder(enum: EnumDescriptor) -> Decode:
    """By name. By number too, also unknown ones: proto3 enums are open."""
    numbers = {value.name: value.number for value in enum.values}
    by_number = integer_decoder(*_INT32)

    def decode(value: object) -> int:
        if type(value) is str:
            number = numbers.get(value)
            if number is None:
                raise refused(f"must be one of {', '.join(numbers)}")
            return number
        return int(by_number(value))

    return decode


def well_known_decoder(message: Descriptor) -> Decode:
    """For `google.protobuf` types with a JSON form of their own."""
    made = GetMessageClass(message)

    def decode(value: object) -> Message:
        try:
            return json_format.ParseDict(_plain(value), made(), max_recursion_depth=100)
        except _PARSE_ERRORS as error:
            raise refused(_shortened(f"must be a {message.full_name}: {error}")) from None

    return decode


# What `json_format` raises for bad values: its own error, and some that it lets through.
_PARSE_ERRORS = (
    json_format.ParseError, AttributeError, OverflowError, RecursionError, TypeError, ValueError
)  # fmt: skip


def _integer(value: object) -> int:
    if type(value) is int:
        return value
    if type(value) is float:
        # Its digits are those that were sent, and the double is perhaps another number.
        return _spelled_integer(repr(value))
    text = value.text if type(value) is Number else value
    if type(text) is not str:
        raise refused(_NO_INTEGER)
    return int(text) if _is_integer(text) else _spelled_integer(text)


def _spelled_integer(text: str) -> int:
    """An integer spelled as a decimal number, such as 1e3 or 5.0: protobuf's JSON has them."""
    if not _is_decimal(text):
        raise refused(_NO_INTEGER)
    try:
        number = Decimal(text)
    except ArithmeticError:  # an exponent of very many digits
        raise refused(_NO_INTEGER) from None
    if number.adjusted() >= _DIGITS_MAX or number != number.to_integral_value():
        raise refused(_NO_INTEGER)
    return int(number)


def _double(value: object) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        return _double_of_integer(value)
    text = value.text if type(value) is Number else value
    if type(text) is not str:
        raise refused("must be a number")
    if text in _NONFINITE:
        return _NONFINITE[text]
    if not _is_decimal(text):
        raise refused("must be a number")
    if math.isinf(number := float(text)):
        raise refused("must be within the range of a double")
    return number


def _double_of_integer(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise refused("must be within the range of a double") from None


def _float(value: object) -> float:
    number = _double(value)
    if math.isfinite(number) and _rounded(number) is None:
        raise refused("must be within the range of a 32-bit float")
    return number


def _bool(value: object) -> bool:
    if type(value) is bool:
        return value
    raise refused("must be true or false")


def _bool_from_text(value: str) -> bool:
    if value in ("true", "false"):
        return value == "true"
    raise refused("must be true or false")


def _enum_from_text(enum: EnumDescriptor) -> Decode:
    decode = enum_decoder(enum)
    return lambda value: decode(int(value) if _is_integer(value) else value)


def _string(value: object) -> str:
    if type(value) is str:
        return value
    raise refused("must be a string")


def _bytes(value: object) -> bytes:
    """Base64 of either alphabet, with or without padding."""
    if type(value) is not str:
        raise refused("must be a string of base64")
    text = value.translate(_url_safe) if "-" in value or "_" in value else value
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise refused("must be base64") from None


_PLAIN: dict[int, Decode] = {
    FieldDescriptor.TYPE_DOUBLE: _double,
    FieldDescriptor.TYPE_FLOAT: _float,
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BYTES: _bytes,
}


def base64_text(value: bytes) -> str:
    return b64encode(value).decode()


def double_value(value: float) -> float | str:
    """JSON has no NaN or infinities: protobuf writes them as strings."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def double_values(values: Any) -> list[float | str]:  # noqa: ANN401 - a repeated field
    doubles: list[float | str] = list(values)
    # One pass in C tells whether all are finite, or that the sum is too large to tell.
    return doubles if math.isfinite(sum(values)) else [double_value(value) for value in values]


def float_value(value: float) -> float | str:
    """The shortest decimal that a 32-bit float is read back from."""
    if not math.isfinite(value):
        return double_value(value)
    for digits in (6, 7, 8):
        short = float(f"{value:.{digits}g}")
        if _rounded(short) == value:
            return short
    return float(f"{value:.9g}")


def _rounded(number: float) -> float | None:
    """The nearest 32-bit float; None when that is infinite."""
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return None
    return rounded


def json_fragment(text: str) -> orjson.Fragment:
    """A JSON text to be put into JSON as it is, on one line.

    Line breaks can only stand between its tokens; inside a stream of lines they would
    end one too early.
    """
    if "\n" in text or "\r" in text:
        text = text.replace("\n", " ").replace("\r", " ")
    return orjson.Fragment(text)


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC is said by the Z that is added


def timestamp_text(value: Any) -> str:  # noqa: ANN401 - a google.protobuf.Timestamp
    """RFC 3339 in UTC, with as many digits of the fraction as needed, in steps of three."""
    text = _second_text(value.seconds)
    nanos = value.nanos
    if not nanos:
        return f"{text}Z"
    if nanos % 1_000_000 == 0:
        return f"{text}.{nanos // 1_000_000:03d}Z"
    if nanos % 1_000 == 0:
        return f"{text}.{nanos // 1_000:06d}Z"
    return f"{text}.{nanos:09d}Z"


@lru_cache(maxsize=256)
def _second_text(seconds: int) -> str:
    """Kept, since the moments of one answer are mostly of the same second."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON value without `Number`s, for types that keep numbers as doubles anyway."""
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    if type(value) is list:
        return [_plain(item) for item in value]
    return float(value) if type(value) is Number else value


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"
