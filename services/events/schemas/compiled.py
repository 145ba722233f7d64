"""A schema ready to check values by: what is right, what is wrong, and what that costs at most.

The engine for patterns is a linear one: patterns that look around or refer back are refused
when a schema is compiled, and so are those that grow too large. Nothing is fetched. `format` says
what a value means and is not checked, as JSON Schema has it since 2019.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import jsonschema_rs
import orjson

from services.events import json_text
from services.events.schemas import dialect

NS_A_STEP: Final = 100
"""What a step of a check takes at most, in nanoseconds, on the slowest machine in mind."""
NS_A_PATTERN_BYTE: Final = 40
NS_A_BYTE: Final = 20
"""What it takes to parse a byte."""

_PATTERN_BYTES_MAX: Final = 2**16
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=_PATTERN_BYTES_MAX, dfa_size_limit=2**20)
_LARGE_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=2**24, dfa_size_limit=2**20)
"""For who wants to know whether a pattern is wrong, or only too large."""
_SHOWN_CHARS_MAX: Final = 300

DESCRIBED_HERE_MAX: Final = 60_000
DESCRIBED_MAX: Final = 30_000_000
"""Up to which `description_cost` a problem is described at once, and at all: the validator makes
an error, with a copy of the value, for each schema that could have taken it."""
_VALUE_BYTES: Final = 100
UNEXPLAINED: Final = ("", "is not as the schema says, and it would take too much to say where")

Problem = tuple[str, str]
"""Where in the value, as a JSON Pointer, and what is wrong there."""


class RefusedSchema(ValueError):
    """The schema is none that values are checked by. `problems` says why."""

    def __init__(self, problems: Sequence[dialect.Problem]) -> None:
        super().__init__(problems)
        self.problems = problems


class CompiledSchema:
    """A schema and its validator, which is made when it is needed first."""

    def __init__(self, text: bytes, weight: int, pattern_count: int) -> None:
        self.text = text
        self.weight = weight
        self.pattern_count = pattern_count

    @classmethod
    def examined(cls, text: bytes) -> "CompiledSchema":
        """Raises `RefusedSchema`. Takes some milliseconds."""
        if len(text) > dialect.SCHEMA_BYTES_MAX:
            raise RefusedSchema([("", f"must be at most {dialect.SCHEMA_BYTES_MAX:,} bytes")])
        if problem := json_text.problem(text.decode()):
            raise RefusedSchema([("", problem)])
        examined = dialect.examine(orjson.loads(text))
        if examined.problems:
            raise RefusedSchema(examined.problems)
        schema = cls(text, examined.weight, examined.pattern_count)
        try:
            schema.validator  # noqa: B018 - made now, so that what is wrong is told now
        except (jsonschema_rs.ValidationError, ValueError) as error:
            raise RefusedSchema([_pattern_problem(error) or _problem_of(error)]) from None
        return schema

    @cached_property
    def validator(self) -> jsonschema_rs.Validator:
        return jsonschema_rs.validator_for(
            orjson.loads(self.text),
            validate_formats=False,
            pattern_options=_PATTERNS,
            offline=True,
        )

    @cached_property
    def canonical(self) -> jsonschema_rs.CanonicalSchema:
        """What tells whether it takes all that another one takes. May take long to make."""
        return jsonschema_rs.canonicalize(
            orjson.loads(self.text), validate_formats=False, pattern_options=_PATTERNS, offline=True
        )

    def is_same(self, text: bytes) -> bool:
        """Whether a text says the same, in whatever order and spelling."""
        try:
            return self.text == text or _sorted(self.text) == _sorted(text)
        except orjson.JSONDecodeError:
            return False

    def cost_ns(self, json: bytes) -> int:
        """What it takes at most to parse and to check a JSON text."""
        # Each value but the first stands behind one of these.
        value_count = 1 + json.count(b",") + json.count(b"[") + json.count(b":")
        byte_cost = NS_A_BYTE + NS_A_PATTERN_BYTE * self.pattern_count
        return NS_A_STEP * self.weight * value_count + byte_cost * len(json)

    def description_cost(self, byte_count: int) -> int:
        """What it takes to describe a problem of so many bytes, in units of some 30 ns."""
        return self.weight * (byte_count + _VALUE_BYTES)

    def takes(self, json: bytes) -> bool:
        """Whether a JSON text is as the schema says."""
        return bool(self.validator.is_valid(orjson.loads(json)))

    def problem(self, json: bytes) -> Problem | None:
        """What is wrong with a JSON text by the schema, the first of it; None when nothing is."""
        return self.problem_of(orjson.loads(json), len(json))

    def problem_of(self, value: object, byte_count: int) -> Problem | None:
        """The same of a parsed value that has so many bytes as JSON."""
        if self.validator.is_valid(value):
            return None
        if self.description_cost(byte_count) > DESCRIBED_MAX:
            return UNEXPLAINED
        try:
            self.validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return _problem_of(error)
        return None


def _sorted(text: bytes) -> bytes:
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


def _pattern_problem(error: Exception) -> Problem | None:
    """What is wrong with a pattern of a schema, in better words than the engine's: it calls them
    all no regex. None where something else is wrong.
    """
    if not isinstance(error, jsonschema_rs.ValidationError) or error.kind.name != "format":
        return None
    if not isinstance(error.instance, str):
        return None
    path, _ = _problem_of(error)
    if _is_matched(error.instance):
        return path, (
            f"takes more than {_PATTERN_BYTES_MAX:,} bytes as a pattern, as parts do that are"
            " repeated often: say how long a text may be by minLength and maxLength"
        )
    return path, "must be a pattern that looks around nowhere and refers back to nothing"


def _is_matched(pattern: str) -> bool:
    """Whether it is one that is matched in linear time."""
    try:
        jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=_LARGE_PATTERNS)
    except (jsonschema_rs.ValidationError, ValueError):
        return False
    return True


def _problem_of(error: Exception) -> Problem:
    """Where and what, in few words: values come from strangers and may be long."""
    if not isinstance(error, jsonschema_rs.ValidationError):
        return "", str(error)[:_SHOWN_CHARS_MAX]
    path = "".join(
        f"/{str(token).replace('~', '~0').replace('/', '~1')}" for token in error.instance_path
    )
    return path[:_SHOWN_CHARS_MAX], error.message[:_SHOWN_CHARS_MAX]
