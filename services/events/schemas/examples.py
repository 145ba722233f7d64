"""Values that a schema takes: a few, each as different from the others as the schema is wide.

Made from what a schema names: its constants, its enumerations, its examples, the ends of its
ranges; objects with what they must have alone, and with all they may. What is made is only
proposed: whoever asks sees whether the schema takes it.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

VALUE_COUNT_MAX: Final = 64
_DEPTH_MAX: Final = 8
_WIDTH: Final = 6
"""So many values of each member are tried."""

_TYPES: Final = ("object", "string", "integer", "number", "boolean", "null", "array")


def proposed(schema: object) -> list[Any]:
    """At most `VALUE_COUNT_MAX` different values. Takes some milliseconds at most."""
    distinct: dict[str, Any] = {}
    for value in islice(_values(schema, schema, 0), 4 * VALUE_COUNT_MAX):
        distinct.setdefault(json.dumps(value, sort_keys=True), value)
    return list(distinct.values())[:VALUE_COUNT_MAX]


def _values(schema: object, root: object, depth: int) -> Iterator[Any]:
    if not isinstance(schema, dict):
        yield from (None, {}, "", 0) if schema is True else ()
        return
    if depth > _DEPTH_MAX:
        return
    if "const" in schema:
        yield schema["const"]
        return
    for name in ("enum", "examples"):
        yield from schema.get(name, ())
    if "default" in schema:
        yield schema["default"]
    if "enum" not in schema:
        yield from _applied(schema, root, depth)
        yield from _typed(schema, root, depth)


def _applied(schema: dict[str, Any], root: object, depth: int) -> Iterator[Any]:
    """Of the schemas that apply to the same value."""
    if isinstance(schema.get("$ref"), str):
        yield from islice(_values(_target(schema["$ref"], root), root, depth + 1), _WIDTH)
    for name in ("anyOf", "oneOf"):
        for one in schema.get(name, ()):
            yield from islice(_values(one, root, depth + 1), _WIDTH)
    together = schema.get("allOf", ())
    if together:
        made = [list(islice(_values(one, root, depth + 1), _WIDTH)) for one in together]
        yield from _merged(made)
        yield from (value for values in made for value in values)


def _merged(made: list[list[Any]]) -> Iterator[Any]:
    """Objects that have the members of all."""
    for values in zip(*made, strict=False):
        if all(isinstance(value, dict) for value in values):
            yield {name: member for value in values for name, member in value.items()}


def _typed(schema: dict[str, Any], root: object, depth: int) -> Iterator[Any]:
    types = schema.get("type", _implied(schema))
    for name in [types] if isinstance(types, str) else types:
        yield from islice(_of_type(name, schema, root, depth), VALUE_COUNT_MAX)


def _implied(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """What a schema without a type most likely means."""
    if "properties" in schema or "required" in schema:
        return ("object",)
    if "items" in schema or "prefixItems" in schema:
        return ("array",)
    if "pattern" in schema or "minLength" in schema or "maxLength" in schema:
        return ("string",)
    if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
        return ("number",)
    applies = {"$ref", "allOf", "anyOf", "oneOf"} & schema.keys()
    return () if applies else _TYPES


def _of_type(name: str, schema: dict[str, Any], root: object, depth: int) -> Iterator[Any]:
    if name == "object":
        yield from _objects(schema, root, depth)
    elif name == "array":
        yield from _arrays(schema, root, depth)
    elif name == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", 8)
        yield from ("a" * min(least, 1_000), "0" * max(0, min(most, 1_000)), "é" * max(least, 1))
    elif name in ("integer", "number"):
        yield from _numbers(name, schema)
    elif name == "boolean":
        yield from (True, False)
    elif name == "null":
        yield None


def _numbers(name: str, schema: dict[str, Any]) -> Iterator[Any]:
    step = schema.get("multipleOf", 1)
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    yield from (value for value in (low, high) if value is not None)
    yield from (value + step for value in (low, above) if value is not None)
    yield from (value - step for value in (high, below) if value is not None)
    yield from (0, step, -step)
    if name == "number":
        yield 0.5


def _objects(schema: dict[str, Any], root: object, depth: int) -> Iterator[Any]:
    properties: dict[str, Any] = schema.get("properties", {})
    required = [name for name in schema.get("required", ()) if isinstance(name, str)]
    names = list(dict.fromkeys([*required, *properties]))
    made = {
        name: list(islice(_values(properties.get(name, True), root, depth + 1), _WIDTH))
        for name in names
    }
    made = {name: values for name, values in made.items() if values}
    least = {name: made[name][0] for name in required if name in made}
    full = {name: values[0] for name, values in made.items()}
    yield from (least, full)
    for name, values in made.items():
        for value in values:
            yield {**least, name: value}
    if schema.get("additionalProperties", True) is not False:
        yield {**full, "another": None}


def _arrays(schema: dict[str, Any], root: object, depth: int) -> Iterator[Any]:
    prefix = schema.get("prefixItems", [])
    first = [next(_values(one, root, depth + 1), None) for one in prefix]
    items = list(islice(_values(schema.get("items", True), root, depth + 1), _WIDTH))
    least = max(schema.get("minItems", 0), len(first))
    yield [*first, *items[:1] * (min(least, 100) - len(first))]
    if items:
        yield [*first, *items]


def _target(reference: str, root: object) -> object:
    here = root
    for token in reference.removeprefix("#").split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict):
            here = here.get(name)
        elif isinstance(here, list) and name.isdigit() and int(name) < len(here):
            here = here[int(name)]
        else:
            return None
    return here
