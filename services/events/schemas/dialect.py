"""What a schema may say, and what it costs at most to check a value by it. Knows no validator.

A schema comes from somebody else and is run on what everybody sends, so nothing may be in it
that fetches, that leads back to itself without descending into the value, or that multiplies
work: references can, each of two that both lead on to two. `examine` walks the schema once and
answers with everything that is wrong with it, and with a bound of the work:

    weight         times that a schema object of it is looked at for one node of a value, at most,
                   each counted with what stands in it
    pattern count  patterns that one string is matched with, at most

Both follow from the schemas that apply to a node (`allOf`, `$ref`, ...) and those that apply to
its members, depth by depth: a value is nested `DEPTH_MAX` levels deep at most.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote

from services.events.json_text import DEPTH_MAX

SCHEMA_BYTES_MAX: Final = 49_152
SUBSCHEMA_COUNT_MAX: Final = 2_000
PATTERN_COUNT_MAX: Final = 100
PATTERN_CHARS_MAX: Final = 256
WEIGHT_MAX: Final = 100_000
PROBLEM_COUNT_MAX: Final = 10

DRAFTS: Final = {
    "https://json-schema.org/draft/2020-12/schema": 2020,
    "https://json-schema.org/draft/2019-09/schema": 2019,
    "http://json-schema.org/draft-07/schema": 7,
}
"""By what `$schema` names; without one it is the first."""

Pointer = tuple[str, ...]
Problem = tuple[str, str]
"""Where, as a JSON Pointer, and what is wrong there."""

_ONE_IN_PLACE = ("not", "if", "then", "else")
_MANY_IN_PLACE = ("allOf", "anyOf", "oneOf")
_NAMED_IN_PLACE = ("dependentSchemas", "dependencies")
_NAMED_ASIDE = ("$defs", "definitions")
_REFUSED = {
    "$dynamicRef": "must not be dynamic",
    "$recursiveRef": "must not be dynamic",
    "$dynamicAnchor": "must not be dynamic",
    "$recursiveAnchor": "must not be dynamic",
    "$vocabulary": "must not be given",
}
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")


class Examined(NamedTuple):
    """What was found of a schema."""

    problems: Sequence[Problem]
    weight: int = 0
    pattern_count: int = 0


@dataclass
class _Node:
    """A schema object, and the schemas that it applies."""

    own_weight: int = 1
    own_patterns: int = 0
    in_place: list[Pointer] = field(default_factory=list)
    """To the same value."""
    any_member: list[Pointer] = field(default_factory=list)
    """To each member of the value."""
    one_member: list[Pointer] = field(default_factory=list)
    """Each to another member."""
    repeats: bool = False
    """What it applies in place is looked at once more."""


def examine(schema: object) -> Examined:
    """Look at a parsed schema whose depth is bounded. Takes some milliseconds at most."""
    walk = _Walk()
    walk.root(schema)
    if walk.problems:
        return Examined(walk.problems)
    nodes = walk.resolved()
    if walk.problems:
        return Examined(walk.problems)
    order = _in_place_order(nodes)
    if order is None:
        return Examined([("", "must not hold a reference that leads back to itself")])
    weight = _most(nodes, order, lambda node: node.own_weight)
    if weight > WEIGHT_MAX:
        return Examined([("", f"takes too much to check: {weight:,} steps a value at most")])
    return Examined((), weight, _most(nodes, order, lambda node: node.own_patterns))


class _Walk:
    """The schema objects of a schema by where they are, as far as it was walked."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._nodes: dict[Pointer, _Node] = {}
        self._anchors: dict[str, Pointer] = {}
        self._references: list[tuple[Pointer, str]] = []
        self._pattern_count = 0

    def root(self, schema: object) -> None:
        if isinstance(schema, dict):
            draft = schema.get("$schema")
            if draft is not None and str(draft).removesuffix("#") not in DRAFTS:
                self._refuse((), "$schema", f"must be one of {', '.join(DRAFTS)}")
        self._schema(schema, ())

    def resolved(self) -> Mapping[Pointer, _Node]:
        """All of them, with references led to where they point."""
        for at, reference in self._references:
            target = self._target(reference)
            if target is None:
                self._refuse(at, "$ref", "must lead to a schema within this one, by #/... or #name")
            else:
                self._nodes[at].in_place.append(target)
        return self._nodes

    def _target(self, reference: str) -> Pointer | None:
        if not reference.startswith("#"):
            return None
        fragment = unquote(reference[1:])
        if fragment and not fragment.startswith("/"):
            return self._anchors.get(fragment)
        pointer = tuple(
            token.replace("~1", "/").replace("~0", "~") for token in fragment.split("/")[1:]
        )
        return pointer if pointer in self._nodes else None

    def _schema(self, schema: object, at: Pointer) -> None:
        if len(self._nodes) >= SUBSCHEMA_COUNT_MAX or len(self.problems) >= PROBLEM_COUNT_MAX:
            self._refuse((), "", f"must hold at most {SUBSCHEMA_COUNT_MAX:,} schemas")
            return
        node = self._nodes[at] = _Node()
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            self._refuse(at, "", "must be an object, true or false")
            return
        self._keywords(schema, at, node)
        for name in _ONE_IN_PLACE:
            node.in_place += self._one(schema, name, at)
        for name in _MANY_IN_PLACE:
            node.in_place += self._listed(schema, name, at)
        for name in _NAMED_IN_PLACE:
            node.in_place += self._named(schema, name, at)
        for name in _NAMED_ASIDE:
            self._named(schema, name, at)
        self._members(schema, at, node)

    def _keywords(self, schema: dict[str, object], at: Pointer, node: _Node) -> None:
        for name, why in _REFUSED.items():
            if name in schema:
                self._refuse(at, name, why)
        if at and "$schema" in schema:
            self._refuse(at, "$schema", "must stand at the top alone")
        if "$id" in schema and (at or "#" in str(schema["$id"])):
            self._refuse(at, "$id", "must stand at the top alone, without #")
        node.own_weight += len(schema) + sum(
            _size(schema[name]) for name in ("enum", "const", "required") if name in schema
        )
        if "pattern" in schema:
            node.own_patterns += self._pattern(schema["pattern"], at, "pattern")
        anchor, reference = schema.get("$anchor"), schema.get("$ref")
        if isinstance(anchor, str):
            self._anchors[anchor] = at
        if reference is not None:
            self._references.append((at, str(reference)))
        node.repeats = any(name in schema for name in _UNEVALUATED)

    def _members(self, schema: dict[str, object], at: Pointer, node: _Node) -> None:
        node.one_member += self._named(schema, "properties", at)
        patterned = self._named(schema, "patternProperties", at)
        node.any_member += patterned
        node.own_patterns += sum(
            self._pattern(pointer[-1], at, "patternProperties") for pointer in patterned
        )
        node.own_weight += len(patterned)
        for name in ("additionalProperties", "propertyNames", "contains", "additionalItems"):
            node.any_member += self._one(schema, name, at)
        for name in _UNEVALUATED:
            node.any_member += self._one(schema, name, at)
        node.one_member += self._listed(schema, "prefixItems", at)
        if isinstance(schema.get("items"), list):
            node.one_member += self._listed(schema, "items", at)
        else:
            node.any_member += self._one(schema, "items", at)

    def _one(self, schema: dict[str, object], name: str, at: Pointer) -> list[Pointer]:
        if name not in schema:
            return []
        pointer = (*at, name)
        self._schema(schema[name], pointer)
        return [pointer]

    def _listed(self, schema: dict[str, object], name: str, at: Pointer) -> list[Pointer]:
        listed = schema.get(name, [])
        if not isinstance(listed, list):
            self._refuse(at, name, "must be a list of schemas")
            return []
        pointers = [(*at, name, str(index)) for index in range(len(listed))]
        for pointer, one in zip(pointers, listed, strict=True):
            self._schema(one, pointer)
        return pointers

    def _named(self, schema: dict[str, object], name: str, at: Pointer) -> list[Pointer]:
        named = schema.get(name, {})
        if not isinstance(named, dict):
            self._refuse(at, name, "must be an object of schemas")
            return []
        # Of `dependencies` some are lists of names.
        schemas = {key: one for key, one in named.items() if not isinstance(one, list)}
        for key, one in schemas.items():
            self._schema(one, (*at, name, key))
        return [(*at, name, key) for key in schemas]

    def _pattern(self, pattern: object, at: Pointer, keyword: str) -> int:
        self._pattern_count += 1
        if self._pattern_count == PATTERN_COUNT_MAX + 1:
            self._refuse((), "", f"must hold at most {PATTERN_COUNT_MAX} patterns")
        if not isinstance(pattern, str) or len(pattern) > PATTERN_CHARS_MAX:
            self._refuse(at, keyword, f"must be a text of at most {PATTERN_CHARS_MAX} characters")
        return 1

    def _refuse(self, at: Pointer, keyword: str, why: str) -> None:
        tokens = [*at, keyword] if keyword else at
        path = "".join(f"/{token.replace('~', '~0').replace('/', '~1')}" for token in tokens)
        if len(self.problems) < PROBLEM_COUNT_MAX and (path, why) not in self.problems:
            self.problems.append((path, why))


def _size(value: object) -> int:
    """How many values there are in a value, itself included."""
    count, level = 0, [value]
    while level:
        count += len(level)
        level = [child for one in level for child in _children(one)]
    return count


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _in_place_order(nodes: Mapping[Pointer, _Node]) -> list[Pointer] | None:
    """All of them, each behind those that it applies to the same value; None where that goes
    round in a circle.
    """
    order: list[Pointer] = []
    state: dict[Pointer, bool] = {}
    for start in nodes:
        stack = [(start, iter(nodes[start].in_place))] if start not in state else []
        if stack:
            state[start] = False
        while stack:
            pointer, left = stack[-1]
            following = next(left, None)
            if following is None:
                state[pointer] = True
                order.append(pointer)
                stack.pop()
            elif following not in state:
                state[following] = False
                stack.append((following, iter(nodes[following].in_place)))
            elif not state[following]:
                return None
    return order


def _most(
    nodes: Mapping[Pointer, _Node], order: Sequence[Pointer], own: Callable[[_Node], int]
) -> int:
    """What all schemas that apply to one node of a value have together, at most."""
    most_at = dict.fromkeys(order, 0)
    for _ in range(DEPTH_MAX + 1):
        here: dict[Pointer, int] = {}
        below: dict[Pointer, int] = {}
        for pointer in order:
            node = nodes[pointer]
            factor = 2 if node.repeats else 1
            here[pointer] = own(node) + factor * sum(here[one] for one in node.in_place)
            members = sum(most_at[one] for one in node.any_member)
            members += max((most_at[one] for one in node.one_member), default=0)
            below[pointer] = factor * (members + sum(below[one] for one in node.in_place))
        following = {one: max(here[one], below[one]) for one in order}
        if following == most_at or following[()] > WEIGHT_MAX:
            return following[()]
        most_at = following
    return most_at[()]
