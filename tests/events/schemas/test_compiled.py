"""What a schema takes is what another validator takes, and what that costs is bounded."""

import json
import time
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.events.schemas import examples
from services.events.schemas.compatibility import broken
from services.events.schemas.compiled import (
    DESCRIBED_HERE_MAX,
    UNEXPLAINED,
    CompiledSchema,
    RefusedSchema,
)
from services.events.schemas.registry import Compatibility

NAMES = st.sampled_from("abc")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
SIMPLE = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "integer", "boolean", "null"]),
        "minimum": st.integers(-2, 2),
        "maximum": st.integers(-2, 2),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "b$", "^[abc]*$"]),
        "enum": st.lists(st.sampled_from(["a", 1, None]), min_size=1, max_size=3, unique=True),
        "required": st.lists(NAMES, max_size=2, unique=True),
    },
)


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "additionalProperties": inner | st.booleans(),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
            "required": st.lists(NAMES, max_size=2, unique=True),
        },
    )


SCHEMAS = st.recursive(SIMPLE | st.booleans(), _composed, max_leaves=5)


def compiled(schema: Any) -> CompiledSchema:
    return CompiledSchema.examined(json.dumps(schema).encode())


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, st.lists(VALUES, max_size=5))
def test_a_schema_takes_what_another_validator_takes(schema: Any, values: list[Any]) -> None:
    ours, theirs = compiled(schema), jsonschema.Draft202012Validator(schema)

    for value in values:
        is_taken = ours.problem(json.dumps(value).encode()) is None
        assert is_taken == theirs.is_valid(value), value


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, SCHEMAS, st.lists(VALUES, max_size=20))
def test_what_a_version_promises_holds_of_every_value(
    old: Any, new: Any, values: list[Any]
) -> None:
    first, second = jsonschema.Draft202012Validator(old), jsonschema.Draft202012Validator(new)
    values = [*values, *examples.proposed(old), *examples.proposed(new)]
    missed = {one.compatibility for one in broken(compiled(new), compiled(old), Compatibility.FULL)}

    for value in values:
        if Compatibility.BACKWARD not in missed:
            assert second.is_valid(value) or not first.is_valid(value), value
        if Compatibility.FORWARD not in missed:
            assert first.is_valid(value) or not second.is_valid(value), value


@settings(max_examples=100, deadline=None)
@given(SCHEMAS)
def test_examples_are_few_and_a_closed_schema_has_one(schema: Any) -> None:
    assert len(examples.proposed(schema)) <= examples.VALUE_COUNT_MAX


HEAVY: dict[str, tuple[Any, Any]] = {
    "many alternatives": (
        {"items": {"anyOf": [{"type": "string", "minLength": n} for n in range(500)]}},
        [0] * 2_000,
    ),
    "many members": (
        {"properties": {f"m{n}": {"type": "string"} for n in range(900)}},
        {f"m{n}": "x" for n in range(900)},
    ),
    "patterns of names": (
        {"patternProperties": {f"{n}$": {"type": "integer"} for n in range(100)}},
        {f"m{n}": 1 for n in range(5_000)},
    ),
    "a tree": (
        {
            "$ref": "#/$defs/n",
            "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}},
        },
        [[[]] * 100] * 100,
    ),
    "nested alternatives": (
        {
            "$ref": "#/$defs/0",
            "$defs": {
                **{str(n): {"anyOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(9)},
                "9": {"type": "string"},
            },
        },
        1,
    ),
    "a long text": ({"pattern": "^(a|b|ab)*c$"}, "ab" * 100_000),
    "a wide enumeration": ({"items": {"enum": [f"v{n}" for n in range(3_000)]}}, ["w"] * 1_000),
}


@pytest.mark.parametrize("name", HEAVY)
def test_no_check_costs_more_than_was_said_before(name: str) -> None:
    """So that what is checked on the event loop holds up nobody. CPU time, the best of three."""
    schema, value = HEAVY[name]
    made, text = compiled(schema), json.dumps(value).encode()

    assert _least_ns(lambda: made.takes(text)) <= 3 * made.cost_ns(text) + 1_000_000
    if made.description_cost(len(text)) <= DESCRIBED_HERE_MAX:
        assert _least_ns(lambda: made.problem(text)) <= 10_000_000


def _least_ns(work: Callable[[], object]) -> int:
    taken_ns = []
    for _ in range(3):
        began_ns = time.process_time_ns()
        work()
        taken_ns.append(time.process_time_ns() - began_ns)
    return min(taken_ns)


def test_a_problem_that_takes_too_much_to_describe_is_told_without_its_place() -> None:
    schema = compiled({"anyOf": [{"required": [f"m{n}"]} for n in range(1_000)]})
    text = json.dumps({"x": "y" * 20_000}).encode()

    assert not schema.takes(text)
    assert schema.problem(text) == UNEXPLAINED


@pytest.mark.parametrize("pattern", ["^.{1,64}$", r"^\p{L}{1,30}$"])
@pytest.mark.parametrize("schema", ["pattern", "patternProperties"])
def test_a_pattern_that_is_too_large_is_not_told_to_be_none(schema: str, pattern: str) -> None:
    asked: dict[str, Any] = {schema: pattern if schema == "pattern" else {pattern: {}}}

    with pytest.raises(RefusedSchema) as caught:
        compiled(asked)

    ((path, problem),) = caught.value.problems
    assert path.startswith(f"/{schema}")
    assert "65,536 bytes" in problem
    assert "maxLength" in problem


@pytest.mark.parametrize("pattern", ["(?=a)a", r"(a)\1", "["])
def test_a_pattern_that_is_not_matched_in_linear_time_says_so(pattern: str) -> None:
    with pytest.raises(RefusedSchema) as caught:
        compiled({"properties": {"name": {"pattern": pattern}}})

    assert list(caught.value.problems) == [
        (
            "/properties/name/pattern",
            "must be a pattern that looks around nowhere and refers back to nothing",
        )
    ]
