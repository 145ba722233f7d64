"""JSON schemas of single values: what the codec reads and writes, within a field's rules.

Answers hold one form of each value. Requests may hold another one too, such as a number for a
64-bit integer or `null` for what is left out: then the schema has alternatives, of which the
first is the form to send.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from gateway.transcoding import scalars
from girih.options.v1.options_pb2 import EnumRules
from girih.rules.words import FieldRules, enum_numbers, may_be_zero, pattern_of, rules_of

Json = dict[str, Any]

_PLAIN_SCHEMAS: dict[int, Json] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}

_BASE64 = "^([A-Za-z0-9+/_-]{4})*([A-Za-z0-9+/_-]{2}(==)?|[A-Za-z0-9+/_-]{3}=?)?$"


def scalar(field: FieldDescriptor, rules: FieldRules, *, is_input: bool) -> Json:
    """The schema of a value that is no message, no enum and no JSON text."""
    if scalars.bounds(field) is not None:
        return _integer(field, rules, is_input=is_input)
    schema = dict(_PLAIN_SCHEMAS[field.type])
    if not is_input:
        return schema
    return schema | _BOUNDS_OF[field.type](rules) if field.type in _BOUNDS_OF else schema


def enum(field: FieldDescriptor, whole: Json | None = None) -> Json:
    """The names that a request may hold, or their numbers. `whole` refers to all the names, for
    a field that takes them all."""
    numbers: Json = {"type": "integer", "format": "int32"}
    if _enum_rules(field).defined_only:
        numbers["enum"] = list(allowed(field))
    names = whole or {"type": "string", "enum": list(allowed(field).values())}
    return alternatives(names, numbers)


def allowed(field: FieldDescriptor) -> dict[int, str]:
    """The values of its enum that a request may hold."""
    assert field.enum_type is not None, "an enum"
    return enum_numbers(field.enum_type, _enum_rules(field))


def takes_fewer(field: FieldDescriptor) -> bool:
    """Whether a request may not hold every value of its enum."""
    assert field.enum_type is not None, "an enum"
    return len(allowed(field)) < len(field.enum_type.values)


def _enum_rules(field: FieldDescriptor) -> EnumRules:
    rules = rules_of(field)
    return (rules.repeated.items if field.is_repeated else rules).enum


def alternatives(*schemas: Json) -> Json:
    """Any of these; the first is the form to send."""
    return {"anyOf": list(schemas)}


def or_null(schema: Json) -> Json:
    """The same, or `null` in place of leaving it out."""
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    outside = {key: schema[key] for key in ("description",) if key in schema}
    inside = {key: value for key, value in schema.items() if key not in outside}
    return alternatives(inside, {"type": "null"}) | outside if inside else schema


def _string(rules: FieldRules) -> Json:
    string, is_optional = rules.string, may_be_zero(rules)
    shown: Json = {}
    # A character takes one byte to four.
    least = max(string.min_len, -(-string.min_bytes // 4), int(rules.required))
    if least and not is_optional:
        shown["minLength"] = least
    if string.HasField("max_len"):
        shown["maxLength"] = string.max_len
    elif string.HasField("max_bytes"):
        shown["maxLength"] = string.max_bytes
    if pattern := pattern_of(string):
        shown["pattern"] = f"^(?:{pattern[1:-1]})?$" if is_optional else pattern
    if string.uuid and not is_optional:
        shown["format"] = "uuid"
    if names := list(getattr(string, "in")):
        shown["enum"] = [*names, ""] if is_optional else names
    return shown


def _bytes(rules: FieldRules) -> Json:
    """Their base64, of either alphabet, with or without padding."""
    bounded = rules.bytes.HasField("max_len")
    return {"pattern": _BASE64} | (
        {"maxLength": -(-rules.bytes.max_len // 3) * 4} if bounded else {}
    )


def _double(rules: FieldRules) -> Json:
    """Their bounds. JSON has no infinities, and NaN neither."""
    if may_be_zero(rules):
        raise ValueError("no schema was written for a double that may be 0 beside its bounds")
    bounds = rules.double
    return {
        word: getattr(bounds, name) for name, word in _DOUBLE_WORDS.items() if bounds.HasField(name)
    }


_DOUBLE_WORDS = {
    "gte": "minimum",
    "gt": "exclusiveMinimum",
    "lte": "maximum",
    "lt": "exclusiveMaximum",
}

_BOUNDS_OF: dict[int, Callable[[FieldRules], Json]] = {
    FieldDescriptor.TYPE_STRING: _string,
    FieldDescriptor.TYPE_BYTES: _bytes,
    FieldDescriptor.TYPE_DOUBLE: _double,
}


def _integer(field: FieldDescriptor, rules: FieldRules, *, is_input: bool) -> Json:
    least, most = _bounds(field, rules) if is_input else _type_bounds(field)
    sign = "int" if _type_bounds(field)[0] else "uint"
    number: Json = {"type": "integer", "minimum": least, "maximum": most}
    if field.type not in scalars.WIDE_TYPES:
        return number | {"format": f"{sign}32"} | (_gap(rules) if is_input else {})
    text: Json = {"type": "string", "format": f"{sign}64", "pattern": digits(least, most)}
    return alternatives(text, number | {"format": f"{sign}64"}) if is_input else text


def _type_bounds(field: FieldDescriptor) -> tuple[int, int]:
    limits = scalars.bounds(field)
    assert limits is not None, "an integer"
    return limits


def _bounds(field: FieldDescriptor, rules: FieldRules) -> tuple[int, int]:
    """What a request may hold, with the default where that is let through."""
    least, most = _type_bounds(field)
    kind = rules.WhichOneof("type")
    if kind in ("int32", "int64"):
        bounds = getattr(rules, kind)
        least = bounds.gte if bounds.HasField("gte") else least
        most = bounds.lte if bounds.HasField("lte") else most
    return (min(least, 0), max(most, 0)) if may_be_zero(rules) else (least, most)


def _gap(rules: FieldRules) -> Json:
    """What lies between 0, where that is let through, and the least number."""
    is_apart = may_be_zero(rules) and rules.int32.gte > 1
    return {"not": {"minimum": 1, "maximum": rules.int32.gte - 1}} if is_apart else {}


def digits(least: int, most: int) -> str:
    """A regular expression of the integers from `least` to `most`, without leading zeros.

    Raises ValueError for a `least` that is neither 0, 1, nor below 0.
    """
    if least > 1:
        raise ValueError(f"no regular expression was written for integers from {least}")
    positive = "|".join(_up_to(str(most)))
    if least < 0:
        negative = "|".join(_up_to(str(-least)))
        return f"^(0|{positive}|-({negative}))$"
    return f"^({positive})$" if least else f"^(0|{positive})$"


def _up_to(greatest: str) -> list[str]:
    """Alternatives for 1 to a number: those of fewer digits, then those less in one digit."""
    last = len(greatest) - 1
    alternatives = [f"[1-9][0-9]{{0,{last - 1}}}"] if last else []
    for place, digit in enumerate(greatest):
        least, below = (0 if place else 1), int(digit) - 1
        if below >= least:
            lesser = str(least) if below == least else f"[{least}-{below}]"
            rest = f"[0-9]{{{last - place}}}" if place < last else ""
            alternatives.append(f"{greatest[:place]}{lesser}{rest}")
    return [*alternatives, greatest]
