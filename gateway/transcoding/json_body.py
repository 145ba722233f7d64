"""The JSON text of a request as Python values, from which `dump` makes the same text again.

All that changes is what JSON leaves open: white space between tokens goes, and characters of
strings that were escaped without need are written as they are. The faster parsers also keep the
last of two equal keys and the nearest double of any number: one is used where what it writes shows
that it lost nothing. The standard library's calls back for both.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from gateway.transcoding.validation import ValidationError, refused


class Number:
    """A number as it was spelled, where Python would spell it in another way."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __float__(self) -> float:
        return float(self.text)


Segment = str | int
"""A key of an object, or a place in an array."""


class NestedValidationError(ValidationError):
    """Something within the text cannot be taken. Knows where, and not which field that is."""

    def __init__(self, description: str, segments: Sequence[Segment]) -> None:
        super().__init__([("", description)])
        self.description = description
        self.segments = segments


def parse(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a JSON text in UTF-8. Raises ValidationError for others.

    Objects are dicts of which no key was given twice. Numbers are ints of any size,
    floats, or `Number`s. Nesting is bounded by the interpreter, at somewhat below 1,000
    levels.

    Takes time in proportion to the text, whatever it holds: about 50 ms a MiB where it is
    worst. What is far from the start of a long text is refused without its path.
    """
    value = _canonical(body)
    if value is not _NOT_CANONICAL:
        return value
    try:
        text = body.decode()
    except UnicodeDecodeError:
        _refuse("the body must be UTF-8")
    value = _parsed(text, _decoder_of(text))
    if _surrogate(text):
        _refuse_lone_surrogates(text)
    return value


def dump(value: Any) -> str:  # noqa: ANN401 - what `parse` answers
    """The JSON text of a value that `parse` answered: same order, numbers as spelled.

    Raises ValidationError for what no reader could keep: numbers beyond a double, or more than
    254 levels.
    """
    try:
        return _dumped(value)
    except orjson.JSONEncodeError:
        # Also for integers beyond 64 bits, which orjson writes only when they are spelled.
        return _dumped_spelled(value)


_NOT_CANONICAL = object()


def _canonical(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a text that orjson would write for it; `_NOT_CANONICAL` for others.

    What is the same byte for byte has no key twice, no number that Python spells in another way,
    and no escape or space too many. That is what most programs send, and it takes a quarter of the
    time. Others send a space behind a colon, which is seen sooner.
    """
    if b'": ' in body:
        return _NOT_CANONICAL
    try:
        value = orjson.loads(body)
        return value if orjson.dumps(value) == body else _NOT_CANONICAL
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return _NOT_CANONICAL


_DIGITS_KEPT = 15
"""A double keeps as many of any decimal number."""

_minus_zero = re.compile(r"-0(?![^\s,\]}])(?<![^\s:,\[]-0)").search
"""Perhaps the integer -0: it may stand within a string, too."""

_surrogate = re.compile(r"\\u[dD][89a-fA-F]").search


def _parsed(text: str, decoder: json.JSONDecoder) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return decoder.decode(text)
    except RecursionError:
        raise NestedValidationError(_TOO_DEEP, _way_to_the_deep(text)) from None
    except json.JSONDecodeError as error:
        _refuse(f"the body is not JSON: {error}")
    except (_NoNumber, ValueError):  # ValueError: more digits than Python converts
        if len(text) > _SCANNED_CHARS_MAX:
            _refuse("the body must hold numbers within the range of a double, and not NaN")
        raise _no_number(_parsed(text, _marking_decoder)) from None


def _decoder_of(text: str) -> json.JSONDecoder:
    # The one that calls back for integers takes three times as long over them.
    return _decoder_of_minus_zero if _minus_zero(text) else _decoder


def _decimal(text: str) -> float | Number:
    # Short, without an exponent, without zeros at its end or a row of them at its start: a
    # double of it is written in the same way again.
    is_usual = len(text) <= _DIGITS_KEPT and "e" not in text and "E" not in text
    if is_usual and (text[-1] != "0" or text[-2] == ".") and "0.0000" not in text:
        return float(text)
    return Number(text)


def _integer(text: str) -> int | Number:
    return Number(text) if text == "-0" else int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = _first_repeated(key for key, _ in pairs)
        _refuse(f"an object has the key {json.dumps(repeated[:100])} twice")
    return members


def _first_repeated(keys: Iterable[str]) -> str:
    seen = set[str]()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("no key is repeated")


class _NoNumber(Exception):
    """In place of a number there is something else."""


def _refuse_constant(_text: str) -> NoReturn:
    raise _NoNumber


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_constant=_refuse_constant
)
_decoder_of_minus_zero = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=_decimal,
    parse_int=_integer,
    parse_constant=_refuse_constant,
)


@dataclass(frozen=True)
class _Mark:
    """Stands for what is no number, in the second reading that finds its place."""

    description: str


def _marked_integer(text: str) -> int | _Mark:
    try:
        return int(text)
    except ValueError:
        return _Mark(_TOO_LARGE)


_marking_decoder = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_float=_decimal,
    parse_int=_marked_integer,
    parse_constant=lambda text: _Mark(f"must be JSON, which has no {text}"),
)


def _no_number(value: Any) -> NestedValidationError:  # noqa: ANN401 - any JSON value, with marks
    """The refusal of the first mark. Without recursion: what was read may be deep."""
    # Each with the way to it, last step first: cheap for values that nobody asks about.
    pending: list[tuple[Any, Any]] = [(value, None)]
    while pending:
        nested, trail = pending.pop()
        if type(nested) is _Mark:
            return NestedValidationError(nested.description, _segments(trail))
        if type(nested) is dict:
            pending += [(item, (trail, key)) for key, item in reversed(nested.items())]
        elif type(nested) is list:
            last = len(nested) - 1
            pending += [(item, (trail, last - n)) for n, item in enumerate(reversed(nested))]
    return NestedValidationError("must hold no NaN and no Infinity", ())


def _segments(trail: Any) -> list[Segment]:  # noqa: ANN401 - nested pairs
    segments: list[Segment] = []
    while trail is not None:
        trail, segment = trail
        segments.append(segment)
    return segments[::-1]


_TOO_LARGE = "must hold numbers within the range of a double"
_TOO_DEEP = "must be nested at most 254 levels deep"
"""As orjson writes it; the decoder reads some more."""

_SCANNED_CHARS_MAX = 2**16
"""So far a text is searched for where something is wrong: some 50 ms."""

_DEPTH_MAX = 500
"""Deeper than any field may be, and less deep than what the decoder gives up on."""

_sign = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)


def _way_to_the_deep(text: str) -> list[Segment]:
    """Where a text is first too deep; empty when that is not near enough to its start."""
    way: list[Segment] = []
    is_key = False
    for match in _sign.finditer(text, 0, _SCANNED_CHARS_MAX):
        sign = match[0]
        if sign in "[{":
            way.append(0 if sign == "[" else "")
            is_key = sign == "{"
            if len(way) > _DEPTH_MAX:
                return way
        elif sign in "]}" and way:
            way.pop()
            is_key = False
        elif sign == "," and way:
            place = way[-1]
            is_key = type(place) is str
            way[-1] = place + 1 if isinstance(place, int) else place
        elif is_key and way:
            way[-1] = _key(sign)
            is_key = False
    return []


def _key(sign: str) -> str:
    try:
        return str(json.loads(sign))
    except ValueError:
        return "…"


_until_lone_surrogate = re.compile(
    r"""(?: [^\\]++
          | \\ (?: [^u]
                | u (?: [dD][89abAB][0-9a-fA-F]{2} \\u[dD][c-fC-F][0-9a-fA-F]{2}
                      | (?![dD][89a-fA-F]) [0-9a-fA-F]{4} ) )
        )*+""",
    re.VERBOSE | re.DOTALL,
).match
"""Every escape is consumed whole, so that a backslash before it is never taken for its own."""


def _refuse_lone_surrogates(text: str) -> None:
    """Half a surrogate pair is no character, and UTF-8 cannot carry it on."""
    match = _until_lone_surrogate(text)
    assert match is not None, "it matches nothing at least"
    if match.end() < len(text):
        _refuse(f"the body is not JSON: a lone surrogate at character {match.end()}")


def _dumped(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return orjson.dumps(value, default=_fragment).decode()


def _dumped_spelled(value: Any) -> str:  # noqa: ANN401 - any JSON value
    try:
        return _dumped(_spelled(value))
    except (orjson.JSONEncodeError, RecursionError):
        raise refused(_TOO_DEEP) from None


def _spelled(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if type(value) is dict:
        return {key: _spelled(item) for key, item in value.items()}
    if type(value) is list:
        return [_spelled(item) for item in value]
    number = Number(str(value)) if type(value) is int else value
    if type(number) is Number and math.isinf(float(number)):
        raise refused(_TOO_LARGE)
    return number


def _fragment(value: Any) -> orjson.Fragment:  # noqa: ANN401 - orjson's signature
    if type(value) is not Number or math.isinf(float(value)):
        raise TypeError
    return orjson.Fragment(value.text)


def _refuse(description: str) -> NoReturn:
    raise ValidationError([("", description)])
