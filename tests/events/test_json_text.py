"""JSON that every reader can take is let in, everything else is not."""

from collections.abc import Callable

import pytest

from girih.testing import json_text as plain
from services.events.json_text import DEPTH_MAX, problem


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


GOOD = {
    "null": "null",
    "a number": "-0.5e-300",
    "a large integer": "9" * 300,
    "text": '"\\ud83d\\ude00 \\n é"',
    "spaces around": " \t\r\n{} ",
    "an escaped backslash before u0000": '"\\\\u0000"',
    "deep enough": nested(DEPTH_MAX),
    "broad": "[" + ",".join(["[]"] * 1_000) + "]",
    "the same key in two objects": '[{"a":1},{"a":{"a":2}}]',
    "colons in texts": '{"a:":":","b":[":::","\\u003a"],":":1}',
    "an escaped colon": '{"a":"\\u003a","b":"\\u003A:"}',
    "objects without keys": "[{},{}]",
}
BAD = {
    "nothing": "",
    "only spaces": "  ",
    "NaN": "NaN",
    "Infinity": "[Infinity]",
    "minus Infinity": "-Infinity",
    "beyond a double": "1e400",
    "an integer beyond a double": "1" * 400,
    "\\u0000 in a text": '"a\\u0000"',
    "\\u0000 in a key": '{"a":[{"\\u0000":1}]}',
    "a key twice": '{"a":1,"a":2}',
    "a key twice, deep": '[{"b":{"a":1,"c":":","a":1}}]',
    "a key twice, spelled in two ways": '{"a":1,"\\u0061":2}',
    "a key twice, and escaped colons": '{"a":"\\u003a","b":[{"c":1,"c":2}]}',
    "a key twice, and a text with a colon less": '{"a":"\\u003A","a":"::"}',
    "an empty key twice": '{"":1,"":2}',
    "a raw NUL": '"\x00"',
    "a raw newline in a text": '"\n"',
    "a high surrogate alone": '"\\ud800"',
    "a low surrogate alone": '"\\udc00"',
    "too deep": nested(DEPTH_MAX + 1),
    "too deep in objects": '{"a":' * 65 + "1" + "}" * 65,
    "10,000 levels": nested(10_000),
    "1,000,000 levels": nested(1_000_000),
    "1,000,000 levels, never closed": "[" * 1_000_000,
    "two texts": "{} {}",
    "a trailing comma": "[1,]",
    "a comment": "/* */1",
    "single quotes": "'a'",
    "a leading zero": "01",
    "a hexadecimal number": "0x10",
    "a byte order mark": "\ufeff{}",
    "half a text": '{"a":',
}


both = pytest.mark.parametrize("problem_of", [problem, plain.problem], ids=["service", "in memory"])


@both
@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_lets_in(text: str, problem_of: Callable[[str], str | None]) -> None:
    assert problem_of(text) is None


@both
@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_refuses(text: str, problem_of: Callable[[str], str | None]) -> None:
    assert problem_of(text) is not None


def test_a_text_made_to_be_slow_takes_no_longer_than_its_size_excuses() -> None:
    # Looking at every pair of its strings would take longer than any test may.
    text = '["\\u0000' + '","' * 300_000 + '"]'

    assert problem(text) is not None
