"""What the options of the contract say that a field's values must be, and in words.

Reads `girih.options.v1.field` and `.oneof`. Checks nothing: `checking` does, and the gateway tells
the same rules in its OpenAPI document.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import (
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    OneofDescriptor,
)

from girih.options.v1 import options_pb2

FieldRules = options_pb2.FieldRules

UUID_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

_NONE = FieldRules()


@cache
def rules_of(field: FieldDescriptor) -> FieldRules:
    """The rules of a field; without any where the contract has none."""
    options: Any = field.GetOptions()
    return (
        options.Extensions[options_pb2.field] if options.HasExtension(options_pb2.field) else _NONE
    )


def requires_one(oneof: OneofDescriptor) -> bool:
    """Whether a member of the oneof must be set."""
    options: Any = oneof.GetOptions()
    return bool(options.Extensions[options_pb2.oneof].required)


def body_media_types(method: MethodDescriptor) -> Sequence[str]:
    """Those of the bytes that an rpc takes, the usual one first; empty where it says none."""
    options: Any = method.GetOptions()
    return tuple(options.Extensions[options_pb2.body_media_types])


def may_be_zero(rules: FieldRules) -> bool:
    """Whether the default of the field is let through unchecked."""
    return bool(rules.ignore == FieldRules.IGNORE_IF_ZERO_VALUE)


def pattern_of(rules: options_pb2.StringRules) -> str:
    """The regular expression of a string, with ^ and $; empty where it has none.

    Raises ValueError for one that does not match the whole of a string.
    """
    pattern: str = UUID_PATTERN if rules.uuid else rules.pattern
    if pattern and not (pattern.startswith("^") and pattern.endswith("$")):
        raise ValueError(f"the pattern {pattern} must begin with ^ and end with $")
    return pattern


def enum_numbers(enum: EnumDescriptor, rules: options_pb2.EnumRules) -> dict[int, str]:
    """The values that are taken, by number."""
    refused = set(rules.not_in)
    return {value.number: value.name for value in enum.values if value.number not in refused}


def words_of(field: FieldDescriptor) -> str:
    """What the values of a field must be, for people; empty where nothing is said."""
    rules = rules_of(field)
    kind = rules.WhichOneof("type")
    if kind == "repeated":
        each = value_words(field, rules.repeated.items)
        return "; ".join(filter(None, [value_words(field, rules), each and f"each {each}"]))
    if kind == "map":
        each_key = value_words(field, rules.map.keys)
        each_value = value_words(field, rules.map.values)
        every = [each_key and f"each key {each_key}", each_value and f"each value {each_value}"]
        return "; ".join(filter(None, [value_words(field, rules), *every]))
    return value_words(field, rules)


def value_words(field: FieldDescriptor, rules: FieldRules) -> str:
    """The same for one value under `rules`: "must be 1 to 255 characters"."""
    kind = rules.WhichOneof("type")
    if kind == "repeated":
        return _list_words(rules.repeated)
    if kind == "map":
        return f"must have {_span(None, _most(rules.map, 'max_pairs'), ' keys')}"
    words = _WORDS[kind](rules, field) if kind else ""
    if not words:
        return "must be given" if rules.required else ""
    return f"must be {words}{_or_zero(kind) if may_be_zero(rules) else ''}"


def _list_words(rules: options_pb2.RepeatedRules) -> str:
    count = _span(_most(rules, "min_items"), _most(rules, "max_items"), " items")
    counted = f"must have {count}" if count else ""
    if not rules.unique:
        return counted
    return f"{counted}, none twice" if counted else "must have no item twice"


def _string_words(rules: FieldRules, _field: FieldDescriptor) -> str:
    string = rules.string
    if string.uuid:
        return "a UUID, as 36 hexadecimal digits and hyphens"
    if names := list(getattr(string, "in")):
        return _one_of(names)
    length = _span(_most(string, "min_len"), _most(string, "max_len"), " characters")
    size = _span(_most(string, "min_bytes"), _most(string, "max_bytes"), " bytes")
    form = string.pattern_words or (string.pattern and f"of the form {string.pattern}")
    # "1 to 100 characters of a-z", but "at most 255 characters, a name without -".
    joint = " " if form.startswith(_OF_CHARACTERS) else ", "
    return ", ".join(filter(None, [joint.join(filter(None, [length, form])), size]))


_OF_CHARACTERS = ("of ", "that ", "with ", "without ")
"""How words begin that say which characters, behind how many."""


def _bytes_words(rules: FieldRules, _field: FieldDescriptor) -> str:
    return _span(None, _most(rules.bytes, "max_len"), " bytes")


def _double_words(rules: FieldRules, _field: FieldDescriptor) -> str:
    bounds = rules.double
    above = f"above {bounds.gt:g}" if bounds.HasField("gt") else ""
    below = f"below {bounds.lt:g}" if bounds.HasField("lt") else ""
    within = _span(_most(bounds, "gte"), _most(bounds, "lte"), "")
    return " and ".join(filter(None, [above, within, below, "finite" * bounds.finite]))


def _integer_words(rules: FieldRules, _field: FieldDescriptor) -> str:
    bounds = getattr(rules, rules.WhichOneof("type"))
    return _span(_most(bounds, "gte"), _most(bounds, "lte"), "")


def _enum_words(rules: FieldRules, field: FieldDescriptor) -> str:
    assert field.enum_type is not None, "rules of an enum are on a field of one"
    return _one_of(list(enum_numbers(field.enum_type, rules.enum).values()))


_WORDS = {
    "string": _string_words,
    "bytes": _bytes_words,
    "double": _double_words,
    "int32": _integer_words,
    "int64": _integer_words,
    "enum": _enum_words,
}


def _one_of(names: list[str]) -> str:
    return f"one of {', '.join(names)}"


def _or_zero(kind: str) -> str:
    return ", or 0" if kind in ("double", "int32", "int64") else ", or empty"


def _most(rules: Any, name: str) -> Any:  # noqa: ANN401 - rules of any type
    return getattr(rules, name) if rules.HasField(name) else None


def _span(least: float | None, most: float | None, unit: str) -> str:
    if least is not None and most is not None:
        both = f"{_digits(least)} to {_digits(most)}"
        return f"{both if least != most else _digits(least)}{unit}"
    if least is not None:
        return f"{_digits(least)} or more{unit}"
    return f"at most {_digits(most)}{unit}" if most is not None else ""


def _digits(number: float) -> str:
    return f"{number:,g}" if isinstance(number, float) else f"{number:,}"
