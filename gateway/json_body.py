"""The JSON text of a request as Python values, with nothing in it altered or lost.

The faster parsers keep the last of two equal keys and the nearest double of any number.
The standard library's calls back for both, and costs 4 microseconds more on a small body.
"""

import json
import math
import re
from typing import Any, NoReturn

import orjson

from gateway.refusal import Refused, refused


class Number:
    """A number as it was spelled, where a double may not keep it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __float__(self) -> float:
        return float(self.text)


def parse(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a JSON text in UTF-8; raises Refused when it is none.

    Objects are dicts of which no key was given twice. Numbers are ints of any size,
    floats, or `Number`s. Nesting is bounded by the interpreter, at somewhat below 1,000
    levels.
    """
    try:
        text = body.decode()
        value = _decoder.decode(text)
    except RecursionError:
        _refuse("the body is nested too deep")
    except ValueError as error:
        _refuse(f"the body is not JSON: {error}")
    if _surrogate(text):
        _refuse_lone_surrogates(body)
    return value


def dump(value: Any) -> str:  # noqa: ANN401 - what `parse` answers
    """The JSON text of a value that `parse` answered: same order, numbers as spelled.

    Raises Refused for what no reader could keep: numbers beyond a double, or more than
    254 levels.
    """
    try:
        return _dumped(value)
    except orjson.JSONEncodeError:
        # Also for integers beyond 64 bits, which orjson writes only when they are spelled.
        return _dumped_spelled(value)


_DIGITS_KEPT = 15
"""A decimal number of so many digits comes back unaltered from a double."""

_surrogate = re.compile(r"\\u[dD][89a-fA-F]").search


def _decimal(text: str) -> float | Number:
    if len(text) <= _DIGITS_KEPT and "e" not in text and "E" not in text:
        return float(text)
    return Number(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        _refuse(f"an object has the key {json.dumps(twice[:100])} twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    _refuse(f"the body is not JSON: {text} is no JSON value")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_constant=_refuse_constant
)


def _refuse_lone_surrogates(body: bytes) -> None:
    """Half a surrogate pair is no character, and UTF-8 cannot carry it on."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "surrogate" in str(error):
            _refuse(f"the body is not JSON: {error}")


def _dumped(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return orjson.dumps(value, default=_fragment).decode()


def _dumped_spelled(value: Any) -> str:  # noqa: ANN401 - any JSON value
    try:
        return _dumped(_spelled(value))
    except (orjson.JSONEncodeError, RecursionError):
        raise refused("is nested too deep, or holds a number beyond a double's range") from None


def _spelled(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if type(value) is dict:
        return {key: _spelled(item) for key, item in value.items()}
    if type(value) is list:
        return [_spelled(item) for item in value]
    return Number(str(value)) if type(value) is int else value


def _fragment(value: Any) -> orjson.Fragment:  # noqa: ANN401 - orjson's signature
    if type(value) is not Number or math.isinf(float(value)):
        raise TypeError
    return orjson.Fragment(value.text)


def _refuse(description: str) -> NoReturn:
    raise Refused([("", description)])
