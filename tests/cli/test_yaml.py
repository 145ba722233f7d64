"""What is printed as YAML reads as what was answered."""

import re

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cli.terminal.output import yaml_of

_OLD_BREAKS = "\x85\u2028\u2029"
_ODD = f"{_OLD_BREAKS}\ufeff\ud800\udfff\0\n\r\t '\":#-"

texts = st.text(st.characters() | st.sampled_from(_ODD))
"""Of all characters that JSON has, lone surrogates as well."""
_CORE = (
    r"null|Null|NULL|~|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|"
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
)
"""What is no text in YAML 1.2, by the core schema (10.3.2 there)."""
values = st.recursive(
    texts | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@given(values)
@example({f"a{one}b": f"{one}c\n{one}" for one in _ODD})
def test_a_parser_reads_what_was_answered(value: object) -> None:
    assert yaml.safe_load(yaml_of(value)) == value


def test_every_character_of_the_basic_plane_is_read_as_itself() -> None:
    text = "".join(map(chr, range(0x10000)))

    assert yaml.safe_load(yaml_of([text])) == [text]


@pytest.mark.parametrize("one", _OLD_BREAKS)
def test_what_ended_a_line_in_older_versions_of_yaml_is_escaped(one: str) -> None:
    assert one not in yaml_of({one: [f"a{one}b"]})


@given(st.from_regex(_CORE, fullmatch=True))
@example("08")
@example("0o7")
@example("12e3")
@example("-.5")
def test_a_text_that_is_none_in_yaml_1_2_is_quoted(text: str) -> None:
    assert re.fullmatch(r"""- (["']).*\1""", yaml_of([text]))
